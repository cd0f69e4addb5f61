"""The check of the topics at a start, and what it says of partitions that were raised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from consumer.kafka.clients import reader_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.topics import (
    TopicError,
    TopicsDifferError,
    check_topics,
    new_topics,
    partition_counts,
    plan_topics,
    raised_partitions,
)
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import PARTITIONS, committed, produce, settings_for, until, worker
from tests.consumer.kafka_runs import stream as events_of

# --- without a broker ---------------------------------------------------------------------------


@dataclass
class Place:
    metadata: str | None


def check_former(metadata: list[str | None], count: int) -> dict[str, Any]:
    """Check a count against offsets with these metadata; tell what was asked for."""
    asked: dict[str, Any] = {}

    class Offsets(Cluster):
        def topics(self, expected: Iterable[str] = (), seconds: float = 0) -> dict[str, int]:
            made = {topic.topic: topic.num_partitions for topic in new_topics(Settings(), count)}
            assert set(expected) == made.keys()
            return made

        def committed(self, group: str, topic: str, numbers: Any, **how: Any) -> Any:
            asked.update(group=group, topic=topic, numbers=list(numbers), **how)
            return [Place(each) for each in metadata]

    check_topics(Settings(), Offsets(Settings().kafka))
    return asked


@pytest.mark.parametrize(
    "metadata",
    [
        [None, "", None],
        ["partitions=3"] * 3,
        ["partitions=3", None, "of another program"],
        ["partitions=", "partitions=x", "partition=9"],
    ],
)
def test_offsets_that_say_the_same_or_nothing_pass(metadata: list[str | None]) -> None:
    asked = check_former(metadata, 3)
    assert asked["topic"] == "user-events"
    assert asked["group"] == "segmenter"
    assert asked["numbers"] == [0, 1, 2]
    # A transaction that a predecessor left open is ended only by the start that is to come.
    assert asked["stable"] is False


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_offset_of_another_count_is_refused(place: int) -> None:
    metadata: list[str | None] = [None] * 3
    metadata[place] = "partitions=2"
    with pytest.raises(TopicError) as raised:
        check_former(metadata, 3)
    assert str(raised.value) == raised_partitions("user-events", 2, 3)


def test_the_refusal_names_both_counts_and_what_to_do() -> None:
    message = raised_partitions("user-events", 12, 24)
    assert message.startswith("topic user-events has 24 partitions")
    assert "this group's state was made with 12" in message
    assert "new kafka.group_id and new names for all topics but the input" in message


def test_lifecycle_events_have_one_partition_and_are_kept_as_long_as_changes() -> None:
    made = {topic.topic: topic for topic in new_topics(Settings(topics={"retention_hours": 2}))}
    topic = made["segment-lifecycle"]
    assert topic.num_partitions == 1
    assert topic.config["retention.ms"] == made["segment-changes"].config["retention.ms"]
    assert "cleanup.policy" not in topic.config


def test_the_drift_reference_is_compacted_has_one_partition_and_may_be_as_large_as_a_model() -> (
    None
):
    made = {topic.topic: topic for topic in new_topics(Settings())}
    topic, models = made["drift-reference"], made["segment-models"]
    assert (topic.num_partitions, topic.config) == (1, models.config)


# --- what is there already, without a broker ------------------------------------------------------


def planned(there: dict[str, int], **sections: Any) -> dict[str, int]:
    return {each.topic: each.num_partitions for each in plan_topics(Settings(**sections), there)}


ALL = {each.topic: each.num_partitions for each in new_topics(Settings())}


def test_where_nothing_is_there_topics_get_the_number_that_is_set() -> None:
    assert planned({}) == ALL
    assert set(planned({}, topics={"partitions": 3}).values()) == {1, 3}


def test_the_others_are_made_to_fit_an_input_that_is_there() -> None:
    plan = planned({"user-events": 5, "unrelated": 7})
    assert plan == {name: 1 if count == 1 else 5 for name, count in ALL.items()}


def test_where_all_fit_nothing_is_refused() -> None:
    assert planned(ALL) == ALL
    assert planned(ALL, topics={"partitions": 12}) == ALL


@pytest.mark.parametrize("how", ["given", "environment", "file"])
def test_an_input_with_another_number_than_is_set_is_refused_with_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    sections: dict[str, Any] = {}
    if how == "given":
        sections = {"topics": {"partitions": 12}}
    elif how == "environment":
        monkeypatch.setenv("SEGMENTER_TOPICS__PARTITIONS", "12")
    else:
        (tmp_path / "a.toml").write_text("[topics]\npartitions = 12")
        monkeypatch.setenv("SEGMENTER_CONFIG", str(tmp_path / "a.toml"))
    with pytest.raises(
        TopicsDifferError,
        match=r"^topic user-events is there with 1 partition, and topics.partitions is 12: "
        r"set topics.partitions to 1, or leave it out .* nothing was made$",
    ):
        planned({"user-events": 1}, **sections)


def test_a_changelog_of_another_number_is_named_with_what_there_is_to_do() -> None:
    with pytest.raises(TopicsDifferError) as raised:
        planned({"user-events": 1, "user-profiles": 12})
    message = str(raised.value)
    assert "user-profiles with 12 partitions in place of 1: delete user-profiles" in message
    assert "give other names with topics.profiles" in message
    assert "set topics.partitions" not in message  # the input has 1, whatever is set


def test_without_an_input_its_number_may_be_set_to_what_the_changelog_has() -> None:
    with pytest.raises(TopicsDifferError, match=r"set topics\.partitions to 3"):
        planned({"user-profiles": 3})


@pytest.mark.parametrize("name", ["segment-changes", "segment-memberships", "user-events.dlq"])
def test_an_output_may_have_any_number_unless_one_is_asked_for(name: str) -> None:
    there = {"user-events": 4, name: 2}
    assert name in planned(there)
    with pytest.raises(TopicsDifferError, match=f"{name} with 2 partitions in place of 4"):
        planned(there, topics={"partitions": 4})


@pytest.mark.parametrize(
    "name",
    [
        *("profile-samples", "segment-models", "segment-lifecycle", "segments", "drift-reference"),
        *("segment-model-versions", "segment-model-control"),
    ],
)
def test_a_topic_of_one_partition_that_is_there_with_more_is_refused(name: str) -> None:
    with pytest.raises(TopicsDifferError, match=f"{name} with 2 partitions in place of 1"):
        planned({name: 2})


def test_with_labels_theirs_must_fit_the_input_too() -> None:
    with pytest.raises(TopicsDifferError, match="segment-labels with 2 partitions in place of 4"):
        planned({"user-events": 4, "segment-labels": 2}, labels={"enabled": True})


# --- on a real Kafka ----------------------------------------------------------------------------


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers)


def raise_partitions(settings: Settings, count: int, *names: str) -> None:
    admin = AdminClient(settings.kafka.client())
    asked = admin.create_partitions([NewPartitions(name, count) for name in names])
    for future in asked.values():
        future.result(30)
    until(lambda: all(partition_counts(settings)[name] == count for name in names))


def commit(settings: Settings, metadata: str | None) -> None:
    """Commit an offset as a client that is in no group."""
    client = Consumer({**reader_config(settings.kafka), "group.id": settings.kafka.group_id})
    place = TopicPartition(settings.topics.events, 1, 0)
    if metadata is not None:
        place = TopicPartition(settings.topics.events, 1, 0, metadata)
    try:
        client.commit(offsets=[place], asynchronous=False)
    finally:
        client.close()


def test_partitions_that_were_raised_under_a_group_are_refused(settings: Settings) -> None:
    topics = settings.topics
    commit(settings, f"partitions={PARTITIONS}")
    check_topics(settings)
    raise_partitions(settings, 6, topics.events, topics.profiles)
    with pytest.raises(TopicError) as raised:
        check_topics(settings)
    assert str(raised.value) == raised_partitions(topics.events, PARTITIONS, 6)


def test_of_two_causes_the_one_that_raising_again_would_not_mend_is_told(
    settings: Settings,
) -> None:
    # "They must be equal" would send the operator on to raise the changelog's, too.
    topics = settings.topics
    commit(settings, f"partitions={PARTITIONS}")
    raise_partitions(settings, 6, topics.events)
    with pytest.raises(TopicError, match="this group's state was made with"):
        check_topics(settings)


def test_a_worker_leaves_the_count_with_its_offsets(settings: Settings) -> None:
    pairs = events_of(users=4, events=2)
    produce(settings, pairs)
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
    raise_partitions(settings, 5, settings.topics.events, settings.topics.profiles)
    with pytest.raises(TopicError, match=f"has 5 partitions.* made with {PARTITIONS}"):
        check_topics(settings)


def test_another_group_may_begin_with_the_raised_partitions(settings: Settings) -> None:
    commit(settings, None)
    raise_partitions(settings, 6, settings.topics.events, settings.topics.profiles)
    check_topics(settings)


def test_a_changelog_with_other_partitions_is_refused(settings: Settings) -> None:
    raise_partitions(settings, 6, settings.topics.profiles)
    with pytest.raises(TopicError, match=rf"has 6 partitions, .* has {PARTITIONS}: .* be equal"):
        check_topics(settings)


@pytest.mark.parametrize(
    "name",
    [
        *("samples", "models", "lifecycle", "segments", "drift_reference"),
        *("model_versions", "model_control"),
    ],
)
def test_a_topic_that_must_have_one_partition_is_refused_with_two(
    settings: Settings, name: str
) -> None:
    topic = getattr(settings.topics, name)
    raise_partitions(settings, 2, topic)
    with pytest.raises(TopicError, match=f"topic {topic} has 2 partitions: it must have one"):
        check_topics(settings)


def test_a_missing_topic_is_named_with_the_command_that_makes_it(settings: Settings) -> None:
    topics = settings.topics.model_copy(update={"changes": "no-such-topic"})
    with pytest.raises(TopicError, match=r"no-such-topic is missing .*'segmenter topics create'"):
        check_topics(settings.model_copy(update={"topics": topics}))
