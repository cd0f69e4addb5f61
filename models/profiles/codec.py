"""Profiles to records of `user-profiles` and back, a whole batch at once.

`docs/formats.md` has the record byte by byte, `schemas.states` reads one by itself. All that every
record has is one structured array here, and a record is a slice of its bytes; only what few users
have is put together user by user.

A vector whose numbers are all exact in fp16 is written in fp16: a table that keeps sums in fp16
gives such, and whoever reads the record gets the very numbers that were written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.profiles.table import ProfileRows
from schemas.arrays import encode_array
from schemas.binary import (
    CHECKSUM,
    HEAD,
    MAGIC,
    SECTION,
    VERSION,
    RecordError,
    checksum,
    is_binary,
    sections_of,
)
from schemas.segment_model import NO_SEGMENT
from schemas.states import (
    ALWAYS,
    DTYPES,
    EARLIEST,
    LATEST,
    STATE,
    STATE_KIND,
    Precision,
    Rest,
    Tag,
    read_profile,
    read_state,
    read_user,
)

Bools = NDArray[np.bool_]
I64 = NDArray[np.int64]

_ID_BYTES = 8
_HEAD = int.from_bytes(HEAD.pack(MAGIC, ord(STATE_KIND), VERSION), "little")
# A row that is exact in fp16 in these first numbers is looked at as a whole; nearly no other is.
_LOOKED_AT = 8


class RecordAtError(ValueError):
    """One of several records cannot be read: its number among them, and why."""

    def __init__(self, number: int, reason: RecordError) -> None:
        super().__init__(f"record {number}: {reason}")
        self.number = number
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Decoded:
    """States of n records.

    Attributes
    ----------
    rows
        One row a record. That of a tombstone is empty but for the user; one of another embedding
        model has all but its vector, which is zero.
    tombstones
        Numbers of the records without a value.
    foreign
        Embedding model by number of record, where it is another one.
    """

    rows: ProfileRows
    tombstones: frozenset[int]
    foreign: dict[int, str]

    @property
    def own(self) -> list[int]:
        """Numbers of the records that hold a state of this embedding model."""
        left_out = self.tombstones | self.foreign.keys()
        return [number for number in range(len(self.rows)) if number not in left_out]


# --- the part that every record has ---------------------------------------------------------------

_COUNTS = ("reference", "events", "repeats", "segments", "since", "sequence", "versions")
_NEVER_NEGATIVE = ("events", "repeats", "since", "sequence", "versions")
_PREFIX: list[tuple[str, str]] = [
    ("head", "<u4"),
    ("state_section", "<u8"),
    ("embedding", f"V{len(bytes(32))}"),
    ("weights", "<f8"),
    *((name, "<i8") for name in _COUNTS),
    ("vector_section", "<u8"),
]
_PREFIX_DTYPE = np.dtype(_PREFIX)


def _word(tag: Tag, length: int, flags: int = 0) -> int:
    """Give the head of a section as the number that its eight bytes make."""
    return int.from_bytes(SECTION.pack(tag, flags, length), "little")


_EVENTS_WORD = _word(Tag.EVENTS, 0)


@cache
def _fixed(precision: Precision, dimensions: int) -> np.dtype[np.void]:
    """Give the part of a record that is alike in all, up to the ids of events."""
    vector = ("vector", DTYPES[precision], (dimensions,))
    return np.dtype([*_PREFIX, vector, ("events_section", "<u8")])


def _vector_word(precision: Precision, dimensions: int) -> int:
    length = np.dtype(DTYPES[precision]).itemsize * dimensions
    return _word(Tag.VECTOR, length, precision)


# --- writing --------------------------------------------------------------------------------------


def encode(rows: ProfileRows, embedding: str) -> list[bytes]:
    """Write the record of each row; its key is the user.

    Parameters
    ----------
    rows
        States of n users.
    embedding
        Identity of the embedding model, 64 hexadecimal digits.
    """
    fixed = [b""] * len(rows)
    half, vectors = _exact_in_half(rows.sums)
    single = np.flatnonzero(~half)
    for precision, which, numbers in (
        (Precision.FLOAT16, np.flatnonzero(half), vectors),
        (Precision.FLOAT32, single, rows.sums[single]),
    ):
        part = _fixed_part(rows, which, numbers, embedding, precision)
        data, size = part.tobytes(), part.itemsize
        for place, row in enumerate(which.tolist()):
            fixed[row] = data[place * size : (place + 1) * size]
    ids = rows.recent.astype("<u8", copy=False).tobytes()
    memory = rows.recent.shape[1]
    stride = _ID_BYTES * memory
    ends = (np.arange(len(rows)) * stride + _ID_BYTES * np.minimum(rows.events, memory)).tolist()
    records = []
    for row, (user, end, rest) in enumerate(zip(rows.users, ends, _rests(rows), strict=True)):
        body = b"".join((fixed[row], ids[row * stride : end], rest))
        records.append(body + CHECKSUM.pack(checksum(body) ^ checksum(user.encode())))
    return records


def _exact_in_half(sums: NDArray[np.float32]) -> tuple[Bools, NDArray[np.float16]]:
    """Tell which of n rows survive fp16, and give those in fp16."""
    chosen, _ = _survives(sums[:, :_LOOKED_AT])
    which = np.flatnonzero(chosen)
    chosen[which], halves = _survives(sums[which])
    return chosen, halves[chosen[which]]


def _survives(sums: NDArray[np.float32]) -> tuple[Bools, NDArray[np.float16]]:
    with np.errstate(over="ignore"):
        halves = sums.astype(np.float16)
    return (halves == sums).all(axis=1), halves


def _fixed_part(
    rows: ProfileRows,
    which: I64,
    vectors: NDArray[np.floating],
    embedding: str,
    precision: Precision,
) -> NDArray[np.void]:
    dimensions = rows.sums.shape[1]
    part = np.empty(len(which), _fixed(precision, dimensions))
    part["head"] = _HEAD
    part["state_section"] = _word(Tag.STATE, STATE.size)
    part["embedding"] = np.void(bytes.fromhex(embedding))
    part["vector_section"] = _vector_word(precision, dimensions)
    part["vector"] = vectors
    for name in ("weights", *_COUNTS):
        part[name] = rows.arrays()[name][which]
    counts = np.minimum(part["events"], rows.recent.shape[1])
    part["events_section"] = _EVENTS_WORD + (counts << 32) * _ID_BYTES
    return part


def _rests(rows: ProfileRows) -> list[bytes]:
    """Give what each record has behind the ids of events."""
    known: dict[str | None, bytes] = {}
    found = []
    for label, terms, given, predicted, since, version, extra in zip(
        rows.labels,
        rows.terms,
        rows.given,
        rows.predicted,
        rows.label_since.tolist(),
        rows.label_versions.tolist(),
        rows.extra,
        strict=True,
    ):
        if terms or given is not None or predicted is not None or since or version or extra:
            rest = Rest(label, terms, given, predicted, since, version, extra).sections()
        elif (kept := known.get(label)) is not None:
            rest = kept
        else:
            rest = known[label] = Rest(label).sections()
        found.append(rest)
    return found


# --- reading --------------------------------------------------------------------------------------


def decode(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    embedding: str,
    dimensions: int,
    memory: int,
) -> Decoded:
    """Read records of either form.

    Parameters
    ----------
    keys, values
        Of n records; a value of None is a tombstone.
    embedding, dimensions
        Identity of the embedding model, and length of its vectors.
    memory
        How many ids of events are kept of a user.

    Raises
    ------
    RecordAtError
        If one cannot be read: the first of them.
    """
    rows = ProfileRows.empty([""] * len(values), dimensions, memory)
    tombstones = frozenset(number for number, value in enumerate(values) if value is None)
    foreign: dict[int, str] = {}
    done = _read_alike(keys, values, embedding, rows)
    for number in np.flatnonzero(~done).tolist():
        key, value = keys[number] or b"", values[number]
        try:
            if value is None:
                rows.users[number] = _tombstone_of(key)
            elif (found := _read_by_itself(rows, number, key, value, embedding)) != embedding:
                foreign[number] = found
        except RecordError as error:
            raise RecordAtError(number, error) from None
    return Decoded(rows, tombstones, foreign)


def _tombstone_of(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise RecordError("its key is not UTF-8") from None


def _read_by_itself(
    rows: ProfileRows, number: int, key: bytes, value: bytes, embedding: str
) -> str:
    """Read one record, in whatever form, and give its embedding model."""
    extra = b""
    if is_binary(value):
        state = read_state(key, value)
        record, extra = state.to_record(), state.rest.extra
    else:
        record = read_profile(key, value)
    if record.embedding != embedding:
        nothing = encode_array(np.zeros(rows.sums.shape[1]), "<f4")
        rows.load_record(number, record.model_copy(update={"vector": nothing}))
    else:
        try:
            rows.load_record(number, record)
        except ValueError as error:
            raise RecordError(str(error)) from None
    rows.extra[number] = extra
    return record.embedding


def _read_alike(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    embedding: str,
    rows: ProfileRows,
) -> Bools:
    """Read the records that `encode` may have written for this embedding model, as arrays.

    Returns
    -------
    array of bool
        Which records were read, (n,). What is wrong with another one, if anything, is for
        `read_state` to say: nothing is read here that it would refuse.
    """
    done = np.zeros(len(values), np.bool_)
    least = _PREFIX_DTYPE.itemsize + SECTION.size + CHECKSUM.size
    candidates = [
        (number, key or b"", value)
        for number, (key, value) in enumerate(zip(keys, values, strict=True))
        if value is not None and len(value) >= least
    ]
    firsts = b"".join([value[: _PREFIX_DTYPE.itemsize] for _, _, value in candidates])
    prefix = np.frombuffer(firsts, _PREFIX_DTYPE)
    fits = _plausible(prefix, embedding)
    for precision in Precision:
        word = _vector_word(precision, rows.sums.shape[1])
        which = np.flatnonzero(fits & (prefix["vector_section"] == word))
        if len(which):
            part = [candidates[place] for place in which.tolist()]
            into = [number for number, _, _ in part]
            done[into] = _read_part(part, prefix[which], precision, rows)
    return done


def _plausible(prefix: NDArray[np.void], embedding: str) -> Bools:
    """Tell which prefixes are those of states of this embedding model, with numbers in range."""
    model = np.frombuffer(bytes.fromhex(embedding), "<u8")
    its = np.ascontiguousarray(prefix["embedding"]).view("<u8").reshape(-1, len(model))
    weights, times = prefix["weights"], prefix["reference"]
    fits: Bools = (prefix["head"] == _HEAD) & (
        prefix["state_section"] == _word(Tag.STATE, STATE.size)
    )
    fits &= (its == model).all(axis=1) & np.isfinite(weights) & (weights >= 0)
    fits &= (times >= EARLIEST) & (times <= LATEST)
    for name in _NEVER_NEGATIVE:
        fits &= prefix[name] >= 0
    fits &= prefix["segments"] >= NO_SEGMENT
    return fits


def _read_part(
    records: Sequence[tuple[int, bytes, bytes]],
    prefix: NDArray[np.void],
    precision: Precision,
    rows: ProfileRows,
) -> Bools:
    """Read k records, numbers, keys and values, with vectors of this precision.

    Tells which were read, (k,).
    """
    numbers, own_keys, found = zip(*records, strict=True)
    fixed, start = _fixed(precision, rows.sums.shape[1]), _PREFIX_DTYPE.itemsize
    size = fixed.itemsize
    # What is too short for that is found below.
    words = np.frombuffer(
        b"".join([value[size - SECTION.size : size].ljust(SECTION.size) for value in found]), "<u8"
    )
    lengths = (words >> 32).astype(np.int64)
    ends = size + lengths
    sound: Bools = (words & 0xFFFFFFFF) == _EVENTS_WORD
    sound &= (lengths % _ID_BYTES == 0) & (lengths // _ID_BYTES <= prefix["events"])
    sound &= ends + CHECKSUM.size <= np.fromiter(map(len, found), np.int64, len(found))
    stored = np.frombuffer(b"".join([value[-CHECKSUM.size :] for value in found]), "<u8")
    sound &= stored == np.fromiter(
        (
            checksum(value[: -CHECKSUM.size]) ^ checksum(key)
            for value, key in zip(found, own_keys, strict=True)
        ),
        np.uint64,
        len(found),
    )
    users = [_user(key) for key in own_keys]
    known: dict[bytes, Rest | None] = {}
    rests = [
        _rest(value[end : -CHECKSUM.size], known)
        for value, end in zip(found, ends.tolist(), strict=True)
    ]
    sound &= np.array([None not in pair for pair in zip(users, rests, strict=True)], np.bool_)
    kept = np.flatnonzero(sound)
    into = np.array(numbers, np.int64)[kept]
    for name in ("weights", *_COUNTS):
        rows.arrays()[name][into] = prefix[name][kept]
    vectors = b"".join([found[place][start : size - SECTION.size] for place in kept.tolist()])
    rows.sums[into] = np.frombuffer(vectors, fixed["vector"].base).reshape(
        len(kept), rows.sums.shape[1]
    )
    rings = [found[place][size : ends[place]] for place in kept.tolist()]
    _place_ids(rows.recent, into, rings, prefix["events"][kept])
    for place, number in zip(kept.tolist(), into.tolist(), strict=True):
        user, rest = users[place], rests[place]
        if user is None or rest is None:
            continue  # not among those that are kept
        rows.users[number], rows.labels[number] = user, rest.label
        if rest.terms:
            rows.terms[number] = rest.terms
        if rest.labelled:
            rows.given[number], rows.predicted[number] = rest.given, rest.predicted
            rows.label_since[number] = rest.label_since
            rows.label_versions[number] = rest.label_version
        rows.extra[number] = rest.extra
    return sound


def _place_ids(recent: NDArray[np.uint64], into: I64, rings: list[bytes], events: I64) -> None:
    """Put rings of ids, of any lengths, into those of one length (n, m)."""
    memory = recent.shape[1]
    width = _ID_BYTES * memory
    lengths = np.fromiter(map(len, rings), np.int64, len(rings)) // _ID_BYTES
    # One that has not gone round yet, or goes round as ours do, lies as ours do.
    alike = (lengths == memory) | ((lengths == events) & (lengths <= memory))
    same = b"".join(
        [ring.ljust(width, b"\0") for ring, is_alike in zip(rings, alike, strict=True) if is_alike]
    )
    recent[into[alike]] = np.frombuffer(same, "<u8").reshape(-1, memory)
    for place in np.flatnonzero(~alike).tolist():
        ring = np.frombuffer(rings[place], "<u8")
        kept = min(len(ring), memory)
        latest = np.arange(events[place] - kept, events[place])
        recent[into[place], latest % memory] = ring[latest % max(len(ring), 1)]


def _user(key: bytes) -> str | None:
    try:
        return read_user(key)
    except RecordError:
        return None


def _rest(data: bytes, known: dict[bytes, Rest | None]) -> Rest | None:
    """Read what follows the ids of events; None where there is something wrong with it.

    What many users have, such as a segment's label alone, is read once.
    """
    if data in known:
        return known[data]
    rest: Rest | None = Rest()
    try:
        seen: set[int] = set(ALWAYS)
        for tag, flags, payload, whole in sections_of(data):
            if tag in seen:
                return None
            seen.add(tag)
            if rest is not None and not rest.read(tag, flags, payload):
                rest.extra += whole
    except RecordError:
        rest = None
    known[data] = rest
    return rest
