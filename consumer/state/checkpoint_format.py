"""The file of a local checkpoint: written, mapped into memory, and told whose it is.

Numbers are little-endian:

    magic "SEGMCKPT" | version uint32 | length of the header uint32
    header, JSON with blanks behind it: whose state it is, its offset, its columns
    BLAKE2b-256 of all before
    the columns one after the other, as they are in memory, each with zeros up to a whole page

The header says of each column the XXH3-64 of its pages. The first three lines end with a page, and
stay as they are in every version, so that another one is told from a damaged one.

A checkpoint is not copied into memory: its columns are the file's own pages, read when they are
wanted, and of a page that is written to the process gets one of its own (copy on write). All pages
are held against their checksums before a column is given. A file in use may be removed, or another
one put in its place: its pages stay until the process lets go of them, and so does their room on
the disk.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, Any, BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from consumer.contract.stage import Columns, Snapshot, StateKind
from schemas.errors import first_problem

MAGIC = b"SEGMCKPT"
FORMAT_VERSION = 2

_PREFIX = struct.Struct("<8sII")
_DIGEST_BYTES = 32
# Copied, hashed and written at once: small enough to stay in the processor's cache.
_BLOCK_BYTES = 1 << 20
# Of all processors that segmenter runs on, or a part of theirs.
_PAGE_BYTES = 4096
_UNKNOWN = "0" * 16


class Reason(StrEnum):
    """Why there is no checkpoint to be used."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    """The file system does not give it."""
    DAMAGED = "damaged"
    FUTURE = "future"
    """Written in a newer format."""
    FOREIGN = "foreign"
    """Of another cluster, group, topic, partition, embedding model or shape."""
    OUTDATED = "outdated"
    """Too old, in the form of another version, or the changelog has lost what follows it."""
    BEYOND_END = "beyond_end"
    """The changelog ends before it."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """There is no checkpoint to go on from, and why."""

    reason: Reason
    detail: str


class WriteCancelledError(Exception):
    """A checkpoint was given up before it was complete."""


class Owner(BaseModel):
    """Whose state a checkpoint holds; all of it must fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster_id: str | None
    group_id: str
    topic: str
    topic_id: str | None
    partition: int
    kind: StateKind


