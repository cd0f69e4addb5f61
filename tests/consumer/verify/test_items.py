"""What verify says of the topics of items, right ones and broken ones, with no broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from consumer.contract.records import Record
from consumer.verify.items import ItemAudit
from consumer.verify.report import ViolationKind, Violations
from schemas.partitioner import partition_of
from tests.consumer.stages.recommender_runs import (
    Recommender,
    Topics,
    a_group,
    feed,
    item_event,
    run_with_crashes,
)

Kind = ViolationKind
EVENTS = [item_event(f"i{n % 5}", n, segment=n % 3, hours=n) for n in range(30)]


def a_run(**recommendations: float) -> Topics:
    topics = a_group(**recommendations)
    feed(topics, EVENTS)
    run_with_crashes(topics, 7)
    return topics


def audit(topics: Topics, expected: int = 30) -> tuple[Counter[Kind], list[str]]:
    found = Violations()
    names, own = topics.settings.topics, ItemAudit(topics.settings, topics.partitions, found)
    for (topic, partition), log in sorted(topics.records.items()):
        for record in log:
            if topic == names.item_events:
                done = topics.committed[topic, partition]
                own.event(record, counted=record.offset < done)
            elif topic == names.segment_recommendations:
                own.recommendation(record)
            else:
                own.state(record)
    own.told_once()
    assert own.all_told((0, n) for n in range(expected)) == expected
    own.counted_once(whole=True)
    own.given_away()
    own.merged()
    return found.by_kind, own.unchecked


def altered(topic: str, change: Callable[[list[Record]], list[Record]]) -> Topics:
    """Give topics of which one's first partition with records was altered."""
    topics = a_run()
    logs = [log for (name, _), log in sorted(topics.records.items()) if name == topic and log]
    for log in logs:
        with suppress(StopIteration):
            log[:] = change(log)
            return topics
    raise AssertionError(f"{topic} has nothing to be altered")


def test_topics_that_recommenders_wrote_amid_crashes_are_right() -> None:
    assert audit(a_run()) == (Counter(), [])


def test_an_event_that_is_told_of_twice_is_found() -> None:
    topics = altered("item-events", lambda log: [*log, replace(log[0], offset=len(log))])
    found, _ = audit(topics)
    assert found == {Kind.ITEM_REPEATED: 1}


def test_an_event_that_is_not_told_of_is_found_there_and_in_what_was_counted() -> None:
    found, _ = audit(altered("item-events", lambda log: log[:-1]))
    assert found == {Kind.ITEM_LOST: 1, Kind.ITEM_REPEATED: 1}


def test_a_state_that_went_back_is_found() -> None:
    def back(log: list[Record]) -> list[Record]:
        first = next(each for each in log if each.value)
        return [*log, replace(first, offset=len(log))]

    found, _ = audit(altered("item-profiles", back))
    assert found[Kind.ITEM_LOST] == 1
    assert found[Kind.RECOMMENDATION_DIFFERS] >= 1


def test_a_part_and_a_publication_that_went_back_are_found() -> None:
    def back(log: list[Record]) -> list[Record]:
        latest = {each.key: each.value for each in log}
        former = next(each for each in log if each.value != latest[each.key])
        return [*log, replace(former, offset=len(log))]

    for topic in ("recommendation-parts", "segment-recommendations"):
        found, unchecked = audit(altered(topic, back))
        # An earlier one may be under way, where it is of an earlier time.
        assert found[Kind.RECOMMENDATION_DIFFERS] or unchecked


def test_a_score_that_is_another_one_is_found() -> None:
    def other(log: list[Record]) -> list[Record]:
        value = (log[-1].value or b"").replace(b'"score":0.', b'"score":0.9')
        return [*log[:-1], replace(log[-1], value=value)]

    found, _ = audit(altered("segment-recommendations", other))
    assert found == {Kind.RECOMMENDATION_DIFFERS: 1}


@pytest.mark.parametrize(
    "topic", ["item-events", "item-profiles", "recommendation-parts", "segment-recommendations"]
)
def test_what_cannot_be_read_is_found_with_its_place(topic: str) -> None:
    def bad(log: list[Record]) -> list[Record]:
        return [*log, replace(log[-1], offset=len(log), value=b"x")]

    found, _ = audit(altered(topic, bad))
    assert found[Kind.MALFORMED] >= 1


def test_what_was_not_given_away_yet_is_said_and_no_violation() -> None:
    topics = a_run()
    feed(topics, [item_event("i1", 99, segment=1, hours=99)])
    process = Recommender(topics, range(topics.partitions))
    while process.step(10):
        pass
    found, unchecked = audit(topics)
    assert found == Counter()
    assert any("since they were given away" in each for each in unchecked)


def test_events_of_partitions_of_which_nothing_is_told_are_said_to_be_unchecked() -> None:
    found = Violations()
    own = ItemAudit(a_group().settings, 3, found)
    assert own.all_told([(0, 1), (1, 1)]) == 2
    assert not len(found)
    assert "2 events" in own.unchecked[0]


def test_items_that_were_let_go_are_said_to_be_unchecked() -> None:
    found, unchecked = audit(a_run(max_items=1))
    assert found == Counter()
    assert any("let go" in each for each in unchecked)


def test_items_that_were_too_many_until_others_were_withdrawn_are_not_told_lost() -> None:
    topics = a_group(partitions=1, max_items=4)
    feed(topics, [item_event(f"i{n}", n, hours=n) for n in range(6)])
    process = Recommender(topics, [0])
    process.settle()
    # Without a value, and with an empty one.
    feed(topics, [(b"i5", None), (b"i4", b"")])
    process.settle()
    found, unchecked = audit(topics, expected=6)
    assert found == Counter()
    assert any("let go" in each for each in unchecked)


def test_items_that_fell_silent_by_the_time_of_another_partition_are_not_told_lost() -> None:
    topics = a_group(partitions=2, silent_half_lives=1)
    homes = {f"i{n}": partition_of(f"i{n}".encode(), 2) for n in range(9)}
    quiet, busy = (next(item for item, home in homes.items() if home == each) for each in (0, 1))
    feed(topics, [item_event(quiet, 0), item_event(busy, 1)])
    process = Recommender(topics, [0, 1])
    process.settle()
    feed(topics, [item_event(quiet, 2), item_event(busy, 3, hours=100)])
    while process.step(10) or process.maintain(idle=False):
        pass
    assert quiet not in process.stage.items[0].table
    process.settle()
    found, _ = audit(topics, expected=4)
    assert found == Counter()
