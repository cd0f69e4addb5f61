"""The newest records of a topic, whatever lies at its end."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster

_Kept = TypeVar("_Kept", bound=BaseModel)

_PEEK_SECONDS = 5.0
# They are looked for that far from a partition's end, then farther: markers of transactions, and
# records that compaction has removed, are none.
_BACK = (20, 2_000)


def newest(cluster: Cluster, topic: str, many: int) -> list[Record]:
    """Give the newest records of a topic, the newest first; raises as `Cluster`'s questions do."""
    numbers = range(cluster.partitions(topic))
    ends = cluster.ends(topic, numbers)
    found: list[Record] = []
    for back in (*_BACK, None):
        starts = {n: 0 if back is None else max(end - back, 0) for n, end in ends.items()}
        found = cluster.peek(topic, starts, None, _PEEK_SECONDS)
        if len(found) >= many or not any(starts.values()):
            break
    return sorted(found, key=lambda record: (record.timestamp, record.offset))[-many:][::-1]


def newest_of(cluster: Cluster, topic: str, kind: type[_Kept]) -> tuple[_Kept, int] | None:
    """Give the newest record of a topic and its time.

    Returns
    -------
    tuple or None
        The time in milliseconds since 1970; None where there is none, or none that can be read: it
        may be of a newer version, of which those tell who need it.
    """
    for record in newest(cluster, topic, 1):
        try:
            return kind.model_validate_json(record.value or b""), record.timestamp
        except ValidationError:
            break
    return None
