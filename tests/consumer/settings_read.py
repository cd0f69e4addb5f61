"""Notes which settings are read, and by no module of the settings themselves."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from consumer.settings import Settings

# Checks of what belongs together read settings too, whatever the command.
_THEMSELVES = ("consumer.settings", "pydantic", "tests.consumer.settings_read")


def note_reads(note: Callable[[str], object], patch: Callable[[type, str, Any], object]) -> None:
    """Have every read of a setting noted, by its dotted name.

    Parameters
    ----------
    note
        Told the name.
    patch
        `setattr`, or one that is undone.
    """
    for section, field in Settings.model_fields.items():
        kind: Any = field.annotation

        def read(self: Any, name: str, kind: Any = kind, section: str = section) -> Any:
            if name in kind.model_fields:
                module = sys._getframe(1).f_globals.get("__name__", "")
                if not module.startswith(_THEMSELVES) and not module.endswith(".policy"):
                    note(f"{section}.{name}")
            return object.__getattribute__(self, name)

        patch(kind, "__getattribute__", read)


ASKED = "asked-for-metrics"
"""Noted beside settings, where somebody was told the metrics."""

Serving = Callable[..., AbstractContextManager[int | None]]


def asked_for_metrics(serving: Serving, note: Callable[[], object]) -> Serving:
    """Have whoever serves metrics and health asked for all of it, until it ends.

    Parameters
    ----------
    serving
        `consumer.telemetry.health.serving`.
    note
        Called after each time that there was an answer to all.
    """

    @contextmanager
    def served_and_asked(*arguments: Any) -> Iterator[int | None]:
        with serving(*arguments) as port:
            if port is not None:
                threading.Thread(target=_ask, args=(port, note), daemon=True).start()
            yield port

    return served_and_asked


def _ask(port: int, note: Callable[[], object]) -> None:
    while True:
        try:
            for path in ("metrics", "healthz", "readyz"):
                with suppress(HTTPError):  # not ready, which is an answer
                    urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10).read()
        except OSError:  # it ends
            return
        note()
        time.sleep(0.2)


@contextmanager
def reads_noted() -> Iterator[set[str]]:
    """Give the settings that are read within."""
    found: set[str] = set()
    with pytest.MonkeyPatch.context() as patched:
        note_reads(found.add, patched.setattr)
        yield found
