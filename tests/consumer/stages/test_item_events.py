"""What a worker writes of events that name an item, with no broker."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.records import Output
from consumer.stages.segmentation.item_events import segments_after
from models.profiles.table import hash_event_id, to_microseconds
from schemas.binary import RecordError
from schemas.events import EventType, parse_rfc3339
from schemas.item_events import ItemEvent, read_item_event
from schemas.segment_model import NO_SEGMENT
from tests.consumer.stages.stage_data import (
    EMBEDDER,
    TOPICS,
    Worker,
    a_model,
    changes_in,
    event,
    of,
    records,
    turned,
)

ON = {"recommendations": {"enabled": True}, "assignment": {"dwell_events": 0}}


def told(outputs: list[Output]) -> list[ItemEvent]:
    return [read_item_event(each.key, each.value or b"") for each in of(outputs, "item-events")]


def test_an_event_with_an_item_is_told_of_with_all_that_the_recommender_needs() -> None:
    given_event = event("u", 1, TOPICS[1], item_id="sku-9", rating=4, type="view")
    [output] = of(Worker(a_model(), **ON).run(records([given_event])), "item-events")
    assert (output.key, output.partition, output.headers) == (b"sku-9", None, ())
    [item] = told([output])
    assert (item.item, item.user, item.embedding) == ("sku-9", "u", EMBEDDER.identity)
    assert item.event_hash == hash_event_id(given_event["event_id"])
    assert item.time == to_microseconds(parse_rfc3339(given_event["occurred_at"]))
    assert (item.partition, item.offset, item.rating) == (0, 0, 4.0)
    assert (item.segment, item.type) == (1, EventType.VIEW)
    assert np.array_equal(item.vector, EMBEDDER.embed([TOPICS[1]])[0].astype(np.float16))


def test_events_without_an_item_repeats_and_refused_records_tell_of_none() -> None:
    stream = [
        event("u", 1, item_id="a"),
        event("u", 1, item_id="a"),
        event("u", 2),
        event("u", 3, item_id=""),
        event("u", 4, "", item_id="b"),
    ]
    items = told(Worker(a_model(), dead_letters={"max_share": 1}, **ON).run(records(stream)))
    assert [(each.item, each.offset) for each in items] == [("a", 0)]
    assert math.isnan(items[0].rating)


def test_without_the_setting_nothing_is_written_of_items() -> None:
    assert not of(Worker(a_model()).run(records([event("u", 1, item_id="a")])), "item-events")


def test_before_the_first_model_an_event_is_of_no_segment() -> None:
    [item] = told(Worker(**ON).run(records([event("u", 1, item_id="a")])))
    assert item.segment == NO_SEGMENT


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from((*TOPICS, "hops malt photon")), st.booleans()),
    min_size=1,
    max_size=24,
)


@given(EVENTS, st.lists(st.integers(1, 6), min_size=1))
@settings(max_examples=40, deadline=None)
def test_each_event_says_the_segment_that_it_left_its_user_in_however_batches_are_cut(
    stream: list[tuple[int, str, bool]], sizes: list[int]
) -> None:
    batch = records(
        event(f"u{user}", number, text, **({"item_id": "i"} if named else {}))
        for number, (user, text, named) in enumerate(stream)
    )
    whole = Worker(a_model(), **ON)
    found = whole.run(batch)
    segments: dict[int, int] = {}
    now: dict[str, int] = {}
    changes = {
        change.source.offset: change.segment.id if change.segment else NO_SEGMENT
        for change in changes_in(found)
        if change.source
    }
    for offset, (user, _, named) in enumerate(stream):
        now[f"u{user}"] = changes.get(offset, now.get(f"u{user}", NO_SEGMENT))
        if named:
            segments[offset] = now[f"u{user}"]
    assert {each.offset: each.segment for each in told(found)} == segments
    cut, outputs, place = Worker(a_model(), **ON), [], 0
    while place < len(batch):
        size = sizes[place % len(sizes)]
        outputs += cut.run(batch[place : place + size])
        place += size
    assert [(each.key, each.value) for each in of(outputs, "item-events")] == [
        (each.key, each.value) for each in of(found, "item-events")
    ]


def test_whom_a_new_model_moves_before_the_event_tells_of_the_segment_after_both() -> None:
    worker = Worker(a_model(), **ON)
    worker.run(records([event("u", 1, item_id="a")]))
    worker.source.model = turned(a_model())
    [item] = told(worker.run(records([event("u", 2, item_id="a")])))
    [segment] = {int(each) for each in worker.stage.tables[0].gather(["u"]).segments}
    assert item.segment == segment


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value[:-1] + b"x", "checksum"),
        (lambda value: value[:40], "checksum"),
        (lambda _: b"{}", "does not begin"),
    ],
)
def test_a_damaged_record_is_told_from_a_good_one(change: Any, said: str) -> None:
    outputs = Worker(**ON).run(records([event("u", 1, item_id="a")]))
    [output] = of(outputs, "item-events")
    with pytest.raises(RecordError, match=said):
        read_item_event(output.key, change(output.value))
    with pytest.raises(RecordError, match="another key"):
        read_item_event(b"b", output.value or b"")


def test_segments_behind_events_are_those_of_the_latest_change_in_one_pass() -> None:
    rng = np.random.default_rng(3)
    places, before = rng.integers(0, 40, 4000), rng.integers(-1, 5, 40)
    wanted = before.copy()
    decided: dict[int, Any] = {}
    expected = []
    for entry, place in enumerate(places.tolist()):
        if rng.random() < 0.4:
            wanted[place] = int(rng.integers(-1, 5))
            decided[entry] = (SimpleNamespace(segment=int(wanted[place])), [])
        expected.append(int(wanted[place]))
    after: Any = Counted(places)
    assert segments_after(before, after, decided).tolist() == expected
    # Not once for each change, of which a new model makes one for each user.
    assert after.reads <= 3


class Counted:
    """Places that count how often they are looked at."""

    def __init__(self, places: np.ndarray) -> None:
        self.found, self.reads = places, 0

    @property
    def places(self) -> np.ndarray:
        self.reads += 1
        return self.found
