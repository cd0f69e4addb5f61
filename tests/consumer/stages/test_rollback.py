"""What operators order of the segment model, in the trainer's stage, with no broker."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.stages.training import versions
from consumer.stages.training.figures import figures
from consumer.stages.training.stage import TrainingStage
from consumer.verify.decode import Told
from consumer.verify.lifecycle import check_lifecycle
from consumer.verify.report import Violations
from consumer.verify.versions import VersionAudit
from models.clustering.clusterers.state import from_json
from schemas.lifecycle import LifecycleEvent
from schemas.model_control import KEPT_ANSWERS, ModelControlState, ModelOrder
from schemas.model_versions import ModelVersionRecord
from schemas.segments import SegmentState
from tests.consumer.stages.stage_data import ALL, NOW
from tests.consumer.stages.test_training import (
    OTHER,
    Trainer,
    a_snapshot,
    configured,
    models_in,
    samples,
)

CONTROL, VERSIONS = "segment-model-control", "segment-model-versions"
KEPT_TOPICS = ("segment-models", "profile-samples", VERSIONS, CONTROL)


def order(name: str, action: str, version: int | None = None, **fields: object) -> Record:
    given = {"action": action, "version": version, "at": NOW.isoformat(), "by": "op@host", **fields}
    return Record(CONTROL, 0, 0, -1, name.encode(), json.dumps(given).encode())


def answers_in(outputs: Sequence[Output]) -> list[tuple[bool, str]]:
    states = [o for o in outputs if (o.topic, o.key) == (CONTROL, b"state")]
    if not states:
        return []
    state = ModelControlState.model_validate_json(states[-1].value or b"")
    return [(answer.done, answer.detail) for answer in state.answers[-len(states) :]]


def versions_in(records: Sequence[Output | Record]) -> dict[int, ModelVersionRecord | None]:
    return {
        int(each.key or b""): each.value and ModelVersionRecord.model_validate_json(each.value)
        for each in records
        if each.topic == VERSIONS
    }


class Operated(Trainer):
    """An active trainer of some topics' worth of users, several versions old."""

    def __init__(self, history: Sequence[Record] = (), **training) -> None:
        super().__init__(history, **{"segments": 3, "sample_users": 200} | training)

    def again(self, **training) -> Operated:
        """Give one that takes over: only what is on topics is left."""
        found = [r for topic in KEPT_TOPICS for r in self.log if r.topic == topic]
        # Orders that are not answered would come as input.
        return Operated([r for r in found if r.topic != CONTROL or not _is_order(r)], **training)

    @property
    def version(self) -> int:
        return self.stage.published.version if self.stage.published else 0


def _is_order(record: Record) -> bool:
    return record.value is not None and record.key != b"state"


def grown(**training) -> Operated:
    """One that has published three versions or more, with segments born and retired."""
    trainer = Operated(**training)
    trainer.learn(samples(range(30)))
    for axis in (3, 5):
        for start in range(0, 160, 10):
            trainer.learn(samples(range(start, start + 10), first_axis=axis))
            trainer.idle()
    assert trainer.version >= 3
    return trainer


def lives(trainer: Trainer) -> None:
    """Hold all that was told of segments and versions against each other."""
    violations = Violations()
    told = [
        LifecycleEvent.model_validate_json(record.value or b"")
        for record in trainer.log
        if record.topic == "segment-lifecycle"
    ]
    model = trainer.stage.published.to_record()
    check_lifecycle([Told(event, event.id) for event in told], model, "topic", violations)
    audit = VersionAudit(VERSIONS, violations)
    for record in trainer.log:
        if record.topic == VERSIONS:
            audit.add(record.key, record.value, "here")
    audit.check_model(model)
    assert violations.first == []


# --- versions that are kept -----------------------------------------------------------------------


def test_each_version_is_kept_in_the_transaction_that_publishes_it():
    trainer = Operated()
    outputs = trainer.learn(samples(range(30)))
    ((number, kept),) = versions_in(outputs).items()
    (model,) = models_in(outputs)
    assert number == 1
    assert kept.model.model_copy(update={"learner": None}) == model.to_record().model_copy(
        update={"learner": None}
    )
    assert (kept.origin, kept.at, kept.order) == ("trainer", NOW, None)
    assert kept.settings["segments"] == 3