class Column(BaseModel):
    """One array in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: Annotated[str, StringConstraints(pattern=r"^([<|][iu][1248]|<f[48])$")]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    checksum: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    """XXH3-64 of its pages in hexadecimal digits: of one length, so that it can be filled in."""

    @property
    def bytes(self) -> int:
        """Its length in the file, whole pages."""
        return _whole_pages(math.prod(self.shape) * np.dtype(self.dtype).itemsize)


class Header(BaseModel):
    """What a checkpoint says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    owner: Owner
    offset: int = Field(ge=0, description="Of the changelog: the next one to read.")
    taken_at: float = Field(description="Seconds since 1970; what the offset was current at.")
    users: int = Field(ge=0)
    software: str = Field(description="Version of segmenter that wrote it.")
    columns: list[Column] = Field(repr=False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state read back, and where its changelog goes on."""

    header: Header
    columns: Columns


def write_checkpoint(
    file: BinaryIO,
    owner: Owner,
    offset: int,
    snapshot: Snapshot,
    *,
    taken_at: float,
    cancelled: Callable[[], bool],
) -> None:
    """Write a checkpoint; the parameters are those of `CheckpointStore.write`.

    Raises
    ------
    OSError
        If the file cannot be written.
    WriteCancelledError
        If it was cancelled.
    """
    columns = snapshot.columns()
    header = Header(
        owner=owner,
        offset=offset,
        taken_at=taken_at,
        users=len(snapshot),
        software=version("segmenter"),
        columns=[
            Column(name=name, dtype=column.dtype.str, shape=column.shape, checksum=_UNKNOWN)
            for name, column in columns.items()
        ],
    )
    # What the columns are checked by is known when they are written, and then takes this room.
    file.write(bytes(len(_head(header))))
    written = [
        column.model_copy(update={"checksum": _write_column(file, array, cancelled)})
        for column, array in zip(header.columns, columns.values(), strict=True)
    ]
    file.seek(0)
    file.write(_head(header.model_copy(update={"columns": written})))


def _head(header: Header) -> bytes:
    """Give all that stands before the columns, whole pages."""
    text = header.model_dump_json().encode()
    around = _PREFIX.size + _DIGEST_BYTES
    text = text.ljust(_whole_pages(len(text) + around) - around)
    head = _PREFIX.pack(MAGIC, FORMAT_VERSION, len(text)) + text
    return head + hashlib.blake2b(head, digest_size=_DIGEST_BYTES).digest()


def _write_column(file: BinaryIO, column: NDArray[Any], cancelled: Callable[[], bool]) -> str:
    """Write a column and give its checksum."""
    digest, view = xxhash.xxh3_64(), _bytes_of(column)
    for start in range(0, len(view), _BLOCK_BYTES):
        if cancelled():
            raise WriteCancelledError
        # A copy: the state may go on meanwhile, and what is hashed must be what is written.
        block = bytes(view[start : start + _BLOCK_BYTES])
        block = block.ljust(_whole_pages(len(block)), b"\0")
        digest.update(block)
        file.write(block)
    return digest.hexdigest()


def read_checkpoint(
    file: BinaryIO,
    judge: Callable[[Header], Unusable | None],
    cancelled: Callable[[], bool],
) -> Checkpoint | Unusable:
    """Map a checkpoint into memory; its columns may be written to, which the file never sees.

    Parameters
    ----------
    file
        Open at its beginning; it may be closed afterwards.
    judge
        Asked about the header, before anything else is read.
    cancelled
        Asked after each MiB; reading ends early when it is.

    Raises
    ------
    OSError
        If the file system does not give it.
    """
    size = os.fstat(file.fileno()).st_size
    header = _read_header(file, size)
    if isinstance(header, Unusable):
        return header
    if unusable := judge(header):
        return unusable
    place = file.tell()
    if place + sum(column.bytes for column in header.columns) != size:
        return Unusable(Reason.DAMAGED, f"its {size} bytes are not what its header says")
    pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    columns: dict[str, NDArray[np.generic]] = {}
    for column in header.columns:
        digest = xxhash.xxh3_64()
        for start in range(place, place + column.bytes, _BLOCK_BYTES):
            if cancelled():
                return Unusable(Reason.DAMAGED, "it was not read to its end")
            end = min(start + _BLOCK_BYTES, place + column.bytes)
            with memoryview(pages)[start:end] as block:
                digest.update(block)
        if digest.hexdigest() != column.checksum:
            return Unusable(
                Reason.DAMAGED, f"the checksum of its column {column.name} does not fit"
            )
        # Not frombuffer, which wants one item at least.
        columns[column.name] = np.ndarray(column.shape, column.dtype, pages, place)
        place += column.bytes
    return Checkpoint(header, columns)


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE_BYTES) * _PAGE_BYTES


def _read_header(file: BinaryIO, size: int) -> Header | Unusable:
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size or not prefix.startswith(MAGIC):
        return Unusable(Reason.DAMAGED, "it does not begin as a checkpoint does")
    _, written_version, length = _PREFIX.unpack(prefix)
    if length > size:
        return Unusable(Reason.DAMAGED, "it ends too early")
    text = file.read(length)
    if (
        file.read(_DIGEST_BYTES)
        != hashlib.blake2b(prefix + text, digest_size=_DIGEST_BYTES).digest()
    ):
        return Unusable(Reason.DAMAGED, "the checksum of its header does not fit")
    if written_version != FORMAT_VERSION:
        former = written_version < FORMAT_VERSION
        return Unusable(
            Reason.OUTDATED if former else Reason.FUTURE,
            f"it is of {'an older' if former else 'a newer'} version of segmenter (its format is "
            f"{written_version}, this one knows {FORMAT_VERSION})",
        )
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        return Unusable(Reason.DAMAGED, f"its header: {first_problem(error)}")


def difference(found: Owner, wanted: Owner) -> str | None:
    """Name the first thing in which two owners differ."""
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in Owner.model_fields}
    kinds = pairs.pop("kind")
    pairs |= {name: (kinds[0].get(name), kinds[1].get(name)) for name in kinds[0] | kinds[1]}
    for name, (its, ours) in pairs.items():
        if its != ours:
            return f"its {name} is {its}, here it is {ours}"
    return None
