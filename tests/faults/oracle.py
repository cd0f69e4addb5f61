"""What a run should have come to, and how far it is from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from consumer.kafka.clients import reader_config
from consumer.kafka.cluster import Cluster, read_topic
from consumer.offline.replay import Replay
from consumer.settings import KafkaSettings, Settings
from consumer.verify import ViolationKind, verify_topics
from consumer.verify.oracle import comparable
from models.segments.model import SegmentModel
from schemas.changes import SegmentChange
from schemas.profiles import ProfileRecord
from schemas.states import read_profile
from tests.consumer.kafka_runs import changes_of, placeless, replayed
from tests.faults.load import Pair
from tests.stubs import HashingEmbedder

_CHAIN_KINDS = {ViolationKind.SEQUENCE, ViolationKind.CHAIN}

_NEWER = ("cause", "confidence", "reason")
"""Fields of a change that a build from before there were causes does not have, or has otherwise."""


@dataclass
class Verdict:
    """How a run differs from what it should have come to; all zero when it is right."""

    events: int = 0
    changes: int = 0
    lost: int = 0
    """Events, changes and dead letters that should be there and are not."""
    doubled: int = 0
    """Those that took effect more than once."""
    broken: int = 0
    """Links of users' chains that do not fit."""
    differing: int = 0
    """Changes and final states that are there and not the same, and other violations."""
    hanging: int = 0
    """Partitions that an open transaction still holds back."""
    details: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether all is as it should be."""
        return not (self.lost or self.doubled or self.broken or self.differing or self.hanging)

    def note(self, sentence: str) -> None:
        """Keep a sentence on what was found, the first ones."""
        if len(self.details) < 20:
            self.details.append(sentence)


def judge(settings: Settings, pairs: Sequence[Pair], model: SegmentModel | None) -> Verdict:
    """Hold the topics against a replay of the input, and against what must always hold.

    Without a fixed model the replay has nothing to say; chains, sums and memberships still must
    fit.
    """
    verdict = Verdict(events=len(pairs))
    _judge_hanging(settings, verdict)
    found = changes_of(settings)
    verdict.changes = len(found)
    _judge_by_verify(settings, verdict, len(pairs))
    if model is not None:
        embedder = HashingEmbedder(model.centres.shape[1])
        replay, expected = replayed(settings, pairs, embedder, model)
        _judge_changes(expected, found, verdict)
        _judge_profiles(settings, replay, verdict)
        _judge_dead_letters(settings, replay, verdict)
    return verdict


def _judge_changes(
    expected: list[SegmentChange], found: list[SegmentChange], verdict: Verdict
) -> None:
    if not expected:
        raise AssertionError("the stream makes no changes: the oracle would hold nothing")
    # Each user's changes in their order; between users there is none, since workers look at users
    # under a new model in another order than a replay.
    wanted = {change.id: comparable(change) for change in expected}
    seen: Counter[str] = Counter()
    last: Counter[str] = Counter()
    for change in found:
        seen[change.id] += 1
        if seen[change.id] > 1:
            verdict.doubled += 1
            verdict.note(f"change {change.sequence} of {change.user_id} came twice")
        elif change.id not in wanted:
            verdict.differing += 1
            verdict.note(f"change {change.sequence} of {change.user_id} is not in the replay")
        elif names := _fields_of(wanted[change.id], change):
            verdict.differing += 1
            verdict.note(
                f"change {change.sequence} of {change.user_id} differs from the replay's in {names}"
            )
        elif change.sequence < last[change.user_id]:
            verdict.broken += 1
            verdict.note(f"change {change.sequence} of {change.user_id} came too late")
        last[change.user_id] = max(last[change.user_id], change.sequence)
    missing = wanted.keys() - seen.keys()
    verdict.lost += len(missing)
    for identity in list(missing)[:3]:
        verdict.note(f"a change of {wanted[identity]['user_id']} is missing")


def _fields_of(wanted: dict[str, Any], change: SegmentChange) -> str:
    """Name the fields in which a change is not as wanted; empty where it is."""
    found = comparable(change)
    if change.cause is None:
        # Of a build that told no causes, had another confidence, and one reason less.
        wanted = {
            name: found.get(name) if name in _NEWER else each for name, each in wanted.items()
        }
    return ", ".join(name for name, each in wanted.items() if found.get(name) != each)


def _unpublished(record: ProfileRecord) -> ProfileRecord:
    """Give a state without offsets, and without what was published by lists that a replay has not.

    That the latter fits what is on the topic is for `verify` to say.
    """
    items = record.items and record.items.model_copy(update={"shown": 0})
    return placeless(record).model_copy(update={"items": items if items and items.had else None})


def _judge_profiles(settings: Settings, replay: Replay, verdict: Verdict) -> None:
    """Compare the final state of every user, bit for bit."""
    latest: dict[str, ProfileRecord] = {}
    for record in read_topic(settings, settings.topics.profiles):
        profile = read_profile(record.key or b"", record.value or b"")
        latest[profile.user_id] = _unpublished(profile)
    table = replay.segmentation.tables[0]
    for user in table.users:
        wanted = _unpublished(table.gather([user]).to_record(0, replay.embedder.identity))
        profile = latest.pop(user, None)
        if profile is None:
            verdict.lost += wanted.events
            verdict.note(f"{user} has no profile")
            continue
        if profile.events < wanted.events:
            verdict.lost += wanted.events - profile.events
            verdict.note(f"{user} has {profile.events} events of {wanted.events}")
        elif (more := profile.events + profile.repeats - wanted.events - wanted.repeats) > 0:
            verdict.doubled += more
            verdict.note(f"{more} records of {user} counted twice")
        elif profile != wanted:
            verdict.differing += 1
            names = ", ".join(_differing(profile, wanted))
            verdict.note(f"the final state of {user} differs from the replay's in {names}")
    verdict.differing += len(latest)


def _differing(one: ProfileRecord, other: ProfileRecord) -> list[str]:
    """Name the fields in which two states differ."""
    return [
        name for name in ProfileRecord.model_fields if getattr(one, name) != getattr(other, name)
    ]


def _judge_dead_letters(settings: Settings, replay: Replay, verdict: Verdict) -> None:
    # With time and length: of a topic that was made anew an offset names another record.
    places = ("topic", "partition", "offset", "timestamp", "value_bytes")
    letters = Counter(
        tuple(dict(letter.headers)[f"dlq_{name}"] for name in places)
        for letter in read_topic(settings, settings.topics.dead_letters)
    )
    verdict.doubled += letters.total() - len(letters)
    missing = replay.segmentation.stats.refused.total() - len(letters)
    verdict.lost += max(missing, 0)
    verdict.differing += max(-missing, 0)
    if missing or letters.total() != len(letters):
        verdict.note(f"{missing} dead letters missing, {letters.total() - len(letters)} doubled")


def _judge_by_verify(settings: Settings, verdict: Verdict, records: int) -> None:
    result = verify_topics(settings, intake=True)
    for kind, count in result.violations_by_kind.items():
        if kind in _CHAIN_KINDS:
            verdict.broken += count
        elif kind is not ViolationKind.REPEATED_ID:
            verdict.differing += count
        else:
            verdict.doubled += count
    for violation in result.violations[:5]:
        verdict.note(f"verify: {violation.kind}: {violation.detail}")
    if result.inconclusive is not None:
        verdict.differing += 1
        verdict.note(f"verify: {result.inconclusive}")
    if (raw := settings.topics.raw_events) is not None:
        if f"intake is done with {records:,} records of {raw}" not in result.notes:
            verdict.lost += 1
            verdict.note(f"verify says of intake: {'; '.join((*result.notes, *result.unchecked))}")
        # What has no user id never comes to the workers.
        records -= sum(
            dict(letter.headers)["dlq_topic"] == raw.encode()
            for letter in read_topic(settings, settings.topics.dead_letters)
        )
    # Where the group has lost its place or was reset, verify says so and counts no input.
    reset = any("the group was reset" in note for note in result.notes)
    if result.counts.lost is None and not reset and result.counts.records != records:
        verdict.lost += abs(records - (result.counts.records or 0))
        verdict.note(f"verify counts {result.counts.records} input records of {records}")


def _judge_hanging(settings: Settings, verdict: Verdict) -> None:
    """Count partitions whose last stable offset stays behind the end."""
    cluster = Cluster(settings.kafka)
    for topic in (
        settings.topics.changes,
        settings.topics.memberships,
        settings.topics.profiles,
        settings.topics.samples,
        settings.topics.dead_letters,
    ):
        numbers = range(1 if topic == settings.topics.samples else settings.topics.partitions)
        # In this order: a transaction that ends in between does not hang.
        ends = cluster.ends(topic, numbers)
        for number, (_, stable) in stable_spans(settings.kafka, topic, numbers).items():
            if stable < ends[number]:
                verdict.hanging += 1
                verdict.note(f"{topic}[{number}] is stable up to {stable}, ends at {ends[number]}")


def stable_spans(
    kafka: KafkaSettings, topic: str, partitions: Iterable[int]
) -> dict[int, tuple[int, int]]:
    """Give the start and the last stable offset of each of these partitions."""
    # What a client with this level is told to be the end is the last stable offset.
    client = Consumer({**reader_config(kafka), "isolation.level": "read_committed"})
    try:
        return {
            number: client.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
            for number in partitions
        }
    finally:
        client.close()
