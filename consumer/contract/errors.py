"""Errors that a command expects, and what is told of those that it does not.

What a class here is the base of ends a command in order: one sentence that says what to do, and an
exit code. Everything else is a defect of the program or of a library. Its message may quote what a
user wrote, or a secret, so that it is told nowhere: only its type, and the places in the code that
it came through.
"""

from __future__ import annotations

import traceback
from pathlib import Path

_OURS = ("consumer", "models", "schemas")
_ROOT = Path(__file__).parents[2]


class ExpectedError(Exception):
    """The command cannot go on, for a reason outside of the program that its message tells."""

    exit_code = 3


class UsageError(ExpectedError):
    """A wrong combination of arguments, or an audit that cannot be made."""

    exit_code = 2


def place(error: BaseException) -> str:
    """Tell the innermost line of this project that an exception came through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in _OURS:
            return f"at {path.relative_to(_ROOT)}:{frame.lineno} ({frame.name})"
    return "outside of the project"


def stack(error: BaseException) -> str:
    """Give the stack of an exception and of those that led to it: places in the code, no values."""
    lines = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
    told = f"{type(error).__name__}, through\n{lines.rstrip()}"
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told if before is None else f"{stack(before)}\nwhich led to {told}"


def forget_frames(error: BaseException) -> None:
    """Take the traceback off an exception, and off those that led to it.

    A frame that holds an exception is held by it in turn, with all else that it has: until Python
    looks for garbage, if nobody does this.
    """
    known: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each not in known:
            known.append(each)
            each.__traceback__ = None
            waiting += [led for led in (each.__cause__, each.__context__) if led is not None]
