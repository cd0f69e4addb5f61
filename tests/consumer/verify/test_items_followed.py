"""What a running audit says of items, as their topics are written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from consumer.contract.records import Record
from consumer.verify.items_followed import ItemsFollowed
from consumer.verify.report import ViolationKind, Violations
from tests.consumer.stages.recommender_runs import Topics
from tests.consumer.verify.test_items import a_run

Kind = ViolationKind
EVENTS, STATES = "item-events", "item-profiles"


def logs(topics: Topics, topic: str) -> list[Record]:
    return [
        record
        for (name, _), log in sorted(topics.records.items())
        if name == topic
        for record in log
    ]


def followed(
    topics: Topics,
    records: list[Record],
    *,
    whole: bool = True,
    begun_anew: frozenset[int] = frozenset(),
) -> Counter[Kind]:
    found = Violations()
    audit = ItemsFollowed(topics.settings.topics, found, settle_seconds=5, recent=100, whole=whole)
    for record in records:
        audit.take(record, 1.0)
    own = {p: offset for (name, p), offset in topics.committed.items() if name == EVENTS}
    audit.committed(own, 2.0)
    audit.settle(5.9, begun_anew)
    assert not len(found) or found.by_kind.keys() == {Kind.MALFORMED}
    audit.settle(7.1, begun_anew)
    assert audit.settled
    return found.by_kind


def test_what_recommenders_wrote_amid_crashes_is_right_in_whatever_order_it_is_read() -> None:
    topics = a_run()
    told, kept = logs(topics, EVENTS), logs(topics, STATES)
    assert len(told) == 30
    assert followed(topics, told + kept) == Counter()
    assert followed(topics, kept + told) == Counter()


def test_an_event_that_is_told_of_twice_is_found_but_where_the_input_was_made_anew() -> None:
    topics = a_run()
    again = replace(logs(topics, EVENTS)[0], offset=100)
    records = [*logs(topics, EVENTS), again, *logs(topics, STATES)]
    assert followed(topics, records) == {Kind.ITEM_REPEATED: 1}
    assert followed(topics, records, whole=False) == {Kind.ITEM_REPEATED: 1}
    assert followed(topics, records, begun_anew=frozenset({0})) == Counter()


def test_events_that_are_not_counted_and_ones_that_are_counted_twice_are_found() -> None:
    topics = a_run()
    told, kept = logs(topics, EVENTS), logs(topics, STATES)
    last = {each.key: each for each in kept}
    former = next(each for each in kept if each.value != last[each.key].value)
    assert followed(topics, [*told, *kept, former]) == {Kind.ITEM_LOST: 1}
    fewer = [each for each in told if each.key != former.key]
    assert followed(topics, [*fewer, *kept]) == {Kind.ITEM_REPEATED: 1}
    # Of what was written before nothing is known.
    assert followed(topics, [*fewer, *kept, former], whole=False) == Counter()


def test_what_the_recommenders_are_not_done_with_is_waited_for() -> None:
    topics = a_run()
    for place in [*topics.committed]:
        topics.committed[place] = 0
    assert followed(topics, logs(topics, EVENTS)) == Counter()


@pytest.mark.parametrize("topic", [EVENTS, STATES])
def test_an_item_that_left_is_not_counted_any_more(topic: str) -> None:
    topics = a_run()
    told, kept = logs(topics, EVENTS), logs(topics, STATES)
    gone = replace(next(r for r in logs(topics, topic) if r.key == kept[-1].key), value=None)
    lost = [each for each in kept if each.key != gone.key]
    assert followed(topics, [*told, *lost]) == {Kind.ITEM_LOST: 1}
    assert followed(topics, [*told, *lost, gone]) == Counter()


@pytest.mark.parametrize("topic", [EVENTS, STATES])
def test_what_cannot_be_read_is_found_with_its_place(topic: str) -> None:
    topics = a_run()
    bad = replace(logs(topics, topic)[-1], value=b"x")
    records = [*logs(topics, EVENTS), *logs(topics, STATES), bad]
    assert followed(topics, records)[Kind.MALFORMED] == 1
