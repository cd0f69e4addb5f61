"""A record that a topic does not take stops nobody: dead letters and batches are cut to fit."""

from __future__ import annotations

import json
import logging
import random
import string
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from consumer.contract.records import Record
from consumer.kafka.clients import producer_config
from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.topic_limits import fit_topics, message_limits, retention_ms, written_topics
from consumer.kafka.topics import TopicError
from consumer.settings import KafkaSettings, Settings
from consumer.stages.shared.dead_letters import dead_letter_output
from consumer.tryout.broker import EmbeddedKafka
from schemas.dead_letters import BESIDE_VALUE_BYTES, Refusal, RefusalReason
from tests.consumer.kafka_runs import committed, event, produce, settings_for, until
from tests.consumer.kafka_runs import worker as running_worker

BROKERS_DEFAULT = 1_048_588
NO_TEXT = Refusal(reason=RefusalReason.NO_TEXT, detail="none")


def test_dead_letters_are_cut_to_the_smaller_of_the_setting_and_the_topic(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = {"user-events.dlq": BROKERS_DEFAULT}
    assert fit_topics(Settings(), limits).dead_letters == Settings().dead_letters
    assert caplog.text == ""  # what they do not hold is not cut
    settings = Settings(dead_letters={"values": True})
    fitted = fit_topics(settings, {"user-events.dlq": BROKERS_DEFAULT, "user-profiles": 10**8})
    assert fitted.dead_letters.max_value_bytes == BROKERS_DEFAULT - BESIDE_VALUE_BYTES
    assert "user-events.dlq" in caplog.text
    assert "dead_letters.max_value_bytes" in caplog.text
    assert fit_topics(settings, {"user-events.dlq": 16 * 2**20}) == settings
    assert fit_topics(settings, {}) == settings


def test_of_two_topics_of_dead_letters_the_smaller_one_counts() -> None:
    limits = {"user-events.dlq": 500_000, "segment-labels.dlq": 400_000}
    fitted = fit_topics(Settings(labels={"enabled": True}, dead_letters={"values": True}), limits)
    assert fitted.dead_letters.max_value_bytes == 400_000 - BESIDE_VALUE_BYTES


def test_a_topic_too_small_for_any_dead_letter_is_named_at_the_start() -> None:
    with pytest.raises(TopicError, match=r"user-events\.dlq takes records of 2,000 bytes"):
        fit_topics(Settings(), {"user-events.dlq": 2_000})


def test_batches_are_held_to_the_smallest_topic() -> None:
    fitted = fit_topics(Settings(), {"segment-changes": 300_000, "user-profiles": 10**7})
    assert int(producer_config(fitted.kafka, "t")["batch.size"]) < 300_000
    own = Settings(kafka={"producer_properties": {"batch.size": "5000"}})
    assert fit_topics(own, {"segment-changes": 300_000}).kafka == own.kafka


def test_a_long_key_is_cut_too_and_both_lengths_are_told() -> None:
    record = Record("user-events", 0, 1, -1, b"k" * 50_000, b"v" * 90_000)
    letter = dead_letter_output("dlq", record, NO_TEXT, 80_000)
    headers = dict(letter.headers)
    assert headers["dlq_truncated_from"] == b"90000"
    assert headers["dlq_key_truncated_from"] == b"50000"
    assert letter.key == b"k" * 32_768
    assert letter.value == b"v" * 80_000
    beside = sum(len(name) + len(value) for name, value in letter.headers) + len(letter.key)
    assert beside < BESIDE_VALUE_BYTES


def test_a_dead_letter_larger_than_its_topic_takes_does_not_stop_the_worker(
    broker: EmbeddedKafka, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    settings = settings_for(broker.bootstrap_servers, dead_letters={"max_share": 1, "values": True})
    limit = 200_000
    entry = ConfigEntry(
        "max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET
    )
    topic = ConfigResource(
        ResourceType.TOPIC, settings.topics.dead_letters, incremental_configs=[entry]
    )
    admin = AdminClient(settings.kafka.client())
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(20)

    def limits() -> dict[str, int]:
        return message_limits(settings, written_topics(settings, "worker"))

    until(lambda: limits()[settings.topics.dead_letters] == limit)
    fitted = fit_topics(settings, limits())

    # What cannot be compressed: brokers look at the size of a batch as it comes.
    noise = "".join(random.Random(0).choices(string.printable[:62], k=400_000))
    large = [event("ada", n, noise) for n in range(3)]
    produce(settings, [event("ada", 10, "hops"), *large, event("ada", 11, "malt")])
    with running_worker(fitted) as (running, _):
        until(lambda: committed(settings) == 5 or running.error is not None)
        assert running.error is None
    letters = list(read_topic(settings, settings.topics.dead_letters))
    assert len(letters) == 3
    for letter in letters:
        headers = dict(letter.headers)
        assert headers["dlq_reason"] == b"text_too_long"
        assert letter.value is not None
        assert len(letter.value) == limit - BESIDE_VALUE_BYTES
        original = json.loads(large[0][1])
        assert int(headers["dlq_truncated_from"]) == len(json.dumps(original))


def test_of_brokers_that_do_not_tell_what_a_topic_takes_nothing_is_known() -> None:
    class Admin:
        """Answers as brokers of other makers do: without some of the settings."""

        def describe_configs(self, resources: Any, **_: object) -> Any:
            answers = {}
            for resource in resources:
                answers[resource] = Future[dict[str, ConfigEntry]]()
                answers[resource].set_result(
                    {"max.message.bytes": ConfigEntry("x", None)} if resource.name == "a" else {}
                )
            return answers

        def poll(self, _timeout: float) -> None:
            pass

    cluster = Cluster(KafkaSettings())
    cluster.admin = Admin()  # type: ignore[assignment]
    assert message_limits(Settings(), ["a", "b"], cluster) == {}
    assert retention_ms(Settings(), "b", cluster) is None


def test_a_topic_that_is_not_there_or_not_to_be_seen_is_left_out(broker: EmbeddedKafka) -> None:
    settings = Settings(kafka={"bootstrap_servers": broker.bootstrap_servers})
    assert message_limits(settings, ["no-such-topic"]) == {}
