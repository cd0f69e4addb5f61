"""On a real Kafka: topics, what they hold, and the clock."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.cli import main as cli
from consumer.doctor import contents
from consumer.doctor.examine import examine
from consumer.doctor.facts import Finding, Report, failed, fine, later
from consumer.doctor.render import render
from consumer.kafka.cluster import Cluster
from consumer.settings import Settings
from consumer.state.restore import LostOffsetsError
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import (
    PARTITIONS,
    committed,
    event,
    model_of,
    produce,
    settings_for,
    stream,
    until,
    worker,
)
from tests.consumer.status.test_status import flags
from tests.stubs import HashingEmbedder

SECONDS = 20.0


class English(HashingEmbedder):
    manifest = SimpleNamespace(name="english", precision="fp32", reads=("en",))


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers)


def states(report: Report) -> dict[str, str]:
    return {finding.check: finding.state for finding in report.findings}


def publish(settings: Settings, dimensions: int = 64) -> None:
    record = model_of(HashingEmbedder(dimensions), version=3).to_record()
    value = record.model_dump_json().encode()
    produce(settings, [(b"segments", value)], settings.topics.models)


def test_a_group_with_all_that_it_needs_can_start(settings: Settings, tmp_path):
    settings = settings.changed("restore", checkpoint_dir=tmp_path)
    produce(settings, stream())
    publish(settings)
    report = examine(settings, "worker", SECONDS, lambda _: English())
    assert set(states(report).values()) == {"fine"}
    assert report.exit_code == 0
    told = {finding.check: finding.told for finding in report.findings}
    assert "version 3" in told["embedding"]
    assert "en 240" in told["languages"]
    assert "a worker can start here" in render(report, width=120)
    assert set(states(examine(settings, "trainer", SECONDS)).values()) == {"fine"}


def test_state_of_another_group_is_told(settings: Settings):
    produce(settings, stream())
    with worker(settings):
        until(lambda: committed(settings) == 240)
    report = examine(settings, "worker", SECONDS, lambda _: English())
    assert "offsets" not in states(report)
    other = settings.changed("kafka", group_id="none-such")
    report = examine(other, "worker", SECONDS, lambda _: English())
    (told,) = (each for each in report.findings if each.check == "offsets")
    assert told.state == "warning"
    assert f"{settings.topics.profiles}[0" in told.told
    assert "group 'none-such' has no committed offset" in told.told
    with worker(other) as (running, _):
        until(lambda: running.error is not None)
        assert isinstance(running.error, LostOffsetsError)
    accepted = other.changed("restore", accept_lost_offsets=True)
    assert "offsets" not in states(examine(accepted, "worker", SECONDS, lambda _: English()))


def test_a_broker_that_goes_while_it_is_looked_at_is_told_and_the_machine_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(Cluster, "group", gone)
    report = examine(settings, "worker", SECONDS, lambda _: English())
    (last,) = (each for each in report.findings if each.state == "later")
    assert last.check == "brokers"
    assert [each.check for each in report.findings][-2:] == ["memory", "files"]
    assert report.exit_code == 75


def test_topics_that_are_missing_may_come_later_and_the_rest_waits_for_them(broker: EmbeddedKafka):
    report = examine(
        Settings(
            kafka={"bootstrap_servers": broker.bootstrap_servers},
            topics={"events": "no-such-topic-yet"},
        ),
        "worker",
        SECONDS,
        lambda _: English(),
    )
    found = states(report)
    assert found["topics"] == "later"
    assert {found[name] for name in ("clock", "embedding", "languages")} == {"skipped"}
    assert report.exit_code == 75
    assert "try again later" in render(report, width=120)


def test_a_topic_with_the_wrong_partitions_is_a_failure(settings: Settings):
    wrong = settings.changed("topics", models=settings.topics.events)
    found = contents.topics(wrong, "trainer", Cluster(wrong.kafka), denied=False)
    assert [each.state for each in found.findings] == ["failed"]
    assert found.partitions is None


def test_topics_that_may_not_be_seen_are_not_called_missing(settings: Settings):
    hidden = settings.changed("topics", models="hidden-or-missing")
    found = contents.topics(hidden, "trainer", Cluster(hidden.kafka), denied=True)
    assert [each.state for each in found.findings] == ["skipped"]


def test_intake_needs_its_own_input(settings: Settings):
    without = examine(settings, "intake", SECONDS)
    assert (states(without)["topics"], without.exit_code) == ("failed", 1)
    named = settings.changed("topics", raw_events=f"raw-{settings.topics.events}")
    assert states(examine(named, "intake", SECONDS))["topics"] == "later"
    admin = AdminClient(settings.kafka.client())
    admin.create_topics([NewTopic(named.topics.raw_events, 2)])[named.topics.raw_events].result(
        SECONDS
    )
    assert states(examine(named, "intake", SECONDS))["topics"] == "fine"


def test_another_embedding_model_than_that_of_the_segments_is_a_failure(settings: Settings):
    cluster = Cluster(settings.kafka)
    assert contents.model_fits(settings, cluster, English()).state == "fine"
    publish(settings, dimensions=32)
    found = contents.model_fits(settings, cluster, English())
    assert (found.state, "32 dimensions" in found.told) == ("failed", True)
    assert "segmenter migrate" in (found.advice or "")


@pytest.mark.parametrize(
    ("pairs", "state"),
    [
        ([], "fine"),
        (
            [event(f"u{n}", 1, "这 家 餐厅 的 服务 非常 好 我 很 喜欢") for n in range(60)],
            "warning",
        ),
        ([(b"u", b"{}")] * 3, "warning"),
    ],
    ids=["no events", "another language", "of another form"],
)
def test_the_newest_events_are_held_against_the_model(settings: Settings, pairs, state):
    produce(settings, pairs)
    found = contents.languages(settings, Cluster(settings.kafka), English())
    assert found.state == state
    assert "餐厅" not in found.model_dump_json()


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "fine"), (-3600, "fine"), (60, "warning"), (3600, "failed")]
)
def test_a_clock_that_is_behind_the_newest_record_is_told(settings: Settings, ahead, state):
    cluster = Cluster(settings.kafka)
    assert contents.clock(settings, "worker", cluster, SECONDS).state == "skipped"
    publish(settings)
    found = contents.clock(settings, "worker", cluster, SECONDS, lambda: time.time() - ahead)
    assert found.state == state


def test_the_state_is_at_most_what_the_changelog_holds(settings: Settings):
    produce(settings, [(b"u1", b"a"), (b"u2", b"b"), (b"u1", b"c")], settings.topics.profiles)
    assert contents.users_at_most(settings, Cluster(settings.kafka), PARTITIONS) == 3


def test_the_command_tells_machines_and_people_and_no_secret(
    settings: Settings, capsys: pytest.CaptureFixture[str]
):
    secret = json.dumps({"sasl.password": "canary-of-a-password"})
    words = ["doctor", "--role", "trainer", *flags(settings), "--kafka.secrets", secret]
    assert cli.main([*words, "--json"]) == 0
    told = Report.model_validate_json(capsys.readouterr().out)
    assert (told.role, told.exit_code) == ("trainer", 0)
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "a trainer can start here" in said.out
    assert "canary" not in told.model_dump_json() + said.out + said.err


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([fine("a", "")], 0),
        ([fine("a", ""), later("b", "", "wait")], 75),
        ([later("a", "", "wait"), failed("b", "", "mend it")], 1),
    ],
)
def test_the_exit_code_says_whether_waiting_helps(findings: list[Finding], code: int):
    report = Report(at="", role="worker", version="1", findings=findings)
    assert report.exit_code == code
