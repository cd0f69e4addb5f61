"""Places that are gone, on a real Kafka: what a worker makes of them, and what verify tells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.kafka.clients import admin_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import create_topics, partition_counts
from consumer.settings import Settings
from consumer.settings.agreed import agreed
from consumer.state.positions import LostRecordsError
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import (
    PARTITIONS,
    Pair,
    assert_as_replayed,
    audit,
    committed,
    event,
    produce,
    settings_for,
    stream,
    until,
)
from tests.consumer.kafka_runs import worker as patient_worker

worker = partial(patient_worker, topic_seconds=0.2, certain_seconds=0.5)
PAIRS = stream(users=12, events=4)
OTHERS = [event(f"v{n}", n, "beer hops malt yeast brew") for n in range(60)]


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers)


def with_kafka(settings: Settings, **kafka: object) -> Settings:
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update=kafka)})


def places(settings: Settings) -> list[TopicPartition]:
    kafka, topic = settings.kafka, settings.topics.events
    return Cluster(kafka).committed(kafka.group_id, topic, range(PARTITIONS))


def lost(settings: Settings, reason: str) -> int:
    found = [OffsetMetadata.read(place.metadata).lost.get(reason) for place in places(settings)]
    return sum(loss.times for loss in found if loss)


def read(settings: Settings, pairs: Sequence[Pair]) -> None:
    before = committed(settings)
    produce(settings, pairs)
    with worker(settings):
        until(lambda: committed(settings) == before + len(pairs))


def make_anew(settings: Settings) -> None:
    topic, admin = settings.topics.events, AdminClient(admin_config(settings.kafka))
    admin.delete_topics([topic])[topic].result(20)
    until(lambda: create_topics(settings)[topic])
    until(lambda: partition_counts(settings).get(topic) == PARTITIONS)


def remove_up_to(settings: Settings, behind: int) -> int:
    """Have retention remove up to so many records behind the group in each partition."""
    topic, admin = settings.topics.events, AdminClient(admin_config(settings.kafka))
    removed, cut = 0, []
    for place in places(settings):
        end = Cluster(settings.kafka).end(topic, place.partition)
        low = min(place.offset + behind, end)
        removed += low - place.offset
        cut.append(TopicPartition(topic, place.partition, low))
    for future in admin.delete_records(cut).values():
        future.result(20)
    return removed


def test_where_retention_passed_the_offset_all_that_is_left_is_read_and_the_loss_told(
    settings: Settings,
) -> None:
    read(settings, PAIRS)
    produce(settings, OTHERS)
    removed = remove_up_to(settings, 5)
    assert 0 < removed < len(OTHERS)
    # The setting is about groups without an offset.
    with worker(with_kafka(settings, auto_offset_reset="latest")) as (running, stage):
        until(lambda: committed(settings) == len(PAIRS) + len(OTHERS))
        assert stage.stats.accepted.total() == len(OTHERS) - removed
        samples = next(iter(running.metrics.losses.records.collect())).samples
        assert sum(sample.value for sample in samples) == removed
    result = audit(settings)
    assert (result.exit_code, result.counts.lost) == (0, removed), result.render()
    assert "removed by retention before the group read them" in result.render()
    # Days later, after others have committed.
    read(settings, [event("w", 1, "yeast")])
    assert audit(settings).counts.lost == removed


def test_losses_are_refused_where_that_is_set_and_counted_once_it_is_not(
    settings: Settings,
) -> None:
    read(settings, PAIRS)
    produce(settings, OTHERS)
    removed = remove_up_to(settings, 5)
    with worker(with_kafka(settings, fail_on_data_loss=True)) as (running, _):
        until(lambda: not running.thread.is_alive())
    assert isinstance(running.error, LostRecordsError)
    assert committed(settings) == len(PAIRS)
    with worker(settings):
        until(lambda: committed(settings) == len(PAIRS) + len(OTHERS))
    assert audit(settings).counts.lost == removed


def test_a_group_that_begins_at_the_end_reads_what_comes_while_it_is_away(
    settings: Settings,
) -> None:
    late = with_kafka(settings, auto_offset_reset="latest")
    produce(settings, OTHERS)
    with worker(late):
        until(lambda: committed(settings) == len(OTHERS))
    produce(settings, PAIRS)
    with worker(late) as (_, stage):
        until(lambda: committed(settings) == len(OTHERS) + len(PAIRS))
        assert stage.stats.accepted.total() == len(PAIRS)
    # What came before the group began is none of its input.
    assert_as_replayed(settings, PAIRS)


@pytest.mark.parametrize("more", [OTHERS, PAIRS + OTHERS], ids=["shorter", "longer"])
def test_a_topic_made_anew_under_a_worker_is_read_from_its_beginning(
    settings: Settings, more: list[Pair]
) -> None:
    produce(settings, PAIRS)
    with worker(settings) as (_, stage):
        until(lambda: committed(settings) == len(PAIRS))
        make_anew(settings)
        produce(settings, more)
        until(lambda: lost(settings, "recreated") == PARTITIONS)
        until(lambda: committed(settings) == len(more))
        # The profiles are those of before, so what they know of comes as repeated.
        assert stage.stats.accepted.total() == len(PAIRS) + len(OTHERS)
    result = audit(settings)
    assert result.exit_code == 0, result.render()
    assert "the topic was made anew" in result.render()
    assert any("made anew or truncated since" in reason for reason in result.unchecked)


@pytest.mark.parametrize("more", [OTHERS, PAIRS + OTHERS], ids=["shorter", "longer"])
def test_a_topic_made_anew_while_nobody_looked_is_told_from_offsets_that_expired(
    settings: Settings, more: list[Pair]
) -> None:
    read(settings, PAIRS)
    make_anew(settings)
    produce(settings, more)
    # With the topic its offsets have gone, and the state's changelog tells.
    assert committed(settings) == 0
    with worker(settings) as (_, stage):
        until(lambda: committed(settings) == len(more))
        assert stage.stats.accepted.total() == len(OTHERS)
    assert lost(settings, "recreated") == PARTITIONS


def test_behind_transactions_of_producers_nothing_waits_once_all_is_read(
    settings: Settings,
) -> None:
    producer = Producer({**settings.kafka.client(), "transactional.id": settings.kafka.group_id})
    producer.init_transactions(20)
    topic = settings.topics.events
    for end, pairs in ((producer.commit_transaction, PAIRS), (producer.abort_transaction, OTHERS)):
        producer.begin_transaction()
        for key, value in pairs:
            producer.produce(topic, value, key)
        producer.flush(20)
        end(20)

    def read_up() -> bool:
        # The markers come a little after the answer to the end of a transaction.
        ends = [Cluster(settings.kafka).end(topic, number) for number in range(PARTITIONS)]
        return [place.offset for place in places(settings)] == ends

    with worker(settings) as (running, stage):
        until(read_up)
        until(lambda: running.health.detail.get("lag") == 0)
        assert stage.stats.accepted.total() == len(PAIRS)
        transactions = running.metrics.transactions.labels("committed")._value.get()
        until(lambda: running.metrics.idle._value.get() == 1)
        assert running.metrics.transactions.labels("committed")._value.get() == transactions
    assert_as_replayed(settings, PAIRS)
    assert audit(settings).counts.lag == 0


def test_a_worker_with_other_settings_than_the_one_before_says_so_and_has_its_own_committed(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [line.getMessage() for line in caplog.records if "need these alike" in line.message]

    def committed_settings() -> list[object]:
        return [OffsetMetadata.read(place.metadata).settings for place in places(settings)]

    other = settings.changed("profile", half_life_days=30.0)
    own, others = agreed(settings, "worker"), agreed(other, "worker")
    assert others == {**own, "profile.half_life_days": "30.0"}
    for each, alike in ((settings, own), (other, others), (other, others), (settings, own)):
        # Without an event: it is committed as soon as the worker has the partitions.
        with worker(each, command="worker"):
            until(lambda alike=alike: committed_settings() == [alike] * PARTITIONS)
    first, second = told()
    assert "profile.half_life_days is 180.0 (here 30.0): all members" in first
    assert "profile.half_life_days is 30.0 (here 180.0): all members" in second
