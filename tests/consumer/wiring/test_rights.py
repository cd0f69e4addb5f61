"""The rights of the table are what the commands need: with them all goes, and each is used."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import get_args

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.kafka.cluster import read_topic
from consumer.kafka.rights import Command, rights
from consumer.settings import Settings, TopicSettings
from consumer.settings.commands import uses
from tests.consumer.kafka_runs import stream
from tests.consumer.secured import SecuredKafka, bindings, kafkas, secured_kafka
from tests.consumer.settings_read import ASKED

# All commands run before the first test, each in a process of its own.
pytestmark = pytest.mark.timeout(900)

COMMANDS: tuple[Command, ...] = get_args(Command)
GROUP, FOREIGN = "shoppers", "reviews"
SETTINGS: dict[str, object] = {
    "kafka.group_id": GROUP,
    "http.host": "127.0.0.1",
    "http.port": 0,
    "kafka.session_timeout_seconds": 6,
    "topics.raw_events": FOREIGN,
    "topics.partitions": 2,
    "labels.enabled": True,
    "labels.publish_every": 1,
    "recommendations.enabled": True,
    "recommendations.users": True,
    "rules.enabled": True,
    "rules.segments": json.dumps({"known": 'count("30d") > 0', "first": "segment == 0"}),
    "training.segments": 2,
    "training.warmup_users": 8,
    # More than drift compares: a user who is sent once more for the label alone has no text that
    # could be compared.
    "training.sample_users": 40,
    "training.idle_seconds": 0.2,
    "drift.users": 20,
    "drift.min_users": 20,
    "batch.max_wait_seconds": 0.05,
    "dead_letters.max_share": 1,
}
# A group with labels does not go to another embedding model while it runs. The former model is that
# to which the stopped group was brought.
BOTH = {
    **{name: value for name, value in SETTINGS.items() if not name.startswith("labels.")},
    "embedding.model": "hashing-48",
    "embedding.former.model": "hashing-32",
    "kafka.group_protocol": "consumer",
}
GRANTED = {
    (command, right)
    for command in COMMANDS
    for right in rights(command, TopicSettings(raw_events=FOREIGN), GROUP)
}
# A migration tells of a segment only where nobody is left in it.
SELDOM = {("migrate", "topic", "segment-lifecycle", "Write")}
# Whom a reset removes has items published only where nobody was ever told of the user's segment.
SELDOM |= {("reset", "topic", "user-recommendations", "Write")}
# For how long a sample waits is looked at where the trainer is behind.
SELDOM |= {
    (user, "topic", name, "Read")
    for user in ("status", "watch")
    for name in ("profile-samples", "item-events")
}


# Rules are followed whatever becomes of the embedding model: a next one is seen, and not read.
SELDOM |= {("rules run", "topic", "user-profiles-next", "Describe")}


def user_of(command: str) -> str:
    return command.replace(" ", "-")


def grant(kafka: SecuredKafka) -> None:
    """Let each command do what the table says, and nothing else."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    granted = [each for command, right in GRANTED for each in bindings(user_of(command), right)]
    for done in admin.create_acls(granted).values():
        done.result(30)
    admin.create_topics([NewTopic(FOREIGN, 1)])[FOREIGN].result(30)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def records(kafka: SecuredKafka, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "count"})
    try:
        partitions = consumer.list_topics(topic).topics[topic].partitions
        spans = [consumer.get_watermark_offsets(TopicPartition(topic, n)) for n in partitions]
        return sum(high - low for low, high in spans)
    finally:
        consumer.close()


def publish_another(kafka: SecuredKafka) -> int:
    """Publish the latest segment model as the next version too; give the number of the former."""
    given = Settings(kafka={"bootstrap_servers": kafka.bootstrap_servers})
    *_, latest = read_topic(given, "segment-models")
    model = json.loads(latest.value or b"")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    value = json.dumps({**model, "version": model["version"] + 1})
    producer.produce("segment-models", value, latest.key)
    assert producer.flush(30) == 0
    version: int = model["version"]
    return version


