"""Users who have fallen silent are let go: state, segment and all, in one transaction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.records import Output, Record
from consumer.offline.replay import replay_file
from consumer.settings import Settings
from consumer.stages.segmentation import inactive
from consumer.stages.segmentation.inactive import PartitionClock, SilentUsers
from consumer.verify import decode, verify_folder
from consumer.verify.engine import Engine
from consumer.verify.ledger import MembershipFacts
from consumer.verify.report import Violations
from models.profiles.table import ProfileRows, ProfileTable
from schemas.changes import ChangeReason, ChangeStatus, SegmentChange
from tests.consumer.stages.stage_data import (
    EMBEDDER,
    NOW,
    TOPICS,
    Worker,
    a_model,
    changes_in,
    event,
    of,
    records,
    turned,
)

# 10 days without an event; the events of `event` are numbered by days.
SILENT = {"half_life_days": 5, "inactive_half_lives": 2}
FREE = {"dwell_events": 0}


@pytest.fixture(autouse=True)
def _one_user_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a partition is what one user has reached, where a test says nothing else."""
    monkeypatch.setattr(inactive, "_USERS", 1)


def worker(**sections) -> Worker:
    return Worker(a_model(), **{"assignment": FREE, "profile": SILENT, **sections})


def the_rest(outputs: list[Output]) -> list[tuple[str, bytes | None]]:
    """Topic and key of each tombstone."""
    return [(output.topic, output.key) for output in outputs if output.value is None]


def test_a_user_who_is_silent_for_longer_than_the_limit_leaves_and_is_forgotten():
    at_work = worker()
    at_work.run(records([event("u", 0), event("v", 5), event("w", 12)]))
    outputs = at_work.maintain()
    (change,) = changes_in(outputs)
    assert (change.user_id, change.status, change.reason) == (
        "u",
        ChangeStatus.EXITED,
        ChangeReason.INACTIVE,
    )
    assert change.previous_segment is not None
    assert (change.segment, change.sequence, change.source, change.occurred_at) == (
        None,
        2,
        None,
        None,
    )
    assert the_rest(outputs) == [
        ("segment-memberships", b"u"),
        ("user-profiles", b"u"),
        ("profile-samples", b"u"),
    ]
    assert at_work.state().keys() == {"v", "w"}
    assert at_work.stage.stats.let_go == {"users": 1, "accepted": 1, "repeated": 0}
    assert at_work.stage.stats.changes["exited", "inactive"] == 1
    assert at_work.maintain() == []


def test_without_the_setting_everybody_stays():
    at_work = worker(profile={"half_life_days": 5})
    at_work.run(records([event("u", 0), event("w", 140)]))
    assert at_work.maintain() == []
    assert at_work.state().keys() == {"u", "w"}


def test_a_user_exactly_at_the_limit_stays():
    at_work = worker()
    at_work.run(records([event("u", 0), event("w", 10)]))
    assert at_work.maintain() == []


def test_a_user_of_whom_nothing_was_published_goes_without_a_change():
    at_work = worker(assignment={"min_events": 3})
    at_work.run(records([event("u", 0), event("w", 12)]))
    outputs = at_work.maintain()
    assert changes_in(outputs) == []
    assert ("user-profiles", b"u") in the_rest(outputs)
    assert ("segment-memberships", b"u") not in the_rest(outputs)


def test_a_user_who_comes_back_begins_anew():
    at_work = worker()
    at_work.run(records([event("u", 0), event("u", 1, TOPICS[1]), event("w", 20)]))
    at_work.maintain()
    # The id that was known is news again, and so is the user.
    (entered,) = changes_in(
        at_work.run(records([event("u", 0, occurred_at=event("u", 21)["occurred_at"])]))
    )
    assert (entered.status, entered.sequence, entered.profile.events) == ("entered", 1, 1)


def test_events_of_a_user_who_was_let_go_make_nothing_anew_when_they_come_again():
    at_work = worker(dead_letters={"max_share": 1})
    first = [event("u", 0), event("u", 1, TOPICS[1])]
    at_work.run(records([*first, event("w", 20)]))
    at_work.maintain()
    again = at_work.run(records(first))
    assert [output.topic for output in again] == ["user-events.dlq"] * 2
    assert at_work.stage.stats.refused == {"time_too_old": 2}
    assert at_work.state().keys() == {"w"}


