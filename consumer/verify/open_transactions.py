"""Transactions that stay open, in what the workers write and in what they read. No Kafka in it.

While one is open, readers of committed records get nothing from behind its first record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumer.verify.report import ViolationKind, Violations
from consumer.verify.watch import Place, Sample, Tell


@dataclass(frozen=True, slots=True)
class Hanging:
    """A transaction that is open for too long.

    Attributes
    ----------
    name
        The partition.
    offset
        Of its first record, at which the last stable offset rests.
    waiting
        Offsets from there to the end.
    seconds
        How long it has rested.
    """

    name: str
    offset: int
    waiting: int
    seconds: float


class OpenTransactions:
    """Looks for transactions that stay open in some topics.

    Parameters
    ----------
    topics
        Their names.
    hang_seconds
        How long the last stable offset may rest below the end: longer than any transaction lasts.
    on_hang
        Told of each that does, once.
    on_end
        Told the partition when it is over.
    """

    def __init__(
        self,
        topics: Collection[str],
        hang_seconds: float,
        on_hang: Callable[[Hanging], None],
        on_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._topics = topics
        self._hang_seconds = hang_seconds
        self._on_hang = on_hang
        self._on_end = on_end
        # Last stable offset that has an open transaction behind it, and since when it rests.
        self._resting: dict[Place, tuple[int, float]] = {}
        self._hanging: set[Place] = set()

    @property
    def hanging(self) -> tuple[str, ...]:
        """The partitions with one, by name."""
        return tuple(_name(place) for place in sorted(self._hanging))

    def sample(self, sample: Sample) -> None:
        """Compare last stable offsets with ends."""
        for place in [place for place in self._resting if place not in sample.stable]:
            # While its broker is away nobody can end a transaction.
            del self._resting[place]
        for place, stable in sample.stable.items():
            if place[0] not in self._topics or place not in sample.ends:
                continue
            waiting = sample.ends[place] - stable
            if waiting <= 0:
                self._resting.pop(place, None)
                self._end(place)
                continue
            offset, since = self._resting.get(place, (-1, 0.0))
            resting = sample.asked_at - since
            if offset != stable:
                self._resting[place] = (stable, sample.asked_at)
                self._end(place)
            elif resting > self._hang_seconds and place not in self._hanging:
                self._hanging.add(place)
                self._on_hang(Hanging(_name(place), stable, waiting, resting))

    def _end(self, place: Place) -> None:
        if place in self._hanging:
            self._hanging.discard(place)
            self._on_end(_name(place))


def in_outputs(topics: Collection[str], hang_seconds: float, found: Violations) -> OpenTransactions:
    """Look at what the workers write: their own transactions end in time, so it is a violation."""

    def on_hang(hanging: Hanging) -> None:
        found.add(
            ViolationKind.HANGING_TRANSACTION,
            hanging.name,
            f"a transaction is open from offset {hanging.offset} on for more than "
            f"{hang_seconds:g} s; readers of committed records wait there: look for it with "
            "Kafka's kafka-transactions.sh find-hanging",
        )

    return OpenTransactions(topics, hang_seconds, on_hang)


def in_inputs(topics: Collection[str], hang_seconds: float, tell: Tell) -> OpenTransactions:
    """Look at what is read: how long a producer's transaction takes is its own, so it is told."""

    def on_hang(hanging: Hanging) -> None:
        since = datetime.now(UTC) - timedelta(seconds=hanging.seconds)
        tell(
            f"BLOCKED {hanging.name}: a producer's transaction is open from offset "
            f"{hanging.offset} on, since {since:%Y-%m-%dT%H:%M:%SZ}, and the {hanging.waiting:,} "
            "offsets from there to the end cannot be read before it ends. segmenter cannot end it: "
            "see Kafka's kafka-transactions.sh find-hanging, and abort"
        )

    return OpenTransactions(
        topics, hang_seconds, on_hang, lambda name: tell(f"{name} can be read on")
    )


def _name(place: Place) -> str:
    return f"{place[0]}[{place[1]}]"