def test_older_versions_than_are_kept_get_tombstones_and_the_number_may_be_lowered():
    trainer = grown(kept_versions=2)
    last = trainer.version
    assert {n for n, kept in versions_in(trainer.log).items() if kept} == {last - 1, last}
    fewer = trainer.again(kept_versions=1)
    outputs = fewer.learn([order("a", "rollback", last - 1)])
    assert {n for n, kept in versions_in(outputs).items() if kept is None} == {last - 1, last}
    assert {n for n, kept in versions_in(outputs).items() if kept} == {last + 1}


def test_of_versions_that_are_large_the_oldest_go(monkeypatch: pytest.MonkeyPatch):
    trainer = grown()
    sizes = [len(record.value) for record in trainer.log if record.topic == VERSIONS]
    before = versions_in(trainer.log)
    most = 2 * max(sizes) + min(sizes) // 2
    monkeypatch.setattr(versions, "_MOST_BYTES", most)
    outputs = trainer.learn([order("a", "rollback", 1)])
    assert answers_in(outputs)[0][0]
    kept = {o.key: o.value for o in trainer.log if o.topic == VERSIONS}
    left = {int(key): value for key, value in kept.items() if value is not None}
    assert sorted(left) == [*range(trainer.version + 1 - len(left), trainer.version + 1)]
    assert 2 <= len(left) < len(before)
    assert sum(map(len, left.values())) <= most


def test_a_version_of_a_release_that_kept_none_is_kept_along_with_the_next_one():
    published = Record("segment-models", 0, 0, -1, b"segments", a_snapshot(7))
    trainer = Operated([published])
    trainer.learn(samples(range(60), first_axis=4))
    trainer.idle()
    kept = versions_in(trainer.log)
    assert sorted(kept)[:2] == [7, 8]
    assert (kept[7].origin, kept[7].at, kept[8].origin) == ("unknown", None, "trainer")
    assert answers_in(trainer.learn([order("a", "rollback", 7)]))[0][0]
    lives(trainer)


def test_a_version_is_kept_without_the_clusterers_own_state():
    trainer = Trainer(algorithm="dbstream")
    outputs = trainer.learn(samples(range(60)))
    outputs += trainer.idle() or []
    model = models_in(outputs)[-1]
    kept = versions_in(outputs)[model.version]
    assert from_json(model.learner)["clusterer"] is not None
    assert from_json(kept.model.learner) == from_json(model.learner) | {"clusterer": None}


# --- rollback -------------------------------------------------------------------------------------


def test_a_rollback_publishes_the_old_centres_as_the_next_version_and_freezes():
    trainer = grown()
    last, wanted = trainer.version, versions_in(trainer.log)[1].model
    outputs = trainer.learn([order("a", "rollback", 1)])
    (model,) = models_in(outputs)
    assert (model.version, model.rollback_of) == (last + 1, 1)
    assert [s.centre for s in model.to_record().segments] == [s.centre for s in wanted.segments]
    ((done, detail),) = answers_in(outputs)
    assert done
    assert detail.startswith(f"version {last + 1} is published, with the segments of version 1;")
    kept = versions_in(outputs)[last + 1]
    assert (kept.origin, kept.order, kept.model.rollback_of) == ("rollback", "a", 1)
    states = {
        int(o.key): o.value and SegmentState.model_validate_json(o.value)
        for o in outputs
        if o.topic == "segments"
    }
    assert {n for n, state in states.items() if state} == set(model.ids.tolist())
    assert trainer.stage.frozen
    assert trainer.stage.lifecycle["restored"] > 0
    lives(trainer)


def test_an_order_is_taken_off_the_topic_in_the_transaction_that_follows_it():
    outputs = grown().learn([order("a", "rollback", 1)])
    assert [o.value for o in outputs if (o.topic, o.key) == (CONTROL, b"a")] == [None]
    assert {o.partition for o in outputs if o.topic in (CONTROL, VERSIONS)} == {0}


