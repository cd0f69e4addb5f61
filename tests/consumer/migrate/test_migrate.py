"""`segmenter migrate` on a real Kafka: one embedding model follows another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.engine.transactions import Outcome, Transactions
from consumer.kafka.clients import admin_config
from consumer.kafka.cluster import Cluster, read_topic
from consumer.migrate import MigrationError, migrate
from consumer.migrate.group import Members
from consumer.migrate.member import SoleMember
from consumer.migrate.run import Migration
from consumer.migrate.survey import Plan, Survey
from consumer.migrate.writer import Writer
from consumer.offline.replay import Replay
from consumer.offline.texts import clean_texts
from consumer.reset.run import Reset
from consumer.reset.target import Target
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.training.stage import TrainingStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.wiring.model_feed import ModelFeed
from models.embedding.making.fit_words import FitOptions, fit_words
from models.embedding.runner_types import Embedder
from models.embedding.words.embedder import WordsEmbedder
from models.segments.model import SegmentModel
from schemas.arrays import decode_array
from schemas.dead_letters import RefusalReason, read_dead_letter_headers
from schemas.model_versions import ModelVersionRecord
from schemas.profiles import ProfileRecord, ProfileSample
from schemas.samples import read_sample
from schemas.segment_model import SEGMENT_MODEL_KEY
from schemas.states import read_profile
from tests.consumer.kafka_runs import (
    PARTITIONS,
    TOPICS,
    Pair,
    Running,
    audit,
    changes_of,
    committed,
    event,
    model_of,
    produce,
    settings_for,
    until,
)
from tests.stubs import HashingEmbedder

OLD, NEW = HashingEmbedder(64), HashingEmbedder(48)

pytestmark = pytest.mark.usefixtures("broker")


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(
        broker.bootstrap_servers,
        batch={"reassign_users": 2},
        training={"segments": 2, "warmup_users": 10},
    )


def past(users: int = 12, events: int = 20) -> list[Pair]:
    """Events of users who each have an interest; every fourth comes to it from the other one."""
    texts = list(TOPICS.values())
    return [
        event(f"u{user}", number, texts[(user + (user % 4 == 0 and number < 4)) % 2])
        for number in range(events)
        for user in range(users)
    ]


# --- a group at work ------------------------------------------------------------------------------


@contextmanager
def working(settings: Settings, embedder: Embedder) -> Iterator[tuple[Running, SegmentationStage]]:
    """Run a worker that follows the topic of segment models."""
    feed = ModelFeed(settings)
    stage = SegmentationStage(settings, embedder, feed)
    running = Running(settings, stage, "w0")
    try:
        yield running, stage
    finally:
        running.loop.stop()
        running.thread.join(60)
        feed.close()


def work(settings: Settings, embedder: Embedder, pairs: list[Pair]) -> None:
    """Let a worker take these events in, and end it."""
    before = committed(settings)
    produce(settings, pairs)
    with working(settings, embedder) as (running, stage):
        until(lambda: running.error is not None or committed(settings) == before + len(pairs))
        until(lambda: running.error is not None or (running.health.ready and stage.settled))
        running.stop()


@contextmanager
def training(settings: Settings) -> Iterator[tuple[Running, TrainingStage]]:
    stage = TrainingStage(settings)
    running = Running(settings, stage, "t0", f"{settings.kafka.group_id}-trainer")
    try:
        yield running, stage
    finally:
        running.loop.stop()
        running.thread.join(60)


def publish(settings: Settings, model: SegmentModel) -> None:
    producer = Producer(settings.kafka.client())
    value = model.to_record().model_dump_json()
    producer.produce(settings.topics.models, value, SEGMENT_MODEL_KEY)
    assert producer.flush(30) == 0


def run_old(settings: Settings, pairs: list[Pair]) -> None:
    """Give the group a past under the old model: profiles, chains, samples, a segment model."""
    publish(settings, model_of(OLD))
    work(settings, OLD, pairs)


def bring_over(
    settings: Settings,
    *,
    dry_run: bool = False,
    accept: bool = False,
    to: Embedder = NEW,
    **parts: Any,
) -> str:
    """Run the command, with some parts replaced; give what it said."""
    said: list[str] = []
    migration = Migration(settings, to, accept_missing_history=accept, **parts)
    migrate(migration, dry_run=dry_run, say=said.append)
    return "".join(said)


# --- what is on the topics ------------------------------------------------------------------------


def profiles_in(settings: Settings) -> dict[str, ProfileRecord]:
    return {
        (record.key or b"").decode(): read_profile(record.key or b"", record.value or b"")
        for record in read_topic(settings, settings.topics.profiles)
    }


def samples_in(settings: Settings) -> dict[str, ProfileSample]:
    found: dict[str, ProfileSample] = {}
    for record in read_topic(settings, settings.topics.samples):
        user = (record.key or b"").decode()
        found.pop(user, None)
        if record.value is not None:
            found[user] = read_sample(record.key or b"", record.value).to_record()
    return found


def model_in(settings: Settings) -> SegmentModel:
    feed = ModelFeed(settings)
    try:
        model = feed.latest()
    finally:
        feed.close()
    assert model is not None
    return model


def everything(settings: Settings) -> tuple[object, ...]:
    """Give all state that a migration writes, without what differs from run to run."""
    model = model_in(settings).to_record()
    return profiles_in(settings), samples_in(settings), model


def ends(settings: Settings) -> dict[tuple[str, int], int]:
    names = settings.topics
    many = (names.events, names.dead_letters, names.changes, names.memberships, names.profiles)
    found = {(t, p): Cluster(settings.kafka).end(t, p) for t in many for p in range(PARTITIONS)}
    for topic in (names.samples, names.models):
        found[topic, 0] = Cluster(settings.kafka).end(topic, 0)
    return found


def offsets(settings: Settings) -> dict[tuple[str, int], int | None]:
    group, topics = settings.kafka.group_id, settings.topics
    places = [(group, topics.events, n) for n in range(PARTITIONS)]
    places.append((f"{group}-trainer", topics.samples, 0))
    return {
        (topic, n): Cluster(settings.kafka).committed(g, topic, [n])[0].offset
        for g, topic, n in places
    }


def from_the_start(settings: Settings, pairs: list[Pair]) -> dict[str, ProfileRecord]:
    """Give the profiles that the new model makes of the same history, with no broker."""
    replay = Replay(settings, NEW, model_of(NEW))
    records = (
        Record(settings.topics.events, 0, n, -1, key, value) for n, (key, value) in enumerate(pairs)
    )
    replay.run(records, lambda _: None)
    table = replay.segmentation.tables[0]
    return {user: table.gather([user]).to_record(0, NEW.identity) for user in table.users}


def delete_first_records(settings: Settings, partition: int, upto: int) -> None:
    admin = AdminClient(admin_config(settings.kafka))
    place = TopicPartition(settings.topics.events, partition, upto)
    admin.delete_records([place])[place].result()


# --- the migration --------------------------------------------------------------------------------


def test_a_migrated_group_goes_on_with_the_new_model_and_no_chain_breaks(
    settings: Settings,
) -> None:
    repeats = past(events=2)
    pairs = [*past(), *repeats, (b"bad", b"{"), *past(users=3, events=1)]
    run_old(settings, pairs)
    before, changes = profiles_in(settings), changes_of(settings)
    said = bring_over(settings)
    assert "12 users migrated" in said
    assert "history: complete" in said
    after = profiles_in(settings)
    standing = {
        "user_id", "segment", "segment_label", "segment_since_event", "sequence", "model_version",
        "events", "repeats", "recent_events", "weight", "reference_time", "terms",
    }  # fmt: skip
    assert {user: p.model_dump(include=standing) for user, p in after.items()} == {
        user: p.model_dump(include=standing) for user, p in before.items()
    }
    assert {p.embedding for p in after.values()} == {NEW.identity}
    assert audit(settings).exit_code == 0, audit(settings).render()

    more = [event(f"u{n}", 100 + i, TOPICS["hops"]) for i in range(50) for n in (0, 1)]
    work(settings, NEW, more)
    later = changes_of(settings)
    assert len(later) > len(changes)
    assert {c.model.embedding for c in later} == {OLD.identity, NEW.identity}
    result = audit(settings)
    assert result.exit_code == 0, result.render()
    assert result.counts.records == len(pairs) + len(more)
    assert "nothing to migrate" in bring_over(settings)


def test_a_group_is_brought_to_words_that_are_fitted_on_its_own_input(
    settings: Settings, tmp_path: Path
) -> None:
    texts = list(TOPICS.values())
    pairs = [
        event(f"u{user}", number, f"{texts[user % 2]} item{number} seller{user}")
        for number in range(20)
        for user in range(12)
    ]
    # Words of one text alone are none to the model: of this user no event moves a profile.
    pairs += [event("odd", number, text) for number, text in enumerate(("zyzzyva", "qwyjibo"))]
    run_old(settings, pairs)
    texts_there = clean_texts(
        read_topic(settings, settings.topics.events), settings, settings.topics.events
    )
    fit_words(texts_there, tmp_path / "words", FitOptions(dimensions=8))
    with WordsEmbedder.load(tmp_path / "words") as words:
        said = bring_over(settings, to=words)
        assert "13 users migrated" in said
        assert "2 events left out of the profiles" in said
        assert "1 user without an event left" in said
        assert model_in(settings).dimension == 8
        profiles = profiles_in(settings)
        assert {p.embedding for p in profiles.values()} == {words.identity}
        assert (profiles["odd"].events, profiles["odd"].weight) == (2, 0)
        assert audit(settings).exit_code == 0, audit(settings).render()

        more = [event(f"u{n}", 100 + i, texts[0]) for i in range(20) for n in (0, 1)]
        work(settings, words, [*more, event("odd", 2, texts[1]), event("odd", 3, "xylyl")])
        reasons = [
            read_dead_letter_headers(letter.headers).refusal.reason
            for letter in read_topic(settings, settings.topics.dead_letters)
        ]
        assert reasons == [RefusalReason.UNKNOWN_WORDS]
        assert profiles_in(settings)["odd"].events == 3
        assert audit(settings).exit_code == 0, audit(settings).render()
        assert "nothing to migrate" in bring_over(settings, to=words)
    # And on to an encoder, which has a vector for what words refused and left out.
    assert "13 users migrated" in bring_over(settings)
    assert profiles_in(settings)["odd"].weight > 0
    assert audit(settings).exit_code == 0, audit(settings).render()


def test_the_profiles_are_those_that_the_new_model_makes_from_the_start(
    settings: Settings,
) -> None:
    pairs = past()
    run_old(settings, pairs)
    bring_over(settings)
    expected = from_the_start(settings, pairs)
    for user, profile in profiles_in(settings).items():
        made = ("embedding", "vector", "weight", "reference_time", "recent_events", "terms")
        assert [getattr(profile, name) for name in made] == [
            getattr(expected[user], name) for name in made
        ]
    for user, sample in samples_in(settings).items():
        assert sample.embedding == NEW.identity
        sums = decode_array(expected[user].vector, "<f4").astype(np.float64)
        unit = decode_array(sample.vector, "<f4")
        np.testing.assert_allclose(unit, sums / np.linalg.norm(sums), rtol=1e-6, atol=1e-7)


def test_segments_keep_ids_and_labels_and_users_stay_where_they_are(settings: Settings) -> None:
    run_old(settings, past())
    was = model_in(settings)
    said = bring_over(settings)
    model = model_in(settings)
    assert (model.version, model.embedding, model.next_id) == (2, NEW.identity, was.next_id)
    assert (model.ids.tolist(), model.labels) == (was.ids.tolist(), was.labels)
    assert model.dimension == NEW.dimensions
    assert model.sizes.sum() == 12
    kept = [
        ModelVersionRecord.model_validate_json(record.value or b"")
        for record in read_topic(settings, settings.topics.model_versions)
    ]
    # The former is there to be looked at; to be put in force again it is of the wrong space.
    assert [(each.model.version, each.origin) for each in kept] == [
        (1, "unknown"),
        (2, "migration"),
    ]
    assert "12 of 12 sampled users are nearest to the segment that they are in" in said
    count = len(changes_of(settings))
    with working(settings, NEW) as (running, stage):
        until(lambda: running.health.ready and stage.settled)
        running.stop()
    assert len(changes_of(settings)) == count


def test_the_trainer_goes_on_from_the_migrated_samples(settings: Settings) -> None:
    work(settings, OLD, past(users=30, events=6))
    with training(settings) as (running, stage):
        until(lambda: stage.published is not None and stage.settled)
        running.stop()
    former = model_in(settings)
    bring_over(settings)
    with training(settings) as (running, stage):
        until(lambda: running.error is not None or running.health.ready)
        assert running.error is None
        assert stage.published is not None
        assert stage.published.version == former.version + 1
        assert stage.sampled_users == 30
        work(settings, NEW, [event("n", 0, "beer hops")])
        until(lambda: running.error is not None or stage.sampled_users == 31)
        running.stop()
    assert audit(settings).exit_code == 0, audit(settings).render()


def test_a_group_without_a_segment_model_is_migrated_too(settings: Settings) -> None:
    # Too few users for segments, however long the trainer has for them.
    work(settings, OLD, past(users=3, events=2))
    bring_over(settings)
    assert {s.embedding for s in samples_in(settings).values()} == {NEW.identity}
    with training(settings) as (running, stage):
        until(lambda: running.error is not None or running.health.ready)
        running.stop()
        assert stage.samples == 0
    assert not list(read_topic(settings, settings.topics.models))
    work(settings, NEW, past(users=3, events=1))
    assert audit(settings).exit_code == 0
    assert "nothing to migrate" in bring_over(settings)


def test_a_group_can_be_brought_back(settings: Settings) -> None:
    run_old(settings, past())
    before = profiles_in(settings)
    bring_over(settings)
    bring_over(settings, to=OLD)
    assert profiles_in(settings) == before
    assert model_in(settings).version == 3
    work(settings, OLD, past(users=2, events=30))
    assert audit(settings).exit_code == 0, audit(settings).render()


def test_what_a_reset_has_passed_over_does_not_come_back(settings: Settings) -> None:
    run_old(settings, past())

    def kill(_size: int) -> None:
        raise KeyboardInterrupt

    reset = Reset(settings, Target("latest"))
    with pytest.raises(KeyboardInterrupt):
        reset.run(reset.look(), kill)
    with pytest.raises(MigrationError, match=r"a reset of group .* has not come to its end"):
        bring_over(settings, accept=True)
    reset.run(reset.look(), lambda _size: None)
    later = [
        event(f"u{user}", number, list(TOPICS.values())[user % 2])
        for number in range(20, 25)
        for user in range(11)
    ]
    work(settings, OLD, later)
    before = profiles_in(settings)
    assert {user: each.events for user, each in before.items()} == {
        **{f"u{user}": 5 for user in range(11)},
        "u11": 0,
    }
    said = bring_over(settings)
    assert "history: complete" in said
    after = profiles_in(settings)
    expected = from_the_start(settings, later)
    assert {user: each.events for user, each in after.items()} == {
        user: each.events for user, each in before.items()
    }
    for user, profile in expected.items():
        assert after[user].vector == profile.vector
    assert not decode_array(after["u11"].vector, "<f4").any()


# --- crashes --------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of the process."""


