"""Which dead letters are meant: by reason, by source, by when they were refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster, OffsetGoneError
from consumer.settings import Settings
from schemas.dead_letters import DeadLetterHeaders, read_dead_letter_headers

_TOLD_EACH = 500


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


def find_topics(settings: Settings, cluster: Cluster, *names: str) -> dict[str, int]:
    """Give the number of partitions of every topic, of which these must be there.

    Asked for all of them: to ask for one that is not there would have some brokers make it, and
    others be asked again for half a minute.

    Raises
    ------
    LetterError
        If one is not there, naming it and its setting.
    """
    there = cluster.topics(names)
    for name in names:
        if name not in there:
            setting = next(field for field, named in settings.topics.names() if named == name)
            raise LetterError(
                f"there is no topic {name} at {settings.kafka.bootstrap_servers}, or this client "
                f"may not see it: is topics.{setting} right?"
            )
    return there


def read_letters(
    settings: Settings,
    cluster: Cluster,
    topic: str,
    partition: int,
    span: tuple[int, int],
    *,
    step: Callable[[int], None] = lambda _count: None,
) -> Iterator[Letter]:
    """Give the committed dead letters of a partition from an offset up to another.

    `step` is told every now and then how many more were read.

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
        for number, record in enumerate(records, 1):
            if number % _TOLD_EACH == 0:
                step(_TOLD_EACH)
            yield letter_of(record)
    except OffsetGoneError as error:
        raise LetterError(f"{error}: retention has removed dead letters, run it again") from error


def letter_of(record: Record) -> Letter:
    """Read what a record of a topic of dead letters says of itself."""
    try:
        return Letter(record, read_dead_letter_headers(record.headers))
    except ValueError:
        return Letter(record, None)
