"""Labels in the workers: given, kept, published, restored."""

from __future__ import annotations

from consumer.contract.records import Record
from consumer.kafka.topics import new_topics
from consumer.settings import Settings
from consumer.stages.segmentation.figures import figures
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.training.stage import TrainingStage
from schemas.changes import ChangeReason, ChangeStatus
from schemas.states import read_profile
from tests.consumer.stages.label_data import (
    NAMES,
    Worker,
    a_label_model,
    label_record,
    on,
    samples_in,
)
from tests.consumer.stages.stage_data import (
    ALL,
    EMBEDDER,
    NOW,
    TOPICS,
    a_model,
    changes_in,
    event,
    of,
    records,
)

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
    profile = read_profile(state.key, state.value)
    assert profile.labels is not None
    assert profile.labels.given == "brewers"
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
    assert (letter.topic, letter.key, letter.value) == ("segment-labels.dlq", b"u", None)
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


# --- metrics ------------------------------------------------------------------------------------


def test_a_worker_counts_users_by_label() -> None:
    worker = Worker(a_label_model())
    worker.run([*records([event("u", 0)]), label_record("u", "brewers"), label_record("v", "", 1)])
    told = dict(figures(worker.stage))
    assert told["label_users"] == {"brewers": 1}
    assert told["users_given_label"] == 1
    assert told["label_dead_letters"] == {"invalid_field": 1}
    assert told["label_records"] == 1
