"""What is in the topics: whether they are there, and whether this process fits what they hold."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from consumer.doctor.brokers import unreached
from consumer.doctor.facts import Finding, Role, failed, fine, later, skipped, warning
from consumer.kafka.asking import ask
from consumer.kafka.cluster import Cluster
from consumer.kafka.newest import newest, newest_of
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import (
    TopicError,
    TopicsMissingError,
    check_intake_topics,
    check_topics,
    name_of,
    own_topics,
)
from consumer.offline.outcome import unread_language
from consumer.report.wording import plural, ranges
from consumer.settings import Settings
from models.embedding.runner_types import Embedder
from models.text import prepare_text
from schemas.intake import RefusedError
from schemas.segment_model import SegmentModelRecord

_PEEK_SECONDS = 5.0
_LOOKED_AT = 500
"""Newest events whose language is looked at."""

SKEW_SECONDS = 30.0
WRONG_SECONDS = 300.0
"""By so much a clock may differ from another process's: it is told, or refused."""


class Topics(NamedTuple):
    """What became of the look at the topics."""

    findings: list[Finding]
    partitions: int | None
    """Of the input; None where the topics are not as they must be."""


def topics(settings: Settings, role: Role, cluster: Cluster, *, denied: bool) -> Topics:
    """Look whether the topics are there, with the partitions that they must have.

    Parameters
    ----------
    settings, role
        Who needs which.
    cluster
        Who is asked.
    denied
        Whether rights are missing: a topic that may not be seen cannot be told from one that is
        not there.
    """
    try:
        if role == "intake":
            _, count = check_intake_topics(settings)
        else:
            count = check_topics(settings, cluster)[settings.topics.events]
    except TopicsMissingError as error:
        if denied:
            named = ", ".join(error.names)
            told = f"{named}: not there, or not to be seen without the rights above"
            return Topics([skipped("topics", told)], None)
        advice = "run 'segmenter topics create', or wait for what makes them"
        return Topics([later("topics", str(error), advice)], None)
    except TopicError as error:
        return Topics([failed("topics", str(error), "see docs/operations.md, Topics")], None)
    except KafkaException as error:
        return Topics([unreached(settings.kafka, error, "topics")], None)
    needed = 3 if role == "intake" else len(own_topics(settings))
    told = f"{plural(needed, 'topic')} are there; {settings.topics.events} has {count:,} partitions"
    return Topics([fine("topics", told)], count)


def standing(settings: Settings, cluster: Cluster, partitions: int) -> Iterator[Finding]:
    """Tell where the group's offsets keep a worker out: in a reset that is not done, or lost."""
    topics = settings.topics
    group, numbers = settings.kafka.group_id, range(partitions)
    places = cluster.committed(group, topics.events, numbers, stable=False)
    if any(OffsetMetadata.read(place.metadata).resetting for place in places):
        yield failed(
            "reset",
            f"a reset of group {group!r} was begun and has not come to its end",
            "run 'segmenter reset --execute' again, with the options that it had",
        )
    without = {place.partition: 0 for place in places if place.offset < 0}
    if not without or settings.restore.accept_lost_offsets:
        return
    found = cluster.peek(topics.profiles, without, 1, _PEEK_SECONDS)
    if held := [record.partition for record in found]:
        yield warning(
            "offsets",
            f"{topics.profiles}[{ranges(held)}] holds state, and group {group!r} has no committed "
            f"offset of {topics.events} there: unless that was made anew, a worker refuses it",
            "give the kafka.group_id of that state; where the brokers have forgotten its offsets, "
            "see docs/operations.md, Offsets that expired",
        )


def model_fits(
    settings: Settings, cluster: Cluster, embedder: Embedder, former: Embedder | None = None
) -> Finding:
    """Hold the embedding model, or the former one, against that of the segments in the topic."""
    found = newest_of(cluster, settings.topics.models, SegmentModelRecord)
    if found is None:
        return fine("embedding", f"no segments in {settings.topics.models} yet that it had to fit")
    model, _ = found
    if (model.embedding, model.dimensions) == (embedder.identity, embedder.dimensions):
        return fine("embedding", f"fits the segments of version {model.version}")
    if former is not None and model.embedding == former.identity:
        told = f"the segments of version {model.version} are of the former model, as they should be"
        return fine("embedding", f"{told} until 'segmenter migrate --running' has brought the next")
    return failed(
        "embedding",
        f"the segments of version {model.version} are of the embedding model "
        f"{model.embedding[:12]} with {model.dimensions} dimensions, this one is "
        f"{embedder.identity[:12]} with {embedder.dimensions}",
        "give the former model with embedding.model and embedding.precision, or bring the group to "
        "this one with 'segmenter migrate'",
    )


