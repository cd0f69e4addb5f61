"""`segmenter broker`: a broker in the foreground, until it is told to stop."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from consumer.tryout.broker.cluster import EmbeddedKafka
from consumer.tryout.broker.errors import BrokerError, DataFolderError, PortError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import FrameType

HEALTH_CHECK_S = 0.5
_EXIT_USAGE, _EXIT_FAILED = 2, 3
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_broker(
    data: Path,
    *,
    brokers: int = 1,
    port: int | None = None,
    properties: Mapping[str, str] | None = None,
) -> int:
    """Run Kafka on a data folder until SIGINT or SIGTERM; call it from the main thread.

    When it is ready, one line with the bootstrap servers goes to standard output, for scripts to
    read; why it failed goes to standard error. Parameters as of `EmbeddedKafka`.

    Returns
    -------
    int
        Exit code: 0 after a signal, 2 if folder or port cannot be had, 3 if the brokers could not
        be started or one ended by itself.
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
        return 0
    except BrokerError as error:
        sys.stderr.write(f"segmenter broker: {error}\n")
        return _EXIT_USAGE if isinstance(error, DataFolderError | PortError) else _EXIT_FAILED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Begin to stop; further signals do not disturb that, for it ends by itself in seconds."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
