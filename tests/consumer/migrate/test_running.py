"""`segmenter migrate --running` on a real Kafka: a group changes its model while it works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from consumer.engine.transactions import FatalKafkaError, Outcome, Transactions
from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import create_topics
from consumer.migrate import MigrationError
from consumer.migrate.running import RunningMigration
from consumer.settings import Settings
from consumer.stages.segmentation.switching import SwitchingStage
from consumer.state.next_profiles import NextProfiles
from consumer.status.gather import Gatherer
from consumer.tryout.broker import EmbeddedKafka
from consumer.versions.read import find
from consumer.wiring.model_feed import ModelFeed
from consumer.wiring.switching_worker import make_stage
from models.embedding.policy import FormerPolicy
from tests.consumer.kafka_runs import (
    PARTITIONS,
    TOPICS,
    Running,
    audit,
    changes_of,
    committed,
    event,
    produce,
    settings_for,
    until,
)
from tests.consumer.migrate.test_migrate import (
    NEW,
    OLD,
    delete_first_records,
    from_the_start,
    model_in,
    past,
    profiles_in,
    run_old,
    training,
    work,
)

pytestmark = pytest.mark.usefixtures("broker")


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    settings = settings_for(
        broker.bootstrap_servers,
        batch={"reassign_users": 2},
        training={"segments": 2, "warmup_users": 10},
    )
    both = settings.changed("embedding", former=FormerPolicy(model="the former one"))
    create_topics(both)
    return both


@contextmanager
def working_with_both(settings: Settings) -> Iterator[tuple[Running, SwitchingStage]]:
    feed = ModelFeed(settings)
    stage = make_stage(settings, OLD, NEW, feed)
    running = Running(settings, stage, "w0")
    try:
        yield running, stage
    finally:
        running.loop.stop()
        running.thread.join(60)
        feed.close()


def migrate(settings: Settings, **parts: Any) -> str:
    said: list[str] = []
    RunningMigration(settings, NEW, say=said.append, answer_seconds=60, **parts).run()
    return "".join(said)


def built_in(settings: Settings) -> int:
    latest = {r.key: r.value for r in read_topic(settings, settings.topics.next_profiles)}
    return sum(value is not None for value in latest.values())


def marks(settings: Settings) -> list[OffsetMetadata]:
    places = Cluster(settings.kafka).committed(
        settings.kafka.group_id, settings.topics.events, range(PARTITIONS)
    )
    return [OffsetMetadata.read(place.metadata) for place in places]


class Dying(Transactions):
    """A producer whose process dies at its n-th transaction: before its end, or behind it."""

    left = 0
    behind = False

    def write(self, *given: Any, **named: Any) -> Outcome:
        Dying.left -= 1
        if Dying.left == 0 and not Dying.behind:
            raise FatalKafkaError("the process dies")
        outcome = super().write(*given, **named)
        if Dying.left == 0:
            raise FatalKafkaError("the process dies")
        return outcome


# --- the change -----------------------------------------------------------------------------------


def test_a_group_goes_to_another_model_while_events_come(settings: Settings) -> None:
    pairs = [*past(), (b"bad", b"{")]
    run_old(settings, pairs)
    former, before = model_in(settings), changes_of(settings)
    with training(settings) as (trainer, trained), working_with_both(settings) as (running, stage):
        until(lambda: running.error is not None or running.health.ready)
        more = [event(f"u{n % 12}", 50 + n // 12, TOPICS["hops"]) for n in range(120)]
        loading = threading.Thread(
            target=lambda: [produce(settings, more[n : n + 4]) for n in range(0, len(more), 4)]
        )
        loading.start()
        said = migrate(settings)
        loading.join()
        pairs += more
        until(lambda: running.error is not None or committed(settings) == len(pairs))
        until(lambda: running.error is not None or stage.settled)
        assert running.error is None
        assert trainer.error is None
        assert stage.switched == list(range(PARTITIONS))
        until(lambda: not find(settings).control.frozen)
        status = Gatherer(settings).gather(0.1)
        assert status.embedding_switch is not None
        assert status.embedding_switch.switched == list(range(PARTITIONS))
        assert trained.published is not None
        assert trained.published.embedding == NEW.identity
        running.stop()
        trainer.stop()
    assert "all partitions are of the next embedding model" in said
    kept = find(settings)
    (model,) = (e.model for n in kept.numbers if (e := kept.entry(n)).model.migrated_from)
    assert (model.embedding, model.migrated_from) == (NEW.identity, OLD.identity)
    assert model.version > former.version
    after, expected = profiles_in(settings), from_the_start(settings, pairs)
    made = ("embedding", "vector", "weight", "reference_time", "events", "repeats")
    made += ("recent_events",)  # a replay has other offsets to refer to
    assert after.keys() == expected.keys()
    for user, profile in after.items():
        assert [getattr(profile, n) for n in made] == [getattr(expected[user], n) for n in made]
    changes = changes_of(settings)
    assert len(changes) >= len(before)
    assert all(change.segment is not None for change in changes)
    assert built_in(settings) == 0
    assert {(m.embedding, m.held) for m in marks(settings)} == {
        (NEW.identity, (OLD.identity, NEW.identity))
    }
    result = audit(settings)
    assert result.exit_code == 0, result.render()
    # With the next model alone the group goes on; and there is nothing left to change.
    work(settings, NEW, [event("u1", 200, TOPICS["runs"])])
    assert {m.held for m in marks(settings)} == {()}
    assert audit(settings).exit_code == 0, audit(settings).render()


# Where each partition is begun, built, ordered (the ninth), and cleared.
@pytest.mark.parametrize(("at", "behind"), [(1, False), (6, True), (9, True), (11, False)])
def test_the_command_may_die_at_any_transaction_and_the_next_run_goes_on(
    settings: Settings, at: int, behind: bool
) -> None:
    pairs = past(events=6)
    run_old(settings, pairs)
    with training(settings) as (trainer, _), working_with_both(settings) as (running, stage):
        Dying.left, Dying.behind = at, behind
        with pytest.raises(FatalKafkaError):
            migrate(settings, make=Dying)
        migrate(settings)
        until(lambda: running.error is not None or stage.settled)
        assert running.error is None
        assert trainer.error is None
        running.stop()
        trainer.stop()
    expected = from_the_start(settings, pairs)
    for user, profile in profiles_in(settings).items():
        assert (profile.embedding, profile.vector) == (NEW.identity, expected[user].vector)
    assert built_in(settings) == 0
    assert audit(settings).exit_code == 0, audit(settings).render()


# --- before the order -----------------------------------------------------------------------------


def test_what_was_built_is_removed_where_the_change_is_aborted_and_can_be_begun_anew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_old(settings, past(events=4))
    before = profiles_in(settings)

    def give_up(_self: object) -> None:
        raise MigrationError("no worker holds both")

    with monkeypatch.context() as patched:
        patched.setattr(RunningMigration, "_wait_for_workers", give_up)
        with pytest.raises(MigrationError, match="no worker holds both"):
            migrate(settings)
    assert built_in(settings) == 12
    said: list[str] = []
    RunningMigration(settings, NEW, say=said.append).abort()
    assert "12 profiles of the next embedding model removed" in said[0]
    assert built_in(settings) == 0
    assert profiles_in(settings) == before
    assert [NextProfiles(settings, NEW).progress(n) for n in range(PARTITIONS)] == [None] * 4
    work(settings, OLD, past(users=2, events=1))
    assert audit(settings).exit_code == 0


def test_history_that_the_input_has_not_got_any_more_is_refused_or_accepted(
    settings: Settings,
) -> None:
    run_old(settings, past(events=6))
    delete_first_records(settings, 0, 4)
    with pytest.raises(MigrationError, match="do not count up"):
        migrate(settings)
    assert built_in(settings) == 0
    with training(settings) as (trainer, _), working_with_both(settings) as (running, stage):
        migrate(settings, accept_missing_history=True)
        until(lambda: running.error is not None or stage.settled)
        assert running.error is None
        assert trainer.error is None
        running.stop()
        trainer.stop()
    assert {p.events for p in profiles_in(settings).values()} == {6}
    assert audit(settings).exit_code == 0


def test_a_group_with_nothing_to_carry_over_or_without_a_former_model_is_refused(
    settings: Settings,
) -> None:
    with pytest.raises(MigrationError, match="there are no segments yet"):
        migrate(settings)
    alone = settings.changed("embedding", former=FormerPolicy())
    with pytest.raises(MigrationError, match=r"embedding\.former\.model is not set"):
        migrate(alone)


# --- behind the order -----------------------------------------------------------------------------


def test_there_is_nothing_to_take_back_behind_the_order(settings: Settings) -> None:
    run_old(settings, past(events=4))
    with training(settings) as (trainer, _), working_with_both(settings) as (running, _):
        migrate(settings)
        with pytest.raises(MigrationError, match="there is nothing to take back"):
            RunningMigration(settings, NEW).abort()
        running.stop()
        trainer.stop()


def test_verify_tells_of_users_who_are_not_taken_over_yet(settings: Settings) -> None:
    run_old(settings, past(events=2))
    with working_with_both(settings) as (running, _):
        until(lambda: running.error is not None or running.health.ready)
        running.stop()
    # The trainer has published, and no worker runs.
    migration = RunningMigration(settings, NEW)
    migration._check_settings()
    with migration._writing():
        migration._build()
        with training(settings) as (trainer, _):
            assert migration._order()
            trainer.stop()
    result = audit(settings)
    assert result.exit_code == 0, result.render()
    assert "12 profiles still are of the embedding model that the group is leaving" in result.notes
