"""What a redrive remembers: whatever runs are made and wherever one ends, each goes back once."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.records import Headers, Output, Record
from consumer.engine.transactions import Outcome
from consumer.letters import originals
from consumer.letters import redrive as module
from consumer.letters.choice import Choice, LetterError
from consumer.letters.progress import Progress, TooManySpansError
from consumer.letters.redrive import Redrive
from consumer.settings import Settings
from schemas.dead_letters import (
    Refusal,
    RefusalReason,
    dead_letter_headers,
    read_dead_letter_headers,
    redrives_of,
)

SETTINGS = Settings(topics={"raw_events": "raw"})
REASONS = (RefusalReason.NO_TEXT, RefusalReason.INVALID_JSON, RefusalReason.MISSING_KEY)
INPUTS = {"user-events": 2, "raw": 1}


class Crash(BaseException):
    """The process is killed."""


ALL = Choice()


def letter(offset: int, reason: RefusalReason, **said: Any) -> Record:
    place = {"topic": "user-events", "partition": 0, "offset": offset, "timestamp": 5, **said}
    headers = dead_letter_headers(Refusal(reason=reason, detail="so"), **place)
    return Record("user-events.dlq", 0, offset, offset, b"k", b"%d" % offset, tuple(headers))


class Scripted:
    """A cluster and a producer in one, that fail as they are told to."""

    def __init__(self, records: list[Record], partitions: int = 1) -> None:
        self.records = records
        self.count = partitions
        self.committed_places: dict[int, tuple[int, str]] = {}
        self.written: list[Output] = []
        self.moved: list[set[int]] = []
        self.missing: set[str] = set()
        self.fails: list[str] = []
        self.reopened = 0
        self.originals: dict[tuple[str, int], dict[int, Record]] = {}

    def leave_in_input(self, record: Record, own: Headers = ()) -> Record:
        """Put what a dead letter holds into the input; give one that does not hold it."""
        said = read_dead_letter_headers(record.headers)
        there = replace(
            record,
            topic=said.topic,
            partition=said.partition,
            offset=said.offset,
            timestamp=said.timestamp,
            headers=own,
        )
        self.originals.setdefault((said.topic, said.partition), {})[said.offset] = there
        length = ("dlq_value_bytes", b"%d" % len(record.value or b""))
        return replace(record, value=None, headers=(*record.headers, length))

    # the cluster

    def topics(self, expected: Any = ()) -> dict[str, int]:
        there = {"user-events.dlq": self.count, **INPUTS}
        return {name: count for name, count in there.items() if name not in self.missing}

    def partitions(self, topic: str) -> int:
        return self.count

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        if topic in INPUTS:
            offsets = self.originals.get((topic, partition), {})
            return min(offsets, default=0), max(offsets, default=-1) + 1
        ends = [each.offset + 1 for each in self.records if each.partition == partition]
        return min(ends, default=1) - 1, max(ends, default=0)

    def offsets_at(self, topic: str, partitions: Any, timestamp: int) -> dict[int, int]:
        return {n: min(max(timestamp, 0), self.watermarks(topic, n)[1]) for n in partitions}

    def committed(self, group: str, topic: str, numbers: Any, **_: Any) -> list[TopicPartition]:
        assert group == "segmenter-redrive"
        none = (-1001, "")
        return [TopicPartition(topic, n, *self.committed_places.get(n, none)) for n in numbers]

    def properties(self, kind: Any, name: str) -> dict[str, str]:
        return {"max.message.bytes": "100000"}

    def read(
        self, topic: str, partition: int, target: int, *, start: int, no_progress_seconds: float
    ) -> Iterator[Record]:
        if topic in INPUTS:
            there = self.originals[topic, partition]
            assert start in there  # else a real one is refused
            yield from (there[n] for n in sorted(there) if start <= n < target)
            return
        for each in self.records:
            if each.partition == partition and start <= each.offset < target:
                yield each

    # the producer

    def make(self, config: dict[str, Any], *_: Any, members_only: bool) -> Scripted:
        assert config["transactional.id"] == "segmenter-redrive"
        assert not members_only
        return self

    def write(self, outputs: list[Output], offsets: list[TopicPartition], _: Any) -> Outcome:
        how = self.fails.pop(0) if self.fails else "commit"
        if how in {"commit", "unknown, committed", "crash, committed"}:
            self.written += outputs
            self.moved.append({place.partition for place in offsets})
            for place in offsets:
                self.committed_places[place.partition] = place.offset, place.metadata or ""
        if how.startswith("crash"):
            raise Crash
        if how == "abort":
            return Outcome.ABORTED
        return Outcome.UNKNOWN if how.startswith("unknown") else Outcome.COMMITTED

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True, scope="module")
def _small_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", 3)
        patch.setattr(module.time, "sleep", lambda _seconds: None)
        patch.setattr(module, "made", lambda _make, config: io.StringIO(config["group.id"]))
        yield


def run(cluster: Scripted, choice: Choice = ALL, *, dry: bool = False, **options: Any):
    made: Any = cluster
    redrive = Redrive(SETTINGS, choice, make=made.make, cluster=made, **options)
    return redrive.run(dry=dry)


def at(offset: int) -> datetime:
    return datetime.fromtimestamp(offset / 1000, UTC)


letters = st.lists(
    st.tuples(
        st.sampled_from(REASONS),
        st.sampled_from(("user-events", "raw", "other")),
        st.integers(0, 3),
        st.sampled_from((None, None, None, 7, "in input", "in input")),
        st.integers(1, 3),
    ),
    max_size=25,
)
runs = st.lists(
    st.fixed_dictionaries(
        {
            "reasons": st.sets(st.sampled_from(REASONS)),
            "sources": st.sets(st.sampled_from(("user-events", "raw"))),
            "since": st.none() | st.integers(0, 60),
            "until": st.none() | st.integers(0, 60),
            "limit": st.none() | st.integers(1, 6),
            "tries": st.integers(1, 4),
            "fails": st.lists(
                st.sampled_from(
                    [
                        *("commit", "abort", "unknown, committed", "unknown"),
                        *("crash", "crash, committed"),
                    ]
                ),
                max_size=4,
            ),
        }
    ),
    max_size=6,
)


@given(letters, runs)
def test_each_dead_letter_goes_back_once_and_only_to_who_asks_for_it(drawn, asked) -> None:
    records, offset, cluster = [], 3, Scripted([])
    for reason, topic, redrives, cut, step in drawn:
        said = {"topic": topic, "redrives": redrives}
        whole = letter(offset, reason, **said, truncated_from=None if cut == "in input" else cut)
        records.append(whole)
        cluster.records.append(cluster.leave_in_input(whole) if cut == "in input" else whole)
        offset += step  # markers of transactions take offsets
    for each in asked:
        cluster.fails = each["fails"]
        times = {
            name: None if each[name] is None else at(each[name]) for name in ("since", "until")
        }
        choice = Choice(frozenset(each["reasons"]), frozenset(each["sources"]), **times)
        before = len(cluster.written)
        expected = run(cluster, choice, dry=True, limit=each["limit"], tries=each["tries"])
        assert len(cluster.written) == before
        try:
            found = run(cluster, choice, limit=each["limit"], tries=each["tries"])
        except Crash:
            found = None
        fresh = cluster.written[before:]
        if found is not None:
            assert found == expected
            assert found.back.total() == len(fresh)
        for output in fresh:
            source = records[[each.value for each in records].index(output.value)]
            said = dict(source.headers)
            assert not each["reasons"] or said["dlq_reason"].decode() in each["reasons"]
            assert not each["sources"] or output.topic in each["sources"]
            assert each["since"] is None or source.offset >= each["since"]
            assert each["until"] is None or source.offset < each["until"]
            assert redrives_of(output.headers) <= each["tries"]
    cluster.fails = []
    run(cluster, tries=9)
    known = [n for n, each in enumerate(drawn) if each[1] != "other" and each[3] != 7]
    assert Counter(output.value for output in cluster.written) == Counter(
        records[n].value for n in known
    )
    again = run(cluster, tries=9)
    assert again.back.total() == 0
    assert again.counts["cut"].total() == 0


def test_a_record_goes_back_as_it_was_and_says_how_often() -> None:
    record = letter(4, REASONS[0], redrives=1, topic="raw")
    record.headers = (("trace", b"\xff"), *record.headers, ("intake_topic", b"x"))
    cluster = Scripted([record])
    run(cluster)
    (output,) = cluster.written
    assert (output.topic, output.partition, output.key) == ("raw", 0, b"k")
    assert (output.value, output.timestamp) == (record.value, 5)
    assert output.headers == (
        ("trace", b"\xff"),
        ("intake_topic", b"x"),
        ("dlq_redrives", b"2"),
        ("dlq_redriven_into", b"raw"),
    )


def test_a_record_that_its_letter_does_not_hold_goes_back_as_it_is_in_the_input() -> None:
    cluster = Scripted([])
    own = (("trace", b"\xff"), ("intake_topic", b"x"))
    whole = letter(4, REASONS[0], redrives=1, topic="raw")
    cluster.records.append(cluster.leave_in_input(whole, own))
    run(cluster)
    (output,) = cluster.written
    assert (output.topic, output.partition, output.key) == ("raw", 0, b"k")
    assert (output.value, output.timestamp) == (whole.value, 5)
    marks = (("dlq_redrives", b"2"), ("dlq_redriven_into", b"raw"))
    assert output.headers == (*own, *marks)


@pytest.mark.parametrize("change", ["value", "key", "timestamp", "offset"])
def test_a_record_that_is_gone_from_the_input_or_another_by_now_never_goes_back(
    change: str,
) -> None:
    cluster = Scripted([])
    cluster.records += [cluster.leave_in_input(letter(n, REASONS[0])) for n in (4, 5)]
    there = cluster.originals["user-events", 0]
    other = {"value": b"longer than it was", "key": b"v", "timestamp": 6}
    if change == "offset":
        del there[4]
    else:
        there[4] = replace(there[4], **{change: other[change]})
    found = run(cluster)
    assert (found.back, found.counts["gone"]) == (Counter(no_text=1), Counter(no_text=1))
    assert [output.value for output in cluster.written] == [b"5"]
    assert run(cluster).counts["gone"].total() == 0


@given(st.sets(st.integers(0, 5_000)))
def test_runs_of_offsets_hold_each_once_and_part_where_the_next_is_far(offsets) -> None:
    found = originals.runs(offsets)
    assert [each for one in found for each in one] == sorted(offsets)
    assert all(later - each <= originals._NEAR for one in found for each, later in pairwise(one))
    assert all(two[0] - one[-1] > originals._NEAR for one, two in pairwise(found))


def test_what_cannot_go_back_is_counted_by_why() -> None:
    long = letter(0, REASONS[0])
    long.value = b"x" * 99_500
    headers = letter(1, REASONS[0])
    headers.headers = (("dlq_reason", b"no_text"),)
    records = [
        *(long, headers, letter(2, REASONS[1], headers_dropped=3)),
        *(letter(3, REASONS[1], partition=1, topic="raw"), letter(4, REASONS[0], redrives=3)),
        letter(5, REASONS[0], topic="elsewhere"),
    ]
    records.append(letter(6, REASONS[2]))
    gone = letter(7, REASONS[2])
    gone.headers = tuple(
        (name, b"2" if name == "dlq_partition" else value) for name, value in gone.headers
    )
    found = run(Scripted([*records, gone]))
    counts = {fate: dict(each) for fate, each in found.counts.items()}
    assert counts == {
        "cut": {"invalid_json": 1},
        "too_large": {"no_text": 1},
        "no_partition": {"invalid_json": 1, "missing_key": 1},
        "gone": {},
        "too_often": {"no_text": 1},
        "elsewhere": {"no_text": 1},
        "others": {},
        "unreadable": {"": 1},
    }
    assert found.back == Counter({"missing_key": 1})


def test_a_topic_that_was_made_anew_is_told_and_nothing_goes_back() -> None:
    cluster = Scripted([letter(0, REASONS[0])])
    cluster.committed_places[0] = 7, ""
    with pytest.raises(LetterError, match=r"is at offset 7 of user-events\.dlq\[0\], which ends"):
        run(cluster)


def test_each_run_commits_again_what_is_known_of_every_partition() -> None:
    letters = [letter(0, REASONS[0]), letter(0, REASONS[1])]
    letters[1].partition = 1
    cluster = Scripted(letters, partitions=3)
    assert run(cluster, dry=True).first
    assert run(cluster).first
    assert cluster.moved == [{0}, {1}]
    cluster.records.append(letter(1, REASONS[0]))
    before = dict(cluster.committed_places)
    cluster.moved.clear()
    assert not run(cluster, dry=True).first
    assert cluster.moved == []
    assert not run(cluster, limit=1).first
    assert cluster.moved == [{0, 1}, {0}]
    assert cluster.committed_places[1] == before[1]
    for fails in (["abort"], ["unknown"], ["unknown, committed"]):
        cluster.fails = fails
        assert run(cluster).back.total() == 0
    assert len(cluster.written) == 3
    # What the brokers forget, all at once by now, is told.
    cluster.committed_places.clear()
    assert run(cluster, dry=True).first


@pytest.mark.parametrize(
    ("name", "setting"),
    [("user-events.dlq", "dead_letters"), ("user-events", "events"), ("raw", "raw_events")],
)
def test_a_topic_that_is_not_there_is_named_with_its_setting(name: str, setting: str) -> None:
    cluster = Scripted([letter(0, REASONS[0])])
    cluster.missing = {name}
    with pytest.raises(LetterError, match=rf"no topic {name} .* is topics\.{setting} right"):
        run(cluster)
    assert cluster.written == []


def test_another_redrive_that_has_moved_on_is_noticed() -> None:
    cluster = Scripted([letter(n, REASONS[0]) for n in range(5)])
    write = cluster.write

    def meddled(outputs: Any, offsets: Any, client: Any) -> Outcome:
        write(outputs[:1], [TopicPartition(offsets[0].topic, 0, 1, "")], client)
        return Outcome.ABORTED

    cluster.write = meddled  # type: ignore[method-assign]
    with pytest.raises(LetterError, match="another redrive of group segmenter-redrive is at work"):
        run(cluster)
    assert len(cluster.written) == 1


def test_an_abort_that_does_not_end_is_given_up() -> None:
    cluster = Scripted([letter(0, REASONS[0])])
    cluster.fails = ["abort"] * 5
    with pytest.raises(LetterError, match="5 transactions in a row failed"):
        run(cluster)
    assert cluster.committed_places == {}


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


@given(spans, st.integers(0, 40), spans)
def test_spans_are_kept_over_writing_and_reading(first, base, more) -> None:
    progress = Progress().with_spans(0, [("a", first)]).with_spans(base, [("a", more), ("b", more)])
    read = Progress.read(progress.base, progress.write())
    assert read == progress
    for offset in range(41):
        inside = [any(low <= offset < high for low, high in each) for each in (first, more)]
        assert read.done("a", offset) == (offset < base or any(inside))
        assert read.done("b", offset) == (offset < base or inside[1])
    for each in read.spans.values():
        assert all(base <= low < high for low, high in each)
        assert all(one[1] < other[0] for one, other in pairwise(each))


def test_what_kafka_s_own_tools_have_reset_counts_from_there() -> None:
    assert Progress.read(5, "").done("a", 4)
    assert not Progress.read(5, "from a tool").done("a", 5)
    assert Progress.read(-1001, None) == Progress()


def test_more_spans_than_kafka_keeps_are_refused_in_words() -> None:
    many = Progress().with_spans(0, ((f"kind-{n}", [(1, 2)]) for n in range(300)))
    with pytest.raises(TooManySpansError, match="without --reason, --since and --until"):
        many.write()
