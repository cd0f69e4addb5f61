"""The trainer's stage, from samples to versions of the segment model, with no broker."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError, Upto
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_model
from consumer.stages.training.stage import TrainingStage
from consumer.verify.decode import Told
from consumer.verify.lifecycle import check_lifecycle
from consumer.verify.report import Violations
from models.clustering.clusterers.state import from_json, to_json
from models.clustering.policy import ClusteringPolicy
from models.profiles.sample import rank
from models.segments.decision import AssignmentPolicy, decide
from models.segments.model import SegmentModel
from schemas.arrays import decode_array, encode_array
from schemas.lifecycle import LifecycleEvent, SegmentTransition
from schemas.profiles import ProfileSample
from schemas.segment_model import NO_SEGMENT
from schemas.segments import SegmentState
from tests.consumer.stages.stage_data import ALL, NOW, a_model
from tests.stubs import HashingEmbedder

EMBEDDING = HashingEmbedder(8).identity
# The latest version on segment-models of `Trainer` at 8738a6a, after samples(range(60)), by some of
# the algorithms that there were then; and which one is to be taken in its place.
WRITTEN = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "segment_models_8738a6a.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
REMOVED = [each for each in WRITTEN if each["take"] != each["algorithm"]]
KEPT = [each for each in WRITTEN if each["take"] == each["algorithm"]]
OTHER = "0" * 64


def samples(
    users: Sequence[int],
    *,
    topics: int = 2,
    first_axis: int = 0,
    embedding: str = EMBEDDING,
    start: int = 0,
) -> list[Record]:
    """One profile a user, near one of some axes by the user's number."""
    found = []
    for offset, user in enumerate(users, start=start):
        vector = np.random.default_rng(user).normal(scale=0.05, size=8)
        axis = first_axis + user % topics
        vector[axis] += 1
        sample = ProfileSample(
            user_id=f"user-{user}",
            embedding=embedding,
            vector=encode_array(vector / np.linalg.norm(vector), "<f4"),
            weight=1.0,
            terms={f"topic{axis}": 1.0},
            updated_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        found.append(
            Record(
                "profile-samples",
                0,
                offset,
                -1,
                sample.user_id.encode(),
                sample.model_dump_json().encode(),
            )
        )
    return found


def configured(**training) -> Settings:
    given = {"segments": 2, "warmup_users": 20, "sample_users": 60, "reseed_every": 50}
    return Settings(training=given | training)


class Trainer:
    """An active trainer; keeps what was written, as the topics would."""

    def __init__(self, history: Sequence[Record] = (), **training) -> None:
        self.stage = TrainingStage(configured(**training), clock=lambda: NOW)
        restoration = self.stage.restoration(0)
        for record in history:
            restoration.load(record)
        self.stage.assigned(0, restoration)
        self.log: list[Record] = list(history)

    def learn(self, records: Sequence[Record]) -> list[Output]:
        self.log += records
        outputs = list(self.stage.apply(self.stage.prepare(records), ALL))
        return self._commit(outputs)

    def idle(self) -> list[Output] | None:
        outputs = self.stage.maintain(idle=True)
        return None if outputs is None else self._commit(list(outputs))

    def _commit(self, outputs: list[Output]) -> list[Output]:
        self.stage.committed()
        self.log += [
            Record(output.topic, 0, len(self.log), -1, output.key, output.value)
            for output in outputs
        ]
        return outputs

    @property
    def history(self) -> list[Record]:
        """What a restore reads: the models, then the samples, then the kept versions."""
        topics = ("segment-models", "profile-samples", "segment-model-versions")
        return [record for topic in topics for record in self.log if record.topic == topic]


def models_in(outputs: Sequence[Output]) -> list[SegmentModel]:
    return [
        read_model(output.value or b"", output.topic)
        for output in outputs
        if output.topic == "segment-models"
    ]


def test_nothing_is_published_before_the_warm_up_ends():
    trainer = Trainer()
    assert trainer.learn(samples(range(19))) == []
    assert trainer.stage.published is None
    (model,) = models_in(trainer.learn(samples([19])))
    assert (model.version, model.ids.tolist(), model.embedding) == (1, [0, 1], EMBEDDING)
    assert sorted(model.labels) == ["topic0", "topic1"]
    assert model.sizes.tolist() == [10, 10]
    assert trainer.stage.published.to_record() == model.to_record()
    assert (trainer.stage.samples, trainer.stage.sampled_users) == (20, 20)


def test_segments_of_few_users_are_marked_until_more_are_known():
    trainer = Trainer(provisional_users=40)
    outputs = trainer.learn(samples(range(20)))
    assert [(each.version, each.provisional) for each in states_in(outputs).values()] == [
        (1, True),
        (1, True),
    ]
    assert states_in(trainer.learn(samples(range(20, 39)))) == {}
    again = Trainer(trainer.history, provisional_users=40)
    (model,) = models_in(outputs := again.learn(samples(range(39, 60))))
    assert (model.version, model.ids.tolist()) == (2, [0, 1])
    assert [each.provisional for each in states_in(outputs).values()] == [False, False]
    assert lifecycle_in(outputs) == []
    assert models_in(again.learn(samples(range(60)))) == []


def test_a_repeated_profile_of_one_user_is_no_warm_up():
    trainer = Trainer()
    assert trainer.learn(samples([1] * 100)) == []
    assert trainer.stage.sampled_users == 1


def test_a_snapshot_goes_to_partition_0_under_one_key():
    output, *rest = Trainer().learn(samples(range(20)))
    others = {"segment-lifecycle", "segments", "segment-model-versions"}
    assert {other.topic for other in rest} == others
    assert (output.topic, output.key, output.partition) == ("segment-models", b"segments", 0)


def test_versions_count_up_and_segments_that_go_on_keep_their_ids():
    trainer = Trainer()
    published = models_in(trainer.learn(samples(range(20))))
    for start in range(0, 300, 10):
        published += models_in(trainer.learn(samples(range(start, start + 10), first_axis=3)))
        published += models_in(trainer.idle() or [])
    assert [model.version for model in published] == [*range(1, len(published) + 1)]
    assert len(published) > 1
    seen: dict[int, int] = {}
    for model in published:
        for segment, since in zip(model.ids.tolist(), model.since, strict=True):
            assert seen.setdefault(segment, since) == since
        assert model.next_id > max(seen)
    assert set(published[-1].labels) == {"topic3", "topic4"}


def test_samples_that_say_nothing_new_publish_nothing():
    trainer = Trainer(sample_users=100)
    trainer.learn(samples(range(20)))
    assert models_in(trainer.learn(samples([*range(20)] * 3))) == []


def test_users_who_leave_the_sample_get_a_tombstone():
    trainer = Trainer(sample_users=20)
    users = [*range(50)]
    outputs = trainer.learn(samples(users))
    gone = {output.key.decode() for output in outputs if output.topic == "profile-samples"}
    assert all(output.value is None for output in outputs if output.topic == "profile-samples")
    by_rank = sorted((f"user-{user}" for user in users), key=rank)
    assert gone == set(by_rank[20:])
    assert trainer.stage.sampled_users == 20


def test_a_tombstone_takes_a_user_out_of_the_sample():
    trainer = Trainer()
    trainer.learn(samples(range(5)))
    trainer.learn([Record("profile-samples", 0, 9, -1, b"user-3", None)])
    assert trainer.stage.sampled_users == 4
    assert Trainer(trainer.history).stage.sampled_users == 4


def test_a_tombstone_before_the_first_sample_is_no_matter():
    trainer = Trainer()
    assert trainer.learn([Record("profile-samples", 0, 0, -1, b"user-3", None)]) == []
    assert trainer.stage.sampled_users == 0


def test_records_of_another_partition_are_left_alone():
    stage = Trainer().stage
    stage.apply(stage.prepare(samples(range(5))), frozenset())
    stage.committed()
    assert (stage.samples, stage.sampled_users) == (0, 0)


def test_an_aborted_batch_is_not_counted_and_its_version_not_published():
    stage = Trainer().stage
    assert models_in(stage.apply(stage.prepare(samples(range(20))), ALL))
    stage.aborted()
    assert stage.restore_after_abort
    assert (stage.published, stage.samples) == (None, 0)


# --- the lives of segments ------------------------------------------------------------------------


def lifecycle_in(outputs: Sequence[Output]) -> list[LifecycleEvent]:
    return [
        LifecycleEvent.model_validate_json(output.value or b"")
        for output in outputs
        if output.topic == "segment-lifecycle"
    ]


def test_what_became_of_segments_goes_out_with_the_snapshot_that_tells_it():
    trainer = Trainer()
    outputs = trainer.learn(samples(range(20)))
    (model,) = models_in(outputs)
    events = lifecycle_in(outputs)
    assert [(event.type, event.segment, event.version) for event in events] == [
        ("created", 0, 1),
        ("created", 1, 1),
    ]
    assert [event.label for event in events] == [*model.labels]
    assert {event.at for event in events} == {NOW}
    assert [SegmentTransition(**dict(t)) for t in model.history.transitions] == [
        SegmentTransition(**{name: getattr(event, name) for name in SegmentTransition.model_fields})
        for event in events
    ]


def test_lifecycle_events_are_cloudevents_on_one_partition_keyed_by_segment():
    outputs = [o for o in Trainer().learn(samples(range(20))) if o.topic == "segment-lifecycle"]
    first, second = outputs
    assert (first.key, first.partition) == (b"0", 0)
    assert (second.key, second.partition) == (b"1", 0)
    headers = dict(second.headers)
    assert headers["ce_type"] == b"segmenter.segment.created.v1"
    assert (headers["ce_subject"], headers["ce_source"]) == (b"1", b"segmenter")
    assert headers["ce_id"].decode() == lifecycle_in([second])[0].id


def states_in(outputs: Sequence[Output]) -> dict[int, SegmentState | None]:
    found = [output for output in outputs if output.topic == "segments"]
    assert {output.partition for output in found} <= {0}
    return {
        int(output.key or b""): output.value and SegmentState.model_validate_json(output.value)
        for output in found
    }


def test_each_version_goes_out_with_the_segments_that_there_are_and_tombstones_of_others():
    trainer = Trainer(segments=2)
    outputs = trainer.learn([*samples(range(0, 40, 2), topics=8), *samples(range(1, 40, 8))])
    outputs += trainer.idle() or []
    more = Trainer(trainer.history, segments=5)
    outputs += more.idle() or []
    fewer = Trainer(more.history, segments=2)
    states = states_in(outputs + (fewer.idle() or []))
    model = fewer.stage.published
    assert model is not None
    told = {segment: state for segment, state in states.items() if state is not None}
    assert set(states) == set(range(model.next_id))
    assert sorted(told) == model.ids.tolist()
    for row, segment in enumerate(model.ids.tolist()):
        assert told[segment] == SegmentState(
            id=segment,
            name=model.labels[row],
            words=list(model.words[row]),
            users=model.sizes[row],
            since=model.since[row],
            version=model.version,
            provisional=True,
        )


def test_a_new_name_is_told_with_the_one_before_and_kept_names_are_not(monkeypatch):
    monkeypatch.setattr(ClusteringPolicy, "publish_share", 0.0)
    monkeypatch.setattr(ClusteringPolicy, "given_evidence", 0.0)  # each pause brings a version
    trainer = Trainer()
    first = states_in(trainer.learn(samples(range(20))))
    again = [
        replace_terms(record, {f"other{int(record.key.decode()[5:]) % 2}": 1.0})
        for record in samples(range(0, 60, 2))
    ]
    told = lifecycle_in([*trainer.learn(again), *(trainer.idle() or [])])
    # Even users alone write of other things: so the other segment keeps its name.
    (renamed,) = [event for event in told if event.type == "renamed"]
    (segment,) = [each for each, state in first.items() if state.name == "topic0"]
    assert (renamed.segment, renamed.previous_label, renamed.label) == (segment, "topic0", "other0")
    assert (renamed.flows, renamed.size) == ([], 30)
    assert trainer.stage.lifecycle["renamed"] == 1
    assert trainer.stage.published.label_of(segment) == "other0"


def replace_terms(record: Record, terms: dict[str, float]) -> Record:
    sample = ProfileSample.model_validate_json(record.value or b"")
    value = sample.model_copy(update={"terms": terms}).model_dump_json().encode()
    return replace(record, value=value)


def test_a_topic_that_had_no_segment_is_split_off_or_created_and_the_ids_never_come_again():
    trainer = Trainer(segments=3)
    told = lifecycle_in(trainer.learn(samples(range(30), topics=3)))
    for first_axis in (1, 3, 5):
        for start in range(0, 120, 10):
            batch = samples(range(start, start + 10), topics=3, first_axis=first_axis)
            told += lifecycle_in(trainer.learn(batch))
            told += lifecycle_in(trainer.idle() or [])
    created = [event.segment for event in told if event.type == "created"]
    retired = [event.segment for event in told if event.type == "retired"]
    assert created == [*range(trainer.stage.published.next_id)]
    assert len(set(retired)) == len(retired) > 0
    assert set(created) - set(retired) == set(trainer.stage.published.ids.tolist())
    assert trainer.stage.lifecycle.total() == len(told)
    violations = Violations()
    seen = [Told(event, event.id) for event in told]
    check_lifecycle(seen, trainer.stage.published.to_record(), "topic", violations)
    assert violations.first == []


def test_a_segment_more_or_less_is_a_split_or_a_merger():
    trainer = Trainer(segments=2)
    users = [*samples(range(0, 40, 2), topics=8), *samples(range(1, 40, 8), topics=8)]
    trainer.learn(users)
    trainer.idle()
    more = Trainer(trainer.history, segments=5)
    split = lifecycle_in(more.idle() or [])
    assert {event.type for event in split} == {"created", "split", "renamed"}
    for event in split:
        assert event.type != "created" or event.parents
    fewer = Trainer(more.history, segments=2)
    merged = lifecycle_in(fewer.idle() or [])
    assert {event.type for event in merged} >= {"merged", "retired"}
    assert sum(event.type == "retired" for event in merged) == 3
    # The ids that go on are from before: nothing is new about what is left.
    assert not [event for event in merged if event.type == "created"]


def test_a_retry_gives_its_events_the_same_ids():
    ids = []
    for hour in (0, 1):
        trainer = Trainer()
        trainer.stage._clock = lambda hour=hour: NOW + timedelta(hours=hour)
        ids.append([event.id for event in lifecycle_in(trainer.learn(samples(range(20))))])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_events_of_an_aborted_version_are_not_counted():
    stage = Trainer().stage
    assert lifecycle_in(stage.apply(stage.prepare(samples(range(20))), ALL))
    stage.aborted()
    assert stage.lifecycle.total() == 0


def test_a_restored_trainer_remembers_the_retired_segments():
    trainer = Trainer(segments=4)
    trainer.learn(samples(range(40), topics=4))
    trainer.idle()
    fewer = Trainer(trainer.history, segments=2)
    fewer.idle()
    remembered = fewer.stage.published.history.retired
    assert len(remembered) == 2
    restored = Trainer(fewer.history, segments=2)
    assert restored.stage.published.history.retired == remembered


# --- pauses ---------------------------------------------------------------------------------------


def test_a_pause_starts_a_model_with_fewer_users_than_the_warm_up():
    trainer = Trainer()
    trainer.learn(samples(range(6)))
    assert not trainer.stage.settled
    assert trainer.stage.maintain(idle=False) is None
    (model,) = models_in(trainer.idle() or [])
    assert (model.version, len(model.ids)) == (1, 2)
    assert trainer.stage.settled
    assert trainer.idle() is None


def test_a_pause_with_too_few_users_for_the_segments_starts_none():
    trainer = Trainer()
    trainer.learn(samples(range(3)))
    assert trainer.idle() is None
    assert trainer.stage.settled
    trainer.learn(samples([3]))
    assert not trainer.stage.settled
    assert trainer.idle()


def test_a_pause_before_anything_was_learned_is_no_matter():
    assert Trainer().idle() is None


# --- restart --------------------------------------------------------------------------------------


def test_a_restored_trainer_goes_on_with_the_same_segments_and_users():
    first = Trainer()
    first.learn(samples(range(40)))
    first.idle()
    before = first.stage.published
    second = Trainer(first.history)
    assert second.stage.published.to_record() == before.to_record()
    assert second.stage.sampled_users == 40
    assert not second.stage.settled
    assert not models_in(second.idle() or [])
    published = []
    for start in range(0, 200, 10):
        published += models_in(second.learn(samples(range(start, start + 10), topics=3)))
        published += models_in(second.idle() or [])
    assert published[0].version == before.version + 1
    for model in published:
        kept = set(model.ids.tolist()) & set(before.ids.tolist())
        born = set(model.ids.tolist()) - kept
        assert all(segment >= before.next_id for segment in born)
    assert published[-1].samples > before.samples


def test_two_trainers_restored_from_the_same_topics_publish_the_same_bytes():
    first = Trainer()
    first.learn(samples(range(40)))
    more = samples(range(100, 160), first_axis=4)
    twins = [Trainer(first.history), Trainer(first.history)]
    outputs = [twin.learn(more) + (twin.idle() or []) for twin in twins]
    assert outputs[0] == outputs[1]
    assert models_in(outputs[0])


@pytest.mark.parametrize("projection", ["none", "random", "pca"])
@pytest.mark.parametrize("algorithm", ["kmeans", "dbstream"])
def test_a_trainer_restored_after_a_publication_goes_on_as_one_that_never_stopped(
    algorithm, projection
):
    chosen = {"algorithm": algorithm, "projection": projection, "projection_dimensions": 4}
    first = Trainer(**chosen)
    found = models_in(first.learn(samples(range(60)))) or models_in(first.idle() or [])
    assert found[-1].centres.shape[1] == 8
    assert found[-1].sizes.sum() == 60
    new = samples(range(60, 90), topics=1, first_axis=5, start=60)
    values = []
    for trainer in (Trainer(first.history, **chosen), Trainer(first.history, **chosen), first):
        outputs = trainer.learn(new) + (trainer.idle() or [])
        values.append([(output.topic, output.key, output.value) for output in outputs])
        assert [model.version for model in models_in(outputs)][:1] in ([], [found[-1].version + 1])
    assert values[0] == values[1] == values[2]


def test_a_trainer_with_another_algorithm_takes_over_and_segments_keep_their_ids():
    first = Trainer()
    first.learn(samples(range(40)))
    before = first.stage.published
    second = Trainer(first.history, algorithm="dbstream", projection="random")
    second.learn(samples(range(60, 90), topics=1, first_axis=5, start=60))
    second.idle()
    assert set(before.ids.tolist()) & set(second.stage.published.ids.tolist())


@pytest.mark.parametrize("written", REMOVED, ids=lambda each: each["algorithm"])
def test_a_version_of_an_algorithm_that_went_is_gone_on_from_with_the_same_segments(written):
    value = json.dumps(written["value"]).encode()
    before = read_model(value, "segment-models")
    assert json.loads(before.learner)["algorithm"] == written["algorithm"]
    history = [Record("segment-models", 0, 0, -1, b"segments", value), *samples(range(60))]
    trainer = Trainer(history, algorithm=written["take"])
    assert trainer.stage.published.to_record() == before.to_record()
    assert not models_in(trainer.idle() or [])
    # A topic of its own comes up: a version of today's algorithm follows.
    published = []
    for start in range(60, 120, 10):
        users = range(start, start + 10)
        published += models_in(trainer.learn(samples(users, topics=1, first_axis=5, start=start)))
        published += models_in(trainer.idle() or [])
    assert [model.version for model in published] == [*range(2, len(published) + 2)]
    for model in published:
        assert json.loads(model.learner)["algorithm"] == written["take"]
        assert set(before.ids.tolist()) & set(model.ids.tolist())
        assert all(i >= before.next_id for i in set(model.ids.tolist()) - set(before.ids.tolist()))


@pytest.mark.parametrize("written", KEPT, ids=lambda each: each["algorithm"])
def test_a_clusterer_that_stayed_goes_on_from_the_state_that_an_earlier_version_wrote(written):
    value = json.dumps(written["value"]).encode()
    learned = from_json(written["value"]["learner"])["clusterer"]["learned"]
    history = [Record("segment-models", 0, 0, -1, b"segments", value), *samples(range(60))]
    chosen = {"algorithm": written["algorithm"], "projection": written["projection"]}
    trainer = Trainer(history, projection_dimensions=4, **chosen)
    resumed = trainer.stage._clusterer._clusterer.snapshot()["learned"]
    for state in (learned, learned.get("inner", {}), resumed.get("inner", {})):
        for name in ("started", "buffer", "buffer_weights"):  # of a warm-up that it had then
            state.pop(name, None)
    assert to_json(resumed) == to_json(learned)


@pytest.mark.parametrize("written", REMOVED, ids=lambda each: each["algorithm"])
def test_a_worker_decides_by_a_version_of_an_algorithm_that_went(written):
    model = read_model(json.dumps(written["value"]).encode(), "model.json")
    profiles = [ProfileSample.model_validate_json(record.value) for record in samples(range(60))]
    vectors = np.stack([decode_array(each.vector, "<f4") for each in profiles])
    decided = decide(
        vectors, np.full(60, NO_SEGMENT), np.ones(60), np.ones(60), model, AssignmentPolicy()
    )
    assert Counter(decided.segment.tolist()) == {0: 30, 1: 30}


@pytest.mark.parametrize("segments", [3, 4])
def test_another_number_of_segments_is_learned_anew_on_the_same_users(segments):
    first = Trainer()
    first.learn(samples(range(40), topics=4))
    first.idle()
    before = first.stage.published
    second = Trainer(first.history, segments=segments)
    (model,) = models_in(second.idle() or [])
    assert (len(model.ids), model.version) == (segments, before.version + 1)
    assert sum(model.sizes) == 40
    born = set(model.ids.tolist()) - set(before.ids.tolist())
    assert all(segment >= before.next_id for segment in born)


def test_a_trainer_that_finds_the_number_goes_on_with_what_it_found():
    first = Trainer(segments="auto")
    first.learn(samples(range(60), topics=4))
    first.idle()
    before = first.stage.published
    assert len(before.ids) == 4
    second = Trainer(first.history, segments="auto")
    assert not models_in(second.idle() or [])
    assert second.stage.published.to_record() == before.to_record()


@pytest.mark.parametrize("most", [2, 3])
def test_a_lower_bound_on_the_number_found_is_heeded_after_a_restart(most):
    first = Trainer(segments="auto")
    first.learn(samples(range(60), topics=4))
    first.idle()
    second = Trainer(first.history, segments="auto", max_segments=most)
    (model,) = models_in(second.idle() or [])
    assert len(model.ids) == most


def test_the_latest_of_several_snapshots_is_restored():
    history = [
        Record("segment-models", 0, n, -1, b"segments", a_snapshot(version))
        for n, version in enumerate((1, 2, 3))
    ]
    assert Trainer(history).stage.published.version == 3


def a_snapshot(version: int = 1, embedding: str = EMBEDDING) -> bytes:
    model = a_model(version, centres=np.eye(2, 8), embedding=embedding)
    return model.to_record().model_dump_json().encode()


def test_model_and_reference_are_read_to_their_end_and_the_sample_to_the_committed_offset():
    changelogs = Trainer().stage.restoration(0).changelogs
    assert [(c.topic, c.partition, c.upto) for c in changelogs] == [
        ("segment-models", 0, Upto.END),
        ("profile-samples", 0, Upto.COMMITTED),
        ("drift-reference", 0, Upto.END),
        ("segment-model-versions", 0, Upto.END),
        ("segment-model-control", 0, Upto.END),
    ]


def test_a_revoked_trainer_stands_by():
    trainer = Trainer()
    trainer.learn(samples(range(30)))
    trainer.stage.revoked(0)
    assert (trainer.stage.published, trainer.stage.sampled_users) == (None, 0)
    assert trainer.stage.settled
    assert trainer.idle() is None


# --- what is refused ------------------------------------------------------------------------------


def test_a_feed_with_a_second_partition_is_refused():
    with pytest.raises(StageError, match="profile-samples has a partition 1: it must have one"):
        TrainingStage(configured()).restoration(1)


def test_samples_of_another_embedding_are_refused_as_input():
    trainer = Trainer()
    trainer.learn(samples(range(3)))
    with pytest.raises(StageError, match=r"profile-samples\[0\]@5 is .* 000000000000 beside .*new"):
        trainer.learn(samples([4], embedding=OTHER, start=5))


@pytest.mark.parametrize(
    "before",
    [
        samples([1]),
        [Record("segment-models", 0, 0, -1, b"segments", a_snapshot())],
        [Record("segment-models", 0, 0, -1, b"segments", a_snapshot()), *samples([1])],
    ],
)
def test_samples_of_another_embedding_are_refused_on_restore(before):
    with pytest.raises(StageError, match="000000000000 beside those of"):
        Trainer([*before, *samples([2], embedding=OTHER)])


def test_samples_of_another_embedding_do_not_matter_once_they_are_superseded():
    former = samples([1, 2], embedding=OTHER)
    removed = replace(former[1], value=None)
    trainer = Trainer([*former, *samples([1]), removed])
    assert (trainer.stage.sampled_users, trainer.stage._clusterer.embedding) == (1, EMBEDDING)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Record("profile-samples", 0, 7, -1, b"u", b"{}"), "no profile sample: .*user_id"),
        (
            Record("profile-samples", 0, 7, -1, b"\xff", None),
            "no profile sample: its key is not UTF-8",
        ),
    ],
)
def test_a_record_that_is_no_sample_is_refused_with_its_place(record, sentence):
    with pytest.raises(StageError, match=rf"profile-samples\[0\]@7 is {sentence}"):
        Trainer().learn([record])
    with pytest.raises(StageError, match=rf"profile-samples\[0\]@7 is {sentence}"):
        Trainer([record])


