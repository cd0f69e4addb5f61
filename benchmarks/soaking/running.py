"""How a run with processes of its own begins and ends, whatever it measures."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.shared import Figures, say
from benchmarks.soaking.group import SoakError
from consumer.tryout.broker import BrokerError
from consumer.tryout.demo.processes import ChildError
from consumer.verify import VerifyError


def measured(name: str, measure: Callable[[Path], Figures]) -> Figures | int:
    """Measure in an empty folder; give the figures, or the exit code where there are none.

    A signal ends it as Ctrl-C does, so that no process is left behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            return measure(Path(folder))
    except (SoakError, ChildError, BrokerError, VerifyError) as error:
        say(f"{name}: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def failed(name: str, said: Sequence[str]) -> bool:
    """Tell what is wrong; tell whether anything is."""
    for sentence in said:
        say(f"{name}: {sentence}")
    return bool(said)
