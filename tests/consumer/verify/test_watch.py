"""What the running audit concludes from offsets and arrivals, at times that the tests set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.verify.news import FollowReport, News
from consumer.verify.report import Violation, ViolationKind
from consumer.verify.watch import GroupWatch, ReadUp, Sample

Kind = ViolationKind
EVENTS = "events"
STALL = 60.0


@pytest.fixture
def news() -> News:
    return News()


@pytest.fixture
def watch(news: News) -> GroupWatch:
    return GroupWatch(
        EVENTS, {0: 0, 1: 0}, stall_seconds=STALL, violations=news, tell=news.tell, now=0.0
    )


def sample(at: float, committed: int | None, end: int) -> Sample:
    """Give a sample of partition 0; partition 1 is empty."""
    return Sample(at, {0: committed, 1: None}, {(EVENTS, 0): end, (EVENTS, 1): 0})


# --- offsets --------------------------------------------------------------------------------------


def test_an_offset_that_goes_back_is_a_violation(watch: GroupWatch, news: News) -> None:
    for at, offset in enumerate((None, 3, 3, 9, 8, 9)):
        watch.sample(sample(at, offset, 9))
    assert news.by_kind == {Kind.OFFSET_WENT_BACK: 1}
    assert "from 9 to 8" in news.first[0].detail


def test_a_reset_sends_a_group_back_and_is_told_once(watch: GroupWatch, news: News) -> None:
    watch.sample(sample(1, 9, 9))
    metadata = {0: OffsetMetadata(resets=1, first=2)}
    for at in (2, 3):
        watch.sample(replace(sample(at, 2, 9), metadata=metadata))
    (told,) = news.take()
    assert "events[0]: the group was reset once" in str(told)
    assert (watch.lag, watch.begun_anew) == (7, {0})
    watch.sample(replace(sample(4, 1, 9), metadata=metadata))
    assert news.by_kind == {Kind.OFFSET_WENT_BACK: 1}, "without a reset it is one all the same"


def test_an_offset_that_is_gone_is_told_and_not_forgotten(watch: GroupWatch, news: News) -> None:
    for at, offset in enumerate((5, None, None, 2)):
        watch.sample(sample(at, offset, 9))
    told, violation = news.take()
    assert "no committed offset of events[0] any more; it was 5" in str(told)
    assert isinstance(violation, Violation)


def test_what_did_not_answer_changes_nothing(watch: GroupWatch, news: News) -> None:
    watch.sample(sample(1, 5, 9))
    watch.sample(Sample(2, trouble="no broker"))
    assert (watch.lag, len(news)) == (4, 0)


# --- standing still -------------------------------------------------------------------------------


def test_a_partition_with_records_that_stands_still_is_told_once_and_so_is_its_end(
    watch: GroupWatch, news: News
) -> None:
    watch.sample(sample(1, 5, 9))
    assert watch.suspects(2) == {}
    assert watch.suspects(4) == {0: 5}
    watch.sample(sample(5, 5, 10))
    assert watch.suspects(5) == {}, "one question at a time"
    watch.probed(0, record=True, position=5, now=4)
    for at in (50, 60, 62, 70):
        watch.sample(sample(at, 5, 9 + at))
    assert watch.stalled == [0]
    watch.sample(sample(71, 6, 90))
    assert watch.stalled == []
    first, second = map(str, news.take())
    assert first.startswith(
        "STALLED events[0]: 66 offsets behind, and the group's offset 5 has not"
    )
    assert second == "events[0] moves again"
    assert len(news) == 0


def test_markers_of_transactions_are_nothing_to_wait_for(watch: GroupWatch, news: News) -> None:
    watch.sample(sample(1, 5, 6))
    assert watch.suspects(4) == {0: 5}
    watch.probed(0, record=False, position=6, now=4)
    watch.sample(sample(200, 5, 6))
    assert (watch.stalled, watch.lag, news.take()) == ([], 0, [])
    watch.sample(sample(201, 5, 8))
    assert watch.suspects(204) == {0: 5}, "there may be a record now"


def test_a_group_that_has_committed_nothing_stands_still_too(watch: GroupWatch, news: News) -> None:
    watch.sample(sample(1, None, 3))
    assert watch.suspects(4) == {0: 0}
    watch.probed(0, record=True, position=0, now=4)
    watch.sample(sample(62, None, 3))
    assert watch.stalled == [0]


# --- reading up -----------------------------------------------------------------------------------


def test_it_has_caught_up_when_every_partition_has_reached_the_end_of_that_time() -> None:
    one, two = ("a", 0), ("a", 1)
    read = ReadUp({one: 0, two: 4}, 0.0)
    read.sample(Sample(7.0, ends={one: 3, two: 4}))
    read.at(one, 2)
    # A later end does not move what is waited for.
    read.sample(Sample(9.0, ends={one: 30, two: 4}))
    assert (read.caught_up, read.behind) == (0.0, 28)
    read.at(one, 3)
    assert read.caught_up == 7.0
    read.at(one, 30)
    read.sample(Sample(12.0, ends={one: 30}))
    assert read.caught_up == 9.0, "the other partition did not answer"


# --- what is said ---------------------------------------------------------------------------------


def test_a_flood_is_counted_and_its_beginning_kept(news: News) -> None:
    for n in range(250):
        news.add(Kind.CHAIN, f"user {n}", "broken")
    lines = news.take()
    assert len(lines) == 101
    assert lines[-1] == "… and 150 more lines that are only counted"
    assert (len(news), news.take()) == (250, [])


def test_a_report_is_one_line_and_an_exit_code() -> None:
    report = FollowReport(
        seconds=10,
        changes=1234,
        memberships=1234,
        profiles=5000,
        dead_letters=0,
        rate=12.345,
        users=400,
        unsettled=2,
        violations={},
        lag=7,
        behind=0,
        read_up=True,
    )
    assert report.render() == (
        "changes 1,234 (12.3/s)  users 400  unsettled 2  violations 0  lag 7"
    )
    assert report.exit_code == 0
    values = report.as_json() | {
        "violations": {Kind.CHAIN: 2},
        "stalled": ("events[3]",),
        "hanging": ("changes[1]",),
        "blocked": ("events[0]",),
        "trouble": "a\nb",
    }
    bad = FollowReport(**values)
    assert bad.exit_code == 1
    assert bad.render().endswith(
        "violations 2  lag 7  stalled 1: events[3]  hanging 1: changes[1]  "
        "blocked 1: events[0]  no answer: a\\nb"
    )
