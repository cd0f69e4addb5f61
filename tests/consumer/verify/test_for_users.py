"""What verify says of items for single users, right ones and broken ones, with no broker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from consumer.contract.records import Record
from consumer.verify.for_users import UserItemAudit
from consumer.verify.report import ViolationKind, Violations
from tests.consumer.stages.stage_data import TOPICS, event, records
from tests.consumer.stages.test_for_users import UsersWorker

Kind = ViolationKind
PROFILES, ITEMS = "user-profiles", "user-recommendations"
Log = list[Record]


def a_run() -> dict[str, Log]:
    """Give what a worker wrote of three users, two of whom have items, and lets one go."""
    worker = UsersWorker(profile={"half_life_days": 1, "inactive_half_lives": 5})
    logs: dict[str, Log] = {PROFILES: [], ITEMS: []}
    batches = [
        [event("a", 1, item_id="a"), event("b", 1, TOPICS[1]), event("gone", 0)],
        [event("a", 2, item_id="x"), event("b", 3, TOPICS[1], item_id="e")],
        [event(f"u{number}", 9) for number in range(10)] + [event(user, 9) for user in "ab"],
    ]
    for batch in batches:
        for output in [*worker.run(records(batch)), *worker.maintain()]:
            if output.topic in logs:
                log = logs[output.topic]
                partition = output.partition or 0
                log.append(Record(output.topic, partition, len(log), -1, output.key, output.value))
    return logs


def audit(logs: dict[str, Log]) -> tuple[Counter[Kind], list[str], list[str]]:
    found = Violations()
    own = UserItemAudit(UsersWorker().settings, found)
    for record in logs[PROFILES]:
        own.profile(record)
    for record in logs[ITEMS]:
        own.recommendation(record)
    own.judge()
    return found.by_kind, own.unchecked, [each.detail for each in found.first]


def test_what_a_worker_wrote_is_right() -> None:
    logs = a_run()
    assert [each.key for each in logs[ITEMS] if each.value is None] == [b"gone"]
    assert audit(logs) == (Counter(), [], [])


def last_of(log: Log, key: bytes) -> int:
    return max(number for number, each in enumerate(log) if each.key == key)


def without(topic: str, key: bytes) -> Callable[[dict[str, Log]], None]:
    def change(logs: dict[str, Log]) -> None:
        del logs[topic][last_of(logs[topic], key)]

    return change


def edited(key: bytes, **fields: object) -> Callable[[dict[str, Log]], None]:
    def change(logs: dict[str, Log]) -> None:
        at = last_of(logs[ITEMS], key)
        value = json.loads(logs[ITEMS][at].value or b"") | fields
        logs[ITEMS][at] = replace(logs[ITEMS][at], value=json.dumps(value).encode())

    return change


def moved(logs: dict[str, Log]) -> None:
    at = last_of(logs[ITEMS], b"a")
    logs[ITEMS][at] = replace(logs[ITEMS][at], partition=1)


def garbled(logs: dict[str, Log]) -> None:
    logs[ITEMS].append(replace(logs[ITEMS][last_of(logs[ITEMS], b"a")], value=b"{}"))


OWNED = [{"item_id": "a", "score": 0.5, "reason": "popular"}]


@pytest.mark.parametrize(
    ("change", "kinds", "said"),
    [
        (without(ITEMS, b"gone"), {Kind.RECOMMENDATION_DIFFERS: 1}, "there is no profile"),
        (without(ITEMS, b"b"), {Kind.RECOMMENDATION_DIFFERS: 1}, "other items than the profile"),
        (without(ITEMS, b"u3"), {Kind.RECOMMENDATION_DIFFERS: 1}, "has no items of a user"),
        (edited(b"a", items=OWNED), {Kind.RECOMMENDATION_DIFFERS: 2}, "has 1 items that the user"),
        (edited(b"a", user_id="b"), {Kind.WRONG_KEY: 1}, "another key than its user"),
        (moved, {Kind.RECOMMENDATION_DIFFERS: 2}, "no profile there"),
        (garbled, {Kind.MALFORMED: 1}, "not as its contract says"),
    ],
)
def test_what_does_not_fit_is_found(
    change: Callable[[dict[str, Log]], None], kinds: dict[Kind, int], said: str
) -> None:
    logs = a_run()
    change(logs)
    found, unchecked, details = audit(logs)
    assert (found, unchecked) == (kinds, [])
    assert any(said in detail for detail in details)


def test_records_of_before_the_setting_was_taken_back_are_named_as_not_checked() -> None:
    logs = a_run()
    worker = UsersWorker(recommendations={})
    # It keeps nothing of items: the profile says nothing of them any more.
    for output in worker.run(records([event("a", 1)])):
        if output.topic == PROFILES:
            logs[PROFILES].append(Record(PROFILES, 0, 99, -1, output.key, output.value))
    found, [unchecked], _ = audit(logs)
    assert not found
    assert "items for 1 users are of a time before" in unchecked
