"""Taking a new model up between batches: each user sees what it would have seen by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.records import Output, Record
from consumer.stages.segmentation.figures import figures
from consumer.verify.oracle import differences
from models.profiles.table import ProfileTable
from models.segments.history import History
from models.segments.model import SegmentModel
from schemas.changes import ChangeReason, SegmentChange
from schemas.lifecycle import RetiredSegment
from tests.consumer.contract.scripted_clock import Clock
from tests.consumer.stages.label_data import Worker as LabelWorker
from tests.consumer.stages.label_data import a_label_model, on
from tests.consumer.stages.stage_data import (
    EMBEDDER,
    TOPICS,
    Worker,
    a_model,
    changes_in,
    event,
    of,
    records,
    turned,
)

TEXTS = (*TOPICS, "cats whiskers paws purring fur")
USERS = [f"u{n}" for n in range(6)]
SETTINGS = on(
    batch={"reassign_users": 2},
    assignment={"dwell_events": 2},
    profile={"half_life_days": 2},
    labels={"dwell_events": 1},
)

Batch = list[tuple[int, int, int]]
"""Events by user, number and text."""
Step = tuple[str, Any]

_events = st.tuples(
    st.integers(0, len(USERS) - 1), st.integers(1, 40), st.integers(0, len(TEXTS) - 1)
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), st.lists(_events, min_size=1, max_size=6)),
        st.tuples(st.just("shared"), st.lists(_events, min_size=1, max_size=6)),
        st.tuples(st.just("abort"), st.lists(_events, min_size=1, max_size=6)),
        st.tuples(st.just("model"), st.permutations([0, 1, 2]).map(tuple)),
        st.tuples(st.just("rollback"), st.permutations([0, 1, 2]).map(tuple)),
        st.tuples(st.just("labels"), st.booleans()),
        st.tuples(st.just("pieces"), st.integers(1, 3)),
        st.tuples(st.just("restart"), st.none()),
    ),
    min_size=4,
    max_size=24,
)


def model_of(version: int, order: tuple[int, ...], *, rollback: bool = False) -> SegmentModel:
    """Segments whose ids stand for other texts in each version; every third lacks one."""
    kept = order[: 2 if version % 3 == 0 else 3]
    centres = EMBEDDER.embed([TEXTS[n] for n in kept]).astype(np.float64)
    texts = tuple(TEXTS[n] for n in kept)
    back = version - 1 if rollback and version > 1 else None
    return a_model(version, texts, centres=centres, rollback_of=back)


@dataclass
class Followed:
    """A worker that takes models up piece by piece, and whom else is told of it.

    `seen` is called whenever a user is looked at, or first seen, under the present models.
    """

    seen: Callable[[str], None] = lambda _: None
    worker: LabelWorker = field(init=False)
    changes: list[SegmentChange] = field(default_factory=list)
    log: dict[str, Record] = field(default_factory=dict)
    offset: int = 0

    def __post_init__(self) -> None:
        self.worker = LabelWorker(model=None, settings=SETTINGS)

    @property
    def table(self) -> ProfileTable:
        return self.worker.stage.tables[0]

    def left(self) -> set[str]:
        rows = self.table.unlooked(self.worker.stage._reassignment.epoch, len(self.table))
        return set(self.table.states(rows).users)

    def take(self, outputs: Iterable[Output]) -> None:
        outputs = list(outputs)
        self.changes += changes_in(outputs)
        for output in of(outputs, "user-profiles"):
            key = output.key or b""
            self.log[key.decode()] = Record("user-profiles", 0, 0, -1, key, output.value)

    def records(self, batch: Batch) -> list[Record]:
        made = records(event(USERS[user], number, TEXTS[text]) for user, number, text in batch)
        self.offset += len(made)
        return made

    def batch(self, batch: list[Record], *, abort: bool = False, shared: bool = False) -> None:
        stage = self.worker.stage
        if abort:
            stage.apply(stage.prepare(batch), frozenset([0]))
            stage.share(1.0)
            stage.aborted()
        writers = {(record.key or b"").decode() for record in batch}
        outputs = list(stage.apply(stage.prepare(batch), frozenset([0])))
        if shared:
            outputs += stage.share(1.0)
        before = self.left()
        stage.committed()
        left = self.left()
        assert shared or not before - left - writers
        for user in sorted((before | writers) - left):
            self.seen(user)
        self.take(outputs)

    def piece(self) -> bool:
        stage = self.worker.stage
        outputs = stage.maintain(idle=False)
        if outputs is None:
            return False
        before = self.left()
        stage.committed()
        for user in sorted(before - self.left()):
            self.seen(user)
        self.take(outputs)
        return True

    def restart(self) -> None:
        former, self.worker = self.worker, LabelWorker(model=None, settings=SETTINGS)
        restoration = self.worker.stage.restoration(0)
        for record in self.log.values():
            restoration.load(record)
        self.worker.stage.revoked(0)
        self.worker.source.model = former.source.model
        self.worker.labels.model = former.labels.model
        self.worker.stage.assigned(0, restoration)


class AllAtOnce:
    """A worker that looks at all its users before anything else."""

    def __init__(self) -> None:
        self.worker = LabelWorker(model=None, settings=SETTINGS)
        self.changes: list[SegmentChange] = []

    def look(self, model: SegmentModel | None, labels: Any) -> None:
        self.worker.source.model, self.worker.labels.model = model, labels
        self.changes += changes_in(self.worker.maintain())

    def batch(self, batch: list[Record]) -> None:
        self.changes += changes_in(self.worker.run(batch))


def unshared(change: SegmentChange) -> SegmentChange:
    return change.model_copy(update={"shares": None})


def play(steps: list[Step], *, drain: bool) -> tuple[Followed, dict[str, AllAtOnce], AllAtOnce]:
    """Take steps with a worker, with one for each user alone, and with one that looks at all.

    Each of the second kind is given only the events of its user, and models when the first one
    looks at that user under them. With `drain` a model is taken up before anything else comes.
    """
    alone: dict[str, AllAtOnce] = defaultdict(AllAtOnce)
    whole = AllAtOnce()
    followed = Followed()
    source = followed.worker

    def seen(user: str) -> None:
        alone[user].look(followed.worker.source.model, followed.worker.labels.model)

    followed.seen = seen
    version = 0
    for kind, what in steps:
        if kind in ("model", "labels", "rollback"):
            version += 1
            source = followed.worker
            if kind == "labels":
                source.labels.model = a_label_model(version, swap=what)
            else:
                source.source.model = model_of(version, what, rollback=kind == "rollback")
            whole.look(source.source.model, source.labels.model)
            while drain and followed.piece():
                pass
        elif kind in ("batch", "shared", "abort"):
            batch = followed.records(what)
            followed.batch(batch, abort=kind == "abort", shared=kind == "shared")
            for record in batch:
                alone[(record.key or b"").decode()].batch([record])
            whole.batch(batch)
        elif kind == "pieces":
            for _ in range(what):
                followed.piece()
        else:
            followed.restart()
    while followed.piece():
        pass
    return followed, alone, whole


@settings(max_examples=40)
@given(_steps)
def test_each_user_sees_what_a_worker_of_its_own_would_have_seen(steps: list[Step]) -> None:
    followed, alone, _ = play(steps, drain=False)
    for user, other in alone.items():
        mine = [change for change in followed.changes if change.user_id == user]
        # Which events a change names depends on what came in one transaction.
        assert [*map(unshared, mine)] == [*map(unshared, other.changes)]
        assert followed.worker.state()[user] == other.worker.state()[user]
        versions = [change.model.version for change in mine]
        assert versions == sorted(versions)


@settings(max_examples=40)
@given(_steps)
def test_models_that_are_taken_up_before_anything_else_comes_change_users_as_all_at_once(
    steps: list[Step],
) -> None:
    followed, _, whole = play(steps, drain=True)
    assert list(differences(whole.changes, followed.changes)) == []
    assert followed.worker.state() == whole.worker.state()


# --- what the oracle still finds ----------------------------------------------------------------


def a_take_up(users: int = 5) -> tuple[list[SegmentChange], list[SegmentChange]]:
    """Changes of users of whom all change with each of two versions: all at once, and piecewise."""
    batches: list[Batch] = [[(n, number, 0) for n in range(users)] for number in (1, 2)]
    # Under the first model, and under one that is taken back to, nobody goes on as before.
    models: list[Step] = [("model", (0, 1, 2)), ("rollback", (1, 0, 2))]
    steps = [("batch", batches[0]), models[0], ("pieces", 3), ("batch", batches[1][:2]), models[1]]
    followed, _, whole = play([*steps, ("batch", batches[1][2:])], drain=False)
    assert [c.user_id for c in followed.changes] != [c.user_id for c in whole.changes]
    assert len(whole.changes) == 2 * users
    return whole.changes, followed.changes


def test_the_oracle_takes_users_in_another_order_for_the_same() -> None:
    expected, found = a_take_up()
    assert list(differences(expected, found)) == []


def test_the_oracle_finds_a_change_under_an_older_version_after_one_under_a_newer() -> None:
    expected, found = a_take_up()
    first, second = [n for n, change in enumerate(found) if change.user_id == "u3"]
    assert found[first].model.version < found[second].model.version
    found[first], found[second] = found[second], found[first]
    (told,) = differences(expected, found)
    assert "of user 'u3', of model version 1, came after change" in told


def test_the_oracle_finds_a_user_who_was_left_out() -> None:
    expected, found = a_take_up()
    left_out = [c for c in found if (c.user_id, c.model.version) != ("u4", 2)]
    (told,) = differences(expected, left_out)
    assert "of user 'u4' is missing" in told


# --- pieces -------------------------------------------------------------------------------------


class Ticking(Clock):
    """A clock that goes on by a second whenever it is looked at."""

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def a_worker(users: int, clock: Clock, **batch: Any) -> Worker:
    """A worker of users who all enter a segment with the model that has come."""
    worker = Worker(batch=batch)
    worker.run(records(event(f"u{n}", 1) for n in range(users)))
    worker.stage._reassignment._now = clock.monotonic
    worker.source.model = a_model()
    return worker


def piece(worker: Worker) -> list[str]:
    """Users who change in one piece."""
    outputs = worker.stage.maintain(idle=False)
    assert outputs is not None
    worker.stage.committed()
    return [change.user_id for change in changes_in(outputs)]


def test_a_piece_ends_when_its_time_is_up_and_the_next_one_goes_on_behind_it() -> None:
    worker = a_worker(200, Ticking())
    pieces = []
    while worker.stage.maintain(idle=False) is not None:
        worker.stage.aborted()
        pieces.append(piece(worker))
    assert all(0 < len(users) <= 64 for users in pieces)
    everybody = sorted(f"u{n}" for n in range(200))
    assert sorted(user for users in pieces for user in users) == everybody


def test_users_are_looked_at_in_one_order_however_long_a_piece_lasts() -> None:
    """A replay's files are the same bytes on every machine."""
    short, long = (a_worker(200, clock, reassign_users=150) for clock in (Ticking(), Clock()))
    first = [change.user_id for change in changes_in(short.maintain())]
    assert first == [change.user_id for change in changes_in(long.maintain())]


