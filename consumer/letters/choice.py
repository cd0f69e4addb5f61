"""Which dead letters are meant: by reason, by source, by when they were refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster, OffsetGoneError
from consumer.settings import Settings
from schemas.dead_letters import DeadLetterHeaders, read_dead_letter_headers


class LetterError(ExpectedError):
    """Dead letters cannot be read or brought back; to run the command again is always safe."""


@dataclass(frozen=True)
class Choice:
    """What an operator has asked for; empty is all.

    Attributes
    ----------
    reasons
        Only these.
    sources
        Only of records of these topics.
    since, until
        Only those refused from then on, and before then: by Kafka's index of times, so from the
        first dead letter of a partition that is of that time or later.
    """

    reasons: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, said: DeadLetterHeaders) -> bool:
        """Tell whether a dead letter is meant, times apart."""
        return (not self.reasons or said.reason in self.reasons) and (
            not self.sources or said.topic in self.sources
        )

    def spans(self, cluster: Cluster, topic: str) -> dict[int, tuple[int, int]]:
        """Give the offsets of each partition that are of the time, up to the present ends."""
        numbers = range(cluster.partitions(topic))
        spans = {number: cluster.watermarks(topic, number) for number in numbers}
        for at, place in ((self.since, 0), (self.until, 1)):
            if at is not None:
                found = cluster.offsets_at(topic, numbers, round(at.timestamp() * 1000))
                spans = {
                    n: (max(low, found[n]), high) if place == 0 else (low, min(high, found[n]))
                    for n, (low, high) in spans.items()
                }
        return spans


@dataclass(frozen=True)
class Letter:
    """A dead letter, and what its headers say; None where they are not those of one."""

    record: Record
    said: DeadLetterHeaders | None

    @property
    def kind(self) -> str:
        """Its reason, how often its record was brought back before, and the record's topic."""
        if self.said is None:
            return ""
        return f"{self.said.reason}+{self.said.redrives}@{self.said.topic}"


def read_letters(
    settings: Settings, cluster: Cluster, topic: str, partition: int, span: tuple[int, int]
) -> Iterator[Letter]:
    """Give the committed dead letters of a partition from an offset up to another.

    Raises
    ------
    ReadStalledError
        If they do not come, as behind a transaction that hangs.
    LetterError
        If they were removed meanwhile.
    """
    records = cluster.read(
        topic,
        partition,
        span[1],
        start=span[0],
        no_progress_seconds=settings.restore.no_progress_seconds,
    )
    try:
        for record in records:
            yield letter_of(record)
    except OffsetGoneError as error:
        raise LetterError(f"{error}: retention has removed dead letters, run it again") from error


def letter_of(record: Record) -> Letter:
    """Read what a record of a topic of dead letters says of itself."""
    try:
        return Letter(record, read_dead_letter_headers(record.headers))
    except ValueError:
        return Letter(record, None)
