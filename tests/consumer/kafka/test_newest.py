"""The newest records of a topic, look after look, by a log that says what was read of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel

from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster, Peeked, TopicIdentity
from consumer.kafka.newest import Newest, NewestOf


class Log:
    """A topic of two partitions, of which whatever is read is counted."""

    def __init__(self) -> None:
        self.topic_id, self.lows = "a", {0: 0, 1: 0}
        self.records: list[Record] = []
        self.ends = {0: 0, 1: 0}
        self.open_from: int | None = None
        """Where a transaction is open on partition 0."""
        self.read: list[Record] = []
        self.asked: list[Mapping[int, int]] = []

    def write(self, partition: int, value: bytes, timestamp: int, markers: int = 1) -> None:
        place = self.ends[partition]
        self.records.append(Record("t", partition, place, timestamp, b"k", value))
        self.ends[partition] = place + 1 + markers

    def identity(self, _topic: str) -> TopicIdentity:
        return TopicIdentity("c", self.topic_id, 2)

    def spans(self, _topic: str, numbers: range) -> dict[int, tuple[int, int]]:
        return {number: (self.lows[number], self.ends[number]) for number in numbers}

    def peek_on(
        self, _topic: str, starts: Mapping[int, int], _each: int | None, _seconds: float
    ) -> Peeked:
        self.asked.append(starts)
        stable = dict(self.ends)
        if self.open_from is not None:
            stable[0] = self.open_from
        found = [
            record
            for record in self.records
            if record.partition in starts
            and max(starts[record.partition], self.lows[record.partition]) <= record.offset
            and record.offset < stable[record.partition]
        ]
        self.read += found
        return Peeked(found, {n: max(start, stable[n]) for n, start in starts.items()})


def newest_of(log: Log, many: int | None) -> Newest:
    return Newest(cast("Cluster", log), "t", many)


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def test_each_record_is_read_once_and_nothing_where_nothing_came() -> None:
    log = Log()
    for number in range(4):
        log.write(number % 2, b"%d" % number, timestamp=number)
    newest = newest_of(log, 2)
    assert values(newest.look()) == [b"3", b"2"]
    assert values(newest.look()) == [b"3", b"2"]
    assert (len(log.asked), len(log.read)) == (1, 4)
    log.write(0, b"4", timestamp=4)
    assert values(newest.look()) == [b"4", b"3"]
    assert (len(log.asked), len(log.read)) == (2, 5)


def test_it_is_looked_farther_back_where_there_is_nothing_but_markers() -> None:
    log = Log()
    log.write(1, b"old", timestamp=1, markers=500)
    newest = newest_of(log, 1)
    assert values(newest.look()) == [b"old"]
    assert [dict(starts) for starts in log.asked] == [{0: 0, 1: 481}, {0: 0, 1: 0}]


def test_what_an_open_transaction_hides_comes_when_it_is_committed() -> None:
    log = Log()
    log.write(0, b"before", timestamp=1)
    log.open_from = log.ends[0]
    log.write(0, b"within", timestamp=2)
    log.write(0, b"behind", timestamp=3)
    newest = newest_of(log, 1)
    assert values(newest.look()) == [b"before"]
    assert values(newest.look()) == [b"before"]
    log.open_from = None
    assert values(newest.look()) == [b"behind"]


def test_a_topic_that_was_made_anew_or_cut_is_read_anew() -> None:
    log = Log()
    log.write(0, b"former", timestamp=9)
    newest = newest_of(log, 1)
    assert values(newest.look()) == [b"former"]
    log.records.clear()
    log.ends = {0: 0, 1: 0}
    log.write(0, b"new", timestamp=1)
    log.topic_id = "b"
    assert values(newest.look()) == [b"new"]
    log.records.clear()
    log.ends = {0: 0, 1: 0}
    assert newest.look() == []


def test_what_retention_has_removed_is_told_no_more() -> None:
    log = Log()
    log.write(0, b"1", timestamp=1)
    log.write(0, b"2", timestamp=2)
    newest = newest_of(log, 5)
    assert values(newest.look()) == [b"2", b"1"]
    log.lows[0] = 2
    assert values(newest.look()) == [b"2"]


def test_all_there_are_is_given_where_no_number_is_asked_for() -> None:
    log = Log()
    log.write(0, b"old", timestamp=1, markers=5_000)
    log.write(0, b"new", timestamp=2)
    assert values(newest_of(log, None).look()) == [b"new", b"old"]


class Kept(BaseModel):
    """What a record is."""

    version: int


def test_a_record_is_read_as_what_it_is_once() -> None:
    log = Log()
    newest = NewestOf(cast("Cluster", log), "t", Kept)
    assert newest.look() is None
    log.write(0, b'{"version": 1}', timestamp=5)
    first, again = newest.look(), newest.look()
    assert first is not None
    assert again is not None
    assert (first[0].version, first[1]) == (1, 5)
    assert again[0] is first[0]
    log.write(0, b'{"version": "of a later release"}', timestamp=6)
    assert newest.look() is None
