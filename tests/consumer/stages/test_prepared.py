"""A prepared batch: columns of events, cut and refused by the numbers of their records."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consumer.stages.segmentation.prepared import EVENT_TYPES, PreparedBatch
from models.profiles.table import hash_event_id, to_microseconds
from schemas.dead_letters import Refusal, RefusalReason
from schemas.events import parse_rfc3339
from tests.consumer.stages.stage_data import EMBEDDER, TOPICS, Worker, event, records

WORKER = Worker()
REFUSAL = Refusal(reason=RefusalReason.UNEXPECTED, detail="for a test")


def prepared(bad: set[int], count: int = 8) -> PreparedBatch:
    """Events by number; the bad ones say nothing."""
    stream = [
        event(
            f"u{n % 3}",
            n,
            "" if n in bad else f"{TOPICS[n % 2]} {n}",
            rating=rating,
            item_id=f"i{n}",
        )
        for n, rating in zip(range(count), (None, "x", *range(count)), strict=False)
    ]
    return WORKER.stage.prepare(records(stream))


def contents(batch: PreparedBatch) -> list[Any]:
    """What the batch says of each record, by its offset."""
    events = batch.events
    told: dict[int, Any] = {record.offset: refusal.reason for record, refusal in batch.refused()}
    for row in range(len(events)):
        told[batch.record_of(row).offset] = (
            events.users[row],
            events.event_ids[row],
            int(events.hashes[row]),
            int(events.times[row]),
            int(events.types[row]),
            events.languages[row],
            events.texts[row],
            events.words[row],
            events.items[row],
            events.ratings[row],
            events.left_out.get(row),
            batch.embeddings[row].tolist(),
        )
    return [told[record.offset] for record in batch.records]


def test_columns_say_what_the_events_say() -> None:
    stream = [event("u", 1, TOPICS[0]), event("v", 2, TOPICS[1], type="view", rating="bad")]
    batch = WORKER.stage.prepare(records(stream))
    events = batch.events
    assert events.users == ["u", "v"]
    assert events.event_ids == ["u-1", "v-2"]
    assert events.hashes.tolist() == [hash_event_id(each) for each in events.event_ids]
    assert events.times.tolist() == [
        to_microseconds(parse_rfc3339(each["occurred_at"])) for each in stream
    ]
    assert [EVENT_TYPES[code] for code in events.types] == ["review", "view"]
    assert events.texts == list(TOPICS)
    assert dict(events.left_out) == {1: ("rating",)}
    assert np.array_equal(batch.embeddings, EMBEDDER.embed(TOPICS))


@given(st.sets(st.integers(0, 7)), st.integers(0, 8))
def test_the_beginning_of_a_batch_says_the_same_of_its_records(bad: set[int], count: int) -> None:
    batch = prepared(bad)
    part = batch.beginning(count)
    assert len(part) == count
    assert contents(part) == contents(batch)[:count]


@given(st.sets(st.integers(0, 7)), st.integers(0, 7))
def test_refusing_a_record_leaves_the_others_as_they_were(bad: set[int], number: int) -> None:
    batch = prepared(bad)
    less = batch.refusing(number, REFUSAL)
    wanted = contents(batch)
    if number not in bad:
        wanted[number] = REFUSAL.reason
    assert contents(less) == wanted
    assert contents(less.accepting_only()) == [
        each for each in wanted if not isinstance(each, RefusalReason)
    ]


@given(st.sets(st.integers(0, 7)))
def test_a_batch_that_was_pickled_says_the_same(bad: set[int]) -> None:
    batch = prepared(bad)
    assert contents(pickle.loads(pickle.dumps(batch))) == contents(batch)
