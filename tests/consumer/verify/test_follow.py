"""The running audit on a real Kafka."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from confluent_kafka import TopicPartition

from consumer.process import ending
from consumer.telemetry import health as health_module
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import Follower, ViolationKind, service
from consumer.verify.service import run_follow
from tests.consumer.kafka_runs import (
    changes_of,
    committed,
    produce,
    settings_for,
    stream,
    until,
    worker,
)
from tests.consumer.verify.histories import History, UserPath, history_of
from tests.consumer.verify.test_topics import Broker, Deployment

Kind = ViolationKind


@pytest.fixture
def deployment(broker: Broker) -> Iterator[Deployment]:
    deployment = Deployment(broker.bootstrap_servers)
    yield deployment
    deployment.close()


@pytest.fixture
def history() -> History:
    paths = {f"user {i}": UserPath([i % 5, (i + 1) % 5], repeats=i % 2) for i in range(6)}
    paths["ann"] = UserPath([1, None, 3], by_model=frozenset({2}))
    paths["cat"] = UserPath(quiet_events=3)
    return history_of(paths, refused=2)


def follower(deployment: Deployment, **options: Any) -> Follower:
    # On a busy machine the records of one transaction are read seconds apart.
    quick = {"settle_seconds": 3.0, "sample_seconds": 0.1, "hang_seconds": 30.0, **options}
    return Follower(deployment.settings(), **quick)


def found(follower: Follower) -> dict[Kind, int]:
    return follower.report().violations


def publish_last_change(deployment: Deployment, history: History, user: str) -> None:
    """Write a user's last change, membership and profile in one transaction."""
    with deployment.transaction():
        deployment.send_change(history.memberships[user])
        deployment.send_profile(history.profiles[user])


# --- what is sound --------------------------------------------------------------------------------


