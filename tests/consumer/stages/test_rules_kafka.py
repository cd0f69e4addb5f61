"""`segmenter rules run` on a real Kafka: once through restarts, and under other rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.groups import rules_group
from consumer.settings import Settings
from consumer.stages.rules.stage import RuleStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import Follower, verify_topics
from models.rules.rule_set import RuleSet
from schemas.rule_changes import RuleChange, membership_key
from tests.consumer.kafka_runs import PARTITIONS, Running, event, produce, settings_for, until

USERS = 12
RULES = {"busy": 'count("10m") >= 3', "lucky": 'attributes.number == "7" || segment == 1'}
OTHERS = {"busy": 'count("10m") >= 5', "rated": 'mean_rating("1h") >= 3.0'}


def stage_of(settings: Settings, rules: dict[str, str]) -> RuleStage:
    return RuleStage(
        settings, RuleSet.of(rules, settings.rules.longest_window, settings.rules.kept_events)
    )


@contextmanager
def rules_run(settings: Settings, rules: dict[str, str], name: str) -> Iterator[RuleStage]:
    stage = stage_of(settings, rules)
    running = Running(settings, stage, name, rules_group(settings.kafka))
    try:
        yield stage
    finally:
        running.stop()


def write(settings: Settings, minutes: range) -> int:
    pairs = [
        event(f"u{user}", minute, "beer", attributes={"number": f"{user}"}, rating=user % 5)
        for minute in minutes
        for user in range(USERS)
    ]
    produce(settings, pairs)
    return len(pairs)


def done(settings: Settings) -> int:
    """Count the input records that the group has committed."""
    topic, group = settings.topics.events, rules_group(settings.kafka)
    places = Cluster(settings.kafka).committed(group, topic, range(PARTITIONS))
    return sum(max(place.offset, 0) for place in places)


def changes(settings: Settings) -> list[RuleChange]:
    found = read_topic(settings, settings.topics.rule_changes)
    return [RuleChange.model_validate_json(record.value or b"") for record in found]


def by_user(told: list[RuleChange]) -> dict[str, list[tuple[object, ...]]]:
    stories: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for each in told:
        stories[each.user_id].append((each.rule, each.status, each.reason, each.effective_at))
    return dict(stories)


def members(settings: Settings) -> set[bytes]:
    latest = {r.key: r.value for r in read_topic(settings, settings.topics.rule_memberships)}
    return {key for key, value in latest.items() if value is not None}


def at_once(settings: Settings, rules: dict[str, str]) -> dict[str, list[tuple[object, ...]]]:
    """What one process that nothing happens to tells of the whole input, partition by partition."""
    stage = stage_of(settings, rules)
    records = list(read_topic(settings, settings.topics.events))
    told: list[RuleChange] = []
    for partition in range(PARTITIONS):
        stage.assigned(partition, stage.restoration(partition))
    outputs = [*stage.apply(stage.prepare(records), frozenset(range(PARTITIONS)))]
    stage.committed()
    while (more := stage.maintain(idle=True)) is not None:
        stage.committed()
        outputs += more
    told = [
        RuleChange.model_validate_json(each.value or b"")
        for each in outputs
        if each.topic == settings.topics.rule_changes
    ]
    return by_user(told)


def audited(settings: Settings, rules: dict[str, str]) -> tuple[int, list[str]]:
    """Give what verify finds of rules: its exit code, and what it could not tell."""
    own = settings.rules.model_copy(update={"segments": rules})
    result = verify_topics(settings.model_copy(update={"rules": own}))
    return result.exit_code, [each for each in result.unchecked if "rule" in each]


def test_users_are_followed_once_through_restarts_and_under_other_rules(
    broker: EmbeddedKafka,
) -> None:
    settings = settings_for(broker.bootstrap_servers, rules={"enabled": True})
    audit = Follower(settings, settle_seconds=10, stall_seconds=600, sample_seconds=0.1)
    with audit:
        everything(settings)
        assert audit.wait_settled(60)
        assert audit.take_news() == []
        assert audit.report().rule_changes == len(changes(settings)) > 0


def everything(settings: Settings) -> None:
    """Have some be followed, through takeovers and under other rules."""
    count = write(settings, range(8))
    with rules_run(settings, RULES, "r0") as first:
        until(lambda: first.stats.events["counted"] > 0)
    # Another goes on where that one was, with what that one wrote.
    with rules_run(settings, RULES, "r1"), rules_run(settings, RULES, "r2"):
        count += write(settings, range(8, 30))
        until(lambda: done(settings) >= count)
    told = changes(settings)
    assert by_user(told) == at_once(settings, RULES)
    assert audited(settings, RULES) == (0, [])
    assert len({each.id for each in told}) == len(told)
    assert members(settings) == {
        *(membership_key(f"u{user}", "busy") for user in range(USERS)),
        membership_key("u7", "lucky"),
    }
    # The same users under other rules, without an event.
    with rules_run(settings, OTHERS, "r3") as other:
        until(lambda: dict(other.figures())["rule_users"] == USERS)
        until(lambda: dict(other.figures())["rule_users_to_look_at"] == 0)
    before = {each.id for each in told}
    assert {(c.reason, c.cause) for c in changes(settings) if c.id not in before} == {
        ("rule_changed", "operator")
    }
    assert members(settings) == {
        *(membership_key(f"u{user}", "busy") for user in range(USERS)),
        *(membership_key(f"u{user}", "rated") for user in range(USERS) if user % 5 >= 3),
    }
    assert audited(settings, OTHERS) == (0, [])
    (behind,) = audited(settings, RULES)[1]
    assert behind.startswith("whether")
