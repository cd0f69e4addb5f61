"""Where a worker gets the items of segments from: the recommender's topic."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from consumer.contract.records import Record
from consumer.kafka.follower import Follower
from consumer.settings import Settings
from consumer.stages.segmentation.for_users import Lists, PublishedList
from schemas.base import claimed_schema
from schemas.recommendations import (
    RECOMMENDATIONS_KEYS,
    RECOMMENDATIONS_SCHEMA,
    SegmentRecommendations,
)

logger = logging.getLogger(__name__)

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
        self._book = ListBook()
        topic = settings.topics.segment_recommendations
        self._follower = Follower(settings, topic, self._begin)

    def latest(self) -> Lists:
        """Give the latest of each segment, without waiting."""
        self._book.note(self._follower.came())
        self._book.read(_READING_SECONDS)
        return self._book.lists

    def close(self) -> None:
        """Stop following."""
        self._follower.close()

    def _begin(self, records: Iterable[Record]) -> None:
        self._book.note(records)
        self._book.read(float("inf"))

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
