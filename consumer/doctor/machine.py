"""Whether the machine, or the container, has room for the process."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from consumer.doctor.facts import Finding, failed, fine, skipped, warning
from consumer.report.wording import plural
from consumer.settings import Settings

_MB = 1_000_000
# Beside a user's sum: what the table of profiles takes (docs/capacity.md), and a checkpoint's
# record with a full ring of event ids (docs/operations.md, Local checkpoints).
TABLE_BYTES = 340
REFERENCES_BYTES = 118
"""Of a user with three events, where references are kept."""
CHECKPOINT_BYTES = 700
CHECKPOINTS = 3
"""A worker's files of one partition at most: the one that it began from, the latest, the next."""

# Four batches of a process, and as much again in its client's queue.
_BATCHES = 8
# A process holds a connection to each broker for every client that it has.
_CLIENTS = 6
# Files of the process itself, its libraries and its HTTP server, beside what is open already.
_OWN_FILES = 64


@dataclass(frozen=True)
class Expected:
    """The state that a worker would hold.

    Attributes
    ----------
    users
        At most, of all partitions.
    dimensions
        Of a vector.
    workers
        Who share them, this one among them.
    """

    users: int
    dimensions: int
    workers: int = 1

    @property
    def share(self) -> int:
        """Users of one worker."""
        return -(-self.users // self.workers)

    def words(self) -> str:
        """Say whose state it is."""
        among = "" if self.workers == 1 else f", among {plural(self.workers, 'worker')}"
        return f"{plural(self.users, 'user')} at most{among}"


def disk(settings: Settings, expected: Expected | None) -> Finding:
    """Look whether checkpoints can be written, and have room."""
    folder = settings.restore.checkpoint_dir
    if folder is None:
        return skipped("disk", "no restore.checkpoint_dir: the state is read from its changelog")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return failed(
            "disk",
            f"restore.checkpoint_dir: cannot write to {folder}: {error.strerror}",
            "mount a volume there that this process's user may write to (fsGroup), with room",
        )
    told = f"{folder} can be written to, {_size(free)} are free"
    if expected is None:
        return fine("disk", told)
    needed = expected.share * CHECKPOINTS * (_sum(settings, expected) + CHECKPOINT_BYTES)
    told += f", {_size(needed)} may be needed ({expected.words()})"
    if needed > free:
        return warning("disk", told, "take a larger volume: without room there is no checkpoint")
    return fine("disk", told)


def memory(settings: Settings, expected: Expected | None, limit: int | None = None) -> Finding:
    """Hold the memory there is against what this process has taken, and the state it would hold.

    Parameters
    ----------
    settings
        How profiles are kept.
    expected
        The state; None where it is not known.
    limit
        Bytes; those of the container, else of the machine, where none are given.
    """
    limit = memory_limit() if limit is None else limit
    if limit is None:
        return skipped("memory", "this system does not tell how much there is")
    # Its own libraries and model are those of the process that is to start.
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    base += _BATCHES * settings.batch.max_bytes
    beside = TABLE_BYTES + REFERENCES_BYTES * (settings.profile.references > 0)
    users = expected.share * (_sum(settings, expected) + beside) if expected else 0
    told = f"{_size(limit)} there, {_size(base)} needed by the process and its batches"
    if expected:
        told += f", {_size(users)} by its users ({expected.words()})"
    if base > limit:
        return failed("memory", told, "raise the memory limit")
    if base + users > limit:
        return warning(
            "memory",
            told,
            "raise the memory limit, run more workers, or set profile.precision to float16",
        )
    return fine("memory", told)


def files(brokers: int, partitions: int, limit: int | None = None) -> Finding:
    """Hold the limit of open files against the connections and files of a process.

    Parameters
    ----------
    brokers, partitions
        Of the cluster, and of the input.
    limit
        Open files; that of this process where none is given.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = soft if limit is None else limit
    needed = _OWN_FILES + _CLIENTS * brokers + partitions
    if limit == resource.RLIM_INFINITY:
        return fine("files", "as many as it likes may be open")
    told = f"{limit:,} may be open, {needed:,} may be needed"
    if needed > limit:
        may = " (this user may have more)" if hard in (-1, resource.RLIM_INFINITY) else ""
        return failed("files", told, f"raise the limit of open files: ulimit -n{may}")
    return fine("files", told)


def memory_limit(
    cgroup: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")
) -> int | None:
    """Give the bytes of memory of this container, else of this machine; None where not known."""
    found = []
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of version 2 and of version 1
        try:
            found.append(int((cgroup / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    try:
        words = meminfo.read_text(encoding="ascii").split()
        found.append(int(words[words.index("MemTotal:") + 1]) * 1024)
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def _sum(settings: Settings, expected: Expected) -> int:
    return expected.dimensions * (2 if settings.profile.precision == "float16" else 4)


def _size(count: float) -> str:
    return f"{count / _MB / 1000:.1f} GB" if count >= 1000 * _MB else f"{count / _MB:.0f} MB"
