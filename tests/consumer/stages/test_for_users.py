"""What a worker writes of items for single users, with no broker."""

from __future__ import annotations

import base64
import json
import logging
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.records import Output, Record
from consumer.stages.segmentation.for_users import Lists, PublishedList
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.wiring.list_feed import ListBook
from models.profiles.items import item_digests, list_digest
from schemas.recommendations import (
    RatingFigures,
    RecommendedItem,
    SegmentRecommendations,
    UserRecommendations,
    recommendations_key,
)
from tests.consumer.stages.stage_data import (
    EMBEDDER,
    NOW,
    START,
    TOPICS,
    Worker,
    a_model,
    event,
    of,
    records,
    turned,
)

ON: dict[str, Any] = {
    "recommendations": {"enabled": True, "users": True, "user_top": 4, "user_items": 3},
    "assignment": {"dwell_events": 0},
}
NONE = RatingFigures(weight=0, mean=0, variance=0)


def leading(segment: int | None, items: str, text: str | None = None) -> SegmentRecommendations:
    vector = None
    if text is not None:
        vector = base64.b64encode(EMBEDDER.embed([text])[0].astype("<f2").tobytes()).decode()
    n = len(items)
    return SegmentRecommendations(
        segment=segment,
        as_of=START,
        items=[
            RecommendedItem(
                item_id=item, score=(n - place) / 100, popularity=n - place, ratings=NONE,
                vector=vector if place == n - 1 else None,
            )
            for place, item in enumerate(items)
        ],
        popularity=100.0,
        ratings=NONE,
        exact=n,
        slack=0.0,
        partitions=1,
    )  # fmt: skip


def lists(*several: SegmentRecommendations) -> Lists:
    return {each.segment: PublishedList.of(each) for each in several}


class Source:
    """Lists that a test sets."""

    def __init__(self, given: Lists) -> None:
        self.given = given

    asked = 0

    def latest(self) -> Lists:
        self.asked += 1
        return self.given


GIVEN = lists(leading(0, "abcd", TOPICS[0]), leading(1, "efgh", TOPICS[1]), leading(None, "aexy"))


class UsersWorker(Worker):
    """A worker that has lists."""

    def __init__(self, given: Lists = GIVEN, model: Any = "one", **sections: Any) -> None:
        super().__init__(a_model() if model == "one" else model, **(ON | sections))
        self.lists = Source(given)
        self.stage = SegmentationStage(
            self.settings,
            EMBEDDER,
            self.source,
            clock=lambda: NOW,
            intake_clock=lambda: NOW,
            lists=self.lists,
        )
        self.stage.assigned(0, self.stage.restoration(0))
        self.maintain()


def told(outputs: list[Output]) -> dict[str, UserRecommendations]:
    found = {}
    for each in of(outputs, "user-recommendations"):
        assert each.partition == 0
        read = UserRecommendations.model_validate_json(each.value or b"")
        assert each.key == read.user_id.encode()
        found[read.user_id] = read
    return found


def items(record: UserRecommendations) -> str:
    return "".join(each.item_id for each in record.items)


def shown(worker: Worker, user: str) -> int:
    return int(worker.stage.tables[0].gather([user]).items[0, 0])


def test_the_first_event_brings_items_of_its_segment_and_says_what_they_rest_on() -> None:
    worker = UsersWorker()
    [record] = told(worker.run(records([event("u", 1, TOPICS[1])]))).values()
    assert (record.segment, record.used, record.events) == (1, "first_event", 1)
    assert record.profile_at == START + timedelta(days=1)
    assert [each.segment for each in record.lists] == [1, None]
    assert {each.as_of for each in record.lists} == {START}
    assert items(record)[0] == "e"
    reasons = {each.item_id: each.reason for each in record.items}
    assert reasons["e"] == "segment"
    assert shown(worker, "u") == list_digest(item_digests(items(record)))


def test_what_the_user_writes_about_comes_up_with_the_number_of_events() -> None:
    worker = UsersWorker()
    worker.run(records([event("u", number, TOPICS[1]) for number in range(20)]))
    [record] = told(worker.run(records([event("u", 20, TOPICS[1], item_id="e")]))).values()
    # The last of the segment's list, and the only one with a text, which is like the user's.
    assert (record.items[0].item_id, record.items[0].reason) == ("h", "similar")


def test_what_the_user_has_is_left_out_and_only_a_change_is_written() -> None:
    worker = UsersWorker()
    first = told(worker.run(records([event("u", 1, TOPICS[0], item_id="a")])))["u"]
    assert "a" not in items(first)
    # The same again, and no event of an item.
    assert not told(worker.run(records([event("u", 2, TOPICS[0])]))) or items(first)
    second = told(worker.run(records([event("u", 3, TOPICS[0], item_id=items(first)[0])])))["u"]
    assert not {*items(second)} & {"a", items(first)[0]}
    assert second.used == "mixture"


