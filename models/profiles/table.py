"""The users of one input partition, held compactly.

What is known of a user lies in several places, so that each takes no more than it needs:

* numbers that everybody has, in one row of a structured array;
* the sum of embeddings, in a slab by precision;
* the hashes of event ids, a ring in a slab by size: a user moves to the next size when it is full;
* references of events likewise, in slabs by how many there are;
* items likewise, where they are recommended to users;
* names that many users share, as codes;
* typical words and unknown sections, in dicts that only those have an entry in who have some.

A user's row says in `links` where the rest is. Rows and slots change hands only when their user is
put or removed, never for another user's sake: a snapshot that is written meanwhile rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.profiles.float16 import from_half, in_half, to_half
from models.profiles.items import fitted, width_of
from models.profiles.items import held as items_held
from models.profiles.names import Names
from models.profiles.policy import ProfilePolicy
from models.profiles.references import REFERENCE, heaviest, held
from models.profiles.rows import (
    ProfileMismatchError,
    ProfileRows,
    fade,
    from_microseconds,
    hash_event_id,
    to_microseconds,
    unit_rows,
)
from models.profiles.slab import FIRST_ROWS, SizedSlabs, Slab
from schemas.profiles import ProfileRecord
from schemas.segment_model import NO_SEGMENT

__all__ = [
    "ProfileMismatchError",
    "ProfilePolicy",
    "ProfileRows",
    "ProfileTable",
    "fade",
    "from_microseconds",
    "hash_event_id",
    "to_microseconds",
    "unit_rows",
]

I64 = NDArray[np.int64]

_COUNTS = (
    "reference",
    "events",
    "repeats",
    "segments",
    "since",
    "sequence",
    "versions",
    "label_since",
    "label_versions",
)
NUMBERS = np.dtype([("weights", "<f8"), *((name, "<i8") for name in _COUNTS)])
"""What is known of everybody, with the names of `ProfileRows`."""

SHARED = ("labels", "given", "predicted")
LINKS = np.dtype(
    [
        ("vector", "<i4"),
        ("ring", "<i4"),
        ("reference", "<i4"),
        *((name, "<i4") for name in SHARED),
        ("vector_class", "i1"),
        ("ring_class", "i1"),
        ("reference_class", "i1"),
        ("_", "i1"),
    ]
)
"""Where a user's vector, ring and references are, class and slot, and codes of names. A row of the
vector class -1 is nobody's."""

ITEM_LINKS = np.dtype([("items", "<i4"), ("items_class", "i1")])
"""Class and slot of a user's items: apart, as most groups recommend nothing to users."""

NOBODY = -1
_HALF = 1
"""The vector class of sums in half precision; 0 is that of those in single precision."""
_SMALLEST_RING = 4
_RING_GROWTH = 4
_SCAN_ROWS = 16_384


def item_sizes(items: int | None) -> list[int]:
    """Give the sizes of rows of items; None where nothing is recommended to users."""
    return [] if items is None else [width_of(size) for size in (ring_sizes(items) or [0])]


def ring_sizes(memory: int) -> list[int]:
    """Give the sizes of rings of event ids, or of references, up to a memory of so many."""
    if not memory:
        return []
    sizes = []
    size = _SMALLEST_RING
    while size < memory:
        sizes.append(size)
        size *= _RING_GROWTH
    return [*sizes, memory]


@dataclass(slots=True)
class TableParts:
    """What a table consists of.

    Attributes
    ----------
    users
        By row, None where a row is nobody's.
    names
        By code from 1 up, None where a code is free.
    links
        LINKS (rows,).
    numbers
        Chunks of NUMBERS, together one a row.
    vectors
        By vector class, chunks of sums (slots, dimensions).
    rings
        By ring class, chunks of event ids uint64 (slots, size).
    references
        By reference class, chunks of REFERENCE (slots, size).
    item_links
        ITEM_LINKS (rows,); of no row where nothing is recommended to users.
    items
        By items' class, chunks uint32 (slots, 1 + size).
    terms, extra
        By row, of those who have some.
    """

    users: list[str | None]
    names: list[str | None]
    links: NDArray[Any]
    numbers: list[NDArray[Any]]
    vectors: list[list[NDArray[Any]]]
    rings: list[list[NDArray[Any]]]
    references: list[list[NDArray[Any]]]
    item_links: NDArray[Any]
    items: list[list[NDArray[Any]]]
    terms: dict[int, dict[str, float]]
    extra: dict[int, bytes]