def numbered(written: list[int], last: int | None = None) -> type[Writer]:
    """Count a migration's transactions; let it end before the one of number `last`, from 0."""

    class Numbered(Writer):
        def write(self, *arguments: Any) -> None:
            if len(written) == last:
                raise Killed
            super().write(*arguments)
            written.append(len(written))

    return Numbered


def a_past_with_a_ghost(broker: EmbeddedKafka) -> Settings:
    """Give a group with a sample that no profile replaces: its trainer lags behind."""
    settings = settings_for(broker.bootstrap_servers, batch={"reassign_users": 4})
    run_old(settings, past())
    ghost = ProfileSample(
        user_id="ghost",
        embedding=OLD.identity,
        vector="",
        weight=1,
        terms={},
        updated_at="2025-01-01T00:00:00Z",
    )
    producer = Producer(settings.kafka.client())
    producer.produce(settings.topics.samples, ghost.model_dump_json(), b"ghost")
    assert producer.flush(30) == 0
    return settings


@pytest.fixture(scope="module")
def undisturbed(broker: EmbeddedKafka) -> tuple[tuple[object, ...], int]:
    """Give what a migration leaves that nothing disturbs, and the number of its transactions."""
    settings = a_past_with_a_ghost(broker)
    written: list[int] = []
    bring_over(settings, writer=numbered(written))
    return everything(settings), len(written)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(0, id="before the first transaction"),
        pytest.param(1, id="amid the profiles"),
        pytest.param(-2, id="before the tombstones"),
        pytest.param(-1, id="before the switch"),
    ],
)
def test_a_migration_that_was_killed_is_completed_by_another_one(
    broker: EmbeddedKafka, undisturbed: tuple[tuple[object, ...], int], place: int
) -> None:
    expected, transactions = undisturbed
    settings = a_past_with_a_ghost(broker)
    with pytest.raises(Killed):
        bring_over(settings, writer=numbered([], place % transactions))
    # Before the first transaction the former model may go on; later neither may.
    for embedder in (OLD, NEW) if place else (NEW,):
        with working(settings, embedder) as (running, _):
            until(lambda running=running: running.error is not None)
        assert isinstance(running.error, StageError)
        assert "segmenter migrate" in str(running.error)
    bring_over(settings)
    assert everything(settings) == expected
    assert "ghost" not in samples_in(settings)
    work(settings, NEW, past(users=2, events=30))
    assert audit(settings).exit_code == 0, audit(settings).render()