def test_who_was_found_to_move_and_wrote_meanwhile_is_not_moved_again() -> None:
    worker = a_worker(200, Ticking())
    assert len(piece(worker)) == 64
    (change,) = changes_in(worker.run(records([event("u100", 2)])))
    assert change.reason is ChangeReason.FIRST_ASSIGNMENT
    rest = changes_in(worker.maintain())
    assert len(rest) == 200 - 64 - 1
    assert "u100" not in {change.user_id for change in rest}


def test_while_time_lasts_a_piece_goes_on_to_as_many_users_as_a_transaction_may_have() -> None:
    worker = a_worker(50, Clock(), reassign_users=30)
    assert [len(piece(worker)), len(piece(worker))] == [30, 20]
    assert worker.stage.maintain(idle=False) is None


def test_users_who_do_not_move_are_judged_without_their_words_and_event_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = a_worker(50, Clock())
    worker.maintain()
    gathered: list[str] = []
    gather = ProfileTable.gather

    def watched(table: ProfileTable, users: Any) -> Any:
        gathered.extend(users)
        return gather(table, users)

    monkeypatch.setattr(ProfileTable, "gather", watched)
    worker.source.model = a_model(2)
    assert worker.stage.maintain(idle=False) == []
    worker.stage.committed()
    assert gathered == []
    assert worker.stage.maintain(idle=False) is None
    assert worker.stage.settled


