"""The file of a local checkpoint: written, read, and told whose it is.

Numbers are little-endian:

    magic "SEGMCKPT" | version uint32 | length of the header uint32
    header, JSON: whose state it is, its offset, its columns
    BLAKE2b-256 of all before
    the columns one after the other, as they are in memory
    BLAKE2b-256 of all before

The first three lines stay as they are in every version, so that a newer one is told from a damaged
one.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from consumer.contract.stage import Columns, Snapshot, StateKind
from schemas.errors import first_problem

MAGIC = b"SEGMCKPT"
FORMAT_VERSION = 1

_PREFIX = struct.Struct("<8sII")
_DIGEST_BYTES = 32
# Copied, hashed and written at once: small enough to stay in the processor's cache.
_BLOCK_BYTES = 1 << 20


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
    """Too old, or the changelog has lost what follows it."""
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

    @property
    def bytes(self) -> int:
        """Its length in the file."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


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
            Column(name=name, dtype=column.dtype.str, shape=column.shape)
            for name, column in columns.items()
        ],
    )
    text = header.model_dump_json().encode()
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)

    def write(part: bytes) -> None:
        digest.update(part)
        file.write(part)

    write(_PREFIX.pack(MAGIC, FORMAT_VERSION, len(text)))
    write(text)
    write(digest.digest())
    for column in columns.values():
        view = _bytes_of(column)
        for start in range(0, len(view), _BLOCK_BYTES):
            if cancelled():
                raise WriteCancelledError
            # A copy: the state may go on meanwhile, and what is hashed must be what is written.
            write(bytes(view[start : start + _BLOCK_BYTES]))
    file.write(digest.digest())


def read_checkpoint(
    file: BinaryIO,
    judge: Callable[[Header], Unusable | None],
    cancelled: Callable[[], bool],
) -> Checkpoint | Unusable:
    """Read a checkpoint.

    Parameters
    ----------
    file
        Open at its beginning.
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
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    header = _read_header(file, size, digest)
    if isinstance(header, Unusable):
        return header
    if unusable := judge(header):
        return unusable
    # Checked before memory is asked for, which is then at most what the file holds.
    if file.tell() + sum(column.bytes for column in header.columns) + _DIGEST_BYTES != size:
        return Unusable(Reason.DAMAGED, f"its {size} bytes are not what its header says")
    columns: dict[str, NDArray[np.generic]] = {}
    for column in header.columns:
        columns[column.name] = array = np.empty(column.shape, column.dtype)
        view = _bytes_of(array)
        for start in range(0, len(view), _BLOCK_BYTES):
            block = file.read(min(_BLOCK_BYTES, len(view) - start))
            digest.update(block)
            if len(block) < min(_BLOCK_BYTES, len(view) - start) or cancelled():
                return Unusable(Reason.DAMAGED, "it was not read to its end")
            view[start : start + len(block)] = block
    if file.read() != digest.digest():
        return Unusable(Reason.DAMAGED, "its checksum does not fit")
    return Checkpoint(header, columns)


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _read_header(file: BinaryIO, size: int, digest: hashlib.blake2b) -> Header | Unusable:
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size or not prefix.startswith(MAGIC):
        return Unusable(Reason.DAMAGED, "it does not begin as a checkpoint does")
    _, written_version, length = _PREFIX.unpack(prefix)
    if length > size:
        return Unusable(Reason.DAMAGED, "it ends too early")
    text = file.read(length)
    digest.update(prefix)
    digest.update(text)
    check = file.read(_DIGEST_BYTES)
    if check != digest.digest():
        return Unusable(Reason.DAMAGED, "the checksum of its header does not fit")
    digest.update(check)
    if written_version > FORMAT_VERSION:
        return Unusable(
            Reason.FUTURE,
            f"its format is {written_version}, this version of segmenter knows {FORMAT_VERSION}",
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