def test_an_order_that_was_followed_is_not_followed_again():
    trainer = grown()
    trainer.learn([order("a", "rollback", 1)])
    assert trainer.learn([order("a", "rollback", 1)]) == []
    # The group has lost its offsets, and the log is not compacted yet.
    again = trainer.again()
    assert again.learn([order("a", "rollback", 1)]) == []
    assert again.version == trainer.version


def test_after_an_abort_nothing_has_happened():
    trainer = grown()
    last = trainer.version
    stage = trainer.stage
    assert models_in(stage.apply(stage.prepare([order("a", "rollback", 1)]), ALL))
    stage.aborted()
    assert stage.published.version == last
    again = trainer.again()
    assert not again.stage.frozen
    assert models_in(again.learn([order("a", "rollback", 1)]))[0].version == last + 1


def test_two_orders_at_once_are_followed_one_after_the_other():
    trainer = grown()
    last = trainer.version
    outputs = trainer.learn([order("a", "rollback", 1), order("b", "rollback", 2)])
    assert [(m.version, m.rollback_of) for m in models_in(outputs)] == [
        (last + 1, 1),
        (last + 2, 2),
    ]
    assert [done for done, _ in answers_in(outputs)] == [True, True]
    assert trainer.version == last + 2
    lives(trainer)


def test_the_same_rollback_twice_at_once_is_refused_the_second_time():
    trainer = grown()
    outputs = trainer.learn([order("a", "rollback", 1), order("b", "rollback", 1)])
    assert len(models_in(outputs)) == 1
    assert answers_in(outputs)[1] == (
        False,
        f"version {trainer.version}, which is in force, is the rollback to version 1 already",
    )


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        (order("a", "rollback", 99), "version 99 is not kept; those that are: 1-"),
        (order("a", "rollback"), "it names no version"),
        (order("a", "thaw"), "this trainer does not know thaw of format 1: upgrade it"),
        (order("a", "rollback", 1, schema_version=2), "does not know rollback of format 2"),
        (Record(CONTROL, 0, 0, -1, b"a", b"{"), "it cannot be read: "),
        (Record(CONTROL, 0, 0, -1, b"\xff", b"[]"), "it cannot be read: "),
        (order("a", "x" * 900_000), "it cannot be read: it has 900,"),
        (order("a" * 900_000, "freeze"), " bytes of at most 4,096"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_stops_nobody(given, detail):
    trainer = grown()
    last = trainer.version
    outputs = trainer.learn([given])
    ((done, told),) = answers_in(outputs)
    assert not done
    assert detail in told
    assert [o.value for o in outputs if o.key == given.key] == [None]
    assert (trainer.version, trainer.stage.frozen) == (last, False)
    # Fifty such answers fit into a record of a topic that takes 1 MB.
    assert all(len(o.value) < 10_000 for o in outputs if o.key == b"state")


def test_ids_that_are_no_text_are_told_apart():
    freeze = order("a", "freeze").value
    keys = (b"\xff", b"\xfe")
    outputs = grown().learn([Record(CONTROL, 0, 0, -1, key, freeze) for key in keys])
    assert [o.key for o in outputs if o.topic == CONTROL and o.value is None] == [*keys]


def test_the_version_in_force_is_refused():
    trainer = grown()
    outputs = trainer.learn([order("a", "rollback", trainer.version)])
    assert answers_in(outputs) == [(False, f"version {trainer.version} is the one in force")]


def test_a_version_of_another_embedding_model_is_refused():
    trainer = grown()
    kept = versions_in(trainer.log)[1]
    other = kept.model_copy(
        update={"model": kept.model.model_copy(update={"embedding": OTHER})}
    ).model_dump_json()
    trainer.log.append(Record(VERSIONS, 0, 0, -1, b"1", other.encode()))
    ((done, detail),) = answers_in(trainer.again().learn([order("a", "rollback", 1)]))
    assert not done
    assert "is of the embedding model 000000000000" in detail


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (lambda _: b'{"schema_version": 1}', "is no version of the segments"),
        (lambda value: value.replace(b'"next_id":', b'"next_id":1,"_":'), "is no version of the"),
        (lambda value: re.sub(rb'"next_id":\d+', b'"next_id":1', value), "give ascending ids"),
        (lambda value: re.sub(rb'"centre":"[^"]+"', b'"centre":"AAAA"', value), "buffer size"),
    ],
)
def test_a_kept_version_that_cannot_be_used_is_refused_and_stops_nobody(spoil, detail):
    trainer = grown()
    value = spoil(versions_in(trainer.log)[1].model_dump_json().encode())
    trainer.log.append(Record(VERSIONS, 0, 0, -1, b"1", value))
    again = trainer.again()
    ((done, told),) = answers_in(again.learn([order("a", "rollback", 1)]))
    assert not done
    assert detail in told
    assert (again.version, again.stage.frozen) == (trainer.version, False)