# --- events of users who were not looked at yet -------------------------------------------------

FREE = {"dwell_events": 0, "margin_share": 0.0, "thin_margin_share": 0.0}
OTHER = {"occurred_at": "2026-05-01T00:00:00Z"}  # so late that little of the former events is left


def told(outputs: Iterable[Output]) -> list[tuple[str, int, int | None, str]]:
    """Who changes under which version, where to, and why."""
    return [
        (c.user_id, c.model.version, c.segment.id if c.segment else None, str(c.reason))
        for c in changes_in(outputs)
    ]


def test_an_event_of_who_was_not_looked_at_yet_is_decided_under_the_former_version() -> None:
    worker = Worker(a_model(), assignment=FREE)
    worker.run(records([event("u", 1), event("v", 1)]))
    worker.source.model = turned(a_model())
    # Under the former version this event moves, and under the newer one it would not.
    batch = records([event("u", 2, TOPICS[1], **OTHER), event("new", 1)])
    outputs = worker.run(batch)
    assert told(outputs) == [("u", 1, 1, "behaviour"), ("new", 2, 1, "behaviour")]
    first, _ = changes_in(outputs)
    assert (first.cause, first.source.event_id if first.source else None) == ("user", "u-2")
    assert not worker.stage.settled
    assert told(worker.maintain()) == [("u", 2, 0, "model_update"), ("v", 2, 1, "model_update")]
    assert worker.stage.settled


