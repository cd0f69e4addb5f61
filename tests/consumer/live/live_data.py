"""Changes, as tests of what is live want them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer

from consumer.contract.records import Record
from consumer.live.changes import Published
from consumer.settings import Settings
from schemas.changes import SegmentChange
from schemas.segments import SegmentState
from tests.consumer.kafka_runs import produce

BEGUN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NAMES = {0: "coffee, espresso", 1: "garden, plants", 2: "games, players"}


def a_change(
    user: str,
    number: int = 1,
    to: int | None = 0,
    former: int | None = None,
    seconds: float = 0.0,
    **changes: object,
) -> SegmentChange:
    """Give the change of such a number of a user, so many seconds after the beginning."""
    statuses = {(False, True): "entered", (True, True): "switched", (True, False): "exited"}
    at = (BEGUN + timedelta(seconds=seconds)).isoformat()
    values: dict[str, object] = {
        "user_id": user,
        "sequence": number,
        "status": statuses[former is not None, to is not None],
        "segment": _reference(to),
        "previous_segment": _reference(former),
        "reason": "behaviour",
        "cause": "user",
        "changed_at": at,
        "occurred_at": at,
        "distance": 0.5,
        "previous_distance": None,
        "margin": 0.1,
        "confidence": 0.97,
        "profile": {"events": number, "weight": 1.0, "updated_at": at},
        "model": {"embedding": "e" * 64, "version": 3},
        "source": {"topic": "t", "partition": 0, "offset": 1, "event_id": f"{user}-{number}"},
        **changes,
    }
    return SegmentChange.model_validate_json(json.dumps(values))


def by_model(user: str, to: int, former: int, **changes: object) -> SegmentChange:
    """Give a change that a new version of the model has made."""
    made = {"reason": "model_update", "cause": "model", "occurred_at": None, "source": None}
    return a_change(user, 2, to, former, **{**made, **changes})


def _reference(segment: int | None) -> dict[str, object] | None:
    return None if segment is None else {"id": segment, "label": NAMES.get(segment, "gone")}


def published(change: SegmentChange) -> Published:
    """Give a change with a record, as it was read."""
    value = change.model_dump_json().encode()
    milliseconds = round(change.changed_at.timestamp() * 1000)
    return Published(change, Record("changes", 0, 1, milliseconds, b"", value))


def write(settings: Settings, *changes: SegmentChange, partition: int | None = None) -> None:
    """Write changes, each with its own time, and the memberships that follow."""
    producer = Producer({**settings.kafka.client(), "partitioner": "murmur2_random"})
    where = {} if partition is None else {"partition": partition}
    for change in changes:
        value, key = change.model_dump_json(), change.user_id
        at = round(change.changed_at.timestamp() * 1000)
        producer.produce(settings.topics.changes, value, key, timestamp=at, **where)
        producer.produce(settings.topics.memberships, value, key, timestamp=at)
    assert producer.flush(30) == 0


def write_segments(settings: Settings) -> None:
    """Publish the names of the segments."""
    states = [
        SegmentState(id=n, name=name, words=[], users=10, since=1, version=3)
        for n, name in NAMES.items()
    ]
    pairs = [(str(each.id).encode(), each.model_dump_json().encode()) for each in states]
    produce(settings, pairs, settings.topics.segments)