def test_a_group_at_work_is_audited_in_silence(broker: Broker) -> None:
    settings = settings_for(broker.bootstrap_servers)
    pairs = [*stream(), (b"bad", b"{"), (None, b"{}")]
    with Follower(settings, sample_seconds=0.1) as audit:
        produce(settings, pairs[: len(pairs) // 2])
        with worker(settings):
            until(lambda: committed(settings) == len(pairs) // 2)
            produce(settings, pairs[len(pairs) // 2 :])
            until(lambda: committed(settings) == len(pairs))
        with worker(settings, name="w1"):
            assert audit.wait_settled(30)
        report = audit.report()
        assert audit.take_news() == []
    assert report.total_violations == 0
    changes = len(changes_of(settings))
    assert (report.changes, report.memberships) == (changes, changes)
    assert (report.users, report.dead_letters, report.lag, report.behind) == (12, 2, 0, 0)
    assert report.profiles > 12
    assert report.read_up


def test_a_history_with_aborts_and_markers_leaves_no_lag_and_no_stall(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    with follower(deployment, stall_seconds=0.5) as audit:
        assert audit.wait_settled(30)
        # Only markers and aborted records are left; that is seen by looking.
        until(lambda: audit.report().lag == 0)
        report = audit.report()
        assert audit.take_news() == []
    assert (report.violations, report.changes) == ({}, len(history.changes))
    assert report.lag == 0
    assert report.stalled == ()


def test_from_now_it_takes_chains_up_where_it_finds_them(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    later = history_of({"ann": UserPath([1, None, 3, 2])})
    with follower(deployment, from_now=True) as audit:
        publish_last_change(deployment, later, "ann")
        until(lambda: audit.report().changes == 1)
        assert audit.wait_settled(30)
        assert found(audit) == {}


# --- what is not ----------------------------------------------------------------------------------


def test_a_change_published_twice_is_found(deployment: Deployment, history: History) -> None:
    deployment.publish(history)
    with follower(deployment, settle_seconds=30.0) as audit:
        publish_last_change(deployment, history, "user 1")
        until(lambda: bool(audit.violations))
        assert found(audit) == {Kind.REPEATED_ID: 1}
        assert audit.violations[0].subject == "user 1"


@pytest.mark.parametrize("from_now", [False, True])
def test_a_broken_chain_is_found(deployment: Deployment, history: History, from_now: bool) -> None:
    with follower(deployment, from_now=from_now, settle_seconds=30.0) as audit:
        history.changes = [c for c in history.changes if (c.user_id, c.sequence) != ("ann", 2)]
        deployment.publish(history)
        until(lambda: bool(audit.violations))
        assert found(audit) == {Kind.SEQUENCE: 1}


def test_a_missing_membership_is_found(deployment: Deployment, history: History) -> None:
    deployment.publish(history)
    fresh = history_of({"eve": UserPath([2])})
    with follower(deployment) as audit:
        with deployment.transaction():
            deployment.send_change(fresh.changes[0])
            deployment.send_profile(fresh.profiles["eve"])
            deployment.send(deployment.topics.memberships, "eve", None)
        until(lambda: bool(audit.violations))
        assert found(audit) == {Kind.MEMBERSHIP_MISSING: 1}


def test_a_profile_ahead_of_the_changes_is_found(deployment: Deployment, history: History) -> None:
    deployment.publish(history)
    with follower(deployment) as audit:
        with deployment.transaction():
            ahead = history.profiles["ann"].model_copy(update={"sequence": 4})
            deployment.send_profile(ahead)
        until(lambda: bool(audit.violations))
        assert found(audit) == {Kind.PROFILE_DIFFERS: 1}


def test_a_record_refused_twice_is_found(deployment: Deployment, history: History) -> None:
    deployment.publish(history)
    with follower(deployment) as audit:
        with deployment.transaction():
            deployment.send_dead_letter(history.dead_letters[0])
        until(lambda: bool(audit.violations))
        assert found(audit) == {Kind.REPEATED_DEAD_LETTER: 1}


def test_a_transaction_left_open_is_found_and_nobody_is_blamed_for_what_it_hides(
    deployment: Deployment, history: History
) -> None:
    with follower(deployment, hang_seconds=1.0) as audit:
        other = deployment.new_producer()
        other.begin_transaction()
        for partition in range(2):
            other.produce(deployment.topics.memberships, b"{}", key="x", partition=partition)
        other.flush(30)
        # Their memberships are committed, and cannot be read.
        deployment.publish(history)
        until(lambda: len(audit.violations) == 2)
        report = audit.report()
        assert report.violations == {Kind.HANGING_TRANSACTION: 2}
        assert len(report.hanging) == 2
        other.abort_transaction(30)
        assert audit.wait_settled(30)
        until(lambda: not audit.report().hanging)
        assert found(audit) == {Kind.HANGING_TRANSACTION: 2}


def test_a_producers_transaction_that_hangs_in_the_input_is_told_until_it_ends(
    deployment: Deployment,
) -> None:
    events = deployment.topics.events
    with follower(deployment, stall_seconds=1.0) as audit:
        other = deployment.new_producer()
        other.begin_transaction()
        other.produce(events, b"never ended", key="x", partition=1)
        other.flush(30)
        until(lambda: audit.report().blocked == (f"{events}[1]",))
        (told,) = audit.take_news()
        assert str(told).startswith(
            f"BLOCKED {events}[1]: a producer's transaction is open from offset 0 on, since 20"
        )
        other.abort_transaction(30)
        until(lambda: not audit.report().blocked)
        assert audit.take_news() == [f"{events}[1] can be read on"]
        assert audit.report().total_violations == 0


def test_a_group_that_goes_back_is_found(deployment: Deployment, history: History) -> None:
    deployment.publish(history)
    with follower(deployment) as audit:
        assert audit.wait_settled(30)
        places = [TopicPartition(deployment.topics.events, n, 0) for n in range(2)]
        deployment.consumer.commit(offsets=places, asynchronous=False)
        until(lambda: bool(audit.violations))
        assert set(found(audit)) == {Kind.OFFSET_WENT_BACK}


def test_a_group_that_stands_still_is_told_and_timed(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    with follower(deployment, stall_seconds=1.0) as audit:
        assert audit.wait_settled(30)
        deployment.producer.begin_transaction()
        deployment.producer.produce(deployment.topics.events, b"late", key="ann", partition=0)
        deployment.producer.commit_transaction(30)
        until(lambda: audit.report().stalled == (f"{deployment.topics.events}[0]",))
        (told,) = audit.take_news()
        assert str(told).startswith("STALLED")
        assert found(audit) == {}


def test_records_removed_before_they_are_read_are_told_and_chains_taken_up(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    with follower(deployment) as audit:
        assert audit.wait_settled(30)
        with audit._lock:  # it does not read while retention removes what comes next
            fresh = history_of({"eve": UserPath([2, 3])})
            places = [TopicPartition(deployment.topics.changes, n, 0) for n in range(2)]
            audit._consumer.incremental_unassign(places)
            with deployment.transaction():
                for change in fresh.changes:
                    deployment.send_change(change)
                deployment.send_profile(fresh.profiles["eve"])
            deployment.forget_beginning(deployment.topics.changes, -1)
            audit._consumer.incremental_assign(places)
        until(lambda: bool(audit.take_news()))
        assert found(audit) == {}
        publish_last_change(deployment, fresh, "eve")
        until(lambda: audit.report().users == 1)
        assert audit.wait_settled(30)
        assert found(audit) == {}


def test_it_waits_for_a_broker_that_is_away_and_goes_on(tmp_path: Path, history: History) -> None:
    with EmbeddedKafka(tmp_path) as broker:
        deployment = Deployment(broker.bootstrap_servers)
        deployment.publish(history)
        with follower(deployment, request_seconds=1.0) as audit:
            assert audit.wait_settled(30)
            broker.kill(0)
            until(lambda: audit.report().trouble is not None)
            broker.start(0)
            until(lambda: audit.report().trouble is None)
            away, back = map(str, audit.take_news())
            assert away.startswith("the cluster does not answer everything: ")
            assert back == "the cluster answers again"
            assert audit.wait_settled(60)
            assert found(audit) == {}
            publish_last_change(deployment, history, "user 1")
            until(lambda: bool(audit.violations))
            assert found(audit) == {Kind.REPEATED_ID: 1}
        deployment.close()


# --- the process ----------------------------------------------------------------------------------


def test_it_ends_by_itself_with_a_report_and_0(
    deployment: Deployment, history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.publish(history)
    assert run_follow(deployment.settings(), for_seconds=3, every_seconds=1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert f"changes {len(history.changes)} (" in lines[-1]
    assert "violations 0" in lines[-1]


def test_a_violation_is_a_line_of_its_own_and_makes_the_exit_code_1(
    deployment: Deployment, history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    del history.changes[0]
    deployment.publish(history)
    settings = deployment.settings()
    assert run_follow(settings, for_seconds=3, every_seconds=60, as_json=True) == 1
    violation, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert (violation["type"], violation["kind"]) == ("violation", "sequence")
    assert (report["type"], report["violations"]) == ("report", {"sequence": 1})


def test_a_signal_ends_it_and_metrics_are_served_until_then(
    deployment: Deployment, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.publish(history)
    ports: list[int] = []

    @contextmanager
    def serving(*arguments: Any) -> Iterator[None]:
        with health_module.serving(*arguments) as port:
            ports.append(port or 0)
            yield

    monkeypatch.setattr(service, "serving", serving)
    seen: dict[str, str] = {}

    def look_then_stop() -> None:
        try:
            until(lambda: bool(ports))
            url = f"http://127.0.0.1:{ports[0]}"
            until(lambda: f"_changes_total {len(history.changes)}.0" in _get(f"{url}/metrics"))
            seen["metrics"], seen["health"] = _get(f"{url}/metrics"), _get(f"{url}/healthz")
        finally:
            ending.stop()  # as a signal does

    with ExitStack() as stack:
        thread = threading.Thread(target=look_then_stop)
        stack.callback(thread.join)
        thread.start()
        settings = deployment.settings(http={"host": "127.0.0.1", "port": 0})
        assert run_follow(settings, for_seconds=60) == 0
    assert json.loads(seen["health"]) == {"live": True}
    assert 'segmenter_verify_violations_total{kind="hanging_transaction"} 0.0' in seen["metrics"]
    gauges = ("users", "unsettled_users")
    gauges += ("stalled_partitions", "hanging_partitions", "blocked_partitions")
    for name in gauges:
        assert f"\nsegmenter_verify_{name} " in seen["metrics"]


def _get(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return answer.read().decode()
