"""Local checkpoints: files that hold a partition's state as of an offset of its changelog.

A checkpoint spares a worker the beginning of a changelog; the truth is the changelog. So whatever
is wrong with a file, or with writing it, costs time and nothing else: a file that cannot be used is
removed, and the state is read from the changelog.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from consumer.contract.stage import Snapshot
from consumer.settings import RestoreSettings
from consumer.state.checkpoint_format import (
    Checkpoint,
    Header,
    Owner,
    Reason,
    Unusable,
    difference,
    read_checkpoint,
    write_checkpoint,
)

_TEMPORARY = ".tmp"
# A temporary file that nobody has written to for so long was left by a process that died.
_STALE_SECONDS = 120
# A checkpoint from a clock that is ahead by more than this has no age that could be trusted.
_CLOCK_SKEW_SECONDS = 300


class CheckpointStore:
    """A folder of checkpoints, one file for each group, changelog and partition.

    Parameters
    ----------
    folder
        Made when the first checkpoint is written.
    max_age_seconds
        Older checkpoints are not used. A tombstone may be gone from a compacted changelog
        delete.retention.ms after it was written; a checkpoint from before it would bring its user
        back.
    clock
        Seconds since 1970.
    """

    def __init__(
        self, folder: Path, max_age_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._max_age = max_age_seconds
        self._clock = clock

    @classmethod
    def of(cls, settings: RestoreSettings) -> Self | None:
        """Give the store that the settings name, None where they name none."""
        if settings.checkpoint_dir is None:
            return None
        return cls(settings.checkpoint_dir, settings.checkpoint_max_age_hours * 3600)

    @property
    def max_age_seconds(self) -> float:
        """Age from which on a checkpoint is of no use."""
        return self._max_age

    def now(self) -> float:
        """Give the time that ages are told by, seconds since 1970."""
        return self._clock()

    def path(self, owner: Owner) -> Path:
        """Give the file of a partition; its name is safe whatever the group is called."""
        place = f"{owner.group_id}\0{owner.topic}\0{owner.partition}"
        digest = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
        return self._folder / f"{owner.topic[:120]}-{owner.partition}-{digest}.checkpoint"

    # --- writing ----------------------------------------------------------------------------

    def write(
        self,
        owner: Owner,
        offset: int,
        snapshot: Snapshot,
        *,
        taken_at: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> int:
        """Replace a partition's checkpoint; a crash leaves the former one or the new one.

        Parameters
        ----------
        owner
            Whose state it is.
        offset
            Of the changelog, the next one to read; what lies below is in the snapshot.
        snapshot
            The state.
        taken_at
            When the snapshot was taken, as `now` gives it.
        cancelled
            Asked after each MiB.

        Returns
        -------
        int
            Size of the file in bytes.

        Raises
        ------
        OSError
            If it cannot be written; the former one is untouched.
        WriteCancelledError
            If it was cancelled; likewise.
        """
        path = self.path(owner)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep(path)
        descriptor, name = tempfile.mkstemp(_TEMPORARY, f"{path.name}.", self._folder)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                write_checkpoint(
                    file, owner, offset, snapshot, taken_at=taken_at, cancelled=cancelled
                )
                file.flush()
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(self._folder)
        return size

    def _sweep(self, path: Path) -> None:
        """Remove what processes left that died while they wrote this partition's checkpoint."""
        for left in self._folder.glob(f"{path.name}.*{_TEMPORARY}"):
            with suppress(OSError):  # another process was faster
                if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                    left.unlink()

    # --- reading ----------------------------------------------------------------------------

    def read(
        self,
        owner: Owner,
        first: int,
        end: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Checkpoint | Unusable:
        """Read a partition's checkpoint, or say why there is none to be used.

        Parameters
        ----------
        owner
            Whose state is wanted.
        first, end
            The changelog's first offset and its end.
        cancelled
            Asked after each MiB; the answer is of no use then.
        """
        try:
            with self.path(owner).open("rb") as file:
                return read_checkpoint(
                    file, lambda header: self._judge(header, owner, first, end), cancelled
                )
        except FileNotFoundError:
            return Unusable(Reason.MISSING, "there is none")
        except OSError as error:
            return Unusable(Reason.UNREADABLE, str(error))

    def drop(self, owner: Owner) -> None:
        """Remove a partition's checkpoint, if the file system lets it."""
        with suppress(OSError):  # it is found unusable again next time, or written over
            self.path(owner).unlink()

    def _judge(self, header: Header, owner: Owner, first: int, end: int) -> Unusable | None:
        if differs := difference(header.owner, owner):
            return Unusable(Reason.FOREIGN, differs)
        if header.offset > end:
            return Unusable(
                Reason.BEYOND_END,
                f"it goes on at offset {header.offset}, the changelog ends at {end}",
            )
        if header.offset < first:
            return Unusable(
                Reason.OUTDATED,
                f"it goes on at offset {header.offset}, the changelog begins at {first}",
            )
        age = self._clock() - header.taken_at
        if age > self._max_age:
            return Unusable(
                Reason.OUTDATED,
                f"it is {age / 3600:.1f} h old, more than restore.checkpoint_max_age_hours "
                f"({self._max_age / 3600:g})",
            )
        if age < -_CLOCK_SKEW_SECONDS:
            return Unusable(Reason.OUTDATED, f"its time is {-age:.0f} s ahead of this clock")
        return None


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
