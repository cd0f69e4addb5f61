"""Labels in the trainer: learned, published, restored."""

from __future__ import annotations

import json

import pytest

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.shared.snapshots import NewerModelError, read_label_model
from consumer.stages.training.figures import figures
from consumer.stages.training.stage import TrainingStage
from models.profiles.sample import rank
from tests.consumer.stages.label_data import (
    NAMES,
    Trainer,
    a_label_model,
    models_in,
    sample,
)
from tests.consumer.stages.stage_data import (
    ALL,
    EMBEDDER,
    TOPICS,
    of,
)


def test_the_trainer_publishes_what_it_learned_from_labelled_profiles() -> None:
    trainer = Trainer()
    assert models_in(trainer.learn([sample(n, n) for n in range(29)])) == []
    (model,) = models_in(trainer.learn([sample(29, 29)]))
    assert (model.version, model.names, model.learned_up_to) == (1, NAMES, 30)
    assert sum(map(sum, model.confusion)) == 29
    assert model.probabilities(EMBEDDER.embed(TOPICS)).argmax(axis=1).tolist() == [0, 1]


def test_unlabelled_profiles_teach_no_label() -> None:
    trainer = Trainer()
    trainer.learn([sample(n, n, label=False) for n in range(40)])
    assert trainer.stage.labels.learner is None
    assert models_in(trainer.idle()) == []


def test_when_the_stream_pauses_what_is_known_is_published() -> None:
    trainer = Trainer()
    trainer.learn([sample(n, n) for n in range(4)])
    (model,) = models_in(trainer.idle())
    assert model.version == 1
    assert trainer.idle() == []


def test_users_outside_of_the_sample_teach_labels_and_no_segments() -> None:
    plain, labelled = Trainer(), Trainer()
    inside = [sample(n, n, label=False) for n in range(40)]
    plain.learn(inside)
    outside = [sample(100 + n, 40 + n, sampled=False) for n in range(40)]
    labelled.learn(inside)
    outputs = labelled.learn(outside)
    assert len(models_in(outputs)) == 1
    assert labelled.stage.sampled_users == plain.stage.sampled_users == 40
    more = [sample(n, 80 + n, label=False) for n in range(40)]
    assert of(labelled.learn(more), "segment-models") == of(plain.learn(more), "segment-models")
    assert labelled.stage.published.to_record() == plain.stage.published.to_record()


def test_the_feed_keeps_labelled_users_as_long_as_they_are_remembered() -> None:
    trainer = Trainer(remembered_users=2)
    users = sorted(range(0, 40, 2), key=lambda n: rank(f"u{n}"))
    outputs = trainer.learn([sample(n, i, sampled=False) for i, n in enumerate(reversed(users))])
    gone = [o.key.decode() for o in of(outputs, "profile-samples") if o.value is None]
    assert gone == [f"u{n}" for n in reversed(users[2:])]
    # Who is in the sample of segments, too, stays.
    assert of(trainer.learn([sample(users[5], 50)]), "profile-samples") == []


@pytest.mark.parametrize("stopped_at", [40, 55, 90])
def test_a_restored_trainer_goes_on_as_one_that_never_stopped(stopped_at: int) -> None:
    stream = [sample(n % 25, n) for n in range(120)]
    first = Trainer(publish_every=50)
    for record in stream[:stopped_at]:
        first.learn([record])
    second = Trainer(first.log, publish_every=50)
    for trainer in (first, second):
        for record in stream[stopped_at:]:
            trainer.learn([record])
        trainer.idle()
    assert second.published == first.published
    one, other = first.stage.labels.learner, second.stage.labels.learner
    assert one.examples == other.examples
    assert (one.confusion.counts == other.confusion.counts).all()


def test_an_aborted_version_was_never_there() -> None:
    trainer = Trainer()
    batch = [sample(n, n) for n in range(30)]
    outputs = trainer.stage.apply(trainer.stage.prepare(batch), ALL)
    assert models_in(outputs)
    trainer.stage.aborted()
    assert trainer.stage.labels.published is None
    # The loop reads the state back, and the batch comes again.
    again = Trainer(trainer.log)
    assert models_in(again.learn(batch))[0].to_record() == models_in(outputs)[0].to_record()


def test_a_withdrawn_label_is_rehearsed_no_more() -> None:
    trainer = Trainer()
    trainer.learn([sample(0, 0), sample(1, 1), sample(0, 2, label=False)])
    memory = trainer.stage.labels.learner.memory
    assert ("u0" in memory, "u1" in memory) == (False, True)
    trainer.learn([Record("profile-samples", 0, 3, -1, b"u1", None)])
    assert len(memory) == 0
    restored = Trainer(trainer.log)
    assert len(restored.stage.labels.learner.memory) == 0


def test_after_a_migration_labels_are_learned_anew_from_the_new_profiles() -> None:
    first = Trainer()
    first.learn([sample(n, n) for n in range(30)])
    other = "cd" * 32

    def moved(record: Record, offset: int) -> Record:
        value = json.loads(record.value) | {"embedding": other}
        return Record(record.topic, 0, offset, -1, record.key, json.dumps(value).encode())

    log = [record for record in first.log if record.topic != "segment-models"]
    log += [moved(record, 30 + n) for n, record in enumerate(first.log[:30])]
    second = Trainer(log)
    learner = second.stage.labels.learner
    assert (learner.embedding, learner.examples) == (other, {NAMES[0]: 15, NAMES[1]: 15})
    (model,) = models_in(second.idle())
    assert (model.version, model.embedding) == (2, other)


def test_a_snapshot_that_cannot_be_read_says_so() -> None:
    with pytest.raises(StageError, match="here is no label model: version"):
        read_label_model(b'{"version": 0}', "here")
    with pytest.raises(NewerModelError, match="upgrade this process"):
        read_label_model(b'{"schema_version": 2}', "here")
    record = a_label_model().to_record().model_copy(update={"dimensions": 5})
    with pytest.raises(StageError, match="has 16 weights"):
        read_label_model(record.model_dump_json().encode(), "here")


# --- metrics ------------------------------------------------------------------------------------


def test_the_trainer_tells_how_good_the_labels_are() -> None:
    trainer = Trainer()
    trainer.learn([sample(n, n) for n in range(30)])
    told = dict(figures(trainer.stage))
    assert told["label_examples"]["brewers"] == 15
    assert told["label_confusion_users"]["physicists", "physicists"] > 0
    for name in ("accuracy", "macro_recall", "macro_precision", "macro_f1"):
        assert 0.9 <= told[f"label_{name}_ratio"] <= 1
    assert told["label_model_version"] == 1
    assert not any(name.startswith("label_") for name in dict(figures(TrainingStage(Settings()))))