def test_a_sample_of_a_newer_version_is_told_as_one_and_not_as_damaged():
    (known,) = samples([1], start=7)
    value = known.value.replace(b'"schema_version":2', b'"schema_version":3,"new":1')
    record = replace(known, value=value)
    sentence = "was written by a newer version (schema 3; this one knows 2): upgrade this process"
    with pytest.raises(StageError, match=re.escape(f"profile-samples[0]@7 {sentence}")):
        Trainer().learn([record])
    with pytest.raises(StageError, match=re.escape(f"profile-samples[0]@7 {sentence}")):
        Trainer([record])


def test_a_sample_with_a_cut_vector_is_refused_with_its_place():
    (whole,) = samples([1], start=7)
    cut = ProfileSample.model_validate_json(whole.value).model_copy(update={"vector": "AAAA"})
    record = Record("profile-samples", 0, 7, -1, whole.key, cut.model_dump_json().encode())
    with pytest.raises(StageError, match=r"profile-samples\[0\]@7 is .* its vector: buffer size"):
        Trainer().learn([record])


@pytest.mark.parametrize(
    "value", [b"", b"{}", a_snapshot().replace(b'"next_id":100', b'"next_id":1')]
)
def test_what_is_no_segment_model_is_refused_with_its_place(value):
    with pytest.raises(StageError, match=r"^model\.json is no segment model: "):
        read_model(value, "model.json")