def have_others_write(kafka: SecuredKafka, values: list[bytes]) -> None:
    """Write the foreign topic and the labels, some of both unusable."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "partitioner": "murmur2"})
    for value in [*values, b"{"]:
        producer.produce(FOREIGN, value)
    for user in range(30):
        given = {"user_id": f"u{user}", "label": f"l{user % 2}"}
        label = json.dumps({**given, "labelled_at": "2025-01-01T00:00:00Z"})
        producer.produce("segment-labels", label, f"u{user}")
    producer.produce("segment-labels", b"{", "u1")
    assert producer.flush(30) == 0


def told_apart(number: int, value: bytes) -> bytes:
    """Give an event a text of its own: a model of words is fitted on a hundred texts at least."""
    event = json.loads(value)
    event["text"] += f" thing{number % 40} place{number % 27}"
    event["item_id"] = f"item{number % 9}"
    return json.dumps(event).encode()


def do_everything(kafka: SecuredKafka, folder: Path) -> None:
    """Run every command as a user of its own, so that all that they do is done once."""
    kafka.run("topics-create", SETTINGS, "topics", "create")
    # Most users have no label: of those some leave the sample, which is full, for good.
    values = [told_apart(number, value) for number, (_, value) in enumerate(stream(120, 6))]
    file = folder / "events.jsonl"
    file.write_bytes(b"\n".join([*values[:180], b"{}"]))
    kafka.run("produce", SETTINGS, "produce", str(file))
    # The last ones come once the items of segments are known.
    have_others_write(kafka, values[180:-60])
    kafka.run("status", SETTINGS, "status", "--seconds", "0.1")
    kafka.run("watch", SETTINGS, "watch", "--seconds", "0.1")
    written = ("segment-changes", "segment-models", "segment-lifecycle", "label-models")
    written += ("drift-reference", "user-events.dlq", "segment-labels.dlq")
    written += ("segment-recommendations",)
    written += ("rule-changes", "rule-memberships", "rule-states")
    with (
        kafka.process("intake", SETTINGS, "intake"),
        kafka.process("worker", SETTINGS, "worker"),
        kafka.process("trainer", SETTINGS, "trainer"),
        kafka.process("recommender", SETTINGS, "recommender"),
        kafka.process("rules-run", SETTINGS, "rules", "run"),
    ):
        until(lambda: records(kafka, "user-events") >= len(values) - 60, "intake")
        for topic in written:
            until(lambda topic=topic: records(kafka, topic) > 0, topic)
        last = iter(values[-60:])

        def recommended() -> bool:
            have_others_write(kafka, [*islice(last, 1)])
            return records(kafka, "user-recommendations") > 0

        until(recommended, "items for users")
        dropped = ("trainer", "Allowed", "Topic", "profile-samples", "WRITE")
        until(lambda: dropped in kafka.decisions(), "no user has left the trainer's sample")
        kafka.run("verify", SETTINGS, "verify", "--follow", "--for", "2")
    read_back = {("worker", "user-profiles"), ("trainer", "profile-samples")}
    read_back |= {("trainer", name) for name in ("segment-models", "label-models")}
    read_back |= {("trainer", "drift-reference"), ("worker", "label-models")}
    read_back |= {("trainer", "segment-model-versions"), ("recommender", "item-profiles")}
    former = publish_another(kafka)
    newer = {**SETTINGS, "kafka.group_protocol": "consumer"}
    read_back |= {("rules-run", "rule-states"), ("rules-run", "user-profiles")}
    with (
        kafka.process("worker", newer, "worker"),
        kafka.process("trainer", newer, "trainer"),
        kafka.process("recommender", newer, "recommender"),
        kafka.process("rules-run", newer, "rules", "run"),
    ):
        for user, topic in read_back:
            done = (user, "Allowed", "Topic", topic, "READ")
            until(lambda done=done: done in kafka.decisions(), f"{user} has not read {topic}")
        kafka.run("models-rollback", SETTINGS, "models", "rollback", str(former))
    kafka.run("models-list", SETTINGS, "models", "list")
    words = {**SETTINGS, "embedding.words.folder": str(folder / "words")}
    kafka.run("model-fit-words", words, "model", "fit", "words", "--topic")
    kafka.run("verify", SETTINGS, "verify")
    kafka.run("profile", SETTINGS, "profile", "u1")
    kafka.run("report", SETTINGS, "report", "--output", str(folder / "report.html"))
    for more in ((), ("--at", "2100-01-01T00:00:00Z")):
        kafka.run("explain", SETTINGS, "explain", "u1", *more)
    kafka.run("status", SETTINGS, "status", "--seconds", "0.1")
    kafka.run("changes", SETTINGS, "changes", "--segment", "0")
    kafka.run("migrate", newer, "migrate", dimensions=32)
    kafka.run("topics-create", BOTH, "topics", "create")
    with (
        kafka.process("worker", BOTH, "worker"),
        kafka.process("trainer", BOTH, "trainer"),
        kafka.process("recommender", BOTH, "recommender"),
    ):
        kafka.run("migrate", BOTH, "migrate", "--running")
    for settings in (SETTINGS, BOTH):
        kafka.run("topics-check", settings, "topics", "check")
    kafka.run("reset", BOTH, "reset")
    kafka.run("reset", newer, "reset", "--execute")
    for labels in ((), ("--of-labels",)):
        kafka.run("dead-letters-list", SETTINGS, "dead-letters", "list", *labels)
    kafka.run("dead-letters-redrive", SETTINGS, "dead-letters", "redrive")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker on which every command has run with the rights of the table."""
    folder = tmp_path_factory.mktemp("rights")
    with secured_kafka(folder / "kafka", [user_of(command) for command in COMMANDS]) as kafka:
        grant(kafka)
        do_everything(kafka, folder)
        yield kafka


def test_with_the_rights_of_the_table_every_command_works_and_uses_them_all(kafka) -> None:
    decisions = kafka.decisions()
    users = {user_of(command) for command in COMMANDS}
    assert {each for each in decisions if each[0] in users and each[1] == "Denied"} == set()
    allowed = {(user, kind, name, done) for user, answer, kind, name, done in decisions}
    unused = {
        (command, right.kind, right.name, operation)
        for command, right in GRANTED
        for operation in right.operations
        if not any(
            (user, kind, done)
            == (user_of(command), right.kind.title().replace(" Id", "Id"), kafkas(operation))
            and (name.startswith(right.name) if right.prefixed else name == right.name)
            for user, kind, name, done in allowed
        )
    }
    assert unused <= SELDOM


# Read for whatever stage there is, and of no account to one without labels and without state.
FOR_OTHER_STAGES = {
    "intake": {
        *("restore.accept_lost_offsets", "restore.checkpoint_dir", "topics.label_dead_letters"),
    },
    "dead-letters redrive": {"topics.label_dead_letters"},
    "rules run": {"restore.checkpoint_dir"},
}


# Some of which every command reads.
_ALWAYS = ("events", "profiles", "dead_letters", "models", "changes")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_no_setting_that_its_help_leaves_out(kafka, command: Command) -> None:
    read = kafka.settings_read(user_of(command))
    assert read & {f"topics.{name}" for name in _ALWAYS}
    assert (ASKED in read) == uses(command, "http.port")
    read -= {ASKED, *FOR_OTHER_STAGES.get(command, ())}
    assert sorted(name for name in read if not uses(command, name)) == []
