"""`segmenter broker`: a broker in the foreground, until it is told to stop."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from consumer.tryout.broker.cluster import EmbeddedKafka
from consumer.tryout.broker.errors import BrokerError

HEALTH_CHECK_S = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_broker(
    data: Path,
    *,
    brokers: int = 1,
    port: int | None = None,
    properties: Mapping[str, str] | None = None,
) -> None:
    """Run Kafka on a data folder until SIGINT or SIGTERM; call it from the main thread.

    When it is ready, one line with the bootstrap servers goes to standard output, for scripts to
    read. Parameters as of `EmbeddedKafka`.

    Raises
    ------
    BrokerError
        If the brokers cannot be started, or one ended by itself.
    """
    before = {number: signal.signal(number, _interrupt) for number in STOP_SIGNALS}
    try:
        with EmbeddedKafka(data, brokers=brokers, port=port, properties=properties) as kafka:
            sys.stdout.write(f"{kafka.bootstrap_servers}\n")
            sys.stdout.flush()
            while not (failure := kafka.failure()):
                time.sleep(HEALTH_CHECK_S)
            raise BrokerError(failure)
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Begin to stop; further signals do not disturb that, for it ends by itself in seconds."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
