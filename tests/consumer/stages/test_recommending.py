"""The recommender's stage: what leads in each segment, with no broker."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.records import Record, RecordColumns
from consumer.contract.stage import StageError
from models.recommendation.gains import weight_at
from schemas.events import EventType
from tests.consumer.stages.recommender_runs import (
    HOUR,
    IDENTITY,
    D,
    Recommender,
    Topics,
    a_group,
    feed,
    item_event,
    run_with_crashes,
)

OTHER = "cd" * 32


def settled(topics: Topics) -> Recommender:
    """A process that has all partitions, and has done all there is to do."""
    process = Recommender(topics, range(topics.partitions))
    process.settle()
    assert process.stage.settled
    return process


def leading(topics: Topics, segment: int | None) -> list[str]:
    return [item.item_id for item in topics.recommendations()[segment].items]


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(-1, 2),
        st.integers(0, 60),
        st.sampled_from([np.nan, 1.0, 4.0, 5.0]),
        st.sampled_from([EventType.REVIEW, EventType.VIEW]),
    ),
    min_size=1,
    max_size=40,
)


def pairs_of(stream: Sequence[tuple[int, int, int, float, EventType]]):
    return [
        item_event(f"i{item}", n, segment=segment, hours=hours, rating=rating, kind=kind)
        for n, (item, segment, hours, rating, kind) in enumerate(stream)
    ]


@given(EVENTS, st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_whatever_crashes_all_is_counted_once_and_the_same_leads(
    stream: Sequence[tuple[int, int, int, float, EventType]], seed: int
) -> None:
    undisturbed, crashed = a_group(), a_group()
    for topics in (undisturbed, crashed):
        feed(topics, pairs_of(stream))
    settled(undisturbed)
    run_with_crashes(crashed, seed)
    # To the bit: each event was counted once, in its order.
    topic = undisturbed.settings.topics.item_profiles
    assert crashed.latest(topic) == undisturbed.latest(topic)
    wanted, found = undisturbed.recommendations(), crashed.recommendations()
    assert found.keys() == wanted.keys()
    for segment, record in wanted.items():
        # A partition that was idle earlier may have given its part as of an earlier time.
        assert found[segment].as_of == record.as_of
        scores = {item.item_id: pytest.approx(item.score) for item in record.items}
        assert {item.item_id: item.score for item in found[segment].items} == scores
        assert found[segment].popularity == pytest.approx(record.popularity)
        assert found[segment].ratings.mean == pytest.approx(record.ratings.mean)


def test_what_a_segment_does_leads_there_and_what_all_do_elsewhere() -> None:
    topics = a_group()
    stream = [item_event("tea", n, segment=0) for n in range(30)]
    stream += [item_event("mud", n, segment=1, rating=5, axis=1) for n in range(30, 45)]
    stream += [item_event("new", 99, segment=-1)]
    feed(topics, stream)
    settled(topics)
    found = topics.recommendations()
    assert sorted(map(str, found)) == ["0", "1", "None"]
    assert leading(topics, None) == ["mud", "tea", "new"] or leading(topics, None)[0] == "tea"
    assert leading(topics, 0)[0] == "tea"
    assert leading(topics, 1)[0] == "mud"
    mud = found[1].items[0]
    assert (mud.ratings.mean, mud.ratings.variance) == (5.0, 0.0)
    vector = np.frombuffer(base64.b64decode(mud.vector or ""), "<f2")
    assert vector.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    # Of 20 events the popularity among all counts in a segment's.
    overall = found[None].items
    share = {item.item_id: item.score for item in overall}
    assert mud.score == pytest.approx((30 + 20 * share["mud"]) / (30 + 20))
    assert found[1].exact == len(found[1].items)


def test_a_popularity_halves_in_a_half_life_of_event_time() -> None:
    topics = a_group(partitions=1)
    feed(topics, [item_event("old", 1), item_event("new", 2, hours=24)])
    settled(topics)
    popularity = {item.item_id: item.popularity for item in topics.recommendations()[0].items}
    assert popularity == {"old": pytest.approx(0.5), "new": pytest.approx(1.0)}


def test_parts_are_given_away_at_an_interval_of_event_time_and_where_the_stream_pauses() -> None:
    topics = a_group(partitions=1, interval_hours=2)
    process = Recommender(topics, [0])
    given_at = []
    for number in range(12):
        feed(topics, [item_event("a", number, hours=10 + 0.5 * number)])
        process.step(10)
        if process.maintain(idle=False):
            given_at.append(10 + 0.5 * number)
            while process.step(100) or process.maintain(idle=False):
                pass
    assert given_at == [10, 12, 14]
    process.settle()
    assert topics.recommendations()[0].items[0].popularity > 10
    assert process.maintain(idle=True) is False


def test_a_withdrawn_item_leaves_and_begins_anew_where_it_comes_again() -> None:
    topics = a_group(partitions=1)
    feed(topics, [item_event("a", 1), item_event("b", 2), (b"a", None)])
    process = settled(topics)
    assert leading(topics, None) == ["b"]
    assert topics.latest(topics.settings.topics.item_profiles).keys() == {b"b"}
    feed(topics, [item_event("a", 3), (b"b", None), item_event("b", 4), item_event("b", 5)])
    process.settle()
    found = topics.recommendations()[0].items
    assert {each.item_id: each.popularity for each in found} == {"a": 1.0, "b": 2.0}
    assert process.stage.stats.withdrawn == 2


def test_a_partition_all_of_whose_items_were_withdrawn_before_a_crash_gives_nothing() -> None:
    topics = a_group(partitions=1)
    feed(topics, [item_event("a", 1, segment=1)])
    settled(topics)
    feed(topics, [(b"a", None)])
    process = Recommender(topics, [0])
    while process.step(10):
        pass
    assert leading(topics, 1) == ["a"]
    settled(topics)
    found = topics.recommendations()
    assert found.keys() == {None}
    assert (found[None].items, found[None].popularity) == ([], 0)
    feed(topics, [item_event("b", 2, segment=1)])
    settled(topics)
    assert leading(topics, 1) == leading(topics, None) == ["b"]


def test_items_that_fell_silent_or_are_too_many_leave_the_least_popular_first() -> None:
    topics = a_group(partitions=1, max_items=20, silent_half_lives=3)
    stream = [item_event(f"i{n}", n, hours=96 + n / 100) for n in range(30)]
    stream += [item_event(f"i{n}", 100 + n, hours=97) for n in range(10)]
    feed(topics, [item_event("silent", 999), *stream])
    process = settled(topics)
    kept = {key.decode() for key in topics.latest(topics.settings.topics.item_profiles)}
    assert len(kept) == 19
    assert {f"i{n}" for n in range(10)} <= kept
    assert process.stage.stats.let_go == Counter(too_many=11, silent=1)
    again = Recommender(topics, [0])
    assert len(again.stage.items[0]) == 19


def test_under_another_embedding_model_vectors_begin_anew_and_numbers_go_on() -> None:
    topics = a_group(partitions=1)
    feed(topics, [item_event("a", 1), item_event("b", 2)])
    process = settled(topics)
    new = {"embedding": OTHER, "dimensions": 3, "axis": 2}
    feed(topics, [item_event("a", 3, **new), item_event("a", 4, axis=5), item_event("b", 5)])
    process.settle()
    for each in (process, Recommender(topics, [0])):
        state = each.stage.items[0]
        assert state.embedding == OTHER
        rows = state.table.gather(["a", "b"])
        assert rows.numbers["events"].tolist() == [3, 2]
        # Events of the former model count without their text.
        assert rows.numbers["texts"].tolist() == [1.0, 0.0]
        assert rows.vectors().tolist() == [[0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("topic", "key", "value", "said"),
    [
        ("item-events", b"a", b"{}", r"item-events\[0\]@0 is no event of an item"),
        ("recommendation-parts", b"a", b"x", r"recommendation-parts\[0\]@0 is no part: its key"),
        ("recommendation-parts", b"1/0", b"x", r"recommendation-parts\[0\]@0 is no part"),
        ("item-profiles", b"a", b"x", r"changelog record item-profiles\[0\]@0 cannot be read"),
    ],
)
def test_a_record_that_cannot_be_read_stops_it_with_its_place(
    topic: str, key: bytes, value: bytes, said: str
) -> None:
    topics = a_group(partitions=1)
    topics.records[topic, 0].append(Record(topic, 0, 0, -1, key, value))
    with pytest.raises(StageError, match=said):
        settled(topics)


def test_a_part_that_comes_again_as_input_changes_nothing() -> None:
    topics = a_group(partitions=1)
    feed(topics, [item_event("a", 1)])
    settled(topics)
    parts = topics.settings.topics.recommendation_parts
    topics.committed[parts, 0] = 0
    process = settled(topics)
    assert process.stage.stats.published == 2  # as of its start, and no more
    assert D == 8
    assert IDENTITY != OTHER


def test_a_rating_outside_of_the_scale_counts_as_the_end_of_it() -> None:
    topics = a_group(partitions=1)
    stream = [(1, 3.0), (2, 1e200), (3, -1e308), (4, 1e20)]
    feed(topics, [item_event("a", number, rating=rating) for number, rating in stream])
    settled(topics)
    [item] = topics.recommendations()[0].items
    assert item.popularity == pytest.approx(1 + 2 + 0 + 2)
    assert item.ratings.mean == pytest.approx((3 + 5 + 1 + 5) / 4)
    assert item.ratings.variance == pytest.approx(np.var([3, 5, 1, 5]))


def test_the_model_of_the_record_written_last_is_that_of_a_state_read_back() -> None:
    topics = a_group(partitions=1)
    feed(topics, [item_event("a", 1), item_event("b", 2)])
    process = settled(topics)
    # Its item was met first, and so comes first among the latest records of all items.
    feed(topics, [item_event("a", 3, embedding=OTHER, axis=3)])
    process.settle()
    names = topics.settings.topics
    restoration = process.stage.restoration(0)
    restoration.load_many(RecordColumns.of(*topics.records[names.item_profiles, 0]))
    assert restoration.items.embedding == OTHER
    assert restoration.items.table.gather(["a", "b"]).numbers["texts"].tolist() == [1.0, 0.0]


def test_a_late_event_of_a_former_model_does_not_bring_it_back_after_a_restart() -> None:
    topics = a_group(partitions=1)
    models = [IDENTITY, OTHER, "ef" * 32]
    # Two changes in one batch: the one in between is a former one, too.
    feed(topics, [item_event("a", n, embedding=each) for n, each in enumerate(models)])
    settled(topics)
    late = [item_event("a", 10 + n, embedding=each) for n, each in enumerate(models)]
    feed(topics, late)
    again = settled(topics)
    state = again.stage.items[0]
    assert state.embedding == models[-1]
    assert state.table.gather(["a"]).numbers["texts"].tolist() == [2.0]


@pytest.mark.parametrize("days", [0.5, 2, 7])
def test_under_another_half_life_a_state_goes_on_from_what_it_weighs(days: float) -> None:
    former = a_group(partitions=1)
    for hours in (500, 505):
        feed(former, [item_event("a", hours, hours=hours, segment=2, rating=4)])
    before = settled(former).stage.items[0].table.gather(["a"])
    now = a_group(partitions=1, half_life_days=days)
    now.records, now.committed = former.records, former.committed
    process = settled(now)
    at, after = 505 * HOUR, process.stage.items[0].table.gather(["a"])
    for name in ("weight", "rated", "texts"):
        [was] = weight_at(before.numbers[name], before.numbers["epoch"], at, timedelta(days=1))
        [found] = weight_at(after.numbers[name], after.numbers["epoch"], at, timedelta(days=days))
        assert found == pytest.approx(was)
    feed(now, [item_event("a", 1, hours=505 + 24 * days, segment=2, rating=4)])
    process.settle()
    [item] = now.recommendations()[2].items
    assert item.popularity == pytest.approx(1.5 * ((1 + 0.5 ** (5 / 24)) / 2 + 1))
    assert item.ratings.mean == pytest.approx(4)
    # What was written under the former one is read back as it was.
    assert settled(now).stage.items[0].table.gather(["a"]).numbers["events"].tolist() == [3]
