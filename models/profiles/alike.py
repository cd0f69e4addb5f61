"""Many records of `user-profiles` read at once, where they are of the form that workers write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.profiles.items import ITEM_BYTES, U32, fitted
from models.profiles.layout import (
    COUNTS,
    EVENTS_WORD,
    HEAD_WORD,
    ID_BYTES,
    ITEMS_WORD,
    PREFIX,
    REFERENCES_WORD,
    fixed,
    vector_word,
    word,
)
from models.profiles.references import REFERENCE, References, heaviest
from models.profiles.rows import ProfileRows
from schemas.base import MAX_ID_CHARS
from schemas.binary import CHECKSUM, SECTION, RecordError, checksum, sections_of
from schemas.segment_model import NO_SEGMENT
from schemas.states import ALWAYS, EARLIEST, LATEST, STATE, Precision, Rest, Tag

Bools = NDArray[np.bool_]
I64 = NDArray[np.int64]

_NEVER_NEGATIVE = ("events", "repeats", "since", "sequence", "versions")
_LEAST_BYTES = PREFIX.itemsize + SECTION.size + CHECKSUM.size
_WORD = np.dtype("<u8")


@dataclass(frozen=True, slots=True)
class _Joined:
    """Records one after the other.

    Attributes
    ----------
    data
        Their bytes.
    numbers, keys
        Number among all records, and key, of each.
    starts, ends
        Where each lies, int64 (n,).
    """

    data: bytes
    numbers: I64
    keys: list[bytes]
    starts: I64
    ends: I64

    def at(self, dtype: np.dtype[Any], places: I64) -> NDArray[Any]:
        """Copy an item from each place, (k,); where there is no room for one, some other."""
        last = len(self.data) - dtype.itemsize
        # One item begins at every byte: numpy needs no alignment.
        items: NDArray[Any] = np.ndarray((last + 1,), dtype, self.data, strides=(1,))
        found: NDArray[Any] = items[np.minimum(places, last)]
        return found

    def some(self, which: I64) -> _Joined:
        """Leave out others."""
        keys = self.keys
        if len(which) < len(keys):
            keys = [keys[place] for place in which.tolist()]
        return _Joined(self.data, self.numbers[which], keys, self.starts[which], self.ends[which])


def read_alike(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    embedding: str,
    rows: ProfileRows,
) -> Bools:
    """Read the records that `encode` may have written for this embedding model, as arrays.

    Parameters
    ----------
    keys, values
        Of n records.
    embedding
        Identity of the embedding model.
    rows
        Empty states of n users, which are set.

    Returns
    -------
    array of bool
        Which records were read, (n,). What is wrong with another one, if anything, is for
        `read_state` to say: nothing is read here that it would refuse.
    """
    done = np.zeros(len(values), np.bool_)
    found = [
        (number, key or b"", value)
        for number, (key, value) in enumerate(zip(keys, values, strict=True))
        if value is not None and len(value) >= _LEAST_BYTES
    ]
    if not found:
        return done
    numbers, own_keys, own = zip(*found, strict=True)
    lengths = np.fromiter(map(len, own), np.int64, len(own))
    ends = lengths.cumsum()
    joined = _Joined(
        b"".join(own), np.array(numbers, np.int64), list(own_keys), ends - lengths, ends
    )
    prefix = joined.at(PREFIX, joined.starts)
    fits = _plausible(prefix, embedding)
    for precision in Precision:
        its_word = vector_word(precision, rows.sums.shape[1])
        which = np.flatnonzero(fits & (prefix["vector_section"] == its_word))
        if len(which):
            part = joined.some(which)
            done[part.numbers] = _read_part(part, prefix[which], precision, rows)
    return done


def _plausible(prefix: NDArray[np.void], embedding: str) -> Bools:
    """Tell which prefixes are those of states of this embedding model, with numbers in range."""
    model = np.frombuffer(bytes.fromhex(embedding), _WORD)
    its = np.ascontiguousarray(prefix["embedding"]).view(_WORD).reshape(-1, len(model))
    weights, times = prefix["weights"], prefix["reference"]
    fits: Bools = (prefix["head"] == HEAD_WORD) & (
        prefix["state_section"] == word(Tag.STATE, STATE.size)
    )
    fits &= (its == model).all(axis=1) & np.isfinite(weights) & (weights >= 0)
    fits &= (times >= EARLIEST) & (times <= LATEST)
    for name in _NEVER_NEGATIVE:
        fits &= prefix[name] >= 0
    fits &= prefix["segments"] >= NO_SEGMENT
    return fits


def _read_part(
    part: _Joined, prefix: NDArray[np.void], precision: Precision, rows: ProfileRows
) -> Bools:
    """Read records with vectors of this precision; tell which were read, (k,)."""
    size = fixed(precision, rows.sums.shape[1]).itemsize
    words = part.at(_WORD, part.starts + size - SECTION.size)
    lengths = (words >> 32).astype(np.int64)
    rest_starts, rest_ends = part.starts + size + lengths, part.ends - CHECKSUM.size
    sound: Bools = (words & 0xFFFFFFFF) == EVENTS_WORD
    sound &= (lengths % ID_BYTES == 0) & (lengths // ID_BYTES <= prefix["events"])
    sound &= rest_starts <= rest_ends
    most = rows.references.shape[1]
    references, counts, fits, rest_starts = _read_references(part, rest_starts, rest_ends, most)
    sound &= fits
    items, items_had, fits, rest_starts = _read_items(
        part, rest_starts, rest_ends, rows.items.shape[1]
    )
    sound &= fits
    sound &= part.at(_WORD, rest_ends) == _checksums(part)
    users = _users(part.keys)
    data = part.data
    places = zip(rest_starts.tolist(), rest_ends.tolist(), strict=True)
    pieces = [data[start:end] for start, end in places]
    # What many users have, such as a segment's label alone, is read once.
    known = {piece: _rest(piece) for piece in set(pieces)}
    rests = [known[piece] for piece in pieces]
    if None in users or None in known.values():
        pairs = zip(users, rests, strict=True)
        sound &= np.array([None not in pair for pair in pairs], np.bool_)
    if any(rest.references for rest in known.values() if rest is not None):
        sound &= _references_behind(references, counts, rests)
    if any(rest.items for rest in known.values() if rest is not None):
        sound &= _items_behind(items, items_had, rests)
    if not sound.all():
        kept = np.flatnonzero(sound)
        part, prefix, lengths = part.some(kept), prefix[kept], lengths[kept]
        users = [users[place] for place in kept.tolist()]
        rests = [rests[place] for place in kept.tolist()]
        references, items = references[kept], items[kept]
    into = part.numbers
    rows.references[into] = references
    rows.items[into] = items
    for name in ("weights", *COUNTS):
        getattr(rows, name)[into] = prefix[name]
    vector = fixed(precision, rows.sums.shape[1])["vector"]
    vectors = part.at(np.dtype((np.void, vector.itemsize)), part.starts + PREFIX.itemsize)
    rows.sums[into] = vectors.view(vector.base).reshape(len(into), rows.sums.shape[1])
    _place_ids(rows.recent, part, lengths // ID_BYTES, part.starts + size, prefix["events"])
    _place_rests(rows, into, users, rests)
    return sound


def _checksums(part: _Joined) -> NDArray[np.uint64]:
    view = memoryview(part.data)
    places = zip(part.starts.tolist(), (part.ends - CHECKSUM.size).tolist(), part.keys, strict=True)
    found = [checksum(view[start:end]) ^ checksum(key) for start, end, key in places]
    return np.fromiter(found, np.uint64, len(found))


def _place_ids(
    recent: NDArray[np.uint64], part: _Joined, counts: I64, places: I64, events: I64
) -> None:
    """Put rings of ids, of any lengths, into those of one length (n, m)."""
    memory = recent.shape[1]
    for count in np.unique(counts[counts > 0]).tolist():
        item = np.dtype((np.void, ID_BYTES * count))
        which = np.flatnonzero(counts == count)
        rings = part.at(item, places[which]).view(_WORD).reshape(len(which), count)
        into, own_events = part.numbers[which], events[which]
        if count == memory:
            recent[into] = rings
        elif count < memory and (own_events == count).all():
            recent[into, :count] = rings  # none has gone round
        else:
            held = min(count, memory)
            latest = own_events[:, None] - held + np.arange(held)
            recent[into[:, None], latest % memory] = np.take_along_axis(
                rings, latest % count, axis=1
            )


def _read_references(
    part: _Joined, starts: I64, ends: I64, most: int
) -> tuple[References, I64, Bools, I64]:
    """Read the references of events where a record has them next, so that what is left is alike.

    Parameters
    ----------
    part
        The records.
    starts, ends
        Where what follows the ids of events begins, and where it ends, int64 (k,).
    most
        How many references are kept of each.

    Returns
    -------
    tuple
        The references, REFERENCE (k, most); how many the records have, whether all is right with
        them, and where what follows begins, (k,) each.
    """
    counts, sound, after = _next_section(part, starts, ends, REFERENCES_WORD, REFERENCE.itemsize)
    found = np.zeros((len(starts), most), REFERENCE)
    for count in np.unique(counts[sound & (counts > 0)]).tolist():
        which = np.flatnonzero(sound & (counts == count))
        item = np.dtype((np.void, REFERENCE.itemsize * count))
        own = part.at(item, starts[which] + SECTION.size).view(REFERENCE)
        own = own.reshape(len(which), count)
        fits = (own["offset"] >= 0) & (own["hash"] != 0)
        fits &= np.isfinite(own["weight"]) & (own["weight"] >= 0)
        fits &= (own["time"] >= EARLIEST) & (own["time"] <= LATEST)
        sound[which] = fits.all(axis=1)
        found[which] = heaviest(own, most)
    return found, counts, sound, after


def _next_section(
    part: _Joined, starts: I64, ends: I64, its_word: int, size: int
) -> tuple[I64, Bools, I64]:
    """Find a section of items of one size where a record has it next.

    Gives how many items there are, whether they fill it, and where what follows begins, (k,) each.
    """
    words = part.at(_WORD, starts)
    there = ((words & 0xFFFFFFFF) == its_word) & (starts + SECTION.size <= ends)
    lengths = np.where(there, words >> 32, 0).astype(np.int64)
    counts = lengths // size
    after = starts + np.where(there, SECTION.size + lengths, 0)
    sound: Bools = (lengths % size == 0) & (after <= ends) & (there == (counts > 0))
    return counts, sound, after


def _read_items(part: _Joined, starts: I64, ends: I64, width: int) -> tuple[U32, I64, Bools, I64]:
    """Read users' items likewise, uint32 (k, width)."""
    counts, sound, after = _next_section(part, starts, ends, ITEMS_WORD, ITEM_BYTES)
    found = np.zeros((len(starts), width), np.uint32)
    for count in np.unique(counts[sound & (counts > 0)]).tolist():
        which = np.flatnonzero(sound & (counts == count))
        item = np.dtype((np.void, ITEM_BYTES * count))
        own = part.at(item, starts[which] + SECTION.size).view("<u4").reshape(len(which), count)
        sound[which] = own[:, 1:].all(axis=1) & ((count > 1) | (own[:, 0] != 0))
        found[which] = fitted(own, width)
    return found, counts, sound, after


