"""What verify says of users in several partitions, by where the input's records are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from consumer.verify.decode import membership_head, profile_head
from consumer.verify.facts import SeenChange
from consumer.verify.incremental import IncrementalChecker
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.split import SplitUsers
from schemas.partitioner import partition_of
from tests.consumer.verify.histories import UserPath, history_of

PARTITIONS = 12
KEYS = [f"u{number}".encode() for number in range(120)]


class Message:
    def __init__(self, key: bytes | None, partition: int, value: bytes | None = b"{}") -> None:
        self._key, self._partition, self._value = key, partition, value

    def key(self) -> bytes | None:
        return self._key

    def partition(self) -> int:
        return self._partition

    def value(self) -> bytes | None:
        return self._value


def by_murmur2(key: bytes) -> Any:
    return Message(key, partition_of(key, PARTITIONS))


def by_crc32(key: bytes) -> Any:
    return Message(key, partition_of(key, PARTITIONS, "crc32"))


def by_hand(key: bytes) -> Any:
    return Message(key, (partition_of(key, PARTITIONS) + 1) % PARTITIONS)


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        (
            [*map(by_murmur2, KEYS), *map(by_crc32, KEYS)],
            r"5\d% of the records are where murmur2 .* 5\d% where CRC-32 .* different partitioners",
        ),
        ([*map(by_murmur2, KEYS)], "all records that are there now are where murmur2"),
        ([*map(by_murmur2, KEYS), *map(by_hand, KEYS)], "or write to partitions of their choice"),
        ([Message(None, 0)], "of 0 records with a key"),
    ],
)
def test_the_cause_is_told_by_where_records_are(events: list[Any], cause: str) -> None:
    split, violations = SplitUsers(), Violations()
    profiles: list[Any] = [Message(b"ann", 0), Message(b"bob", 1), Message(b"ann", 2)]
    assert list(split.watch(profiles)) == profiles
    split.report(events, "user-events", PARTITIONS, violations)
    (violation,) = violations.first
    assert (violation.kind, violation.subject) == (ViolationKind.SPLIT_USERS, "user-events")
    assert "1 of 2 users are in several partitions" in violation.detail
    assert re.search(cause, violation.detail), violation.detail


def test_a_tombstone_elsewhere_splits_nobody() -> None:
    split = SplitUsers()
    profiles: list[Any] = [Message(b"ann", 0), Message(b"ann", 1, None), Message(b"ann", 0)]
    assert list(split.watch(profiles)) == profiles
    assert not split.users


def test_a_running_audit_tells_of_the_first_such_user_and_of_nothing_that_follows() -> None:
    history = history_of({user: UserPath([1, 2, 3]) for user in ("ann-7", "bob-7", "eve-7")})
    violations = Violations()
    checker = IncrementalChecker(violations, settle_seconds=1, input_topic="reviews")
    for partition in (0, 1):
        for change in history.changes:
            if partition and change.user_id == "eve-7":
                continue
            assert change.source is not None
            event_id = f"{change.source.event_id}-{partition}"
            source = change.source.model_copy(update={"partition": partition, "event_id": event_id})
            change = change.model_copy(update={"source": source})  # noqa: PLW2901
            value = change.model_dump_json().encode()
            checker.change(SeenChange(change, change.id, False), value, now=0)
            checker.membership(*membership_head(value), now=0)
        for user, profile in history.profiles.items():
            if partition and user == "eve-7":
                continue
            head = profile_head(profile.model_dump_json().encode())
            checker.profile(*head, now=0, partition=partition)
        checker.settle(caught_up=10, now=10)
    (split,) = violations.first
    assert split.kind is ViolationKind.SPLIT_USERS
    assert split.subject == "reviews"
    assert "segmenter intake" in split.detail
    assert not any(user in split.detail for user in history.profiles)


def test_a_profile_in_another_partition_tells_of_it_too() -> None:
    history = history_of({"ann": UserPath([1])})
    violations = Violations()
    checker = IncrementalChecker(violations, settle_seconds=1)
    head = profile_head(history.profiles["ann"].model_dump_json().encode())
    for partition in (3, 3, 5, 5):
        checker.profile(*head, now=0, partition=partition)
    checker.settle(caught_up=10, now=10)
    assert violations.by_kind == {ViolationKind.SPLIT_USERS: 1}


def test_of_users_with_a_common_cause_nothing_is_collected() -> None:
    violations = Violations()
    violations.ignored = {"ann"}
    violations.add(ViolationKind.CHAIN, "ann", "a break")
    violations.add(ViolationKind.CHAIN, "bob", "a break")
    assert (len(violations), violations.first[0].subject) == (1, "bob")