class Seats(NamedTuple):
    """Where users are in a table, until something is put or removed.

    To find a user again would take as long as to copy its sum.

    Attributes
    ----------
    rows
        Of the users, int64 (n,); NOBODY of those not known.
    links
        LINKS (n,), as they stand in those rows.
    """

    rows: I64
    links: NDArray[Any]

    def take(self, places: Sequence[int]) -> Seats:
        """Copy those of some of the users."""
        chosen = list(places)
        return Seats(self.rows[chosen], self.links[chosen])


class ProfileTable:
    """The users of one input partition.

    A batch works on copies of the rows that it touches (`gather`), which become the state only when
    the batch is known to be committed (`put`).

    Parameters
    ----------
    dimensions, memory
        Length of the embeddings, and how many event ids are remembered.
    float16_limit
        Weight up to which sums are kept as float16; None where none is. What is put is rounded to
        it, which changes nothing where `ProfileRows.add` has the same limit.
    references
        How many references of events are kept.
    items
        How many items of each user are kept; None where nothing is recommended to users.
    first
        Rows of a slab's first chunk.
    """

    def __init__(
        self,
        dimensions: int,
        memory: int,
        float16_limit: float | None = None,
        *,
        references: int = 0,
        items: int | None = None,
        first: int = FIRST_ROWS,
    ) -> None:
        self.dimensions, self.memory, self.references = dimensions, memory, references
        self.items = items
        self.float16_limit = float16_limit
        self._first = first
        self._index: dict[str, int] = {}
        self._users: list[str | None] = []
        self._free: list[int] = []
        self._numbers = Slab(NUMBERS, first=first)
        self._links = Slab(LINKS, first=first)
        self._vectors = SizedSlabs(
            [Slab(np.dtype("<f4"), dimensions, first), Slab(np.dtype("<u2"), dimensions, first)]
        )
        self._sizes = np.array(ring_sizes(memory), np.int64)
        self._rings = SizedSlabs(
            [Slab(np.dtype("<u8"), size, first) for size in self._sizes.tolist()]
        )
        self._reference_sizes = np.array(ring_sizes(references), np.int64)
        self._references = SizedSlabs(
            [Slab(REFERENCE, size, first) for size in self._reference_sizes.tolist()]
        )
        self._item_links = Slab(ITEM_LINKS, first=first)
        self._item_sizes = np.array(item_sizes(items), np.int64)
        self._items = SizedSlabs(
            [Slab(np.dtype("<u4"), size, first) for size in self._item_sizes.tolist()]
        )
        self._names = Names(self._names_in_use)
        self._terms: dict[int, dict[str, float]] = {}
        self._extra: dict[int, bytes] = {}
        # Of the look at each user under the present model: of this process, so in no record.
        self._looked = Slab(np.dtype("<i8"), first=first)
        self._looked_epoch = self._looked_upto = 0

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, user: object) -> bool:
        return user in self._index

    @property
    def users(self) -> list[str]:
        """The users, by row."""
        return [user for user in self._users if user is not None]

    @property
    def vector_slabs(self) -> Sequence[Slab]:
        """Where sums are, by vector class."""
        return self._vectors.slabs

    @property
    def ring_slabs(self) -> Sequence[Slab]:
        """Where event ids are, by ring class."""
        return self._rings.slabs

    @property
    def reference_slabs(self) -> Sequence[Slab]:
        """Where references are, by reference class."""
        return self._references.slabs

    @property
    def item_slabs(self) -> Sequence[Slab]:
        """Where items are, by their class."""
        return self._items.slabs

    def chunks(self, users: int = 4096) -> Iterator[ProfileRows]:
        """Copy all states, so many users at a time, by row."""
        everybody = self.users
        for start in range(0, len(everybody), users):
            yield self.gather(everybody[start : start + users])

    def find(self, users: Sequence[str]) -> I64:
        """Give the rows of users, -1 for those not known, int64 (n,).

        A user's row stays the same until the user is removed.
        """
        return np.fromiter(map(self._index.get, users, repeat(NOBODY)), np.int64, len(users))

    def seats(self, users: Sequence[str]) -> Seats:
        """Find users, to copy their states and to put them back."""
        rows = self.find(users)
        known = np.flatnonzero(rows >= 0)
        if len(known) == len(rows):
            return Seats(rows, self._links.take(rows))
        links = _no_links(len(rows))
        links[known] = self._links.take(rows[known])
        return Seats(rows, links)

    def gather(self, users: Sequence[str], seats: Seats | None = None) -> ProfileRows:
        """Copy the states of some users, empty ones for users not known.

        Where `seats` of them are known already, they are not looked for.
        """
        return self._states(list(users), *(self.seats(users) if seats is None else seats))

    def states(self, rows: I64) -> ProfileRows:
        """Copy the states in some rows, each of which is a user's."""
        return self._states(self._users_in(rows), rows, self._links.take(rows))

    def standings(self, rows: I64) -> ProfileRows:
        """Copy the states in some rows but for event ids and words, which no decision asks for."""
        return self._states(self._users_in(rows), rows, self._links.take(rows), whole=False)

    def _users_in(self, rows: I64) -> list[str]:
        users = [self._users[row] for row in rows.tolist()]
        if None in users:
            raise IndexError("a row is nobody's")
        return [user for user in users if user is not None]

    def _states(
        self, users: list[str], rows: I64, links: NDArray[Any], *, whole: bool = True
    ) -> ProfileRows:
        n = len(users)
        numbers = self._numbers_of(rows)
        recent = np.zeros((n, self.memory if whole else 0), np.uint64)
        references = np.zeros((n, self.references if whole else 0), REFERENCE)
        items = np.zeros((n, width_of(self.items) if whole else 0), np.uint32)
        # Nobody writes into such a dict: who notes words makes another.
        terms: list[dict[str, float]] = [{}] * n
        extra = [b""] * n
        if whole:
            for _, slab, where, slots in self._rings.parts(links["ring_class"], links["ring"]):
                recent[where, : slab.width] = slab.take(slots)
            classes = links["reference_class"]
            for _, slab, where, slots in self._references.parts(classes, links["reference"]):
                references[where, : slab.width] = slab.take(slots)
            if self.items is not None:
                own = self._item_links_of(rows)
                for _, slab, where, slots in self._items.parts(own["items_class"], own["items"]):
                    items[where, : slab.width] = slab.take(slots)
            numbered = rows.tolist()
            terms = list(map(self._terms.get, numbered, terms)) if self._terms else terms
            extra = [self._extra.get(row, b"") for row in numbered] if self._extra else extra
        columns: dict[str, Any] = {
            **{name: numbers[name].copy() for name in NUMBERS.names or ()},
            **{name: self._names.names(links[name]) for name in SHARED},
        }
        return ProfileRows(
            users=users,
            sums=self._sums(links),
            recent=recent,
            references=references,
            items=items,
            terms=terms,
            extra=extra,
            **columns,
        )

    def _numbers_of(self, rows: I64) -> NDArray[Any]:
        known = np.flatnonzero(rows >= 0)
        if len(known) == len(rows):
            return self._numbers.take(rows)
        numbers = np.zeros(len(rows), NUMBERS)
        numbers["segments"] = NO_SEGMENT
        numbers[known] = self._numbers.take(rows[known])
        return numbers

    def _item_links_of(self, rows: I64) -> NDArray[Any]:
        links = _no_item_links(len(rows))
        known = np.flatnonzero(rows >= 0)
        links[known] = self._item_links.take(rows[known])
        return links

    def _sums(self, links: NDArray[Any]) -> NDArray[np.float32]:
        classes, slots = links["vector_class"], links["vector"]
        sums: NDArray[np.float32] | None = None
        for number, slab, where, inside in self._vectors.parts(classes, slots):
            part = from_half(slab.take(inside)) if number == _HALF else slab.take(inside)
            if isinstance(where, slice):
                return part
            sums = np.zeros((len(links), self.dimensions), np.float32) if sums is None else sums
            sums[where] = part
        return np.zeros((len(links), self.dimensions), np.float32) if sums is None else sums

    def put(self, states: ProfileRows, seats: Seats | None = None) -> I64:
        """Make states the users' own; of a user who is in it twice, the last one counts.

        Neither must be used afterwards.

        Parameters
        ----------
        states
            Of the users.
        seats
            Theirs, where they are known already; then nobody is in it twice.

        Returns
        -------
        int64[n]
            The users' rows; without `seats`, of those who are left of ones that are in it twice.
        """
        if seats is None:
            if len(set(states.users)) < len(states):
                last = {user: i for i, user in enumerate(states.users)}
                states = states.take(sorted(last.values()))
            seats = self.seats(states.users)
        rows, links = self._seated(states.users, seats.rows), seats.links
        n = len(rows)
        numbers = np.empty(n, NUMBERS)
        for name in NUMBERS.names or ():
            numbers[name] = getattr(states, name)
        halves = in_half(states.sums, states.weights, self.float16_limit)
        self._vectors.move(links["vector_class"], links["vector"], halves.astype(np.int64))
        for number, slab, where, slots in self._vectors.parts(
            links["vector_class"], links["vector"]
        ):
            part = states.sums[where]
            slab.put(slots, to_half(part) if number == _HALF else part)
        wanted = _classes(self._sizes, np.minimum(states.events, self.memory))
        self._rings.move(links["ring_class"], links["ring"], wanted)
        for _, slab, where, slots in self._rings.parts(links["ring_class"], links["ring"]):
            slab.put(slots, states.recent[where, : slab.width])
        classes = links["reference_class"]
        references = heaviest(states.references, self.references)
        wanted = _classes(self._reference_sizes, held(references))
        self._references.move(classes, links["reference"], wanted)
        for _, slab, where, slots in self._references.parts(classes, links["reference"]):
            slab.put(slots, references[where, : slab.width])
        if self.items is not None:
            self._put_items(rows, states.items)
        for name in SHARED:
            links[name] = self._names.codes(getattr(states, name))
        self._numbers.put(rows, numbers)
        self._links.put(rows, links)
        _set_where_any(self._terms, rows, states.terms)
        _set_where_any(self._extra, rows, states.extra)
        self._names.sweep()
        return rows

    def _put_items(self, rows: I64, items: NDArray[np.uint32]) -> None:
        items = fitted(items, width_of(self.items))
        links = self._item_links.take(rows)
        self._items.move(
            links["items_class"], links["items"], _classes(self._item_sizes, items_held(items))
        )
        for _, slab, where, slots in self._items.parts(links["items_class"], links["items"]):
            slab.put(slots, items[where, : slab.width])
        self._item_links.put(rows, links)

    def load(self, record: ProfileRecord) -> None:
        """Set a user's state to a record of the changelog."""
        state = ProfileRows.empty(
            [record.user_id], self.dimensions, self.memory, self.references, self.items
        )
        state.load_record(0, record)
        self.put(state)

    def remove(self, user: str) -> None:
        """Forget a user (a tombstone in the changelog)."""
        row = self._index.pop(user, None)
        if row is None:
            return
        rows = np.array([row], np.int64)
        links = self._links.take(rows)
        nowhere = np.array([NOBODY], np.int64)
        self._vectors.move(links["vector_class"], links["vector"], nowhere)
        self._rings.move(links["ring_class"], links["ring"], nowhere)
        self._references.move(links["reference_class"], links["reference"], nowhere)
        self._links.put(rows, _no_links(1))
        if self.items is not None:
            own = self._item_links.take(rows)
            self._items.move(own["items_class"], own["items"], nowhere)
            self._item_links.put(rows, own)
        self._users[row] = None
        self._terms.pop(row, None)
        self._extra.pop(row, None)
        self._free.append(row)

    @property
    def rows_with_words(self) -> list[int]:
        """The rows of users who have words."""
        return list(self._terms)

    def keep_words(self, rows: Iterable[int], wanted: Callable[[str], bool]) -> None:
        """Let go of the words in rows whose users are not wanted, until an event brings new ones.

        Whether there still are words in a row, and whose it is, may have changed meanwhile.
        """
        owned = [row for row in rows if row in self._terms]
        for row, user in zip(owned, self._users_in(np.array(owned, np.int64)), strict=True):
            if not wanted(user):
                del self._terms[row]

    def newest(self, count: int) -> dict[str, int]:
        """Give so many users with the latest events, and the times of these.

        Fewer where there are no more with an event. Times are microseconds since 1970.
        """
        rows = len(self._users)
        taken = self._links.column("vector_class", rows) != NOBODY
        reference = np.where(taken, self._numbers.column("reference", rows), 0)
        chosen = np.argpartition(reference, -min(count, rows))[-count:] if rows else reference
        chosen = chosen[reference[chosen] > 0]
        return dict(zip(self._users_in(chosen), reference[chosen].tolist(), strict=True))

    def silent(self, before: int) -> list[str]:
        """Give the users whose latest event lies before a time, and who were given no label.

        Parameters
        ----------
        before
            Microseconds since 1970, compared with the reference time of a profile.
        """
        rows = len(self._users)
        reference = self._numbers.column("reference", rows)
        vector_class, given = (self._links.column(name, rows) for name in ("vector_class", "given"))
        chosen = (reference < before) & (vector_class != NOBODY) & (given == 0)
        return self._users_in(np.flatnonzero(chosen))

    # Counts may be asked for by another thread: of a batch that is being put, they show a part.

    def segment_counts(self) -> Mapping[int, int]:
        """Count users by segment id; NO_SEGMENT counts those without."""
        rows = len(self._users)
        taken = self._links.column("vector_class", rows) != NOBODY
        counts = np.bincount(self._numbers.column("segments", rows)[taken] - NO_SEGMENT)
        return {int(i) + NO_SEGMENT: int(counts[i]) for i in np.flatnonzero(counts)}

    def name_counts(self, column: Literal["labels", "given", "predicted"]) -> Mapping[str, int]:
        """Count users by a label of theirs, but for those without."""
        counts = np.bincount(self._links.column(column, len(self._users)))
        codes = np.flatnonzero(counts)
        named = zip(self._names.names(codes.astype(np.int32)), codes.tolist(), strict=True)
        return {name: int(counts[code]) for name, code in named if name is not None}

    def latest_version(self) -> int:
        """Give the latest version of the segment model that has decided on a user; 0 for none.

        Users who were removed since may count.
        """
        return int(self._numbers.column("versions", len(self._users)).max(initial=0))

    def unlooked_count(self, epoch: int) -> int:
        """Count users whose latest look is of an epoch before this one."""
        rows = len(self._users)
        taken = self._links.column("vector_class", rows) != NOBODY
        return int((taken & (self._looked.column(None, rows) < epoch)).sum())

    # --- for snapshots -------------------------------------------------------------------------

    def parts(self) -> TableParts:
        """Give what the table consists of, as of now; slow for nobody.

        Lists and `links` are copies. The chunks of the slabs are the table's own.
        """
        return TableParts(
            users=self._users.copy(),
            names=self._names.listed(),
            links=self._links.column(None, len(self._users)),
            numbers=self._numbers.views(),
            vectors=[slab.views() for slab in self._vectors.slabs],
            rings=[slab.views() for slab in self._rings.slabs],
            references=[slab.views() for slab in self._references.slabs],
            item_links=self._item_links.column(None, 0 if self.items is None else len(self._users)),
            items=[slab.views() for slab in self._items.slabs],
            terms=self._terms.copy(),
            extra=self._extra.copy(),
        )

    @classmethod
    def of_parts(
        cls,
        parts: TableParts,
        dimensions: int,
        memory: int,
        float16_limit: float | None = None,
        *,
        references: int = 0,
        items: int | None = None,
    ) -> Self:
        """Make a table of parts that fit each other; it takes them over."""
        table = cls(dimensions, memory, float16_limit, references=references, items=items)
        table._users = parts.users
        table._index = {user: row for row, user in enumerate(parts.users) if user is not None}
        table._free = [row for row, user in enumerate(parts.users) if user is None]
        table._names.load(parts.names)
        table._numbers.adopt(parts.numbers)
        table._links.adopt([parts.links])
        table._looked.adopt([np.zeros(len(parts.users), np.int64)])
        table._item_links.adopt([parts.item_links])
        for slabs, chunks, kind, links in (
            (table._vectors, parts.vectors, "vector", parts.links),
            (table._rings, parts.rings, "ring", parts.links),
            (table._references, parts.references, "reference", parts.links),
            (table._items, parts.items, "items", parts.item_links),
        ):
            for number, slab in enumerate(slabs.slabs):
                slab.adopt(chunks[number])
                of_class = links[f"{kind}_class"] == number
                taken = np.zeros(slab.used, np.bool_)
                taken[links[kind][of_class]] = True
                slab.release(np.flatnonzero(~taken))
        table._terms, table._extra = parts.terms, parts.extra
        return table

    # --- who was looked at under which model ---------------------------------------------------

    def looked(self, rows: I64) -> I64:
        """Give the epoch in which the users of some rows were looked at last, 0 for never."""
        epochs: I64 = self._looked.take(rows)
        return epochs

    def mark_looked(self, rows: I64, epoch: int) -> None:
        """Note that the users of some rows were looked at; the epoch 0 takes a look back."""
        self._looked.put(rows, np.full(len(rows), epoch, np.int64))
        if len(rows) and epoch < self._looked_epoch:
            self._looked_upto = min(self._looked_upto, int(rows.min()))

    def unlooked(self, epoch: int, limit: int) -> I64:
        """Give rows, `limit` at most, of users whose latest look is of an epoch before this one."""
        if epoch != self._looked_epoch:
            self._looked_epoch, self._looked_upto = epoch, 0
        found: list[I64] = []
        count, start = 0, self._looked_upto
        while start < len(self._users) and count < limit:
            rows = np.arange(start, min(start + _SCAN_ROWS, len(self._users)))
            nobody = self._links.take(rows)["vector_class"] == NOBODY
            waiting = rows[(self._looked.take(rows) < epoch) & ~nobody]
            if len(waiting) and not count:
                self._looked_upto = int(waiting[0])
            found.append(waiting[: limit - count])
            count += len(found[-1])
            start += len(rows)
        if not count:
            self._looked_upto = len(self._users)
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    # --- places --------------------------------------------------------------------------------

    def _seated(self, users: Sequence[str], rows: I64) -> I64:
        """Give new rows to those of the users who have none."""
        new = np.flatnonzero(rows < 0)
        if not len(new):
            return rows
        again = [self._free.pop() for _ in range(min(len(new), len(self._free)))]
        fresh = len(new) - len(again)
        for slab in (self._numbers, self._links, self._looked):
            slab.allocate(fresh)
        if self.items is not None:
            self._item_links.allocate(fresh)
        places = again + list(range(len(self._users), len(self._users) + fresh))
        self._users.extend([None] * fresh)
        for i, row in zip(new.tolist(), places, strict=True):
            self._users[row] = users[i]
            self._index[users[i]] = row
        taken = np.array(places, np.int64)
        self._looked_upto = min(self._looked_upto, int(taken.min()))
        self._links.put(taken, _no_links(len(taken)))
        self._looked.put(taken, np.zeros(len(taken), np.int64))
        if self.items is not None:
            self._item_links.put(taken, _no_item_links(len(taken)))
        rows = rows.copy()
        rows[new] = taken
        return rows

    def _names_in_use(self) -> I64:
        columns = (self._links.column(name, len(self._users)) for name in SHARED)
        counts: I64 = np.bincount(np.concatenate(list(columns)))
        return counts


def _classes(sizes: I64, counts: I64) -> I64:
    """Give the smallest size, by its number, that holds so many; none for nothing."""
    classes: I64 = np.where(counts > 0, np.searchsorted(sizes, counts), NOBODY)
    return classes


def _no_links(count: int) -> NDArray[Any]:
    links = np.zeros(count, LINKS)
    for name in ("vector_class", "ring_class", "reference_class"):
        links[name] = NOBODY
    return links


def _no_item_links(count: int) -> NDArray[Any]:
    links = np.zeros(count, ITEM_LINKS)
    links["items_class"] = NOBODY
    return links


def _set_where_any(table: dict[int, Any], rows: I64, values: Sequence[Any]) -> None:
    """Keep values by row, but for those that are empty."""
    if not table and not any(values):
        return
    for row, value in zip(rows.tolist(), values, strict=True):
        if value:
            table[row] = value
        else:
            table.pop(row, None)