def _items_behind(items: U32, counts: I64, rests: list[Rest | None]) -> Bools:
    """Take items in that stand behind other sections; see `_references_behind`."""
    once = np.ones(len(rests), np.bool_)
    had = (counts > 0).tolist()
    for place, rest in enumerate(rests):
        if rest is None or not rest.items:
            continue
        once[place] = not had[place]
        own = np.frombuffer(rest.items, "<u4")[None]
        items[place] = fitted(own, items.shape[1])[0]
    return once


def _references_behind(references: References, counts: I64, rests: list[Rest | None]) -> Bools:
    """Take references in that stand behind other sections, where a former version has put them.

    It keeps what it does not know. Tells which records have them once at most, (k,).
    """
    once = np.ones(len(rests), np.bool_)
    had = (counts > 0).tolist()
    for place, rest in enumerate(rests):
        if rest is None or not rest.references:
            continue
        once[place] = not had[place]
        own = np.frombuffer(rest.references, REFERENCE)[None]
        references[place] = heaviest(own, references.shape[1])[0]
    return once


def _place_rests(
    rows: ProfileRows, into: I64, users: list[str | None], rests: list[Rest | None]
) -> None:
    # Many users have the same object.
    distinct = {id(rest): rest for rest in rests if rest is not None}
    more = {key for key, rest in distinct.items() if rest.terms or rest.extra or rest.labelled}
    for number, user, rest in zip(into.tolist(), users, rests, strict=True):
        if user is None or rest is None:
            continue  # not among those that are kept
        rows.users[number] = user
        rows.labels[number] = rest.label
        if id(rest) not in more:
            continue
        if rest.terms:
            rows.terms[number] = rest.terms
        if rest.extra:
            rows.extra[number] = rest.extra
        if rest.labelled:
            rows.given[number], rows.predicted[number] = rest.given, rest.predicted
            rows.label_since[number] = rest.label_since
            rows.label_versions[number] = rest.label_version


def _users(keys: Sequence[bytes]) -> list[str | None]:
    """Read users; None where a key is none."""
    try:
        users = [key.decode() for key in keys]
    except UnicodeDecodeError:
        users = [_text(key) for key in keys]
    return [user if user and len(user) <= MAX_ID_CHARS else None for user in users]


def _text(key: bytes) -> str:
    """Read a text, empty where it is none."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def _rest(data: bytes) -> Rest | None:
    """Read what follows the ids of events; None where there is something wrong with it."""
    rest: Rest | None = Rest()
    try:
        seen: set[int] = set(ALWAYS)
        for tag, flags, payload, whole in sections_of(data):
            if tag in seen:
                raise RecordError("a section is there twice")
            seen.add(tag)
            if rest is not None and not rest.read(tag, flags, payload):
                rest.extra += whole
    except RecordError:
        rest = None
    return rest
