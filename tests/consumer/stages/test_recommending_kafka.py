"""Recommenders on a real Kafka, beside a worker: counted once, whoever comes and goes."""

from __future__ import annotations

from collections import Counter

from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.groups import recommender_group
from consumer.settings import Settings
from consumer.stages.recommending.stage import RecommenderStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import Follower, verify_topics
from models.recommendation.item_codec import decode_items, made_of
from schemas.item_events import read_item_event
from schemas.recommendations import RECOMMENDATIONS_KEYS, SegmentRecommendations
from tests.consumer.kafka_runs import (
    PARTITIONS,
    TOPICS,
    Running,
    event,
    produce,
    settings_for,
    until,
    worker,
)

USERS, ROUNDS = 12, 6
ITEMS = ("ale", "lager", "trail", "track")


def recommender(settings: Settings, name: str) -> tuple[Running, RecommenderStage]:
    stage = RecommenderStage(settings, PARTITIONS)
    return Running(settings, stage, name, recommender_group(settings.kafka)), stage


def read_up(settings: Settings) -> int:
    """Count what the recommenders' group has committed, markers included."""
    topic, group = settings.topics.item_events, recommender_group(settings.kafka)
    places = Cluster(settings.kafka).committed(group, topic, range(PARTITIONS))
    return sum(max(place.offset, 0) for place in places)


def unchecked(settings: Settings) -> list[str]:
    """Give what verify could not tell: nothing once all is given away, merged and published."""
    result = verify_topics(settings)
    assert result.exit_code == 0, result.render()
    return [each for each in result.unchecked if "segment model" not in each]


def test_items_are_counted_once_and_lead_where_they_belong(broker: EmbeddedKafka) -> None:
    settings = settings_for(
        broker.bootstrap_servers,
        recommendations={"enabled": True, "prior_weight": 1, "min_interval_seconds": 1},
    )
    pairs = []
    for number in range(ROUNDS):
        for user in range(USERS):
            text, item = [*TOPICS.values()][user % 2], ITEMS[2 * (user % 2) + (number % 3 == 0)]
            pairs.append(event(f"u{user}", number, text, item_id=item, rating=4 + user % 2))
    produce(settings, pairs[: len(pairs) // 2])
    running, stages = zip(*(recommender(settings, f"r{n}") for n in range(2)), strict=True)
    with worker(settings) as (_, stage):
        until(lambda: stage.stats.accepted.total() == len(pairs) // 2)
        until(lambda: sum(each.stats.events for each in stages) == len(pairs) // 2)
        running[0].stop()  # the other one takes over
        produce(settings, pairs[len(pairs) // 2 :])
        until(lambda: stage.stats.accepted.total() == len(pairs))
        until(lambda: sum(each.stats.events for each in stages) == len(pairs))
        until(lambda: not unchecked(settings))
    running[1].stop()
    told = [
        read_item_event(each.key, each.value or b"")
        for each in read_topic(settings, settings.topics.item_events)
    ]
    assert Counter((each.user, each.event_hash) for each in told).most_common(1)[0][1] == 1
    assert len(told) == len(pairs)
    counted: Counter[str] = Counter()
    for record in read_topic(settings, settings.topics.item_profiles):
        key, value = record.key or b"", record.value or b""
        half_life = settings.recommendations.half_life
        rows = decode_items([key], [value], *made_of(key, value), half_life)
        counted[rows.items[0]] = int(rows.numbers["events"][0])
    assert counted == Counter(each.item for each in told)
    found: dict[int | None, SegmentRecommendations] = {}
    for record in read_topic(settings, settings.topics.segment_recommendations):
        if RECOMMENDATIONS_KEYS.fullmatch(record.key or b""):  # there is that of attributes, too
            read = SegmentRecommendations.model_validate_json(record.value or b"")
            found[read.segment] = read
    assert found.keys() == {None, 0, 1}
    leading = {key: [item.item_id for item in each.items] for key, each in found.items()}
    assert leading[0][0] == "ale"
    assert leading[1][0] == "trail"
    assert sorted(leading[None]) == sorted(ITEMS)
    assert found[None].popularity > found[0].popularity > 0
    assert {each.ratings.mean for each in found[0].items if each.popularity} == {4.0}
    # Who comes later has all of it, and has nothing to count again.
    last, stage_of_last = recommender(settings, "r2")
    until(lambda: len(stage_of_last.items) == PARTITIONS and stage_of_last.settled)
    held = sum(map(len, stage_of_last.items.values()))
    last.stop()
    result = verify_topics(settings)
    assert result.exit_code == 0, result.render()
    assert f"{len(pairs)} events of {settings.topics.events} name an item" in result.notes
    assert (held, stage_of_last.stats.events) == (len(ITEMS), 0)
    with Follower(settings, settle_seconds=5, stall_seconds=600, sample_seconds=0.1) as audit:
        assert audit.wait_settled(60)
        assert audit.take_news() == []
        assert audit.report().item_events == len(pairs)
