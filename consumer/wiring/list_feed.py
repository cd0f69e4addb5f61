"""Where a worker gets the items of segments from: the recommender's topic."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from consumer.contract.records import Record
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import made, reader_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.messages import as_record
from consumer.settings import Settings
from consumer.stages.segmentation.for_users import Lists, PublishedList
from schemas.base import claimed_schema
from schemas.recommendations import (
    RECOMMENDATIONS_KEYS,
    RECOMMENDATIONS_SCHEMA,
    SegmentRecommendations,
)

logger = logging.getLogger(__name__)

# A list comes every few minutes at most; asking at each turn of the loop would be waste.
_INTERVAL_SECONDS = 0.1
# What may be spent on reading lists between two batches. Others wait, and the former ones hold.
_READING_SECONDS = 0.005


class ListBook:
    """The latest list of each segment, of the records that were read.

    A record is taken apart when there is time for it: so many that come at once hold up nobody. One
    that cannot be read leaves the former list in force.
    """

    def __init__(self) -> None:
        self._lists: dict[int | None, PublishedList] = {}
        self._keys: dict[bytes, int | None] = {}
        self._waiting: OrderedDict[bytes, Record] = OrderedDict()

    @property
    def lists(self) -> Lists:
        """The lists; not to be written."""
        return self._lists

    def note(self, records: Iterable[Record]) -> None:
        """Take records in, to be read later; of a key the latest counts."""
        for record in records:
            # The topic has users by attribute as well.
            if RECOMMENDATIONS_KEYS.fullmatch(key := record.key or b""):
                self._waiting[key] = record

    def read(self, seconds: float) -> None:
        """Read the records that wait, for about so long; one at least."""
        until = time.monotonic() + seconds
        while self._waiting:
            key, record = self._waiting.popitem(last=False)
            if record.value is None:
                if key in self._keys:
                    self._lists.pop(self._keys[key], None)
            elif (read := _read(record)) is not None:
                segment, published = read
                self._keys[key] = segment
                self._lists[segment] = published
            if time.monotonic() > until:
                return


def _read(record: Record) -> tuple[int | None, PublishedList] | None:
    value = record.value or b""
    if (schema := claimed_schema(value)) > RECOMMENDATIONS_SCHEMA:
        logger.warning(
            "passing over the items of a segment: %s was written by a newer version (schema %d; "
            "this one knows %d); upgrade the workers",
            *(record.place, schema, RECOMMENDATIONS_SCHEMA),
        )
        return None
    try:
        told = SegmentRecommendations.model_validate_json(value)
        return told.segment, PublishedList.of(told)
    except ValueError:
        logger.warning(
            "passing over the items of a segment: %s is not as its contract says", record.place
        )
        return None


class ListFeed:
    """Follows `segment-recommendations`, in no group: every worker reads all of it.

    The constructor reads to the topic's end, so that the first batch knows what there is.

    Parameters
    ----------
    settings
        How to reach the cluster, and how long to wait.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.segment_recommendations
        self._book = ListBook()
        self._asked = 0.0
        following = OFFSET_BEGINNING
        cluster = Cluster(settings.kafka)
        if (end := cluster.end(self._topic, 0)) > 0:
            patience = settings.restore.no_progress_seconds
            self._book.note(
                cluster.read(self._topic, 0, end, no_progress_seconds=patience),
            )
            self._book.read(float("inf"))
            following = end
        self._consumer = made(Consumer, reader_config(settings.kafka))
        self._consumer.assign([TopicPartition(self._topic, 0, following)])

    def latest(self) -> Lists:
        """Give the latest of each segment, without waiting."""
        now = time.monotonic()
        if now - self._asked >= _INTERVAL_SECONDS:
            self._asked = now
            for message in self._consumer.consume(100, 0):
                error = message.error()
                if error is None:
                    self._book.note([as_record(message)])
                elif error.code() != KafkaError._PARTITION_EOF:
                    broker_log.error(error.name(), f"reading {self._topic}: {error.str()}")
            self._book.read(_READING_SECONDS)
        return self._book.lists

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()

    @property
    def count(self) -> int:
        """Lists that are known."""
        return len(self._book.lists)

    @property
    def as_of(self) -> datetime | None:
        """Event time of what leads among all users; None before the first list."""
        everybody = self._book.lists.get(None)
        return None if everybody is None else everybody.as_of


def list_facts(feed: ListFeed | None) -> dict[str, object]:
    """Say for a process's health which lists it has; nothing where it follows none."""
    if feed is None:
        return {}
    as_of = feed.as_of
    return {
        "recommendation_lists": feed.count,
        "recommendations_as_of": None if as_of is None else as_of.isoformat(),
    }
