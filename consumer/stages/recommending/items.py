"""The items of one partition, and what a batch makes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from consumer.stages.recommending.feed import Feed
from models.recommendation.gains import gains_of
from models.recommendation.item_codec import encode_items
from models.recommendation.policy import RecommendationPolicy
from models.recommendation.rows import ItemEvents, ItemRows, empty_pairs
from models.recommendation.table import MOST_PAIRS, ItemTable
from schemas.item_events import TYPES

# Items that are copied at once where the vectors become those of another embedding model.
_COPIED_AT_ONCE = 1000
# Former embedding models that are remembered, the latest ones: events of one come for a while only.
_MOST_FORMER = 8
_NONE = np.zeros(0, np.int64)


class ItemState:
    """States of a partition's items.

    Their vectors are of one embedding model: that of the latest events, until those of another come
    that were not of a former one. Vectors of the former are forgotten then, all else stays: while a
    running group changes its model, events of both come, and those of the former count without
    their text.

    Attributes
    ----------
    embedding
        Identity of that model, None before the first event.
    latest
        Latest event time, microseconds since 1970.
    given
        Time of the parts that were given away last.
    give
        How many times they were.
    moved
        Whether anything was counted since.
    withdrawn
        Whether an item was withdrawn since.
    """

    def __init__(self) -> None:
        self.embedding: str | None = None
        self.latest: int | None = None
        self.given: int | None = None
        self.give = 0
        self.moved = self.withdrawn = False
        self._former: tuple[str, ...] = ()
        self._table: ItemTable | None = None

    def __len__(self) -> int:
        return 0 if self._table is None else len(self._table)

    @property
    def bytes(self) -> int:
        """What the arrays take."""
        return 0 if self._table is None else self._table.bytes

    @property
    def table(self) -> ItemTable:
        """The items."""
        if self._table is None:
            raise LookupError("no item has come yet")
        return self._table

    def move(self, feed: Feed, policy: RecommendationPolicy) -> Move:
        """Work out what events make of their items; the state stays as it is."""
        events, named = feed.events, feed.events.items
        places: dict[str, int] = {}
        own = np.array([places.setdefault(item, len(places)) for item in named], np.int64)
        gone = [item for item in feed.withdrawn if item not in places and self._knows(item)]
        known = {each for each in feed.withdrawn if each in feed.met or self._knows(each)}
        if not places:
            return Move(self, None, self.embedding, gone, withdrawn=len(known))
        embedding, former = self._followed([*events.texts])
        texts, vectors = events.texts.get(embedding, (_NONE, None))
        if vectors is None:
            vectors = np.zeros((0, self.table.dimensions), np.float16)
        rows = self._gathered([*places], embedding, vectors.shape[1])
        again = [place for item, place in places.items() if item in feed.withdrawn]
        _forget(rows, again)
        numbers = events.events
        # Off the scale, one would outweigh all others, or be too large for their squares.
        ratings = np.clip(
            numbers["rating"].astype(np.float64), policy.rating_low, policy.rating_high
        )
        rows.add(
            ItemEvents(
                rows=own,
                segments=numbers["segment"].astype(np.int64),
                gains=gains_of([TYPES[code] for code in numbers["type"].tolist()], ratings, policy),
                times=numbers["time"].astype(np.int64),
                ratings=ratings,
                vectors=vectors,
                texts=texts,
            ),
            policy.half_life,
        )
        rows.drop_faint(policy.faintest, MOST_PAIRS)
        return Move(
            state=self,
            rows=rows,
            embedding=embedding,
            gone=gone,
            events=len(named),
            withdrawn=len(known),
            latest=int(numbers["time"].max()),
            former=former,
            half_life=policy.half_life,
        )

    def _followed(self, embeddings: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Give the model behind events of these models, the first ones first, and the former."""
        former, now = self._former, self.embedding
        for each in embeddings:
            if now is None:
                now = each
            elif each != now and each not in former:
                former = (*former, now)
                now = each
        return now or "", former[-_MOST_FORMER:]

    def without(self, items: Collection[str]) -> Move:
        """Let items go."""
        return Move(self, None, self.embedding, list(items))

    def go_on(self, at: int, dimensions: int, give: int) -> None:
        """Go on from parts that were given away as of a time, though no item has it any more."""
        self.give = give
        if self._table is None:
            self._table = ItemTable(dimensions)
        self._reach(at)

    def gave(self, at: int) -> None:
        """Note that what is known was given away as of a time.

        One before the latest event is that of an interval, amid a busy stream: when that pauses all
        is given once more, as of then.
        """
        self.given, self.withdrawn = at, False
        self.moved = self.latest is not None and at < self.latest
        self.give += 1

    def load(self, rows: ItemRows, embedding: str, former: Sequence[str] = ()) -> None:
        """Take over states that are read back, the latest of them of this and after these models.

        To be called in the order in which they were written.
        """
        known = (*former, *self._former, *filter(None, [self.embedding]))
        own = dict.fromkeys(each for each in known if each != embedding)
        self._become(embedding, rows.sums.shape[1], [*own][-_MOST_FORMER:])
        rows.drop_faint(0.0, MOST_PAIRS)
        self.table.put(rows)
        if len(rows):
            self._reach(int(rows.numbers["latest"].max()))

    def remove(self, items: Sequence[str]) -> None:
        """Forget items."""
        if self._table is not None:
            self._table.remove(items)

    def _knows(self, item: str) -> bool:
        return self._table is not None and item in self._table

    def _gathered(self, items: Sequence[str], embedding: str, dimensions: int) -> ItemRows:
        if self._table is None:
            return ItemRows.empty(items, dimensions)
        rows = self._table.gather(items)
        return rows if embedding == self.embedding else _without_vectors(rows, dimensions)

    def _become(self, embedding: str, dimensions: int, former: Sequence[str]) -> None:
        """Make the vectors those of an embedding model."""
        self._former = tuple(former)
        if self.embedding == embedding:
            return
        table = ItemTable(dimensions)
        if self._table is not None and self.embedding is not None:
            names = self._table.items(self._table.held().seats)
            for start in range(0, len(names), _COPIED_AT_ONCE):
                rows = self._table.gather(names[start : start + _COPIED_AT_ONCE])
                table.put(_without_vectors(rows, dimensions))
        self._table, self.embedding = table, embedding

    def _reach(self, time: int) -> None:
        self.latest = time if self.latest is None else max(self.latest, time)
        self.moved = True

    def take(self, move: Move) -> None:
        """Make what was worked out the state."""
        if move.rows is not None and move.embedding is not None:
            self._become(move.embedding, move.rows.sums.shape[1], move.former)
            self.table.put(move.rows)
            self._reach(move.latest)
        self.remove(move.gone)
        self.moved |= bool(move.gone)
        self.withdrawn |= move.withdrawn > 0


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """What a transaction makes of some items.

    Attributes
    ----------
    state
        Whose they are.
    rows
        Their states behind it; None where there are none.
    embedding
        Of which model their vectors are.
    gone
        Items that are no more.
    events
        How many were counted.
    withdrawn
        Items of which something was known, and that were withdrawn.
    latest
        The latest event time among them.
    former
        Embedding models whose events count without their text.
    half_life
        By which the states fade.
    """

    state: ItemState
    rows: ItemRows | None
    embedding: str | None
    gone: list[str] = field(default_factory=list)
    events: int = 0
    withdrawn: int = 0
    latest: int = 0
    former: tuple[str, ...] = ()
    half_life: timedelta = timedelta()

    def records(self) -> Iterator[tuple[str, bytes | None]]:
        """Give the changelog's records: items and states, None for those that are no more."""
        if self.rows is not None and self.embedding is not None:
            records = encode_items(self.rows, self.embedding, self.half_life, self.former)
            yield from zip(self.rows.items, records, strict=True)
        for item in self.gone:
            yield item, None

    def take_effect(self) -> None:
        """Make it the state."""
        self.state.take(self)


def _forget(rows: ItemRows, places: Sequence[int]) -> None:
    """Begin anew with some items."""
    if not places:
        return
    rows.numbers[places] = np.zeros(1, rows.numbers.dtype)[0]
    rows.pairs[places] = empty_pairs(1, 1)[0, 0]
    rows.sums[places] = 0


def _without_vectors(rows: ItemRows, dimensions: int) -> ItemRows:
    rows.numbers["texts"] = 0.0
    rows.sums = np.zeros((len(rows), dimensions), np.float32)
    return rows