def languages(settings: Settings, cluster: Cluster, embedder: Embedder) -> Finding:
    """Look whether the embedding model reads the newest events."""
    intake, now = settings.events.intake(), datetime.now(UTC)
    found: Counter[str] = Counter()
    accepted = 0
    records = newest(cluster, settings.topics.events, _LOOKED_AT)
    for record in records:
        try:
            event = intake.read(record.value, record.key, now)
        except RefusedError:
            continue
        clean = prepare_text(event.text or event.item_title or "", event.language)
        found[clean.language] += bool(clean.text)
        accepted += 1
    if not records:
        return fine("languages", f"no events in {settings.topics.events} yet")
    if not accepted:
        return warning(
            "languages",
            f"none of the newest {plural(len(records), 'record')} of {settings.topics.events} is "
            "an event by these settings",
            "check events.preset and events.mapping; 'segmenter status' tells why records were "
            "refused",
        )
    if said := unread_language(found, embedder):
        told, _, advice = said.removeprefix("Warning: ").partition(": ")
        return warning("languages", told, advice or "give another model with embedding.model")
    named = ", ".join(f"{code} {count}" for code, count in found.most_common(5) if count)
    return fine("languages", f"of the newest {plural(accepted, 'event')}: {named or 'no text'}")


def clock(
    settings: Settings,
    role: Role,
    cluster: Cluster,
    seconds: float,
    now: Callable[[], float] = time.time,
) -> Finding:
    """Hold this machine's clock against the newest records of the product's own topics.

    They bear the time of the broker or of the process that wrote them. Brokers tell their time in
    no answer, so a clock that is ahead of all others is not found where nothing was written lately.
    """
    names = [
        name_of(topic, settings)
        for topic in own_topics(settings)
        if role in (*topic.readers, *topic.writers) and topic.writers and topic.setting != "events"
    ]
    try:
        newest_at = _newest_time(cluster, names, seconds)
    except KafkaException as error:
        return unreached(settings.kafka, error, "clock")
    if newest_at is None:
        return skipped("clock", "there is no record yet that it could be held against")
    behind = newest_at - now()
    if behind <= SKEW_SECONDS:
        told = (
            "not behind the newest record"
            if behind <= 0
            else f"{behind:.0f} s behind the newest record"
        )
        return fine("clock", f"{told}, which is of {_at(newest_at)}")
    return (failed if behind > WRONG_SECONDS else warning)(
        "clock",
        f"{behind:,.0f} s behind the newest record, which is of {_at(newest_at)}",
        "set the clock of this machine, or of the one that wrote the record, by NTP: brokers "
        "refuse records too far ahead, and events.max_future_skew_seconds goes by it",
    )


def _newest_time(cluster: Cluster, names: list[str], seconds: float) -> float | None:
    """Give the time of the newest record of some topics, seconds since 1970."""
    counts = cluster.topics(seconds=seconds)
    asked = {
        TopicPartition(name, number): OffsetSpec.max_timestamp()
        for name in names
        for number in range(counts.get(name, 0))
    }
    if not asked:
        return None

    def newest_ms_of(patience: float) -> int:
        answers = cluster.admin.list_offsets(asked, request_timeout=patience)
        return max(int(answer.result().timestamp) for answer in answers.values())

    newest_ms = ask(newest_ms_of, "the newest records' times", cluster.admin, seconds=seconds)
    return newest_ms / 1000 if newest_ms >= 0 else None


def users_at_most(settings: Settings, cluster: Cluster, partitions: int) -> int:
    """Give how many users' profiles the changelog can hold: each takes an offset at least."""
    spans = cluster.spans(settings.topics.profiles, range(partitions))
    return sum(high - low for low, high in spans.values())


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
