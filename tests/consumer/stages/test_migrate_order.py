"""What the trainer makes of the order to bring a running group to another embedding model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from consumer.contract.records import Record
from models.profiles.sample import UserSample
from models.segments.carry_over import MemberSums, carry_over
from models.segments.model import SegmentModel
from schemas.model_control import ModelControlState
from tests.consumer.stages.test_rollback import (
    CONTROL,
    Operated,
    answers_in,
    grown,
    lives,
    order,
    versions_in,
)
from tests.consumer.stages.test_training import EMBEDDING, models_in, samples

FOLLOWING = "d" * 64


def carried(trainer: Operated) -> SegmentModel:
    """The segments in force under the next model: the same places, turned round."""
    current = trainer.stage.published
    assert current is not None
    members = MemberSums(8)
    members.add(
        current.centres[:, ::-1].copy(), np.ones(len(current.ids)), current.ids.astype(np.int64)
    )
    model = carry_over(current, members, UserSample(10), FOLLOWING)
    assert model is not None
    return model


def to_migrate(trainer: Operated, name: str = "a", **fields: object) -> Record:
    given = {
        "model": json.loads(carried(trainer).to_record().model_dump_json()),
        "seen": trainer.version,
        **fields,
    }
    return order(name, "migrate", **given)


def state_of(trainer: Operated) -> ModelControlState:
    states = [r for r in trainer.log if (r.topic, r.key) == (CONTROL, b"state")]
    return ModelControlState.model_validate_json(states[-1].value or b"")


def test_the_version_is_published_once_and_learning_waits() -> None:
    trainer = grown()
    before = trainer.stage.published
    outputs = trainer.learn([to_migrate(trainer)])
    assert before is not None
    (model,) = models_in(outputs)
    assert (model.version, model.embedding) == (before.version + 1, FOLLOWING)
    assert (model.migrated_from, model.ids.tolist()) == (EMBEDDING, before.ids.tolist())
    ((done, detail),) = answers_in(outputs)
    assert done, detail
    assert versions_in(outputs)[model.version].origin == "migration"
    state = state_of(trainer)
    assert (state.frozen, state.cause, state.former_embedding) == (True, "migrate", EMBEDDING)
    assert trainer.stage.sampled_users == 0
    lives(trainer)


def test_samples_of_the_former_model_are_passed_over_and_those_of_the_next_are_kept() -> None:
    trainer = grown()
    trainer.learn([to_migrate(trainer)])
    trainer.learn(samples(range(5)))
    trainer.learn(samples(range(3, 9), embedding=FOLLOWING))
    assert trainer.stage.sampled_users == 6
    again = trainer.again()
    assert again.stage.published is not None
    assert (again.stage.sampled_users, again.stage.published.embedding) == (6, FOLLOWING)
    assert again.stage.frozen
    again.learn(samples(range(2)))
    assert again.stage.sampled_users == 6


def test_behind_the_change_the_trainer_learns_on_from_the_users_of_the_next_model() -> None:
    trainer = grown()
    trainer.learn([to_migrate(trainer)])
    trainer.learn(samples(range(60), embedding=FOLLOWING))
    version = trainer.version
    trainer.learn([order("b", "unfreeze")])
    trainer.learn(samples(range(60, 120), embedding=FOLLOWING, first_axis=4))
    trainer.idle()
    assert trainer.version > version
    published = trainer.stage.published
    assert published is not None
    assert (published.embedding, published.migrated_from) == (FOLLOWING, None)
    lives(trainer)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seen": 1}, "with version 1 in view"),
        ({"seen": None}, "in view"),
    ],
)
def test_it_is_refused_where_it_does_not_fit_the_version_in_force(
    change: dict[str, object], why: str
) -> None:
    trainer = grown()
    version = trainer.version
    outputs = trainer.learn([to_migrate(trainer, **change)])
    ((done, detail),) = answers_in(outputs)
    assert not done
    assert why in detail
    assert (trainer.version, trainer.stage.frozen) == (version, False)


def test_it_is_refused_where_the_models_are_others() -> None:
    trainer = grown()
    for name, wrong in (("a", {"embedding": EMBEDDING}), ("b", {"migrated_from": "e" * 64})):
        model = replace(carried(trainer), **wrong).to_record()
        record = to_migrate(trainer, name, model=json.loads(model.model_dump_json()))
        ((done, detail),) = answers_in(trainer.learn([record]))
        assert not done
        assert "the segments are of the embedding model" in detail


def test_what_the_operator_has_frozen_stays_so_by_that() -> None:
    trainer = grown()
    trainer.learn([order("f", "freeze")])
    trainer.learn([to_migrate(trainer)])
    assert state_of(trainer).cause == "freeze"


def test_a_long_order_is_read_for_its_model_alone() -> None:
    trainer = grown()
    ((done, detail),) = answers_in(trainer.learn([to_migrate(trainer, padding="x" * 5000)]))
    assert not done
    assert "bytes of at most 4,096" in detail
    record = order("g", "freeze", padding='"model"' + "x" * 5000)
    ((done, _),) = answers_in(trainer.learn([record]))
    assert not done


def test_an_order_without_a_model_keeps_the_version_that_is_to_be_carried_over() -> None:
    trainer = grown()
    version = trainer.version
    ((done, _),) = answers_in(trainer.learn([order("w", "migrate")]))
    assert done
    assert (state_of(trainer).cause, state_of(trainer).former_embedding) == ("migrate", None)
    trainer.learn(samples(range(60), first_axis=5))
    trainer.idle()
    assert trainer.version == version
