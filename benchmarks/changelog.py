"""The state that benchmarks read back: made-up profiles in `user-profiles`, and a group's offsets.

Profiles lie around the centres of a fixed model, in the segments that it gives them. So a worker
that looks at all users after a start finds nothing to move, as after the crash of one that had been
at work for long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from numpy.typing import NDArray

from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.settings import Settings
from models.profiles.codec import encode
from models.profiles.table import ProfileRows
from models.segments.model import SegmentModel

DIMENSIONS, MEMORY, TERMS, VOCABULARY = 384, 64, 16, 20_000
SEGMENTS = 6
MODEL_VERSION = 1
_BLOCK = 5_000
# The noise's length in 384 dimensions is 0.6 of a centre's: far from the border of a segment.
_SPREAD = 0.03


def user_name(number: int) -> str:
    """Name a user; keys decide on the partition, so events are to use the same name."""
    return f"user-{number:08d}"


@cache
def centres() -> NDArray[np.float64]:
    """Give the segments' centres, unit vectors (SEGMENTS, DIMENSIONS)."""
    drawn = np.random.default_rng(0).normal(size=(SEGMENTS, DIMENSIONS))
    unit: NDArray[np.float64] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def label_of(segment: int) -> str:
    """Give the label of a segment, as long as real ones are."""
    return f"some, typical, words {segment}"


def fixed_model(embedding: str) -> SegmentModel:
    """Give the model that has put all users where they are, for an embedding's identity."""
    return model_of(centres(), embedding, version=MODEL_VERSION)


def model_of(centres: NDArray[np.float64], embedding: str, *, version: int) -> SegmentModel:
    """Give a model with segments of these centres, (segments, dimensions)."""
    count = len(centres)
    return SegmentModel(
        version=version,
        embedding=embedding,
        ids=np.arange(count),
        centres=centres,
        radii=np.zeros(count),
        sizes=np.zeros(count, np.int64),
        labels=tuple(label_of(segment) for segment in range(count)),
        words=((),) * count,
        since=(1,) * count,
        next_id=count,
        sample_threshold=1.0,
        samples=0,
        seed=0,
    )


def profiles(users: range, seed: int) -> ProfileRows:
    """Make up profiles as a long life leaves them: full memories, full lists of words."""
    rng = np.random.default_rng([seed, users.start])
    n = len(users)
    rows = ProfileRows.empty([user_name(number) for number in users], DIMENSIONS, MEMORY)
    rows.segments[:] = rng.integers(0, SEGMENTS, n)
    rows.weights[:] = rng.uniform(1, 10, n)
    near = centres()[rows.segments] + rng.normal(scale=_SPREAD, size=(n, DIMENSIONS))
    rows.sums[:] = near * rows.weights[:, None]
    rows.reference[:] = 1_700_000_000_000_000 + rng.integers(0, 10**13, n)
    rows.events[:] = rng.integers(MEMORY, 500, n)
    rows.recent[:] = rng.integers(1, 2**64, (n, MEMORY), np.uint64)
    rows.since[:], rows.sequence[:], rows.versions[:] = 1, 1, MODEL_VERSION
    rows.labels = [label_of(segment) for segment in rows.segments.tolist()]
    words = rng.zipf(1.3, (n, TERMS)) % VOCABULARY
    weights = rng.random((n, TERMS))
    rows.terms = [
        {f"word{word}": weight for word, weight in zip(*each, strict=True)}
        for each in zip(words.tolist(), weights.tolist(), strict=True)
    ]
    return rows


def fill(
    settings: Settings,
    users: range,
    seed: int,
    embedding: str,
    progress: Callable[[int], None] = lambda _done: None,
    *,
    half: bool = False,
    events: int | None = None,
    words: bool = True,
) -> int:
    """Write the profiles of users to the changelog and give the size of a record in bytes.

    Keys go to partitions as the workers' and everybody's events do (murmur2). With `half` sums are
    such as a table in fp16 holds; `events` is how many each user has had, where it is given, and
    without `words` nobody has any, as users outside of the sample.
    """
    producer = Producer(
        {
            **settings.kafka.client(),
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "compression.type": "lz4",
        }
    )
    size = 0
    for start in range(users.start, users.stop, _BLOCK):
        rows = profiles(range(start, min(start + _BLOCK, users.stop)), seed)
        if half:
            rows.sums[:] = rows.sums.astype(np.float16)
        if events is not None:
            rows.events[:] = events
            rows.recent[:, events:] = 0
        if not words:
            rows.terms = [{} for _ in rows.users]
        for user, value in zip(rows.users, encode(rows, embedding), strict=True):
            size = len(value)
            while True:
                try:
                    producer.produce(settings.topics.profiles, value, user)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
        progress(start + len(rows) - users.start)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} records could not be written")
    return size


def commit_offsets(settings: Settings) -> None:
    """Make the group one that has worked: a restore refuses state without offsets."""
    client = Consumer({**settings.kafka.client(), "group.id": settings.kafka.group_id})
    count = settings.topics.partitions
    metadata = OffsetMetadata(partitions=count).write()
    places = [TopicPartition(settings.topics.events, n, 0, metadata) for n in range(count)]
    client.commit(offsets=places, asynchronous=False)
    client.close()
