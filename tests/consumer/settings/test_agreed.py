"""Which settings a group's members need alike, and how differences are told."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.settings import Settings
from consumer.settings.agreed import agreed, apart, differences, names

OWN_MATTERS = [
    *("batch.max_records", "kafka.instance_id", "http.port", "log.level", "embedding.threads"),
    *("restore.checkpoint_dir", "dead_letters.max_share", "training.idle_seconds"),
]


def told(its: dict[str, Any], ours: dict[str, Any], command: str = "worker") -> tuple[str, ...]:
    return differences(agreed(Settings(**its), command), agreed(Settings(**ours), command), command)


def test_what_is_at_its_default_takes_no_room():
    assert agreed(Settings(), "worker") == {}


@pytest.mark.parametrize("command", ["worker", "trainer", "recommender", "intake"])
def test_what_is_computed_and_where_it_goes_must_be_alike_and_what_is_a_processs_own_need_not(
    command,
):
    alike = {
        "worker": {
            "profile.precision",
            "events.weights",
            "assignment.margin_share",
            "topics.changes",
            "recommendations.user_items",
            "recommendations.own_weight",
        },
        "trainer": {"training.segments", "drift.users", "topics.models"},
        "recommender": {"recommendations.half_life_days", "topics.item_events"},
        "intake": {"topics.raw_events", "events.key"},
    }
    assert alike[command] <= set(names(command))
    assert not set(OWN_MATTERS) & set(names(command))


def test_a_difference_is_told_with_both_values_defaults_too():
    its = {"profile": {"half_life_days": 30}, "labels": {"enabled": True}}
    ours = {"labels": {"enabled": True}, "assignment": {"max_distance_share": 0.5}}
    assert told(its, ours) == (
        "profile.half_life_days is 30.0 (here 180.0)",
        "assignment.max_distance_share is null (here 0.5)",
    )
    assert told(its, its) == ()


def test_a_long_value_is_told_without_its_content():
    mapping = {"fields": {"text": ["review.body"] * 20}}
    assert told({"events": {"mapping": mapping}}, {}) == (
        "events.mapping.fields is another one than here",
    )
    longer = {"fields": {"text": ["review.body"] * 21}}
    assert told({"events": {"mapping": mapping}}, {"events": {"mapping": longer}}) == (
        "events.mapping.fields is another one than here",
    )
    assert told({"events": {"mapping": mapping}}, {"events": {"mapping": mapping}}) == ()


def test_a_setting_that_only_another_version_has_is_passed_over():
    assert differences({"profile.colour": "1"}, {}, "worker") == ()


def test_other_commands_settings_are_not_held_against_each_other():
    assert told({"training": {"segments": 9}}, {}, "worker") == ()
    assert told({"training": {"segments": 9}}, {}, "trainer") == (
        "training.segments is 9 (here 6)",
    )


def test_however_much_is_set_it_goes_beside_an_offset():
    """Brokers take 4,096 bytes."""
    topics = {
        name: f"{name}-{'x' * 200}"
        for name in type(Settings().topics).model_fields
        if name not in {"prefix", "partitions", "replication_factor", "retention_hours"}
    }
    mapping = {"fields": {name: ["a.b"] * 9 for name in ("text", "user_id", "occurred_at")}}
    its = {"topics": topics, "events": {"mapping": mapping}, "profile": {"terms": 3}}
    assert 0 < len(OffsetMetadata(settings=agreed(Settings(**its), "worker")).write()) < 2500
    changed = {**its, "profile": {"terms": 4}}
    assert told(its, its) == ()
    assert len(told(its, changed)) == 1


def test_settings_too_long_to_be_written_one_by_one_are_told_of_as_a_whole(monkeypatch):
    monkeypatch.setattr("consumer.settings.agreed._MOST_CHARS", 40)
    its = {"profile": {"half_life_days": 30, "terms": 3}}
    assert told(its, {}) == ("settings are others than here",)
    assert told(its, its) == ()


def test_who_differs_from_most_members_of_a_group_is_found_by_partition():
    ours = agreed(Settings(profile={"half_life_days": 30}), "worker")
    others = agreed(Settings(profile={"half_life_days": 60}), "worker")
    found = apart({0: ours, 1: others, 2: ours, 3: None, 4: ours, 5: {}, 6: others}, "worker")
    assert found == {
        ("profile.half_life_days is 60.0 (elsewhere 30.0)",): [1, 6],
        ("profile.half_life_days is 180.0 (elsewhere 30.0)",): [5],
    }
    assert apart({0: ours, 1: ours, 2: None}, "worker") == {}
    assert apart({}, "worker") == {}
