"""Items for single users on a real Kafka: a worker that dies amid transactions, and new lists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from confluent_kafka import Producer

from consumer.engine import crash_points
from consumer.engine.crash_points import CrashPoint
from consumer.kafka.cluster import read_topic
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import verify_topics
from consumer.wiring.list_feed import ListFeed, list_facts
from schemas.profiles import ProfileItems
from schemas.recommendations import SegmentRecommendations, UserRecommendations, recommendations_key
from schemas.states import read_profile
from tests.consumer.kafka_runs import (
    TOPICS,
    Running,
    committed,
    event,
    model_of,
    produce,
    settings_for,
    until,
)
from tests.consumer.stages.test_for_users import leading
from tests.stubs import HashingEmbedder

USERS, ROUNDS = 6, 6
TEXTS = [*TOPICS.values()]


class DiedError(Exception):
    """Raised at a crash point: the loop is left with its transaction open."""


def publish(settings: Settings, *lists: SegmentRecommendations) -> None:
    producer = Producer(settings.kafka.client())
    for each in lists:
        key = recommendations_key(each.segment)
        topic = settings.topics.segment_recommendations
        producer.produce(topic, each.model_dump_json().encode(), key)
    assert producer.flush(30) == 0


@contextmanager
def recommending(settings: Settings) -> Iterator[tuple[Running, SegmentationStage, ListFeed]]:
    embedder, lists = HashingEmbedder(), ListFeed(settings)
    source = FixedModel(model_of(embedder))
    stage = SegmentationStage(settings, embedder, source, lists=lists)
    running = Running(settings, stage, "w0")
    try:
        yield running, stage, lists
    finally:
        running.loop.stop()
        running.thread.join(60)
        lists.close()


def published(settings: Settings) -> dict[str, list[UserRecommendations]]:
    """Read all that was committed, by user."""
    found = defaultdict(list)
    for record in read_topic(settings, settings.topics.user_recommendations):
        read = UserRecommendations.model_validate_json(record.value or b"")
        found[read.user_id].append(read)
    return found


def known(settings: Settings) -> dict[str, ProfileItems | None]:
    return {
        (each.key or b"").decode(): read_profile(each.key or b"", each.value or b"").items
        for each in read_topic(settings, settings.topics.profiles)
    }


@pytest.mark.parametrize("point", ["produced", "offsets_sent", "committed"])
def test_items_for_users_are_published_once_whenever_a_worker_dies(
    broker: EmbeddedKafka, point: CrashPoint
) -> None:
    settings = settings_for(
        broker.bootstrap_servers,
        recommendations={"enabled": True, "users": True, "user_top": 4},
        batch={"max_records": 7},
    )
    publish(settings, leading(0, "abcd", None), leading(1, "efgh", None), leading(None, "aexy"))
    items = ["abcd", "efgh"]
    pairs = [
        event(f"u{user}", number, TEXTS[user % 2], item_id=items[user % 2][number % 3])
        for number in range(ROUNDS)
        for user in range(USERS)
    ]
    half, passed = len(pairs) // 2, 0

    def die(at: CrashPoint) -> None:
        nonlocal passed
        passed += at == point
        if at == point and passed == 2:
            raise DiedError

    produce(settings, pairs[:half])
    crash_points.install(die)
    try:
        with recommending(settings) as (running, *_):
            until(lambda: running.error is not None)
    finally:
        crash_points.install(None)
    assert isinstance(running.error, DiedError)
    with recommending(settings) as (running, stage, lists):
        until(lambda: committed(settings) == half)
        before = {user: each[-1] for user, each in published(settings).items()}
        assert before.keys() == {f"u{user}" for user in range(USERS)}
        # A new list renews nothing by itself, and the next event by it.
        publish(settings, leading(0, "dcbanm", None), leading(None, "aexyz"))
        until(lambda: len(lists.latest()[None].leading.items) == 5)
        assert list_facts(lists)["recommendation_lists"] == 3
        assert {user: each[-1] for user, each in published(settings).items()} == before
        produce(settings, pairs[half:])
        until(lambda: committed(settings) == len(pairs))
        running.stop()
    found, profiles = published(settings), known(settings)
    assert [each.item_id for each in found["u0"][-1].items][:1] == ["d"]
    for user, records in found.items():
        chosen = [[each.item_id for each in record.items] for record in records]
        # What is not written anew where nothing changed is not written twice either.
        assert all(one != other for one, other in pairwise(chosen)), user
        assert not {*chosen[-1]} & {*items[int(user[1:]) % 2][:3]}
        assert profiles[user] is not None
    result = verify_topics(settings)
    assert result.exit_code == 0, result.render()
    assert f"{settings.topics.user_recommendations} has items for {USERS} users" in result.notes
    assert stage.stats.recommended > 0
