"""The folder of a demo's results: the latest run in it, earlier ones below `earlier`."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from consumer.contract.errors import ExpectedError

EARLIER = "earlier"
_MARKER = ".segmenter-demo"
# The topics of a run, some 100 MB: the report is what is kept.
_TOPICS = "kafka"


class OutputFolderError(ExpectedError):
    """The folder for results holds something else."""


def fresh(output: Path) -> Path | None:
    """Make the folder for results; move what an earlier demo has left there aside.

    Its report, picture and logs go to a folder `earlier/DATE-TIME`, by the time of that run; the
    topics of its own Kafka are removed.

    Returns
    -------
    Path or None
        Where the earlier results are now, None where there were none.

    Raises
    ------
    OutputFolderError
        If there are files that no demo has made.
    """
    kept = None
    if output.exists() and any(output.iterdir()):
        if not (output / _MARKER).exists():
            raise OutputFolderError(
                f"{output} holds other files than a demo's: name another folder with --output"
            )
        kept = _aside(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / _MARKER).touch()
    return kept


def _aside(output: Path) -> Path | None:
    """Move the results of the run before; give where they are."""
    began = datetime.fromtimestamp((output / _MARKER).stat().st_mtime, UTC).astimezone()
    (output / _MARKER).unlink()
    shutil.rmtree(output / _TOPICS, ignore_errors=True)
    results = [each for each in output.iterdir() if each.name != EARLIER]
    if not results:
        return None
    name = f"{began:%Y-%m-%d-%H%M%S}"
    target = output / EARLIER / name
    number = 1
    while target.exists():  # two runs in one second, or a clock that was set back
        number += 1
        target = output / EARLIER / f"{name}-{number}"
    target.mkdir(parents=True)
    for each in results:
        each.rename(target / each.name)
    return target
