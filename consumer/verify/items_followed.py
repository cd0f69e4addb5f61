"""Audits what is told of items, and what recommenders count of it, while both are written.

Of each item it is known how many events were told of since the beginning, and up to where the
recommenders' group has come: its state has counted no more than the first, and by then no less than
those before that place. An item that has left, withdrawn or let go, is not counted any more.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from consumer.contract.records import Record
from consumer.settings import TopicSettings
from consumer.verify.ledger import Recent
from consumer.verify.report import ViolationKind, Violations
from models.recommendation.item_codec import counted_of
from schemas.binary import RecordError
from schemas.item_events import read_item_event

Place = tuple[int, int]
"""Partition and offset in the input."""


@dataclass(slots=True)
class _Item:
    """How many events of an item were told of, are done with, and were counted."""

    told: int = 0
    done: int = 0
    counted: int = 0


class ItemsFollowed:
    """Takes records of the topics of items, one at a time.

    Parameters
    ----------
    topics
        Their names.
    violations
        Where findings go.
    settle_seconds
        How long the records of one transaction may be apart.
    recent
        How many events are remembered, so that one that is told of twice is found.
    whole
        Whether all that was told is read; else it is not known how many events an item has.
    """

    def __init__(
        self,
        topics: TopicSettings,
        violations: Violations,
        *,
        settle_seconds: float,
        recent: int,
        whole: bool,
    ) -> None:
        self._topics, self._violations = topics, violations
        self._settle_seconds, self._recent = settle_seconds, recent
        self.events = 0
        self._forget(whole=whole)

    def _forget(self, *, whole: bool) -> None:
        self._whole = whole
        self._places = Recent(self._recent)
        self._twice: deque[tuple[float, Place]] = deque()
        self._items: dict[str, _Item] = defaultdict(_Item)
        self._left: set[str] = set()
        # By partition, offsets at which the recommenders are not yet, and of which item each is.
        self._ahead: dict[int, deque[tuple[int, str]]] = defaultdict(deque)
        # Items whose counts do not fit, as it seems, and since when; and when they are to.
        self._doubtful: deque[tuple[float, str]] = deque()
        self._due: deque[tuple[float, str, int]] = deque()

    def restart(self) -> None:
        """Begin anew, after records were missed; the count goes on."""
        self._forget(whole=False)

    @property
    def settled(self) -> bool:
        """Whether nothing is in doubt."""
        return not (self._twice or self._doubtful or self._due)

    # --- one record -------------------------------------------------------------------------

    def take(self, record: Record, now: float) -> None:
        """Take a record of one of the topics; `now` is of a clock that never goes back."""
        try:
            item = (record.key or b"").decode()
            if record.topic == self._topics.item_events:
                self._event(record, item, now)
            else:
                self._state(record, item, now)
        except (RecordError, UnicodeDecodeError) as error:
            detail = f"{record.place} cannot be read: {error}"
            self._violations.add(ViolationKind.MALFORMED, record.topic, detail)

    def _event(self, record: Record, item: str, now: float) -> None:
        if not record.value:
            self._leave(item)
            return
        event = read_item_event(record.key, record.value)
        self.events += 1
        place = event.partition, event.offset
        if not self._places.add(place):
            # Where the input was made anew it is another one, of which the group's offsets tell.
            self._twice.append((now, place))
        if self._whole and item not in self._left:
            self._items[item].told += 1
            self._ahead[record.partition].append((record.offset, item))

    def _state(self, record: Record, item: str, now: float) -> None:
        if record.value is None:
            self._leave(item)
        elif self._whole and item not in self._left:
            own = self._items[item]
            own.counted = counted_of(record.key or b"", record.value)
            if own.counted > own.told:
                self._doubtful.append((now, item))

    def _leave(self, item: str) -> None:
        if self._whole:
            self._left.add(item)
            self._items.pop(item, None)

    # --- what must hold ---------------------------------------------------------------------

    def committed(self, offsets: Mapping[int, int | None], asked_at: float) -> None:
        """Take how far the recommenders were in `item-events` when that was asked for."""
        for partition, offset in offsets.items():
            ahead = self._ahead[partition]
            while ahead and ahead[0][0] < (offset or 0):
                _, item = ahead.popleft()
                if (own := self._items.get(item)) is not None:
                    own.done += 1
                    self._due.append((asked_at, item, own.done))

    def settle(self, caught_up: float, begun_anew: Collection[int]) -> None:
        """Report what should have come right by now.

        Parameters
        ----------
        caught_up
            All that was committed before this time has been read.
        begun_anew
            Partitions of the input of which an offset may name two records.
        """
        until, add = caught_up - self._settle_seconds, self._violations.add
        topics = self._topics
        while self._twice and self._twice[0][0] <= until:
            _, (partition, offset) = self._twice.popleft()
            if partition not in begun_anew:
                add(
                    ViolationKind.ITEM_REPEATED,
                    topics.item_events,
                    f"{topics.events}[{partition}]@{offset} is told of more than once",
                )
        while self._doubtful and self._doubtful[0][0] <= until:
            _, item = self._doubtful.popleft()
            own = self._items.get(item)
            if own is not None and own.counted > own.told:
                self._broken(ViolationKind.ITEM_REPEATED, item, own.counted, own.told)
        while self._due and self._due[0][0] <= until:
            _, item, due = self._due.popleft()
            own = self._items.get(item)
            if own is not None and own.counted < due:
                self._broken(ViolationKind.ITEM_LOST, item, own.counted, due)

    def _broken(self, kind: ViolationKind, item: str, counted: int, due: int) -> None:
        detail = (
            f"{self._topics.item_profiles} has counted {counted:,} of {due:,} events of an item"
        )
        self._violations.add(kind, item, detail)
        self._leave(item)