def test_once_all_were_looked_at_the_former_model_is_let_go() -> None:
    worker = Worker(a_model())
    worker.run(records([event("u", 1)]))
    worker.source.model = turned(a_model())
    worker.run(records([event("u", 2)]))
    assert worker.stage._reassignment.former is not None
    assert dict(figures(worker.stage))["users_to_look_at"] == 1
    worker.maintain()
    assert dict(figures(worker.stage))["users_to_look_at"] == 0
    assert worker.stage._reassignment.former is None


def test_who_was_not_looked_at_under_the_former_version_either_is_looked_at_with_an_event() -> None:
    worker = Worker(a_model())
    worker.run(records([event("u", 1), event("v", 1)]))
    worker.source.model = turned(a_model())
    assert told(worker.run(records([event("v", 2)]))) == []
    worker.source.model = replace(turned(a_model()), version=3)
    assert told(worker.run(records([event("u", 2), event("w", 1)]))) == [
        ("u", 3, 1, "model_update"),
        ("w", 3, 1, "behaviour"),
    ]


def test_what_an_operator_takes_back_decides_on_nobody_any_more() -> None:
    worker = Worker(turned(a_model()), assignment=FREE)
    worker.run(records([event("u", 1), event("v", 1)]))
    worker.source.model = a_model(3, rollback_of=1)
    assert told(worker.run(records([event("u", 2)]))) == [("u", 3, 0, "rollback")]
    assert told(worker.maintain()) == [("v", 3, 0, "rollback")]


def test_a_newer_label_model_leaves_an_event_to_the_former_one_as_well() -> None:
    worker = LabelWorker(a_label_model(), settings=on(assignment=FREE, labels={"dwell_events": 0}))
    worker.run(records([event("u", 1)]))
    worker.labels.model = a_label_model(2, swap=True)
    (change,) = changes_in(worker.run(records([event("u", 2, TOPICS[1], **OTHER)])))
    assert change.label is not None
    assert (change.model.version, change.label.version, change.label.name) == (1, 1, "physicists")
    (change,) = changes_in(worker.maintain())
    assert change.label is not None
    assert (change.reason, change.label.version, change.label.name) == (
        "label_changed",
        2,
        "brewers",
    )


def test_models_of_segments_and_of_labels_that_come_at_once_begin_one_take_up() -> None:
    worker = LabelWorker(a_label_model(), settings=on(assignment=FREE, labels={"dwell_events": 0}))
    worker.run(records([event("u", 1)]))
    worker.source.model, worker.labels.model = turned(a_model()), a_label_model(2, swap=True)
    assert told(worker.run(records([event("u", 2)]))) == []
    assert told(worker.maintain()) == [("u", 2, 1, "model_update")]


def without(model: SegmentModel, segment: int, successor: int) -> SegmentModel:
    """The next version, in which a segment is merged into another one."""
    rows = np.flatnonzero(model.ids != segment)
    gone = RetiredSegment(
        id=segment,
        successor=successor,
        version=model.version + 1,
        since=1,
        parents=[],
    )
    return replace(
        model,
        version=model.version + 1,
        history=History(retired=(gone,)),
        **{name: getattr(model, name)[rows] for name in ("ids", "centres", "radii", "sizes")},
        **{
            name: tuple(getattr(model, name)[row] for row in rows)
            for name in ("labels", "words", "since")
        },
    )


