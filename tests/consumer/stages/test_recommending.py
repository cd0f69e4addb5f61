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
from models.recommendation.table import MOST_PAIRS
from schemas.binary import MAGIC, seal
from schemas.events import EventType
from schemas.partitioner import partition_of
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
    topics = a_group(prior_weight=20)
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


def test_no_segment_is_published_without_its_parts_at_a_boundary_of_batches() -> None:
    topics = a_group(partitions=1)
    names = topics.settings.topics
    feed(topics, [item_event("a", 1, segment=0), item_event("b", 2, segment=1)])
    process = settled(topics)
    feed(topics, [item_event("a", 3, segment=0, hours=1)])
    process.step(1000)
    process.maintain(idle=True)
    before = len(topics.records[names.segment_recommendations, 0])
    # One record of the give after the other, and all that is dirty is merged in between.
    while process.step(1):
        while process.maintain(idle=False):
            pass
    published = topics.records[names.segment_recommendations, 0][before:]
    assert {record.key for record in published} == {b"all", b"0", b"1"}
    assert all(record.value for record in published)
    assert topics.recommendations()[0].items[0].popularity == pytest.approx(1 + 0.5 ** (1 / 24))


def test_a_withdrawal_is_published_while_the_other_partitions_are_busy() -> None:
    topics = a_group(partitions=1, min_interval_seconds=10)
    feed(topics, [item_event("a", 1), item_event("b", 2)])
    process = settled(topics)
    feed(topics, [(b"a", None)])
    process.step(10)
    assert not process.maintain(idle=False)
    process.now = 10
    while process.maintain(idle=False) or process.step(10):
        pass
    assert leading(topics, None) == leading(topics, 0) == ["b"]


def test_the_last_events_of_a_quiet_partition_go_by_the_others_time_and_by_the_clock() -> None:
    topics = a_group(partitions=2, interval_hours=1)
    names = topics.settings.topics
    homes = {item: partition_of(item.encode(), 2) for item in map(str, range(9))}
    quiet, busy = (next(item for item, home in homes.items() if home == each) for each in (0, 1))
    feed(topics, [item_event(quiet, 1, hours=5), item_event(busy, 2, hours=5)])
    process = settled(topics)

    def popularity() -> float:
        while process.step(10) or process.maintain(idle=False):
            pass
        found = {item.item_id: item.popularity for item in topics.recommendations()[0].items}
        return found[quiet]

    feed(topics, [item_event(quiet, 3, hours=5.1), item_event(busy, 4, hours=5.2)])
    assert popularity() == pytest.approx(1)
    feed(topics, [item_event(busy, 5, hours=6.1)])
    assert popularity() > 1.9
    feed(topics, [item_event(quiet, 6, hours=6.2)])
    assert popularity() < 2
    process.now = 3600
    assert popularity() > 2.8
    assert names.item_events == "item-events"


def test_between_two_gives_of_a_partition_passes_a_while_idle_or_not() -> None:
    topics = a_group(partitions=1, min_interval_seconds=10)
    feed(topics, [item_event("a", 0)])
    process = settled(topics)
    parts = process.stage.stats.parts
    for number in range(1, 6):
        process.now = number
        feed(topics, [item_event("a", number, hours=5 * number)])
        while process.step(10):
            pass
        assert not process.maintain(idle=number % 2 == 0)
    process.now = 10
    process.settle()
    assert process.stage.stats.parts == parts + 2
    assert topics.recommendations()[None].popularity > 1.8


def test_items_that_are_too_many_leave_in_pieces_and_before_parts_are_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumer.stages.recommending.stage._LET_GO_AT_ONCE", 4)
    topics = a_group(partitions=1, max_items=20, min_interval_seconds=10)
    feed(topics, [item_event("i0", 0)])
    process = settled(topics)
    feed(topics, [item_event(f"i{number}", number) for number in range(1, 31)])
    profiles = topics.records[topics.settings.topics.item_profiles, 0]
    process.step(1000)
    sizes = []
    while process.maintain(idle=False):
        sizes.append(31 - len(process.stage.items[0]))
    assert sizes == [4, 8, 12]
    assert sum(record.value is None for record in profiles) == 12
    process.now = 10
    process.settle()
    assert len(process.stage.items[0]) == 19


def test_a_segment_that_is_no_more_leaves_once_it_has_faded() -> None:
    topics = a_group(partitions=1, silent_half_lives=5)
    feed(topics, [item_event("a", 1, segment=7)])
    process = settled(topics)
    assert topics.recommendations().keys() == {None, 7}
    feed(topics, [item_event("a", 2, segment=8, hours=24 * 10)])
    process.settle()
    assert topics.recommendations().keys() == {None, 8}
    assert process.stage.items[0].table.gather(["a"]).pairs["segment"].tolist() == [[8]]


def test_an_item_with_too_many_segments_keeps_the_heaviest() -> None:
    topics = a_group(partitions=1)
    many = MOST_PAIRS + 3
    stream = [item_event("a", n, segment=n, hours=n < 3 and -1) for n in range(many)]
    feed(topics, stream)
    process = Recommender(topics, [0])
    while process.step(many):
        pass
    found = process.stage.items[0].table.gather(["a"]).pairs["segment"][0]
    assert sorted(found.tolist()) == [*range(3, many)]
    assert len(Recommender(topics, [0]).stage.items[0]) == 1


def test_a_record_that_is_no_event_of_an_item_is_passed_over_and_counted() -> None:
    topics = a_group(partitions=1)
    feed(topics, [item_event("a", 1), (b"a", b"{}"), (b"\xff", b"x"), item_event("b", 2)])
    process = settled(topics)
    assert sorted(leading(topics, None)) == ["a", "b"]
    assert (process.stage.stats.events, process.stage.stats.passed_over) == (2, 2)
    newer = MAGIC.to_bytes(1, "little") + b"I" + b"\x09\x00"
    feed(topics, [(b"c", seal(newer, b"c"))])
    with pytest.raises(StageError, match=r"item-events\[0\]@4 was written by a newer version"):
        process.settle()


def test_only_items_that_are_known_count_as_withdrawn() -> None:
    topics = a_group(partitions=1)
    feed(topics, [(b"never", None), (b"\xff", None), item_event("a", 1), (b"a", None)])
    process = settled(topics)
    assert process.stage.stats.withdrawn == 1
    feed(topics, [(b"a", None)])
    process.settle()
    assert process.stage.stats.withdrawn == 1