def test_a_transaction_whose_answer_is_lost_is_written_again(settings: Settings) -> None:
    run_old(settings, past())
    lost = [Outcome.UNKNOWN, Outcome.ABORTED]

    class Losing(Transactions):
        def _commit(self, producer: Producer, budget: float) -> Outcome:
            outcome = lost.pop() if lost else Outcome.COMMITTED
            if outcome is Outcome.ABORTED:
                return self._abort(producer, "the test asked for it")
            super()._commit(producer, budget)
            return outcome

    bring_over(settings, writer=partial(Writer, make=Losing))
    assert not lost
    assert audit(settings).exit_code == 0, audit(settings).render()


# --- what is refused ------------------------------------------------------------------------------


def test_a_group_with_members_is_refused(settings: Settings) -> None:
    members = Members(settings.kafka, session_seconds=0, margin_seconds=0)
    run_old(settings, past(events=2))
    before = ends(settings)
    group = settings.kafka.group_id
    with working(settings, OLD) as (running, _):
        until(lambda: running.health.ready)
        with pytest.raises(MigrationError, match=f"group '{group}' still has 1 member"):
            bring_over(settings, members=members)
        assert "has 1 member" in bring_over(settings, dry_run=True)
    with training(settings) as (running, _):
        until(lambda: running.health.ready)
        with pytest.raises(MigrationError, match=f"group '{group}-trainer' still has 1 member"):
            bring_over(settings, members=members)
    assert ends(settings) == before


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_worker_that_comes_in_the_middle_ends_the_migration(
    broker: EmbeddedKafka, protocol: str
) -> None:
    settings = settings_for(
        broker.bootstrap_servers, batch={"reassign_users": 1}, kafka={"group_protocol": protocol}
    )
    run_old(settings, past())
    started: list[Running] = []

    class Disturbed(Writer):
        def write(self, *arguments: Any) -> None:
            super().write(*arguments)
            if not started:
                stage = SegmentationStage(settings, OLD, FixedModel())
                started.append(Running(settings, stage, "w9"))
            # Without a poll the newcomer would get nothing; with one this member lets go.
            until(self.came)

        def came(self) -> bool:
            self.check()
            return False

    with pytest.raises(MigrationError, match="has another member"):
        bring_over(settings, writer=Disturbed)
    (newcomer,) = started
    newcomer.loop.stop()
    newcomer.thread.join(60)
    until(lambda: not Members(settings.kafka).count(settings.kafka.group_id))
    bring_over(settings)
    assert audit(settings).exit_code == 0, audit(settings).render()