def test_nobody_is_put_into_a_segment_that_a_newer_version_has_retired() -> None:
    model = a_model(1, TEXTS)
    worker = Worker(model, assignment=FREE)
    users = {"in": 1, "going": 0, "staying": 0, "away": 2}
    worker.run(records(event(user, 1, TEXTS[n]) for user, n in users.items()))
    worker.source.model = without(model, 1, successor=0)
    batch = [event("in", 2, TEXTS[1]), event("going", 2, TEXTS[1], **OTHER)]
    batch += [event("staying", 2, TEXTS[0]), event("away", 2, TEXTS[0], **OTHER)]
    outputs = worker.run(records(batch))
    # Who would go there, or is there, is looked at as before the event.
    assert told(outputs) == [("in", 2, 0, "segment_merged"), ("away", 1, 0, "behaviour")]
    assert {each.user_id for each in changes_in(worker.maintain())} == set()
    assert worker.stage.settled


def test_after_a_restart_amid_a_take_up_users_are_looked_at_with_their_events() -> None:
    followed = Followed()
    followed.worker.source.model = model_of(1, (0, 1, 2))
    followed.batch(followed.records([(0, 1, 0), (1, 1, 0)]))
    followed.worker.source.model = model_of(2, (1, 0, 2))
    followed.batch(followed.records([(0, 2, 0)]))
    assert [change.model.version for change in followed.changes] == [1, 1]
    followed.restart()
    followed.batch(followed.records([(0, 3, 0)]))
    assert [(c.user_id, c.model.version) for c in followed.changes[2:]] == [("u0", 2)]


def test_users_of_a_batch_who_are_left_do_not_keep_a_piece_from_others() -> None:
    """Not even where a piece may have fewer users than the batch, and theirs come first."""
    worker = Worker(a_model(), batch={"reassign_users": 2})
    worker.run(records(event(f"u{n}", 1) for n in range(6)))
    worker.source.model = turned(a_model())
    outputs = worker.apply(records([event(f"u{n}", 2) for n in range(3)]))
    outputs += worker.stage.share(1.0)
    worker.stage.committed()
    assert [change.user_id for change in changes_in(outputs)] == ["u3", "u4"]
    assert sorted(change.user_id for change in changes_in(worker.maintain())) == [
        *("u0", "u1", "u2", "u5"),
    ]


def test_who_is_nearer_to_another_segment_and_stays_is_looked_at_and_leaves_no_trace() -> None:
    worker = Worker(a_model(), assignment={"margin_share": 0.9})
    worker.run(records(event(f"u{n}", 1, f"{TOPICS[0]} qubit photon") for n in range(3)))
    worker.run(records(event(f"v{n}", 1) for n in range(3)))
    before = worker.state()
    worker.source.model = turned(a_model())
    outputs = worker.stage.maintain(idle=False)
    assert outputs is not None
    worker.stage.committed()
    moved = sorted(change.user_id for change in changes_in(outputs))
    assert moved == ["v0", "v1", "v2"]
    assert sorted(output.key or b"" for output in of(outputs, "user-profiles")) == [
        user.encode() for user in moved
    ]
    assert {user for user, state in worker.state().items() if state != before[user]} == {*moved}
    assert worker.stage.maintain(idle=False) is None
    assert worker.stage.settled


def test_a_piece_in_a_batchs_transaction_leaves_the_batchs_users_to_it() -> None:
    worker = a_worker(6, Clock())
    outputs = worker.apply(records([event("u1", 2), event("u4", 2)]))
    outputs += worker.stage.share(1.0)
    written = [(output.key or b"").decode() for output in of(outputs, "user-profiles")]
    assert sorted(written) == [f"u{n}" for n in range(6)]
    assert sorted(change.user_id for change in changes_in(outputs)) == sorted(written)
    assert not worker.stage.settled
    worker.stage.committed()
    assert worker.stage.maintain(idle=False) is None
    assert worker.stage.settled
    assert worker.stage.share(1.0) == []


def test_of_a_batch_that_is_aborted_with_a_piece_in_it_everybody_is_looked_at_again() -> None:
    worker = a_worker(6, Clock())
    worker.apply(records([event("u1", 2)]))
    worker.stage.share(1.0)
    worker.stage.aborted()
    assert sorted(piece(worker)) == [f"u{n}" for n in range(6)]