def test_a_late_event_of_a_user_who_is_known_counts_also_right_behind_the_first_one():
    at_work = worker()
    at_work.run(records([event("w", 20)]))
    at_work.run(records([event("u", 19), event("u", 2)]))
    at_work.run(records([event("u", 3)]))
    assert at_work.stage.stats.accepted.total() == 4
    assert at_work.stage.stats.refused == {}


def test_a_user_who_writes_before_the_look_stays():
    at_work = worker()
    at_work.run(records([event("u", 0), event("w", 12), event("u", 13)]))
    assert at_work.maintain() == []


def test_a_user_with_a_label_that_was_given_stays():
    at_work = worker(labels={"enabled": True})
    label = b'{"user_id": "u", "label": "hops", "labelled_at": "2026-01-01T00:00:00Z"}'
    given = Record("segment-labels", 0, 0, -1, b"u", label)
    at_work.run([*records([event("u", 0)]), given])
    at_work.run(records([event("w", 12)]))
    assert at_work.maintain() == []
    assert at_work.state().keys() == {"u", "w"}


def test_an_abort_keeps_everybody_and_the_next_look_lets_them_go():
    at_work = worker()
    at_work.run(records([event("u", 0), event("w", 12)]))
    first = at_work.stage.maintain(idle=False)
    at_work.stage.aborted()
    assert at_work.state().keys() == {"u", "w"}
    assert at_work.stage.stats.let_go == {}
    assert at_work.maintain() == first


def test_a_transaction_lets_no_more_go_than_it_may_and_the_next_ones_the_others():
    at_work = worker(batch={"reassign_users": 2})
    at_work.run(records([*(event(f"u{n}", 0) for n in range(5)), event("w", 12)]))
    sizes = []
    while (outputs := at_work.stage.maintain(idle=False)) is not None:
        at_work.stage.committed()
        sizes.append(len(changes_in(outputs)))
    assert sizes == [2, 2, 1]
    assert at_work.state().keys() == {"w"}


def test_a_partition_that_is_read_back_lets_go_of_who_was_silent_before():
    at_work = worker()
    written = of(at_work.run(records([event("u", 0), event("w", 12)])), "user-profiles")
    other = Worker(a_model(), partitions=(), assignment=FREE, profile=SILENT)
    restoration = other.stage.restoration(0)
    for offset, output in enumerate(written):
        restoration.load(Record(output.topic, 0, offset, -1, output.key, output.value))
    other.stage.assigned(0, restoration)
    assert [change.user_id for change in changes_in(other.maintain())] == ["u"]


def test_under_a_new_model_users_are_looked_at_first_and_who_is_silent_leaves_from_there():
    at_work = worker()
    at_work.run(records([event("u", 0), event("w", 12)]))
    at_work.source.model = turned(a_model())
    moves = [change for change in changes_in(at_work.maintain()) if change.user_id == "u"]
    assert [(change.reason, change.cause) for change in moves] == [
        ("model_update", "model"),
        ("inactive", "user"),
    ]
    assert moves[1].previous_segment == moves[0].segment


@pytest.mark.parametrize("seed", range(3))
def test_what_a_worker_writes_of_users_who_come_and_go_is_sound(seed: int):
    at_work = worker(batch={"reassign_users": 3})
    rng = np.random.default_rng(seed)
    outputs: list[Output] = []
    for day in range(0, 200, 2):
        users = rng.choice(12, 2, replace=False)
        texts = [TOPICS[rng.integers(2)] for _ in users]
        batch = records(
            event(f"u{user}", day, text) for user, text in zip(users, texts, strict=True)
        )
        outputs += at_work.run(batch) + at_work.maintain()
    violations = Violations()
    audit = Engine(violations)
    for output in outputs:
        user = (output.key or b"").decode()
        if output.topic == "segment-changes":
            change = SegmentChange.model_validate_json(output.value or b"")
            recorded = dict(output.headers)["ce_id"].decode()
            audit.change(decode.Told(change, recorded), decode.canonical(change))
        elif output.topic == "segment-memberships":
            facts = output.value and decode.membership(output.value)[1]
            audit.membership(user, facts if isinstance(facts, MembershipFacts) else None)
        elif output.topic == "user-profiles" and output.value is None:
            audit.profile(user, None)
    for record in at_work.state().values():
        user, facts = decode.profile(record.encode())
        audit.profile(user, facts)
    sums = audit.finish()
    assert violations.first == []
    gone = at_work.stage.stats.let_go
    assert gone["users"] > 5
    assert sums.accepted + gone["accepted"] == at_work.stage.stats.accepted.total()


