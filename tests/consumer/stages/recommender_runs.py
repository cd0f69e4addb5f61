"""Recommenders without a broker: topics in lists, transactions that may come to nothing."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.recommending.stage import RecommenderStage
from models.profiles.rows import hash_event_ids
from schemas.events import EventType
from schemas.item_events import ITEM_EVENT, TYPES, encode_item_events
from schemas.partitioner import partition_of
from schemas.recommendations import SegmentRecommendations

IDENTITY, D = "ab" * 32, 8
HOUR = 3_600_000_000


def item_event(
    item: str,
    number: int,
    *,
    segment: int = 0,
    hours: float = 0.0,
    rating: float = np.nan,
    kind: EventType = EventType.REVIEW,
    embedding: str = IDENTITY,
    axis: int = 0,
    dimensions: int = D,
) -> tuple[bytes, bytes]:
    """One event of an item as a key and a value; the number makes its id and its user."""
    told = np.zeros(1, ITEM_EVENT)
    told["embedding"] = np.void(bytes.fromhex(embedding))
    told["event_hash"] = hash_event_ids([f"e{number}"])
    told["time"], told["offset"] = round(hours * HOUR), number
    told["rating"], told["segment"], told["type"] = rating, segment, TYPES.index(kind)
    vector = np.zeros((1, dimensions), np.float32)
    vector[0, axis] = 1
    [value] = encode_item_events(told, vector, [item], [f"u{number % 7}"])
    return item.encode(), value


class Topics:
    """What Kafka would hold: records by topic and partition, and the group's offsets."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self.settings, self.partitions = settings, partitions
        self.records: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.committed: dict[tuple[str, int], int] = defaultdict(int)

    def write(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            partition = output.partition
            if partition is None:
                single = output.topic == self.settings.topics.segment_recommendations
                count = 1 if single else self.partitions
                partition = partition_of(output.key or b"", count)
            log = self.records[output.topic, partition]
            log.append(Record(output.topic, partition, len(log), -1, output.key, output.value))

    def latest(self, topic: str) -> dict[bytes, bytes]:
        """Give what is left of a compacted topic."""
        found: dict[bytes, bytes] = {}
        for (name, _), log in sorted(self.records.items()):
            for record in log if name == topic else ():
                found.pop(record.key or b"", None)
                if record.value is not None:
                    found[record.key or b""] = record.value
        return found

    def recommendations(self) -> dict[int | None, SegmentRecommendations]:
        values = self.latest(self.settings.topics.segment_recommendations).values()
        read = [SegmentRecommendations.model_validate_json(value) for value in values]
        return {each.segment: each for each in read}


class Recommender:
    """One process: a stage with some partitions, driven as the loop drives it."""

    def __init__(self, topics: Topics, numbers: Sequence[int]) -> None:
        self.now = 0.0
        self.topics, self.numbers = topics, list(numbers)
        self.stage = RecommenderStage(topics.settings, topics.partitions, lambda: self.now)
        for number in numbers:
            restoration = self.stage.restoration(number)
            for log in restoration.changelogs:
                for record in topics.records[log.topic, log.partition]:
                    restoration.load(record)
            self.stage.assigned(number, restoration)

    def step(self, most: int, fate: Callable[[], bool] = lambda: True) -> bool:
        """Apply the next records; tell whether there were any. What fails is aborted."""
        batch: list[Record] = []
        for topic in self.stage.inputs:
            for number in self.numbers:
                place = self.topics.committed[topic, number]
                batch += self.topics.records[topic, number][place : place + most]
        if not batch:
            return False
        outputs = self.stage.apply(self.stage.prepare(batch), frozenset(self.numbers))
        if not fate():
            self.stage.aborted()
            return True
        self.topics.write(outputs)
        for record in batch:
            self.topics.committed[record.topic, record.partition] = record.offset + 1
        self.stage.committed()
        return True

    def maintain(self, *, idle: bool, fate: Callable[[], bool] = lambda: True) -> bool:
        """Do a piece of the stage's own work; tell whether there was any."""
        outputs = self.stage.maintain(idle=idle)
        if outputs is None:
            return False
        if not fate():
            self.stage.aborted()
            return True
        self.topics.write(outputs)
        self.stage.committed()
        return True

    def settle(self) -> None:
        """Read all there is, and do all there is to do."""
        while self.step(1000) or self.maintain(idle=True):
            pass


def a_group(partitions: int = 3, **recommendations: Any) -> Topics:
    given = {
        "enabled": True,
        "top": 5,
        "candidates": 50,
        "half_life_days": 1,
        "min_interval_seconds": 0,
    }
    return Topics(Settings(recommendations=given | recommendations), partitions)


def feed(topics: Topics, pairs: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Write events of items; None withdraws one."""
    name = topics.settings.topics.item_events
    topics.write([Output(name, key, value) for key, value in pairs])


def run_with_crashes(topics: Topics, seed: int) -> None:
    """Have processes come, go, crash and abort, until all is read and settled."""
    chance = random.Random(seed)
    running: list[Recommender] = []

    def share_out() -> None:
        numbers = list(range(topics.partitions))
        chance.shuffle(numbers)
        cut = chance.randint(1, topics.partitions)
        running[:] = [Recommender(topics, part) for part in (numbers[:cut], numbers[cut:]) if part]

    share_out()
    for _ in range(40):
        if chance.random() < 0.15:  # a kill, or a rebalance: what was not committed is gone
            share_out()
        each = chance.choice(running)

        def fate() -> bool:
            return chance.random() < 0.8

        if chance.random() < 0.6:
            each.step(chance.randint(1, 9), fate)
        else:
            each.maintain(idle=chance.random() < 0.3, fate=fate)
    share_out()
    for _ in range(2):  # what one gives away another merges
        for each in running:
            each.settle()