def test_nothing_is_written_where_items_and_order_stay() -> None:
    worker = UsersWorker()
    assert told(worker.run(records([event("u", 1)])))
    for number in range(2, 30):
        last = told(worker.run(records([event("u", number)])))
    assert not last
    # A new list alone renews nothing; the next event does.
    worker.lists.given = {**GIVEN, 0: PublishedList.of(leading(0, "dcba"))}
    assert worker.maintain() == []
    assert told(worker.run(records([event("u", 30)])))
    assert worker.stage.stats.recommended >= 2


def test_of_more_items_than_are_kept_the_oldest_come_back() -> None:
    worker = UsersWorker()
    for number, item in enumerate("abcd"):
        outputs = worker.run(records([event("u", number, item_id=item)]))
    found = worker.stage.tables[0].gather(["u"]).items[0]
    assert found[1:].tolist() == item_digests("dcb").tolist()
    assert "a" in items(told(outputs)["u"])


def test_who_is_in_no_segment_gets_what_all_have() -> None:
    worker = UsersWorker(model=None)
    [record] = told(worker.run(records([event("u", 1)]))).values()
    assert (record.segment, record.used, items(record)) == (None, "global", "aexy")
    assert [each.segment for each in record.lists] == [None]
    # Likewise in a segment of which no items are known.
    worker = UsersWorker({None: GIVEN[None]})
    [record] = told(worker.run(records([event("u", 1, TOPICS[1])]))).values()
    assert (record.segment, record.used, items(record)) == (1, "global", "aexy")


@pytest.mark.parametrize("given", [{}, {0: GIVEN[0]}, lists(leading(None, ""))])
def test_before_there_is_a_list_of_all_nobody_gets_a_record(given: Lists) -> None:
    worker = UsersWorker(given)
    assert not of(worker.run(records([event("u", 1, item_id="a")])), "user-recommendations")
    found = worker.stage.tables[0].gather(["u"]).items[0].tolist()
    assert found == [0, *item_digests("a").tolist(), 0, 0]


def test_lists_are_followed_while_no_event_comes() -> None:
    worker = UsersWorker()
    before = worker.lists.asked
    worker.maintain()
    assert worker.lists.asked > before


def test_where_there_is_no_list_of_all_any_more_the_next_event_takes_the_record_back() -> None:
    worker = UsersWorker()
    worker.run(records([event("u", 1)]))
    worker.lists.given = {}
    [output] = of(worker.run(records([event("u", 2)])), "user-recommendations")
    assert (output.key, output.value, output.partition) == (b"u", None, 0)
    assert shown(worker, "u") == 0
    assert not of(worker.run(records([event("u", 3)])), "user-recommendations")


def test_segments_without_a_list_share_their_candidates_and_old_ones_go() -> None:
    worker = UsersWorker({None: GIVEN[None]})
    worker.run(records([event("u", 1), event("v", 2, TOPICS[1])]))
    recommender = worker.stage._for_users
    assert recommender is not None
    assert [*recommender._choices] == [None]
    worker.lists.given = GIVEN
    worker.run(records([event("u", 3), event("v", 4, TOPICS[1])]))
    assert recommender._choices.keys() == {None, 0, 1}
    worker.lists.given = {None: GIVEN[None]}
    worker.run(records([event("u", 5)]))
    assert [*recommender._choices] == [None]


def test_who_has_all_of_it_gets_a_record_without_items() -> None:
    worker = UsersWorker(lists(leading(None, "a")))
    [record] = told(worker.run(records([event("u", 1, item_id="a")]))).values()
    assert record.items == []
    assert shown(worker, "u") != 0
    assert not told(worker.run(records([event("u", 2)])))


def test_repeats_and_looks_of_a_new_model_write_nothing() -> None:
    worker = UsersWorker()
    batch = records([event("u", 1, item_id="a")])
    worker.run(batch)
    again = worker.run(batch)
    assert not told(again)
    assert not of(again, "user-events.dlq")
    assert worker.stage.stats.repeated == 1
    worker.source.model = turned(a_model())
    assert not told(worker.maintain())
    [record] = told(worker.run(records([event("u", 2)]))).values()
    assert record.segment == 1


def test_a_label_alone_writes_no_items() -> None:
    worker = UsersWorker(labels={"enabled": True})
    given = {"user_id": "u", "label": "brewer", "labelled_at": START.isoformat()}
    outputs = worker.run(
        [Record("segment-labels", 0, 0, 1_700_000_000_000, b"u", json.dumps(given).encode())]
    )
    assert [each.topic for each in outputs] == ["user-profiles"]
    assert not told(outputs)


