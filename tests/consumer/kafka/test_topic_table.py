"""The table of topics: all that there are, made as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.kafka.topic_limits import written_topics
from consumer.kafka.topic_table import TOPICS
from consumer.kafka.topics import new_topics
from consumer.settings import Settings, TopicSettings

SCHEMAS = Path(__file__).parents[3] / "schemas/json"
SETTINGS = Settings(labels={"enabled": True})


def test_the_table_has_every_topic_that_there_is_a_name_for():
    names = {
        name
        for name, field in TopicSettings.model_fields.items()
        if field.annotation in (str, str | None) and name != "prefix"
    }
    assert {each.setting for each in TOPICS} == names
    assert len(TOPICS) == len(names)


def test_every_schema_of_the_table_is_there_and_every_schema_of_a_topic_is_in_the_table():
    there = {path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json")}
    # What the headers of a dead letter say has a schema, its value has none. Users by attribute are
    # one record of a topic among others.
    apart = {"dead-letter", "segment-attributes"}
    assert {each.schema for each in TOPICS if each.schema} == there - apart


@pytest.mark.parametrize("enabled", [False, True])
def test_topics_are_made_as_the_table_says(enabled):
    also = {name: {"enabled": enabled} for name in ("labels", "rules", "recommendations")}
    also["recommendations"]["users"] = enabled
    settings = Settings(topics={"retention_hours": 2}, **also)
    made = {each.topic: each for each in new_topics(settings)}
    own = {
        each.default_name: each
        for each in TOPICS
        if not each.with_former
        and (enabled or not (each.with_labels or each.with_rules or each.with_recommendations))
    }
    assert made.keys() == own.keys() - {None}
    for name, topic in made.items():
        told = own[name]
        assert topic.num_partitions == (1 if told.single else 12), name
        assert (topic.config.get("cleanup.policy") == "compact") == (told.kept == "compacted"), name
        assert (topic.config.get("retention.ms") == "7200000") == (told.kept == "hours"), name
        assert ("max.message.bytes" in topic.config) == told.large, name


def test_what_a_role_writes_is_what_is_looked_at_before_it_starts():
    assert written_topics(SETTINGS, "trainer") == [
        *("profile-samples", "segment-models", "segment-model-versions", "segment-model-control"),
        *("segment-lifecycle", "segments", "drift-reference", "label-models"),
    ]
    assert written_topics(Settings(), "worker") == [
        *("user-events.dlq", "segment-changes", "segment-memberships", "user-profiles"),
        "profile-samples",
    ]


def test_what_is_built_beside_a_group_has_a_topic_while_that_changes_its_model():
    former = {"embedding": {"former": {"model": "default"}, "model": "multilingual"}}
    made = {each.topic: each for each in new_topics(Settings(**former))}
    assert made.keys() - {each.topic for each in new_topics(Settings())} == {"user-profiles-next"}
    assert made["user-profiles-next"].num_partitions == 12
    assert made["user-profiles-next"].config["cleanup.policy"] == "compact"