# --- the time of a partition ----------------------------------------------------------------------


def test_a_date_that_is_far_ahead_makes_nobody_else_silent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inactive, "_USERS", 3)
    at_work = worker()
    at_work.run(records([event("wrong", 140), event("u", 0), event("v", 1), event("w", 2)]))
    assert at_work.maintain() == []
    # Who is new is welcome, at once and later.
    at_work.run(records([event("x", 3), event("u", 4), event("y", 1)]))
    assert at_work.maintain() == []
    assert at_work.state().keys() == {"wrong", "u", "v", "w", "x", "y"}
    assert at_work.stage.stats.refused == {}
    # As they go on, who does not is silent as ever.
    at_work.run(records([event("w", 13), event("x", 14)]))
    gone = {change.user_id for change in changes_in(at_work.maintain())}
    assert gone == {"v", "y"}


def test_where_fewer_users_write_than_it_takes_nobody_is_silent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inactive, "_USERS", 3)
    at_work = worker()
    at_work.run(records([event("u", 0), event("w", 140)]))
    at_work.run(records([event("v", 0)]))
    assert at_work.maintain() == []
    assert at_work.stage.stats.refused == {}
    at_work.run(records([event("x", 140)]))
    assert at_work.maintain() == []
    at_work.run(records([event("y", 140)]))
    assert {change.user_id for change in changes_in(at_work.maintain())} == {"u", "v"}


@given(
    st.lists(
        st.dictionaries(st.integers(0, 9), st.integers(1, 30), min_size=1, max_size=8), max_size=12
    ),
    st.integers(1, 5),
)
def test_the_time_is_what_so_many_users_have_reached_and_is_the_same_when_read_back(batches, users):
    table, times = ProfileTable(2, 2), {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inactive, "_USERS", users)
        clock = PartitionClock(table)
        before = 0
        for batch in batches:
            for user, time in batch.items():
                times[f"u{user}"] = max(time, times.get(f"u{user}", 0))
            rows = ProfileRows.empty([f"u{user}" for user in batch], 2, 2)
            rows.reference[:] = [times[user] for user in rows.users]
            table.put(rows)
            clock.see(rows)
            naive = sorted(times.values())[-users] if len(times) >= users else None
            assert clock.time == PartitionClock(table).time == naive
            assert (naive or 0) >= before
            before = naive or 0


# --- replays --------------------------------------------------------------------------------------


def test_a_replay_that_lets_users_go_adds_up(tmp_path: Path):
    lines = [event(f"u{n}", day) for n in range(4) for day in (0, 0, 1)]
    lines += [event("w", day) for day in range(12, 40)]
    lines += lines[:3]  # once more, behind everything
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    sections = {"batch": {"max_records": 8}, "dead_letters": {"max_share": 1}}
    settings = Settings(profile=SILENT, assignment=FREE, **sections)
    told = replay_file(events, tmp_path / "out", settings, EMBEDDER, model=a_model(), now=NOW)
    assert (told.users, told.accepted, told.repeated, told.refused) == (1, 8 + 28, 4, 3)
    assert [(each.reason, each.count) for each in told.refused_for] == [("time_too_old", 3)]
    assert told.let_go == {"users": 4, "accepted": 8, "repeated": 4}
    outcome = verify_folder(tmp_path / "out")
    assert (outcome.exit_code, outcome.violations) == (0, ())
    members = (tmp_path / "out" / "memberships.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["user_id"] for line in members] == ["w"]


def test_a_replay_looks_through_each_batch_once_for_events_that_come_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    looked = []
    late = SilentUsers.late

    def counting(self, prepared, *others):
        looked.append(len(prepared))
        return late(self, prepared, *others)

    monkeypatch.setattr(SilentUsers, "late", counting)
    events = tmp_path / "events.jsonl"
    days = [event("w", 20), event("x", 20), *(event("u", day) for day in range(4))]
    events.write_text("".join(json.dumps(each) + "\n" for each in days), encoding="utf-8")
    sections = {"batch": {"max_records": 2}, "dead_letters": {"max_share": 1}}
    settings = Settings(profile=SILENT, **sections)
    told = replay_file(events, tmp_path / "out", settings, EMBEDDER, model=a_model(), now=NOW)
    assert [(each.reason, each.count) for each in told.refused_for] == [("time_too_old", 4)]
    assert looked == [2, 2, 2]