def test_a_key_that_is_no_version_is_refused_with_its_place():
    with pytest.raises(StageError, match=r"segment-model-versions\[0\]@3 .* its key is b'x'"):
        Trainer([Record(VERSIONS, 0, 3, -1, b"x", b"{}")])


def test_a_state_that_is_none_stops_a_trainer_until_there_is_a_null_in_its_place():
    foreign = Record(CONTROL, 0, 3, -1, b"state", b"[]")
    with pytest.raises(
        StageError, match=r"segment-model-control\[0\]@3 is no state of the control"
    ):
        Trainer([foreign])
    trainer = Trainer([foreign, Record(CONTROL, 0, 4, -1, b"state", None)])
    assert not trainer.stage.frozen


def test_before_the_first_version_there_is_nothing_to_go_back_to():
    assert answers_in(Operated().learn([order("a", "rollback", 1)])) == [
        (False, "there is no version yet")
    ]


def test_a_rollback_is_refused_that_did_not_see_another_one_whatever_was_learned_since():
    trainer = grown()
    last = trainer.version
    trainer.learn([order("a", "rollback", 1, seen=last)])
    trainer.learn([order("b", "unfreeze")])
    trainer.idle()
    anew(trainer)
    assert trainer.version > last + 1
    trainer = trainer.again()
    outputs = trainer.learn([order("c", "rollback", 2, seen=last)])
    assert answers_in(outputs) == [
        (
            False,
            f"version {last + 1}, the rollback to version 1, has come since: version {last} was "
            "in force when it was ordered",
        )
    ]
    outputs = trainer.learn([order("d", "rollback", 2, seen=last + 1)])
    assert answers_in(outputs)[0][0]


# --- frozen ---------------------------------------------------------------------------------------


def anew(trainer: Operated) -> list[Output]:
    """Give it what it would publish a version for."""
    outputs: list[Output] = []
    for start in range(0, 160, 10):
        outputs += trainer.learn(samples(range(start, start + 10), first_axis=1))
        outputs += trainer.idle() or []
    return outputs


@pytest.mark.parametrize("restarted", [False, True])
def test_while_it_is_frozen_no_version_is_published_and_users_are_sampled(restarted):
    trainer = grown()
    last = trainer.version
    trainer.learn([order("a", "freeze")])
    if restarted:
        trainer = trainer.again()
    assert models_in(anew(trainer)) == []
    assert (trainer.version, trainer.stage.sampled_users) == (last, 160)
    assert dict(figures(trainer.stage))["model_frozen"] is True


@pytest.mark.parametrize("restarted", [False, True])
def test_unfrozen_it_goes_on_from_the_rolled_back_version(restarted):
    trainer = grown()
    highest = trainer.stage.published.next_id
    trainer.learn([order("a", "rollback", 1)])
    back = trainer.version
    anew(trainer)
    if restarted:
        log, trainer = trainer.log, trainer.again()
        trainer.log = log
    outputs = trainer.learn([order("b", "unfreeze")])
    outputs += trainer.idle() or []
    outputs += anew(trainer)
    published = models_in(outputs)
    assert [model.version for model in published] == [*range(back + 1, back + 1 + len(published))]
    assert published
    born = {
        segment
        for model in published
        for segment, since in zip(model.ids.tolist(), model.since, strict=True)
        if since > back
    }
    assert born
    assert min(born) >= highest
    assert not trainer.stage.frozen
    lives(trainer)


