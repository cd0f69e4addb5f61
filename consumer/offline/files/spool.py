"""A pipe for a command that reads its input more than once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from consumer.offline.files.errors import EventFileError, damage, name_of, told
from consumer.offline.files.packing import open_raw, size_of


@contextmanager
def spooled(path: Path) -> Iterator[Path]:
    """Give a file that can be read again: the path itself, or a temporary copy of a pipe.

    Raises
    ------
    EventFileError
        If it cannot be read.
    """
    with ExitStack() as stack:
        try:
            raw = open_raw(path, stack)
            if size_of(raw) is None or name_of(path) != str(path):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segmenter-")))
                copy = folder / (path.name.strip("-") or "stdin")
                with copy.open("wb") as file:
                    shutil.copyfileobj(raw, file)
                path = copy
        except damage() as error:
            raise EventFileError(
                f"cannot read the events of {name_of(path)}: {told(error)}"
            ) from error
        yield path