def test_without_the_setting_nothing_is_kept_or_written() -> None:
    for off in ({"enabled": True}, {}):
        worker = UsersWorker(recommendations=off)
        outputs = worker.run(records([event("u", 1, item_id="a")]))
        assert not of(outputs, "user-recommendations")
        assert worker.stage.tables[0].gather(["u"]).items.shape == (1, 0)
        assert '"items"' not in worker.state()["u"]


def test_users_without_recommendations_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="users is true and enabled is false"):
        Worker(recommendations={"users": True})


def test_who_falls_silent_leaves_with_a_tombstone() -> None:
    on = {"profile": {"half_life_days": 1, "inactive_half_lives": 2}}
    worker = UsersWorker(**on)
    worker.run(records([event("gone", 1)]))
    worker.run(records([event(f"u{n}", 30 + n) for n in range(10)]))
    written = {each.key: each for each in of(worker.maintain(), "user-recommendations")}
    assert [*written] == [b"gone"]
    assert (written[b"gone"].value, written[b"gone"].partition) == (None, 0)


def test_an_abort_leaves_no_trace() -> None:
    worker = UsersWorker()
    batch = records([event("u", 1, item_id="a")])
    first = worker.apply(batch)
    worker.stage.aborted()
    assert worker.stage.stats.recommended == 0
    again = worker.run(batch)
    assert told(first) == told(again)
    assert worker.stage.stats.recommended == 1


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(TOPICS), st.sampled_from([None, *"abefx"])),
    min_size=1,
    max_size=16,
)


@given(EVENTS, st.lists(st.integers(1, 6), min_size=1))
@settings(max_examples=30, deadline=None)
def test_a_state_read_back_goes_on_as_the_one_that_was_lost(
    stream: list[tuple[int, str, str | None]], sizes: list[int]
) -> None:
    batch = records(
        event(f"u{user}", number, text, **({"item_id": item} if item else {}))
        for number, (user, text, item) in enumerate(stream)
    )
    latest: dict[str, UserRecommendations] = {}
    changelog: list[Output] = []
    worker, place = UsersWorker(), 0
    while place < len(batch):
        size = sizes[place % len(sizes)]
        outputs = worker.run(batch[place : place + size])
        latest |= told(outputs)
        changelog += of(outputs, "user-profiles")
        place += size
        before = worker.state()
        worker = UsersWorker()
        restoration = worker.stage.restoration(0)
        for number, each in enumerate(changelog):
            restoration.load(Record("user-profiles", 0, number, -1, each.key, each.value))
        worker.stage.assigned(0, restoration)
        assert worker.state() == before
    whole = UsersWorker()
    whole.run(batch)
    for user in {f"u{user}" for user, *_ in stream}:
        # What was published last is what the profile says, and what one batch comes to.
        assert shown(worker, user) == list_digest(item_digests(items(latest[user])))
        assert shown(whole, user) == shown(worker, user)
        had = worker.stage.tables[0].gather([user]).items[0, 1:]
        assert not {*item_digests(items(latest[user])).tolist()} & {*had.tolist()}


def record_of(told: SegmentRecommendations | None, key: bytes, offset: int = 0) -> Record:
    value = None if told is None else told.model_dump_json().encode()
    return Record("segment-recommendations", 0, offset, -1, key, value)


def test_lists_are_read_when_there_is_time_and_a_bad_one_leaves_the_former(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = ListBook()
    first, all_of_them = leading(3, "ab"), leading(None, "c")
    book.note([record_of(all_of_them, b"all"), record_of(first, b"3")])
    assert not book.lists
    book.read(0)  # one at least
    assert [*book.lists] == [None]
    book.read(60)
    assert book.lists[3].leading.items == ("a", "b")
    newer = json.loads(first.model_dump_json()) | {"schema_version": 2}
    mixed = leading(3, "abc", TOPICS[0])
    mixed.items[0].__dict__["vector"] = "AAA="
    with caplog.at_level(logging.WARNING):
        for value in (b"{}", json.dumps(newer).encode(), mixed.model_dump_json().encode()):
            book.note([Record("segment-recommendations", 0, 9, -1, b"3", value)])
            book.read(60)
            assert book.lists[3].leading.items == ("a", "b")
    assert ["newer version" in each.message for each in caplog.records] == [False, True, False]
    book.note([record_of(None, b"3"), record_of(None, b"8")])
    book.read(60)
    assert [*book.lists] == [None]
    assert recommendations_key(None) == b"all"


def test_a_list_gives_items_without_a_text_no_direction() -> None:
    found = PublishedList.of(leading(0, "ab", TOPICS[0])).leading
    assert found.vectors.shape == (2, EMBEDDER.dimensions)
    assert not found.vectors[0].any()
    assert np.allclose(found.vectors[1], EMBEDDER.embed([TOPICS[0]])[0], atol=1e-3)
    assert PublishedList.of(leading(0, "ab")).leading.vectors.shape == (2, 0)