def test_whether_it_was_restarted_while_frozen_makes_no_difference():
    outcomes = []
    for restarts in (0, 1):
        trainer = grown()
        trainer.learn([order("a", "rollback", 1)])
        anew(trainer)
        if restarts:
            trainer = trainer.again()
        outputs = trainer.learn([order("b", "unfreeze")])
        outputs += trainer.idle() or []
        outputs += trainer.learn(samples(range(160, 190), first_axis=1))
        outcomes.append([model.to_record() for model in models_in(outputs)])
    assert outcomes[0]
    assert outcomes[0] == outcomes[1]


def test_an_order_to_freeze_holds_for_the_samples_of_its_batch():
    trainer = Operated()
    outputs = trainer.learn([*samples(range(30)), order("a", "freeze")])
    assert models_in(outputs) == []
    assert trainer.idle() is None
    outputs = trainer.learn([order("b", "unfreeze")])
    outputs += trainer.idle() or []
    assert [model.version for model in models_in(outputs)] == [1]


def test_a_rollback_of_a_frozen_model_leaves_it_frozen_since_then():
    trainer = grown()
    trainer.learn([order("a", "freeze")])
    trainer.stage._clock = lambda: NOW + timedelta(hours=1)
    outputs = trainer.learn([order("b", "rollback", 1)])
    state = [o.value for o in outputs if o.key == b"state"][-1]
    told = ModelControlState.model_validate_json(state)
    assert (told.frozen, told.since, told.cause) == (True, NOW, "freeze")


def test_freezing_and_unfreezing_twice_changes_nothing():
    trainer = grown()
    found = [
        answers_in(trainer.learn([order(str(n), action)]))[0]
        for n, action in enumerate(["unfreeze", "freeze", "freeze", "unfreeze"])
    ]
    assert found == [
        (True, "it was not frozen"),
        (True, "no new version is learned"),
        (True, "it was frozen before"),
        (True, "versions are learned again"),
    ]


def test_a_provisional_version_can_be_gone_back_to_and_is_refined_once_unfrozen():
    trainer = Operated(provisional_users=40)
    trainer.learn(samples(range(30)))
    outputs = trainer.learn(samples(range(30, 60)))
    assert [model.version for model in models_in(outputs)] == [2]
    back = trainer.learn([order("a", "rollback", 1)])
    (state,) = {
        SegmentState.model_validate_json(o.value).provisional
        for o in back
        if o.topic == "segments" and o.value
    }
    assert state is True
    assert models_in(anew(trainer)) == []
    outputs = trainer.learn([order("b", "unfreeze")])
    outputs += trainer.learn(samples(range(60, 64)))
    (refined, *_) = models_in(outputs)
    assert refined.version == 4
    lives(trainer)


def test_only_the_latest_answers_are_kept():
    trainer = grown()
    orders = [order(f"o{n}", "freeze") for n in range(KEPT_ANSWERS + 3)]
    outputs = trainer.learn(orders)
    state = ModelControlState.model_validate_json(
        [o for o in outputs if o.key == b"state"][-1].value
    )
    assert [answer.id for answer in state.answers] == [f"o{n}" for n in range(3, KEPT_ANSWERS + 3)]


def test_a_trainer_that_stands_by_is_not_frozen():
    trainer = grown()
    trainer.learn([order("a", "freeze")])
    trainer.stage.revoked(0)
    assert not trainer.stage.frozen


def test_orders_are_read_beside_the_samples():
    assert TrainingStage(configured()).inputs == ("profile-samples", CONTROL)


def test_an_order_of_a_partition_that_is_not_assigned_is_left_alone():
    stage = grown().stage
    assert stage.apply(stage.prepare([order("a", "freeze")]), frozenset()) == []
    assert not stage.frozen


def test_an_order_may_have_fields_of_a_later_release():
    assert ModelOrder.model_validate_json(order("a", "freeze", why="x").value)
    assert np.all([answers_in(grown().learn([order("a", "freeze", why="x")]))[0][0]])