def test_a_member_that_was_thrown_out_cannot_write(settings: Settings) -> None:
    """The generation is the fence: a look alone would come too late."""
    run_old(settings, past())

    class Unaware(SoleMember):
        def check(self) -> None:
            pass

    class Late(Writer):
        def write(self, *arguments: Any) -> None:
            for member in self._members:
                member.consumer.unsubscribe()
            kafka = settings.kafka
            with Unaware(kafka, kafka.group_id, settings.topics.events, PARTITIONS):
                super().write(*arguments)

    before = profiles_in(settings)
    with pytest.raises(MigrationError, match="1 transactions in a row failed"):
        bring_over(settings, member=Unaware, writer=partial(Late, attempts=1))
    assert profiles_in(settings) == before


def test_a_group_that_has_moved_since_the_look_is_refused(settings: Settings) -> None:
    run_old(settings, past(events=4))

    class Overtaken(Survey):
        def measure(self, plan: Plan) -> None:
            super().measure(plan)
            work(settings, OLD, [event("u0", 50, "beer hops")])

    with pytest.raises(MigrationError, match=r"has written since .* \(committed \d went from"):
        bring_over(settings, survey=Overtaken(settings, NEW))


def test_missing_history_is_refused_with_numbers_and_can_be_accepted(settings: Settings) -> None:
    run_old(settings, past())
    before, count = profiles_in(settings), len(changes_of(settings))
    for partition in range(PARTITIONS):
        if end := Cluster(settings.kafka).end(settings.topics.events, partition):
            delete_first_records(settings, partition, end // 2)
    written = ends(settings)
    with pytest.raises(
        MigrationError,
        match=r"the events of 12 users of 12 do not count up \(user 'u\d+' of .*: 20 events and 0 "
        r"repeats counted, 10 and 0 found; .*; and 9 more\): .* begins at offset .*, or give "
        "--accept-missing-history",
    ):
        bring_over(settings)
    assert "history: not complete for 12 users" in bring_over(settings, dry_run=True)
    assert ends(settings) == written
    bring_over(settings, accept=True)
    after = profiles_in(settings)
    for user, profile in after.items():
        former = before[user]
        assert (profile.events, profile.sequence) == (former.events, former.sequence)
        assert profile.segment == former.segment
        assert profile.weight < former.weight
    assert len(changes_of(settings)) == count
    work(settings, NEW, past(users=12, events=25)[-60:])
    assert audit(settings).exit_code == 0, audit(settings).render()


def test_a_user_without_an_event_left_keeps_the_chain(settings: Settings) -> None:
    hops, runs = "beer hops malt yeast brew", "shoes running pace trail marathon"
    gone = [event("gone", n, hops) for n in range(4)]
    run_old(settings, gone)
    (place,) = {r.partition for r in read_topic(settings, settings.topics.events)}
    work(settings, OLD, past(users=6, events=4))
    delete_first_records(settings, place, 4)
    before = profiles_in(settings)["gone"]
    said = bring_over(settings, accept=True)
    assert "1 user without an event left" in said
    after = profiles_in(settings)["gone"]
    assert after.weight == 0
    assert not decode_array(after.vector, "<f4").any()
    assert (after.segment, after.sequence, after.events) == (0, 1, before.events)
    assert "gone" not in samples_in(settings)
    count = len(changes_of(settings))
    work(settings, NEW, [])
    assert len(changes_of(settings)) == count, "a user of whom nothing is known was judged"
    work(settings, NEW, [event("gone", 10 + n, runs) for n in range(4)])
    entered, moved = (change for change in changes_of(settings) if change.user_id == "gone")
    assert (entered.sequence, moved.sequence, moved.status) == (1, 2, "switched")
    assert audit(settings).exit_code == 0, audit(settings).render()


def test_without_any_event_left_segments_cannot_be_placed_and_nothing_is_written(
    settings: Settings,
) -> None:
    run_old(settings, past(events=2))
    for partition in range(PARTITIONS):
        if end := Cluster(settings.kafka).end(settings.topics.events, partition):
            delete_first_records(settings, partition, end)
    written = ends(settings)
    with pytest.raises(MigrationError, match="no event is left by which the segments of model 1"):
        bring_over(settings, accept=True)
    assert ends(settings) == written


def test_what_was_refused_at_its_time_stays_refused(settings: Settings) -> None:
    strict = settings.model_copy(
        update={"events": settings.events.model_copy(update={"max_text_chars": 50})}
    )
    long = event("u0", 70, "beer hops " * 10)
    publish(settings, model_of(OLD))
    work(strict, OLD, [*past(events=4), long])
    bring_over(settings)  # would accept it today
    assert profiles_in(settings)["u0"].events == 4
    result = audit(settings)
    assert (result.exit_code, result.counts.refused) == (0, 1)


def test_an_offset_that_expired_is_refused(settings: Settings) -> None:
    run_old(settings, past(events=2))
    admin = AdminClient(admin_config(settings.kafka))
    group = settings.kafka.group_id
    admin.delete_consumer_groups([group])[group].result()
    with pytest.raises(MigrationError, match=r"has committed no offset of .* profiles there"):
        bring_over(settings)


def test_a_record_of_an_unknown_schema_is_refused(settings: Settings) -> None:
    run_old(settings, past(events=2))
    value = (
        profiles_in(settings)["u0"]
        .model_dump_json()
        .replace('"schema_version":1', '"schema_version":2')
    )
    producer = Producer(settings.kafka.client())
    producer.produce(settings.topics.profiles, value, b"u0", partition=0)
    assert producer.flush(30) == 0
    with pytest.raises(
        StageError, match=r"\[0\]@\d+ was written by a newer version .schema 2; this one"
    ):
        bring_over(settings)


# --- what is only looked at -----------------------------------------------------------------------


def test_a_dry_run_tells_what_there_is_to_do_and_changes_nothing(settings: Settings) -> None:
    run_old(settings, [*past(), *past(events=1)])
    before = ends(settings), offsets(settings)
    said = bring_over(settings, dry_run=True)
    assert (ends(settings), offsets(settings)) == before
    assert f"new embedding model: {NEW.identity[:12]}\n" in said
    assert f"users to migrate: 12 of embedding model {OLD.identity[:12]}\n" in said
    assert "events to embed again: 252, about " in said
    assert "samples to replace: 12\n" in said
    assert "segment model 1, 2 segments: to be carried over" in said
    assert "history: complete\n" in said


def test_where_all_is_of_the_model_there_is_nothing_to_do(settings: Settings) -> None:
    run_old(settings, past(events=2))
    before = ends(settings), offsets(settings)
    assert bring_over(settings, to=OLD).startswith("nothing to migrate: all of group")
    assert (ends(settings), offsets(settings)) == before
