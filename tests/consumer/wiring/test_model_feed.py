"""Segment models as they are published, some of them by a newer version of the trainer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.shared.snapshots import NewerModelError
from consumer.tryout.broker import EmbeddedKafka
from consumer.wiring import model_feed
from consumer.wiring.model_feed import ModelFeed
from schemas.segment_model import SEGMENT_MODEL_KEY, SEGMENT_MODEL_SCHEMA
from tests.consumer.kafka_runs import model_of, settings_for, until
from tests.stubs import HashingEmbedder

NEWER = SEGMENT_MODEL_SCHEMA + 1


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers)


def known(version: int) -> bytes:
    return model_of(HashingEmbedder(), version).to_record().model_dump_json().encode()


def newer(version: int) -> bytes:
    fields = {**json.loads(known(version)), "schema_version": NEWER, "shape": "of tomorrow"}
    return json.dumps(fields).encode()


def publish(settings: Settings, *values: bytes | None) -> None:
    producer = Producer(settings.kafka.client())
    for value in values:
        producer.produce(settings.topics.models, value, SEGMENT_MODEL_KEY)
    assert producer.flush(30) == 0


class Feeds:
    """Feeds that are closed in the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: list[ModelFeed] = []

    def start(self) -> ModelFeed:
        self._made.append(ModelFeed(self._settings))
        return self._made[-1]

    def close(self) -> None:
        for feed in self._made:
            feed.close()


@pytest.fixture
def feeds(settings: Settings) -> Iterator[Feeds]:
    feeds = Feeds(settings)
    yield feeds
    feeds.close()


def version_of(feed: ModelFeed) -> int | None:
    model = feed.latest()
    return None if model is None else model.version


def test_a_feed_starts_with_the_latest_model_and_follows(settings: Settings, feeds: Feeds) -> None:
    publish(settings, known(1), known(2))
    feed = feeds.start()
    assert version_of(feed) == 2
    publish(settings, known(3))
    until(lambda: version_of(feed) == 3)


def test_a_feed_without_a_model_waits_for_one(settings: Settings, feeds: Feeds) -> None:
    feed = feeds.start()
    assert feed.latest() is None
    publish(settings, known(1))
    until(lambda: version_of(feed) == 1)


def test_a_former_version_or_a_tombstone_replaces_nothing(settings: Settings, feeds: Feeds) -> None:
    publish(settings, known(2), known(1), None)
    feed = feeds.start()
    assert version_of(feed) == 2
    publish(settings, known(1), None, known(3))
    until(lambda: version_of(feed) == 3)


def test_a_model_of_a_newer_format_leaves_a_worker_its_model_with_a_warning(
    settings: Settings, feeds: Feeds, caplog: pytest.LogCaptureFixture
) -> None:
    publish(settings, known(4))
    feed = feeds.start()
    publish(settings, newer(5))

    def warned() -> bool:
        assert version_of(feed) == 4
        return bool(caplog.records)

    until(warned)
    (warning,) = caplog.records
    message = warning.getMessage()
    assert message.startswith("keeping version 4 of the segments: ")
    assert f"{settings.topics.models}[0]@1 was written by a newer version" in message
    assert f"schema {NEWER}; this one knows {SEGMENT_MODEL_SCHEMA}" in message
    assert message.endswith("upgrade this process")
    # One that can be read again is taken, as after the trainer was set back.
    publish(settings, known(6))
    until(lambda: version_of(feed) == 6)


def test_without_a_model_a_newer_one_is_waited_out(
    settings: Settings, feeds: Feeds, caplog: pytest.LogCaptureFixture
) -> None:
    feed = feeds.start()
    publish(settings, newer(1), known(2))
    until(lambda: version_of(feed) == 2)
    assert "keeping version none of the segments" in caplog.text


def test_a_worker_that_starts_under_a_newer_model_is_refused(
    settings: Settings, feeds: Feeds
) -> None:
    publish(settings, known(1), newer(2))
    with pytest.raises(NewerModelError, match=r"\[0\]@1 was written by a newer version"):
        feeds.start()


def test_a_worker_may_start_when_a_readable_model_follows_the_newer_one(
    settings: Settings, feeds: Feeds
) -> None:
    publish(settings, known(1), newer(2), known(3))
    assert version_of(feeds.start()) == 3


@pytest.mark.parametrize("value", [b"{", b'{"schema_version": 1}', b'{"schema_version": 0}'])
def test_what_is_no_model_of_any_version_is_refused(
    settings: Settings, feeds: Feeds, value: bytes
) -> None:
    publish(settings, known(1), value, known(2))
    with pytest.raises(StageError, match=r"\[0\]@1 is no segment model"):
        feeds.start()


def test_a_group_without_any_model_is_warned_of_until_there_is_one(
    settings: Settings,
    feeds: Feeds,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def warnings() -> int:
        return caplog.text.count(f"has ever been published to {settings.topics.models}: ")

    feed = feeds.start()
    assert (warnings(), feed.version, feed.age_seconds) == (1, 0, None)
    feed.latest()
    assert warnings() == 1
    monkeypatch.setattr(model_feed, "_WARNING_SECONDS", 0.0)
    feed.latest()
    assert warnings() == 2
    before = time.time()
    publish(settings, known(3))
    until(lambda: version_of(feed) == 3)
    caplog.clear()
    feed.latest()
    assert (warnings(), feed.version) == (0, 3)
    assert feed.age_seconds is not None
    assert 0 <= feed.age_seconds <= time.time() - before + 1
