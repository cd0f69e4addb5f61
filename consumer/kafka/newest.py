"""The newest records of a topic, whatever lies at its end."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster, TopicIdentity

_Kept = TypeVar("_Kept", bound=BaseModel)

_PEEK_SECONDS = 5.0
# They are looked for that far from a partition's end, then farther: markers of transactions, and
# records that compaction has removed, are none.
_BACK = (20, 2_000)


class Newest:
    """Gives the newest records of a topic, look after look.

    The first look finds them; each later one reads what has come since, and nothing where the ends
    are where they were.

    Parameters
    ----------
    cluster, topic
        What is looked into.
    many
        How many records are asked for; None for all there are.
    """

    def __init__(self, cluster: Cluster, topic: str, many: int | None) -> None:
        self._cluster, self._topic, self._many = cluster, topic, many
        self._identity: TopicIdentity | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._found: list[Record] = []
        self._upto: dict[int, int] = {}

    def look(self) -> list[Record]:
        """Give them, the newest first; raises as `Cluster`'s questions do."""
        identity = self._cluster.identity(self._topic)
        spans = self._cluster.spans(self._topic, range(identity.partitions))
        shorter = any(high < self._upto.get(number, 0) for number, (_, high) in spans.items())
        if identity != self._identity or shorter:
            self._identity = identity
            self._begin_anew()
        lows = {number: low for number, (low, _) in spans.items()}
        ends = {number: high for number, (_, high) in spans.items()}
        kept = [record for record in self._found if record.offset >= lows[record.partition]]
        came = self._read_on(ends) if self._upto else self._read_back(ends)
        found = sorted([*kept, *came], key=lambda record: (record.timestamp, record.offset))[::-1]
        self._found = found[: self._many]
        return self._found.copy()

    def _read_on(self, ends: dict[int, int]) -> list[Record]:
        starts = {n: self._upto[n] for n, end in ends.items() if end > self._upto[n]}
        return self._read(starts) if starts else []

    def _read_back(self, ends: dict[int, int]) -> list[Record]:
        found: list[Record] = []
        for back in (*_BACK, None) if self._many is not None else (None,):
            starts = {n: 0 if back is None else max(end - back, 0) for n, end in ends.items()}
            self._upto = {}
            found = self._read(starts)
            if not any(starts.values()) or len(found) >= (self._many or 0):
                break
        return found

    def _read(self, starts: dict[int, int]) -> list[Record]:
        """Read what follows these offsets, and note how far that is."""
        found = self._cluster.peek_on(self._topic, starts, None, _PEEK_SECONDS)
        # Not up to the ends: what an open transaction hides is read when that is committed.
        self._upto |= found.reached
        return found.records


class NewestOf(Generic[_Kept]):
    """Gives the newest record of a topic as what it is, look after look, as `Newest` does.

    Parameters
    ----------
    cluster, topic
        What is looked into.
    kind
        What a record is.
    """

    def __init__(self, cluster: Cluster, topic: str, kind: type[_Kept]) -> None:
        self._newest, self._kind = Newest(cluster, topic, 1), kind
        self._place: tuple[int, int, int] | None = None
        self._value: _Kept | None = None

    def look(self) -> tuple[_Kept, int] | None:
        """Give the newest record and its time.

        Returns
        -------
        tuple or None
            The time in milliseconds since 1970; None where there is none, or none that can be read:
            it may be of a newer version, of which those tell who need it.
        """
        for record in self._newest.look():
            place = (record.partition, record.offset, record.timestamp)
            if place != self._place:  # which may be megabytes of JSON
                self._place, self._value = place, self._read(record)
            return None if self._value is None else (self._value, record.timestamp)
        return None

    def _read(self, record: Record) -> _Kept | None:
        try:
            return self._kind.model_validate_json(record.value or b"")
        except ValidationError:
            return None


def newest(cluster: Cluster, topic: str, many: int) -> list[Record]:
    """Give the newest records of a topic, the newest first; raises as `Cluster`'s questions do."""
    return Newest(cluster, topic, many).look()


def newest_of(cluster: Cluster, topic: str, kind: type[_Kept]) -> tuple[_Kept, int] | None:
    """Give the newest record of a topic and its time, as `NewestOf.look` does."""
    return NewestOf(cluster, topic, kind).look()
