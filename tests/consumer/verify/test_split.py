"""What verify says of users in several partitions, by where the input's records are."""

from __future__ import annotations

import re

import pytest

from consumer.contract.records import Record
from consumer.verify.decode import Told, membership_head, profile_head
from consumer.verify.engine import Engine
from consumer.verify.ledger import ProfileFacts
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.split import split_users
from schemas.partitioner import partition_of
from tests.consumer.verify.histories import UserPath, history_of

PARTITIONS = 12
KEYS = [f"u{number}".encode() for number in range(120)]


def event(key: bytes | None, partition: int) -> Record:
    return Record("user-events", partition, 0, -1, key, b"{}")


def by_murmur2(key: bytes) -> Record:
    return event(key, partition_of(key, PARTITIONS))


def by_crc32(key: bytes) -> Record:
    return event(key, partition_of(key, PARTITIONS, "crc32"))


def by_hand(key: bytes) -> Record:
    return event(key, (partition_of(key, PARTITIONS) + 1) % PARTITIONS)


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        (
            [*map(by_murmur2, KEYS), *map(by_crc32, KEYS)],
            r"5\d% of the records are where murmur2 .* 5\d% where CRC-32 .* different partitioners",
        ),
        ([*map(by_murmur2, KEYS)], "all records that are there now are where murmur2"),
        ([*map(by_murmur2, KEYS), *map(by_hand, KEYS)], "or write to partitions of their choice"),
        ([event(None, 0)], "of 0 records with a key"),
    ],
)
def test_the_cause_is_told_by_where_records_are(events: list[Record], cause: str) -> None:
    ((kind, detail),) = split_users(1, 2, events, PARTITIONS)
    assert kind is ViolationKind.SPLIT_USERS
    assert "1 of 2 users are in several partitions" in detail
    assert re.search(cause, detail), detail


def test_a_whole_counts_such_users_and_lists_nothing_else_of_them() -> None:
    history = history_of({"ann": UserPath([1]), "bob": UserPath([1])})
    violations = Violations()
    engine = Engine(violations)
    for user, partition in (("ann", 0), ("bob", 1), ("ann", 2)):
        engine.profile(user, ProfileFacts.of(history.profiles[user]), partition=partition)
    engine.finish()
    assert (len(engine.split), engine.placed) == (1, 2)
    # Neither has a change.
    assert [entry.subject for entry in violations.first] == ["bob"]


def test_a_tombstone_elsewhere_splits_nobody() -> None:
    profile = ProfileFacts.of(history_of({"ann": UserPath([1])}).profiles["ann"])
    engine = Engine(Violations())
    for facts, partition in ((profile, 0), (None, 1), (profile, 0)):
        engine.profile("ann", facts, partition=partition)
    assert not engine.split


def test_a_running_audit_tells_of_the_first_such_user_and_of_nothing_that_follows() -> None:
    history = history_of({user: UserPath([1, 2, 3]) for user in ("ann-7", "bob-7", "eve-7")})
    violations = Violations()
    engine = Engine(violations, settle_seconds=1, input_topic="reviews")
    for partition in (0, 1):
        for change in history.changes:
            if partition and change.user_id == "eve-7":
                continue
            assert change.source is not None
            event_id = f"{change.source.event_id}-{partition}"
            source = change.source.model_copy(update={"partition": partition, "event_id": event_id})
            change = change.model_copy(update={"source": source})  # noqa: PLW2901
            value = change.model_dump_json().encode()
            engine.change(Told(change, change.id), value, partition=partition)
            engine.membership(*membership_head(value))
        for user, profile in history.profiles.items():
            if partition and user == "eve-7":
                continue
            head = profile_head(profile.model_dump_json().encode())
            engine.profile(*head, now=0, partition=partition)
        engine.settle(caught_up=10, now=10)
    (split,) = violations.first
    assert split.kind is ViolationKind.SPLIT_USERS
    assert split.subject == "reviews"
    assert "segmenter intake" in split.detail
    assert not any(user in split.detail for user in history.profiles)


def test_a_profile_in_another_partition_tells_of_it_too() -> None:
    history = history_of({"ann": UserPath([1])})
    violations = Violations()
    engine = Engine(violations, settle_seconds=1)
    head = profile_head(history.profiles["ann"].model_dump_json().encode())
    for partition in (3, 3, 5, 5):
        engine.profile(*head, now=0, partition=partition)
    engine.settle(caught_up=10, now=10)
    assert violations.by_kind == {ViolationKind.SPLIT_USERS: 1}


def test_of_users_with_a_common_cause_nothing_is_collected() -> None:
    violations = Violations()
    violations.ignored = "ann".__eq__
    violations.add(ViolationKind.CHAIN, "ann", "a break")
    violations.add(ViolationKind.CHAIN, "bob", "a break")
    assert (len(violations), violations.first[0].subject) == (1, "bob")
