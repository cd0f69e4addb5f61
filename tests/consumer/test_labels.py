"""Labels through the stages: given, learned, published, restored, replayed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from consumer.cli import main
from consumer.files import read_records, with_labels
from consumer.label_metrics import label_metrics, label_training_metrics
from consumer.records import Output, Record
from consumer.replay import FixedModel, Replay, replay_file
from consumer.settings import Settings
from consumer.stage import StageError
from consumer.stages.label_training import read_label_model
from consumer.stages.labelling import FixedLabelModel
from consumer.stages.segmentation import SegmentationStage
from consumer.stages.snapshots import NewerModelError
from consumer.stages.training import TrainingStage
from consumer.topics import new_topics
from consumer.verify import ViolationKind, verify_folder
from models.sample import rank
from models.supervised.model import LabelModel
from schemas.changes import ChangeReason, ChangeStatus, SegmentChange
from schemas.profiles import ProfileSample
from tests.consumer.stage_data import (
    ALL,
    EMBEDDER,
    NOW,
    TOPICS,
    a_model,
    changes_in,
    event,
    of,
    records,
    turned,
)
from tests.stubs import HashingEmbedder

NAMES = ("brewers", "physicists")


def on(**sections: dict[str, Any]) -> Settings:
    labels = {"enabled": True, **sections.pop("labels", {})}
    return Settings(labels=labels, **sections)


def label_record(
    user: str, label: str | None, offset: int = 0, partition: int = 0, **changes: Any
) -> Record:
    value = {"user_id": user, "label": label, "labelled_at": "2026-01-01T00:00:00Z"} | changes
    return Record(
        "segment-labels", partition, offset, -1, user.encode(), json.dumps(value).encode()
    )


def a_label_model(version: int = 1, swap: bool = False, **changes: Any) -> LabelModel:
    """One label for each topic of `stage_data`."""
    weights = 6 * EMBEDDER.embed(TOPICS).astype(np.float64)
    fields = {
        "version": version,
        "embedding": EMBEDDER.identity,
        "classifier": "softmax",
        "names": NAMES,
        "weights": weights[::-1] if swap else weights,
        "intercepts": np.zeros(2),
        "examples": (1, 1),
        "left_out": 0,
        "confusion": ((0, 0), (0, 0)),
        "learned_up_to": 0,
        "seed": 0,
    }
    return LabelModel(**(fields | changes))


class Worker:
    """A worker with labels, a segment model and a label model."""

    def __init__(
        self,
        labels: LabelModel | None = None,
        model: Any = "one",
        settings: Settings | None = None,
    ) -> None:
        self.source = FixedModel(a_model() if model == "one" else model)
        self.labels = FixedLabelModel(labels)
        self.stage = SegmentationStage(
            settings or on(), EMBEDDER, self.source, clock=lambda: NOW, intake_clock=lambda: NOW,
            label_models=self.labels,
        )  # fmt: skip
        self.stage.assigned(0, self.stage.restoration(0))
        self.maintain()

    def run(self, batch: Sequence[Record]) -> list[Output]:
        outputs = list(self.stage.apply(self.stage.prepare(batch), ALL))
        self.stage.committed()
        return outputs

    def maintain(self) -> list[Output]:
        written: list[Output] = []
        while (outputs := self.stage.maintain(idle=True)) is not None:
            self.stage.committed()
            written += outputs
        return written

    def state(self) -> dict[str, dict[str, Any]]:
        (table,) = self.stage.tables.values()
        return {
            user: json.loads(table.gather([user]).to_record(0, EMBEDDER.identity).model_dump_json())
            for user in table.users
        }


def samples_in(outputs: Iterable[Output]) -> list[ProfileSample | None]:
    return [
        None if output.value is None else ProfileSample.model_validate_json(output.value)
        for output in of(outputs, "profile-samples")
    ]


# --- labels are given ---------------------------------------------------------------------------


def test_without_labels_enabled_nothing_of_them_is_read_or_made() -> None:
    settings = Settings()
    stage = SegmentationStage(settings, EMBEDDER, FixedModel(a_model()))
    assert stage.inputs == ("user-events",)
    assert not {topic.topic for topic in new_topics(settings)} & {"segment-labels", "label-models"}
    assert TrainingStage(settings).restoration(0).changelogs[1].topic == "profile-samples"


def test_with_labels_enabled_their_topic_goes_with_the_events() -> None:
    worker = Worker()
    assert worker.stage.inputs == ("user-events", "segment-labels")
    made = {topic.topic: topic for topic in new_topics(on())}
    assert made["segment-labels"].num_partitions == made["user-events"].num_partitions
    assert made["segment-labels"].config["cleanup.policy"] == "compact"
    assert made["label-models"].num_partitions == 1


def test_a_label_is_kept_in_the_profile_and_sent_with_it() -> None:
    worker = Worker()
    worker.run(records([event("u", 0)]))
    outputs = worker.run([label_record("u", "brewers")])
    (state,) = of(outputs, "user-profiles")
    assert json.loads(state.value)["labels"]["given"] == "brewers"
    (sample,) = samples_in(outputs)
    # Segments were learned from this profile already.
    assert (sample.label, sample.sampled) == ("brewers", False)
    (later,) = samples_in(worker.run(records([event("u", 1)])))
    assert (later.label, later.sampled) == ("brewers", True)
    assert changes_in(outputs) == []
    assert worker.stage.stats.labels == 1


def test_a_label_said_again_does_nothing() -> None:
    worker = Worker()
    worker.run(records([event("u", 0)]))
    worker.run([label_record("u", "brewers")])
    assert worker.run([label_record("u", "brewers", 1)]) == []
    assert worker.stage.stats.labels == 2


def test_a_label_may_come_before_the_first_event() -> None:
    worker = Worker(a_label_model())
    outputs = worker.run([label_record("u", "brewers")])
    assert samples_in(outputs) == []  # there is no profile yet
    assert worker.state()["u"]["events"] == 0
    assert worker.maintain() == []
    (sample,) = samples_in(worker.run(records([event("u", 0)])))
    assert sample.label == "brewers"


def test_users_outside_of_the_sample_are_sent_for_their_label() -> None:
    worker = Worker(model=a_model(sample_threshold=1e-9))
    assert samples_in(worker.run(records([event("u", 0)]))) == []
    (sample,) = samples_in(worker.run([label_record("u", "brewers")]))
    assert (sample.label, sample.sampled) == ("brewers", False)
    (again,) = samples_in(worker.run(records([event("u", 1)])))
    assert (again.label, again.sampled) == ("brewers", False)


def test_a_label_that_is_withdrawn_goes_from_the_feed() -> None:
    for threshold, expected in ((1e-9, [None]), (1.0, ["unlabelled"])):
        worker = Worker(model=a_model(sample_threshold=threshold))
        worker.run([*records([event("u", 0)]), label_record("u", "brewers")])
        outputs = worker.run([label_record("u", None, 1)])
        assert [
            s if s is None else s.label or "unlabelled" for s in samples_in(outputs)
        ] == expected
        assert "labels" not in worker.state()["u"]
        assert worker.run([label_record("u", None, 2)]) == []


def test_events_and_labels_may_share_a_batch() -> None:
    together, apart = Worker(), Worker()
    batch = [*records([event("u", 0), event("v", 0)]), label_record("u", "brewers")]
    outputs = together.run(batch)
    assert [sample.label for sample in samples_in(outputs)] == ["brewers", None]
    for record in batch:
        apart.run([record])
    assert together.state() == apart.state()


def test_a_bad_label_goes_to_the_dead_letters_of_labels() -> None:
    worker = Worker()
    bad = label_record("u", " brewers")
    (letter,) = worker.run([bad])
    assert (letter.topic, letter.key, letter.value) == ("segment-labels.dlq", b"u", bad.value)
    headers = dict(letter.headers)
    assert headers["dlq_reason"] == b"invalid_field"
    assert headers["dlq_topic"] == b"segment-labels"
    assert worker.stage.stats.labels_refused == {"invalid_field": 1}
    assert worker.stage.stats.refused == {}


def test_labels_of_partitions_that_are_gone_are_left_out() -> None:
    worker = Worker()
    prepared = worker.stage.prepare([label_record("u", "brewers"), label_record("v", "", 1)])
    assert worker.stage.apply(prepared, frozenset({1})) == []


# --- labels are published -----------------------------------------------------------------------


def test_a_change_of_segment_tells_the_label() -> None:
    worker = Worker(a_label_model(3))
    (change,) = changes_in(worker.run(records([event("u", 0)])))
    assert change.status is ChangeStatus.ENTERED
    label = change.label
    assert (label.name, label.previous, label.version) == ("brewers", None, 3)
    assert 0.5 < label.probability <= 1
    assert worker.state()["u"]["labels"] == {
        "given": None, "predicted": "brewers", "since_event": 1, "model_version": 3,
    }  # fmt: skip


def test_without_a_label_model_changes_tell_none() -> None:
    (change,) = changes_in(Worker().run(records([event("u", 0)])))
    assert change.label is None


def test_a_change_of_the_label_alone_is_a_change_of_its_own() -> None:
    # One segment for all, two labels.
    worker = Worker(a_label_model(), model=a_model(texts=(" ".join(TOPICS),)))
    events = [event("u", n, TOPICS[n > 3]) for n in range(12)]
    changes = changes_in(worker.run(records(events)))
    assert [c.reason for c in changes] == [ChangeReason.BEHAVIOUR, ChangeReason.LABEL_CHANGED]
    first, second = changes
    assert second.status is ChangeStatus.LABELLED
    assert second.segment == second.previous_segment == first.segment
    assert (second.label.previous, second.label.name) == NAMES
    assert [c.sequence for c in changes] == [1, 2]
    assert second.source.event_id == f"u-{second.source.offset}"
    assert (worker.state()["u"]["sequence"], worker.state()["u"]["segment"]) == (2, 0)
    members = [json.loads(o.value)["label"]["name"] for o in of([], "segment-memberships")]
    assert members == []


def test_a_new_label_model_relabels_users_without_an_event() -> None:
    worker = Worker(a_label_model())
    worker.run(records([event("u", 0), event("v", 0, TOPICS[1])]))
    assert worker.maintain() == []
    worker.labels.model = a_label_model(2, swap=True)
    changes = changes_in(worker.maintain())
    assert {c.user_id: c.label.name for c in changes} == {"u": NAMES[1], "v": NAMES[0]}
    assert {c.reason for c in changes} == {ChangeReason.LABEL_CHANGED}
    assert all(c.source is None and c.occurred_at is None for c in changes)
    assert len({c.id for c in changes}) == 2
    assert worker.maintain() == []


def test_the_first_label_model_labels_the_users_who_are_there() -> None:
    worker = Worker()
    worker.run(records([event("u", 0)]))
    worker.labels.model = a_label_model()
    (change,) = changes_in(worker.maintain())
    assert (change.label.previous, change.label.name) == (None, "brewers")
    assert change.sequence == 2


def test_no_label_is_published_before_there_are_segments() -> None:
    worker = Worker(a_label_model(), model=None)
    assert changes_in(worker.run(records([event("u", 0)]))) == []
    worker.source.model = a_model()
    (change,) = changes_in(worker.maintain())
    assert (change.status, change.label.name) == (ChangeStatus.ENTERED, "brewers")


def test_a_label_dwells_before_behaviour_changes_it() -> None:
    def changes(dwell: int) -> int:
        worker = Worker(
            a_label_model(),
            model=a_model(texts=(" ".join(TOPICS),)),
            settings=on(labels={"dwell_events": dwell}, profile={"half_life_days": 0.1}),
        )
        events = [event("u", n, TOPICS[n % 2]) for n in range(20)]
        return len(changes_in(worker.run(records(events))))

    assert changes(0) == 20
    assert changes(5) == 4


def test_a_label_model_of_another_embedding_model_is_not_used() -> None:
    worker = Worker(a_label_model(embedding="cd" * 32))
    (change,) = changes_in(worker.run(records([event("u", 0)])))
    assert change.label is None
    worker.labels.model = a_label_model(2)
    assert [c.label.name for c in changes_in(worker.maintain())] == ["brewers"]


def test_a_restored_worker_goes_on_as_one_that_never_stopped() -> None:
    events = records([event("u", n, TOPICS[n > 3]) for n in range(12)])
    first = Worker(a_label_model(), model=a_model(texts=(" ".join(TOPICS),)))
    log = first.run([label_record("u", "brewers"), *events[:6]])
    second = Worker(a_label_model(), model=first.source.model)
    restoration = second.stage.restoration(0)
    for n, output in enumerate(of(log, "user-profiles")):
        restoration.load(Record(output.topic, 0, n, -1, output.key, output.value))
    second.stage.assigned(0, restoration)
    assert second.state() == first.state()
    assert second.maintain() == []
    assert second.run(events[6:]) == first.run(events[6:])


def test_segments_are_as_they_are_without_labels() -> None:
    events = records([event(f"u{n % 5}", n, TOPICS[n % 3 > 1]) for n in range(60)])
    with_them = Worker(a_label_model())
    without = SegmentationStage(
        Settings(), EMBEDDER, FixedModel(a_model()), clock=lambda: NOW, intake_clock=lambda: NOW
    )
    without.assigned(0, without.restoration(0))
    without.maintain(idle=True)
    plain = changes_in(without.apply(without.prepare(events), ALL))
    told = changes_in(with_them.run(events))
    moved = [c for c in told if c.status is not ChangeStatus.LABELLED]
    assert [(c.user_id, c.segment, c.previous_segment, c.distance) for c in moved] == [
        (c.user_id, c.segment, c.previous_segment, c.distance) for c in plain
    ]


# --- the trainer --------------------------------------------------------------------------------


def sample(n: int, offset: int, label: bool = True, **changes: Any) -> Record:
    """A profile of user n, whose label is that of its parity."""
    text = f"{TOPICS[n % 2]} {TOPICS[n % 2].split()[offset % 5]} word{offset % 7}"
    vector = EMBEDDER.embed([text])[0]
    given = ProfileSample(
        user_id=f"u{n}",
        embedding=EMBEDDER.identity,
        vector=__import__("base64").b64encode(vector.astype("<f4").tobytes()).decode(),
        weight=1.0,
        terms={"word": 1.0},
        updated_at=NOW,
        label=NAMES[n % 2] if label else None,
        **changes,
    )
    return Record(
        "profile-samples", 0, offset, -1, f"u{n}".encode(), given.model_dump_json().encode()
    )


class Trainer:
    """An active trainer; what it writes becomes its log, as the topics would."""

    def __init__(self, log: Iterable[Record] = (), **labels: Any) -> None:
        training = {"segments": 2, "warmup_users": 20, "sample_users": 60}
        settings = on(training=training, labels={"publish_every": 30, **labels})
        self.stage = TrainingStage(settings, clock=lambda: NOW)
        restoration = self.stage.restoration(0)
        self.log = list(log)
        for changelog in restoration.changelogs:
            for record in self.log:
                if record.topic == changelog.topic:
                    restoration.load(record)
        self.stage.assigned(0, restoration)

    def learn(self, batch: Sequence[Record]) -> list[Output]:
        self.log += batch
        outputs = list(self.stage.apply(self.stage.prepare(batch), ALL))
        return self._commit(outputs)

    def idle(self) -> list[Output]:
        return self._commit(list(self.stage.maintain(idle=True) or ()))

    def _commit(self, outputs: list[Output]) -> list[Output]:
        self.stage.committed()
        self.log += [
            Record(output.topic, 0, -1, -1, output.key, output.value)
            for output in outputs
            if output.topic != "profile-samples"
        ]
        return outputs

    @property
    def published(self) -> str:
        return self.stage.labels.published.to_record().model_dump_json()


def models_in(outputs: Iterable[Output]) -> list[LabelModel]:
    return [read_label_model(o.value or b"", "here") for o in of(outputs, "label-models")]


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


class _Registered:
    def __init__(self, found: Any) -> None:
        self.collect = lambda: list(found())


def test_the_trainer_tells_how_good_the_labels_are() -> None:
    trainer = Trainer()
    trainer.learn([sample(n, n) for n in range(30)])
    registry = CollectorRegistry()
    registry.register(_Registered(lambda: label_training_metrics(trainer.stage.labels)))
    text = generate_latest(registry).decode()
    assert 'segmenter_label_examples_total{label="brewers"} 15.0' in text
    assert 'segmenter_label_confusion_users{actual="physicists",predicted="physicists"}' in text
    for name in ("accuracy", "macro_recall", "macro_precision", "macro_f1"):
        assert f"\nsegmenter_label_{name}_ratio 0.9" in text or f"{name}_ratio 1.0" in text
    assert "segmenter_label_model_version 1.0" in text
    assert list(label_training_metrics(TrainingStage(Settings()).labels)) == []


def test_a_worker_counts_users_by_label() -> None:
    worker = Worker(a_label_model())
    worker.run([*records([event("u", 0)]), label_record("u", "brewers"), label_record("v", "", 1)])
    registry = CollectorRegistry()
    registry.register(_Registered(lambda: label_metrics(worker.stage)))
    text = generate_latest(registry).decode()
    assert 'segmenter_label_users{label="brewers"} 1.0' in text
    assert "segmenter_users_given_label 1.0" in text
    assert 'segmenter_label_dead_letters_total{reason="invalid_field"} 1.0' in text
    assert "segmenter_label_records_total 1.0" in text


# --- replay -------------------------------------------------------------------------------------


def write(path: Path, values: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def files(folder: Path) -> tuple[Path, Path]:
    """Events of 40 users of two kinds, half of whom are labelled."""
    events = [
        event(f"u{n % 40}", n // 40, f"{TOPICS[n % 2]} {TOPICS[n % 2].split()[n % 5]}")
        for n in range(400)
    ]
    labels = [
        {"user_id": f"u{n}", "label": NAMES[n % 2], "labelled_at": "2026-01-02T00:00:00Z"}
        for n in range(20)
    ]
    labels.insert(3, {"user_id": "u9", "label": " no", "labelled_at": "2026-01-02T00:00:00Z"})
    return write(folder / "events.jsonl", events), write(folder / "labels.jsonl", labels)


def settings_for_replay() -> Settings:
    return on(
        training={"segments": 2, "warmup_users": 20, "sample_users": 100},
        labels={"publish_every": 20},
        batch={"max_records": 50},
    )


def test_a_replay_learns_labels_and_gives_them_to_everybody(tmp_path: Path) -> None:
    events, labels = files(tmp_path)
    out = tmp_path / "out"
    result = replay_file(events, out, settings_for_replay(), EMBEDDER, now=NOW, labels=labels)
    assert (result.records, result.accepted, result.refused) == (400, 400, 0)
    profiles = [json.loads(line) for line in (out / "profiles.jsonl").read_text().splitlines()]
    assert len(profiles) == 40
    assert all(p["labels"]["predicted"] == NAMES[int(p["user_id"][1:]) % 2] for p in profiles)
    assert sum(p["labels"]["given"] is not None for p in profiles) == 20
    (letter,) = (out / "label-dead-letters.jsonl").read_text().splitlines()
    assert json.loads(letter)["offset"] == 3
    assert read_label_model((out / "label-model.json").read_bytes(), "it").names == NAMES
    verified = verify_folder(out)
    assert verified.exit_code == 0, verified.render()


def test_two_replays_write_the_same(tmp_path: Path) -> None:
    events, labels = files(tmp_path)
    for name in ("one", "two"):
        replay_file(
            events, tmp_path / name, settings_for_replay(), EMBEDDER, now=NOW, labels=labels
        )
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_the_audit_finds_a_label_that_breaks_the_chain(tmp_path: Path) -> None:
    events, labels = files(tmp_path)
    out = tmp_path / "out"
    replay_file(events, out, settings_for_replay(), EMBEDDER, now=NOW, labels=labels)
    path = out / "profiles.jsonl"
    lines = path.read_text().splitlines()
    first = json.loads(lines[0])
    first["labels"]["predicted"] = "wine"
    path.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    changes = out / "segment-changes.jsonl"
    told = [json.loads(line) for line in changes.read_text().splitlines()]
    last = next(each["data"] for each in reversed(told) if each["data"].get("label"))
    last["label"]["previous"] = "wine"
    changes.write_text("".join(json.dumps(each) + "\n" for each in told))
    kinds = [violation.kind for violation in verify_folder(out).violations]
    assert kinds.count(ViolationKind.LABEL) == 2


def test_labels_take_effect_at_their_time(tmp_path: Path) -> None:
    events = write(tmp_path / "e", [event("a", 0), event("a", 2), event("a", 1), event("a", 3)])
    days = ["2026-01-02", "2025-01-01", "2026-01-03", "no day", "2027-01-01"]
    labels = write(
        tmp_path / "l",
        [{"user_id": "a", "label": "x", "labelled_at": f"{day}T00:00:00Z"} for day in days],
    )
    settings = Settings()
    found = with_labels(
        read_records(events, "user-events", settings.events.intake()), labels, settings
    )
    assert [(record.topic, record.offset) for record in found] == [
        ("user-events", 0),
        ("segment-labels", 0),
        ("segment-labels", 1),  # never before a label that stands before it
        ("segment-labels", 2),
        ("segment-labels", 3),
        ("user-events", 1),
        ("user-events", 2),
        ("user-events", 3),
        ("segment-labels", 4),
    ]


def test_the_command_replays_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.app.load_embedder", lambda _settings: EMBEDDER)
    events, labels = files(tmp_path)
    out = tmp_path / "out"
    given = ["replay", str(events), "--output", str(out), "--user-labels", str(labels)]
    given += ["--now", "2026-06-01T00:00:00Z", "--training.segments", "2"]
    assert main(given) == 0
    model = out / "label-model.json"
    assert model.exists()
    again = ["replay", str(events), "--output", str(tmp_path / "again")]
    kept = ["--model", str(out / "model.json"), "--label-model", str(model)]
    assert main([*again, *kept]) == 0
    assert '"label":{"name"' in (tmp_path / "again" / "segment-changes.jsonl").read_text()
    assert main([*again, "--label-model", str(model)]) == 2


def test_one_label_model_is_kept_in_a_replay_with_a_fixed_one() -> None:
    replay = Replay(on(), HashingEmbedder(16), a_model(), datetime(2026, 6, 1, tzinfo=UTC),
                    a_label_model())  # fmt: skip
    found: list[SegmentChange] = []

    def sink(output: Output) -> None:
        found.extend(changes_in([output]))

    assert replay.run(records([event("u", 0)]), sink) == 1
    assert [change.label.name for change in found] == ["brewers"]


def test_segment_models_may_turn_while_labels_stay() -> None:
    worker = Worker(a_label_model())
    worker.run(records([event("u", 0)]))
    worker.source.model = turned(a_model())
    (change,) = changes_in(worker.maintain())
    assert change.reason is ChangeReason.MODEL_UPDATE
    assert (change.label.name, change.label.previous) == ("brewers", "brewers")
