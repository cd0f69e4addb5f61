"""Drift in the trainer's stage: references, looks, alarms, retraining and restarts; no broker."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from itertools import count

import numpy as np
import pytest

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.training import drift_monitor
from consumer.stages.training.drift_monitor import read_reference
from models.clustering.policy import ClusteringPolicy
from models.drift.check import TESTS
from schemas.arrays import encode_array
from schemas.drift import DriftReferenceRecord
from schemas.profiles import ProfileSample
from schemas.samples import read_sample
from tests.consumer.stages.drift_data import DIMENSIONS, EMBEDDING, Trainer, sample
from tests.consumer.stages.stage_data import ALL, START, Worker, event, of, records


def test_the_reference_is_set_when_enough_users_have_come_and_goes_to_its_topic():
    trainer = Trainer()
    trainer.people(80)
    assert trainer.references == []
    assert trainer.drift.reference_users == 0
    trainer.people(80)
    (reference,) = trainer.references
    assert trainer.drift.reference_users == 120
    assert (reference.begin, reference.end, reference.dimensions) == (0, 120, DIMENSIONS)
    assert reference.model_version == trainer.stage.published.version
    assert reference.set_at == START + timedelta(hours=119)
    written = of([o for o in trainer.log if o.topic == "drift-reference"], "drift-reference")
    assert [(each.key, each.partition) for each in written] == [(b"reference", 0)]


def test_nothing_is_compared_until_as_many_users_have_come_again():
    trainer = Trainer()
    trainer.people(200)
    assert trainer.drift.report is None
    trainer.people(40)
    report = trainer.drift.report
    assert (report.reference_users, report.current_users, report.both) == (120, 120, 0)
    assert tuple(report.tests) == TESTS
    assert trainer.drift.age == timedelta(hours=120)


def test_users_who_go_on_as_before_give_no_alarm():
    trainer = Trainer()
    trainer.people(800)
    assert trainer.drift.report.alarms == ()
    assert trainer.drift.alarms.total() == 0
    assert len(trainer.references) == 1


def test_profiles_that_settle_down_are_no_drift():
    """Profiles of one text are noise, later ones are not; what users write stays the same."""
    trainer = Trainer()
    for turn in range(12):
        users = np.random.default_rng(turn).permutation(200)
        for start in range(0, 200, 40):
            trainer.write([(int(user), int(user) % 3) for user in users[start : start + 40]])
    report = trainer.drift.report
    assert report.both > 50
    assert trainer.drift.alarms.total() == 0
    assert trainer.drift.churn is not None


def test_a_new_topic_is_an_alarm_that_is_told_once_with_its_segments(caplog):
    trainer = Trainer()
    trainer.people(280)
    with caplog.at_level(logging.WARNING, "consumer.stages.training.drift_monitor"):
        trainer.people(160, (0, 1, 7, 7))
        once = len(caplog.messages)
        trainer.people(80, (0, 1, 7, 7))
    assert "mmd" in trainer.drift.report.alarms
    assert trainer.drift.alarms["mmd"] == 1
    assert trainer.drift.retrainings == 0
    told = [message for message in caplog.messages[:once] if message.startswith("drift: mmd is")]
    assert len(told) == 1
    assert "over its threshold of" in told[0]
    assert "segments that drifted: " in told[0]
    assert len([m for m in caplog.messages if m.startswith("drift: mmd is")]) == 1
    assert len(trainer.references) == 1


def test_an_alarm_that_is_over_is_told_too(caplog):
    trainer = Trainer()
    trainer.people(280)
    trainer.people(160, (7,))
    assert trainer.drift.report.alarms
    with caplog.at_level(logging.INFO, "consumer.stages.training.drift_monitor"):
        trainer.people(200)
    assert "drift: every test is below its threshold again" in caplog.messages


def test_an_alarm_has_the_segments_looked_for_and_a_new_reference_collected_if_so_set():
    trainer = Trainer(retrain=True, training={"segments": 4, "reseed_every": 100_000})
    trainer.people(280)
    before = trainer.stage.published
    trainer.people(200, (0, 1, 7, 7))
    assert trainer.drift.retrainings == 1
    after = trainer.stage.published
    assert after.version > before.version
    assert after.centres[:, 7].max() > 0.5 > before.centres[:, 7].max()
    # Segments that go on keep their ids.
    assert set(before.ids.tolist()) & set(after.ids.tolist())
    assert trainer.references[1].users == ""
    trainer.people(400, (0, 1, 7, 7))
    assert trainer.references[2].users
    assert trainer.references[2].begin >= trainer.references[1].begin
    assert trainer.drift.report.alarms == ()
    assert trainer.drift.retrainings == 1


def test_a_reference_that_is_old_enough_gives_way_to_the_users_of_today():
    trainer = Trainer(reference_days=6)
    trainer.people(400)
    first, second, *_ = trainer.references
    assert second.begin >= first.end
    assert second.set_at - first.set_at > timedelta(days=6)


def test_another_epoch_has_a_new_reference_collected():
    trainer = Trainer()
    trainer.people(280)
    later = Trainer(trainer.log, reference_epoch=1)
    later.people(80)
    assert (later.references[-1].users, later.references[-1].epoch) == ("", 1)
    later.people(80)
    assert later.references[-1].users
    assert later.references[-1].begin >= trainer.next_offset


def test_in_a_group_with_few_writers_the_reference_is_set_after_a_while():
    trainer = Trainer()
    for turn in range(30):
        trainer.write([(user, user % 3) for user in range(60)])
        if turn == 6:
            assert trainer.references == []
    assert len(trainer.references) == 1
    assert trainer.drift.reference_users == 60
    assert trainer.drift.report.current_users == 60
    assert trainer.drift.report.alarms == ()


def test_a_reference_that_would_not_fit_into_a_record_has_fewer_users(monkeypatch):
    monkeypatch.setattr(drift_monitor, "LARGEST_REFERENCE", 50 * 2 * DIMENSIONS)
    trainer = Trainer()
    trainer.people(80)
    assert trainer.drift.reference_users == 50
    trainer.people(160)
    assert trainer.drift.report.current_users == 50


def test_a_pause_is_a_moment_to_look():
    trainer = Trainer(every=100_000)
    trainer.people(160)
    assert trainer.references == []
    trainer.idle()
    assert len(trainer.references) == 1
    trainer.people(130)
    assert trainer.drift.report is None
    assert [output.topic for output in trainer.idle()] == []
    assert trainer.drift.report.alarms == ()


def test_samples_without_a_text_are_learned_from_and_not_compared():
    trainer = Trainer()
    trainer.write([(user, user % 3) for user in range(200)], latest=False)
    trainer.idle()
    assert (trainer.stage.sampled_users, trainer.references) == (200, [])


def test_a_user_who_is_erased_is_compared_no_more():
    trainer = Trainer()
    trainer.people(280)
    erased = [user for record in trainer.log[-40:] if (user := record.key) != b"segments"]
    trainer.stage.apply(
        trainer.stage.prepare(
            [Record("profile-samples", 0, 999, -1, user, None) for user in erased]
        ),
        ALL,
    )
    trainer.stage.committed()
    trainer.idle()
    assert not {user.decode() for user in erased} & set(trainer.drift._texts._texts)


def test_nothing_is_done_where_drift_is_not_wanted():
    trainer = Trainer(enabled=False)
    trainer.people(400)
    assert (trainer.references, trainer.drift.report) == ([], None)


def test_a_worker_sends_the_latest_text_of_a_user_unless_drift_is_not_wanted():
    for enabled in (True, False):
        worker = Worker(drift={"enabled": enabled})
        batch = records([event("ann", 1), event("ann", 2, "qubit photon"), event("bob", 1)])
        sent = [
            read_sample(output.key, output.value).to_record()
            for output in of(worker.run(batch), "profile-samples")
        ]
        assert [each.user_id for each in sent] == ["ann", "bob"]
        if not enabled:
            assert [each.latest for each in sent] == [None, None]
            continue
        embedded = worker.stage._embedder.embed(["qubit photon"])[0]
        assert sent[0].latest == encode_array(embedded, "<f2")


def test_after_a_restart_the_first_pause_brings_the_figures_back():
    trainer = Trainer()
    trainer.people(280)
    again = Trainer(trainer.log)
    assert again.drift.report is None
    again.idle()
    assert again.drift.report == trainer.drift.report


# --- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("users", [60, 160, 200, 280, 330])
@pytest.mark.parametrize("shift", [(0, 1, 2), (0, 1, 7)])
def test_a_trainer_that_was_started_again_finds_what_one_that_never_stopped_finds(
    users, shift, monkeypatch
):
    # One that looks and asks every time, so that both do at the same moments.
    monkeypatch.setattr(ClusteringPolicy, "ask_bounds", (1, 1))
    first = Trainer(every=1)
    first.people(users)
    second = Trainer(first.log, every=1)
    for trainer in (first, second):
        trainer._users = count(10_000)
        trainer.people(240, shift)
    assert first.drift.report == second.drift.report
    assert first.drift.churn == second.drift.churn
    assert first.drift.age == second.drift.age
    assert first.references == second.references


def test_a_compacted_feed_restores_the_same():
    first = Trainer(every=1)
    for turn in range(8):
        first.write([(user, user % 3) for user in range(turn * 30, turn * 30 + 80)])
    last = {record.key: record.offset for record in first.log if record.topic == "profile-samples"}
    compacted = [
        record
        for record in first.log
        if record.topic != "profile-samples" or last[record.key] == record.offset
    ]
    whole, short = Trainer(first.log, every=1), Trainer(compacted, every=1)
    for trainer in (whole, short):
        batch = [sample(user, user % 3, 5_000 + user) for user in range(60)]
        trainer.stage.apply(trainer.stage.prepare(batch), ALL)
        trainer.stage.committed()
    assert whole.drift.report == short.drift.report
    assert whole.drift.report is not None


def test_what_an_aborted_batch_found_is_not_shown_and_its_reference_not_kept():
    trainer = Trainer()
    trainer.people(80)
    batch = [sample(user, user % 3, 80 + user) for user in range(1_000, 1_080)]
    outputs = list(trainer.stage.apply(trainer.stage.prepare(batch), ALL))
    assert of(outputs, "drift-reference")
    trainer.stage.aborted()
    trainer.stage.revoked(0)
    again = Trainer(trainer.log)
    assert again.drift.reference_users == 0
    assert trainer.drift.reference_users == 0


def test_an_alarm_of_an_aborted_batch_is_not_counted():
    trainer = Trainer(every=1)
    trainer.people(280)
    batch = [sample(user, 7, 280 + user) for user in range(1_000, 1_080)]
    trainer.stage.apply(trainer.stage.prepare(batch), ALL)
    trainer.stage.aborted()
    assert trainer.drift.alarms.total() == 0
    assert trainer.drift.report.alarms == ()


def test_a_reference_of_another_embedding_model_is_collected_anew():
    trainer = Trainer()
    trainer.people(160)
    other = trainer.references[0].model_copy(update={"embedding": "f" * 64})
    log = [
        replace(record, value=other.model_dump_json().encode())
        if record.topic == "drift-reference"
        else record
        for record in trainer.log
    ]
    again = Trainer(log)
    again.people(80)
    assert again.references[-1].embedding == EMBEDDING


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"{}", "no drift reference: embedding: Field required"),
        (b"", "no drift reference"),
        (
            DriftReferenceRecord(
                embedding=EMBEDDING,
                epoch=0,
                begin=0,
                end=9,
                set_at=START,
                model_version=1,
                dimensions=4,
                users=encode_array(np.ones(2), "<f8"),
                vectors="",
                segments="",
            )
            .model_dump_json()
            .encode(),
            "no drift reference: cannot reshape",
        ),
    ],
)
def test_what_is_no_reference_is_refused_with_its_place(value, sentence):
    record = Record("drift-reference", 0, 3, -1, b"reference", value)
    with pytest.raises(StageError, match=rf"^drift-reference\[0\]@3 is {sentence}"):
        read_reference(record, "drift-reference[0]@3")


def test_a_reference_of_a_newer_version_is_told_as_one():
    record = Record("drift-reference", 0, 3, -1, b"reference", b'{"schema_version": 2}')
    with pytest.raises(StageError, match=r"^here was written by a newer version \(schema 2; "):
        read_reference(record, "here")


def test_a_reference_that_was_deleted_is_none():
    assert read_reference(Record("drift-reference", 0, 3, -1, b"reference", None), "") is None


@pytest.mark.parametrize(
    "latest",
    ["AAA=", *(encode_array(np.full(n, value), "<f2") for n, value in ((3, 1), (16, np.nan)))],
)
def test_a_text_that_is_cut_is_refused_with_its_place(latest):
    record = sample(1, 0, 7)
    value = ProfileSample.model_validate_json(record.value).model_copy(update={"latest": latest})
    record = replace(record, value=value.model_dump_json().encode())
    stage = Trainer().stage
    with pytest.raises(
        StageError, match=r"profile-samples\[0\]@7 is no profile sample: its latest"
    ):
        stage.apply(stage.prepare([record]), ALL)


def test_more_users_than_there_are_to_compare_cannot_be_asked_for():
    with pytest.raises(ValueError, match="min_users is 90, more than the 50 users to compare"):
        Settings(drift={"users": 50, "min_users": 90})
