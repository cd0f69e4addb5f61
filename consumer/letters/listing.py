"""What dead letters there are: a histogram of reasons, the latest ones, and a single one whole."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster
from consumer.kafka.groups import redrive_group
from consumer.letters.choice import Choice, Letter, LetterError, find_topics, read_letters
from consumer.letters.originals import Originals
from consumer.letters.progress import Progress
from consumer.report.terminal import console
from consumer.report.wording import one_line, plural
from consumer.settings import Settings
from schemas.dead_letters import DeadLetterHeaders, original_headers, to_base64

UNREADABLE = "unreadable"
"""In place of a reason: no headers of a dead letter."""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class OfReason(_Fact):
    """Dead letters of one reason."""

    reason: str
    letters: int
    redriven: int = Field(
        description="Done with by a redrive: brought back, or found to be too large for their "
        "topic or of a partition that it has no more."
    )
    again: int = Field(description="Of records that had been brought back, and were refused again.")
    cut: int = Field(
        description="Of which something was cut off for its length, so that they never go back."
    )
    first: str | None = Field(description="When the first one was refused.")
    last: str | None


class Told(_Fact):
    """One dead letter, without what is in the record."""

    partition: int
    offset: int
    refused_at: str | None
    reason: str
    field: str | None
    topic: str = Field(description="Where the refused record was.")
    source_partition: int
    source_offset: int
    redrives: int = Field(description="How often it had been brought back before.")


class Listing(_Fact):
    """What `segmenter dead-letters list --json` writes."""

    topic: str
    letters: int
    reasons: list[OfReason] = Field(description="The commonest first.")
    latest: list[Told] = Field(description="The newest first.")


@dataclass
class _Count:
    letters: int = 0
    redriven: int = 0
    again: int = 0
    cut: int = 0
    times: list[int] = field(default_factory=list)

    def add(self, letter: Letter, *, redriven: bool) -> None:
        self.letters += 1
        self.redriven += redriven
        if letter.said is not None:
            self.again += letter.said.redrives > 0
            self.cut += letter.said.cut
        if (at := letter.record.timestamp) >= 0:
            self.times = [min([*self.times[:1], at]), max([*self.times[1:], at])]

    def fact(self, reason: str) -> OfReason:
        ends = [_time(at) for at in self.times] or [None, None]
        return OfReason(
            reason=reason,
            letters=self.letters,
            redriven=self.redriven,
            again=self.again,
            cut=self.cut,
            first=ends[0],
            last=ends[1],
        )


def list_letters(
    settings: Settings,
    topic: str,
    choice: Choice,
    latest: int,
    step: Callable[[int], None] = lambda _count: None,
) -> Listing:
    """Count dead letters, and tell the latest ones.

    Parameters
    ----------
    settings
        Of the group.
    topic
        Of the dead letters.
    choice
        Which are meant.
    latest
        How many are told one by one.
    step
        Told every now and then how many more were read.

    Raises
    ------
    LetterError
        If the topic cannot be read.
    """
    try:
        return _list(settings, Cluster(settings.kafka), topic, choice, latest, step=step)
    except KafkaException as error:
        raise LetterError(f"topic {topic} cannot be read: {words(error)}") from error


def _list(
    settings: Settings,
    cluster: Cluster,
    topic: str,
    choice: Choice,
    latest: int,
    *,
    step: Callable[[int], None],
) -> Listing:
    find_topics(settings, cluster, topic)
    counts: dict[str, _Count] = {}
    newest: list[tuple[tuple[int, int, int], Told]] = []
    spans = choice.spans(cluster, topic)
    group = redrive_group(settings.kafka)
    done = {
        place.partition: Progress.read(place.offset, place.metadata)
        for place in cluster.committed(group, topic, spans, stable=False)
    }
    for number, span in spans.items():
        for letter in read_letters(settings, cluster, topic, number, span, step=step):
            record, said = letter.record, letter.said
            if said is None:
                if not (choice.reasons or choice.sources):
                    counts.setdefault(UNREADABLE, _Count()).add(letter, redriven=False)
                continue
            if not choice.takes(said):
                continue
            redriven = not said.cut and done[number].done(letter.kind, record.offset)
            counts.setdefault(said.reason, _Count()).add(letter, redriven=redriven)
            if latest:
                order = record.timestamp, record.partition, record.offset
                add = heapq.heappush if len(newest) < latest else heapq.heappushpop
                add(newest, (order, _told(letter, said)))
    reasons = [count.fact(reason) for reason, count in counts.items()]
    return Listing(
        topic=topic,
        letters=sum(each.letters for each in reasons),
        reasons=sorted(reasons, key=lambda each: (-each.letters, each.reason)),
        latest=[told for _, told in sorted(newest, key=lambda each: each[0], reverse=True)],
    )


def _told(letter: Letter, said: DeadLetterHeaders) -> Told:
    return Told(
        partition=letter.record.partition,
        offset=letter.record.offset,
        refused_at=_time(letter.record.timestamp),
        reason=said.reason,
        field=said.field or None,
        topic=said.topic,
        source_partition=said.partition,
        source_offset=said.offset,
        redrives=said.redrives,
    )


def _time(timestamp: int) -> str | None:
    """Write a time in milliseconds since 1970; None where it is not known, or no year has it."""
    try:
        at = datetime.fromtimestamp(timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None if timestamp < 0 else at.isoformat(timespec="seconds")


def _short(time: str | None) -> str:
    """Write a time for a column, in UTC."""
    return (time or "").replace("T", " ").removesuffix("+00:00")


def render_listing(listing: Listing, width: int | None = None) -> str:
    """Write a listing as text, in so many columns, or those of the terminal."""
    out = io.StringIO()
    page = console(out, width=width or console().width)
    page.print(
        f"{plural(listing.letters, 'dead letter')} on {listing.topic}",
        highlight=False,
        markup=False,
    )
    if listing.reasons:
        page.print(
            _table(
                ("reason", "letters", "redriven", "again", "cut", "since (UTC)"),
                (
                    (
                        *(each.reason, f"{each.letters:,}", f"{each.redriven:,}"),
                        *(f"{each.again:,}", f"{each.cut:,}", _short(each.first)),
                    )
                    for each in listing.reasons
                ),
            )
        )
    if listing.latest:
        page.print()
        page.print(
            _table(
                ("letter", "refused at (UTC)", "reason", "field", "record", "tries"),
                (
                    (
                        *(f"{each.partition} {each.offset}", _short(each.refused_at)),
                        *(each.reason, one_line(each.field or "", 40)),
                        f"{one_line(each.topic, 80)}[{each.source_partition}]@{each.source_offset}",
                        str(each.redrives),
                    )
                    for each in listing.latest
                ),
            )
        )
    return out.getvalue()


_NUMBERS = {"letters", "redriven", "again", "cut", "tries"}


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


# --- one of them --------------------------------------------------------------------------------


def find_letter(
    settings: Settings, topic: str, partition: int, offset: int, *, with_value: bool = False
) -> Letter:
    """Give a dead letter by its place, with its record's value if that is wanted.

    Raises
    ------
    LetterError
        If there is none, or the topic cannot be read; if it does not hold the value, and the record
        is gone from where it was.
    """
    place = f"{topic}[{partition}]@{offset}"
    cluster = Cluster(settings.kafka)
    try:
        if not 0 <= partition < (count := find_topics(settings, cluster, topic)[topic]):
            raise LetterError(f"{topic} has {plural(count, 'partition')}, from 0 on: {place}")
        low, high = cluster.watermarks(topic, partition)
        if not low <= offset < high:
            has = f"has {low} up to {high - 1}" if low < high else "is empty"
            raise LetterError(f"{place} is not there: the partition {has}")
        for letter in read_letters(settings, cluster, topic, partition, (offset, offset + 1)):
            return _with_value(settings, cluster, letter) if with_value else letter
    except KafkaException as error:
        raise LetterError(f"{place} cannot be read: {words(error)}") from error
    raise LetterError(
        f"{place} is no record: a marker of a transaction, or of one that was aborted"
    )


def _with_value(settings: Settings, cluster: Cluster, letter: Letter) -> Letter:
    """Fetch what a dead letter has left in the input."""
    said = letter.said
    if said is None or not said.in_input_alone:
        return letter
    there = find_topics(settings, cluster)
    originals = Originals(cluster, there, settings.restore.no_progress_seconds)
    ((found, gone),) = originals.whole([letter], lambda _letter: True)
    if gone or said.partition >= there.get(said.topic, 0):
        raise LetterError(
            f"{said.topic}[{said.partition}]@{said.offset} is gone from there, or is another "
            "record by now, and its dead letter does not hold it (dead_letters.values)"
        )
    return found


def describe(letter: Letter, *, value: bool) -> dict[str, Any]:
    """Give all of a dead letter, its record's value only where that is asked for.

    Bytes that are no UTF-8 text are in base64, under a name that says so.
    """
    record, said = letter.record, letter.said
    described: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "refused_at": _time(record.timestamp),
        "dead_letter": None if said is None else said.model_dump(exclude_none=True),
        **_bytes("key", record.key),
        "headers": [
            {"name": name, **_bytes("value", content)}
            for name, content in original_headers(record.headers)
        ],
        "value_bytes": _length(letter),
    }
    return {**described, **_bytes("value", record.value)} if value else described


def _length(letter: Letter) -> int | None:
    said, value = letter.said, letter.record.value
    if said is not None and said.in_input_alone:
        return said.value_bytes
    return None if value is None else len(value)


def _bytes(name: str, content: bytes | None) -> dict[str, str | None]:
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": to_base64(content)}
