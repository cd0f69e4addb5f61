"""Notes which settings are read, and by no module of the settings themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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


@contextmanager
def reads_noted() -> Iterator[set[str]]:
    """Give the settings that are read within."""
    found: set[str] = set()
    with pytest.MonkeyPatch.context() as patched:
        note_reads(found.add, patched.setattr)
        yield found
