"""Audits `segmenter intake`: each record of the foreign input came once, or is a dead letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from consumer.kafka.asking import REQUEST_SECONDS
from consumer.settings import Settings, TopicSettings
from consumer.verify.cut import Span, Spans, TopicReader
from consumer.verify.decode import MalformedError, refused_in
from consumer.verify.lookups import GroupOffsets, partitions_of
from consumer.verify.report import MAX_KEPT, VerifyResult, ViolationKind, Violations
from consumer.verify.topics import verify_topics
from schemas.origins import origin_of


def verify_group(settings: Settings, *, stall_seconds: float = 60.0) -> VerifyResult:
    """Audit a group's topics, and its intake where it has one; arguments as of `verify_topics`.

    Raises
    ------
    VerifyError
        If the topics are not there or cannot be read.
    """
    result = verify_topics(settings, stall_seconds=stall_seconds)
    topics = settings.topics
    if topics.raw_events is None:
        return result
    partitions = partitions_of(
        settings,
        [topics.raw_events],
        seconds=REQUEST_SECONDS,
        otherwise="check topics.raw_events",
    )
    group = f"{settings.kafka.group_id}-intake"
    with TopicReader(settings, group, stall_seconds=stall_seconds) as reader:
        found = audit_intake(reader, group, topics.raw_events, topics, partitions)
    by_kind = {**result.violations_by_kind, **found.violations.by_kind}
    return replace(
        result,
        violations=(*result.violations, *found.violations.first)[:MAX_KEPT],
        violations_by_kind=by_kind,
        unchecked=(*result.unchecked, *found.unchecked),
        notes=(*result.notes, *found.notes),
    )


@dataclass(slots=True)
class IntakeFindings:
    """What an audit of intake found."""

    violations: Violations = field(default_factory=Violations)
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def audit_intake(
    reader: TopicReader,
    group_id: str,
    raw: str,
    topics: TopicSettings,
    partitions: Mapping[str, list[int]],
) -> IntakeFindings:
    """Hold what came of a foreign input against it, up to where the group has committed.

    The group may be at work meanwhile: what it has committed is asked for before the ends of its
    outputs, so that all that came of it lies below these. It takes a byte for each record of the
    input.

    Parameters
    ----------
    reader
        Of the group of intake.
    group_id
        Its name.
    raw, topics
        The foreign input and the topics that it goes to.
    partitions
        Of these topics.

    Raises
    ------
    VerifyError
        If a topic cannot be read.
    """
    found = IntakeFindings()
    group = reader.committed(raw, partitions[raw])
    found.notes += [
        sentence
        for partition, known in group.metadata.items()
        for sentence in known.losses(f"{raw}[{partition}]")
    ]
    outputs = (topics.events, topics.dead_letters)
    spans = reader.spans({name: partitions[name] for name in (raw, *outputs)})
    if reason := _obstacle(group_id, raw, spans[raw], group):
        found.unchecked.append(f"that each record of {raw} came once: {reason}")
        return found
    done: dict[int, Span] = {}
    for partition, span in spans[raw].items():
        low = max(span.low, group.metadata[partition].first or 0)
        done[partition] = Span(low, max(low, group.offsets[partition] or 0))
    arrivals = _Arrivals(raw, done)
    for record in reader.read(topics.events, spans[topics.events]):
        origin = origin_of(record.headers)
        if origin is None or origin.topic != raw:
            arrivals.foreign += 1
        else:
            arrivals.add(origin.partition, origin.offset)
    for record in reader.read(topics.dead_letters, spans[topics.dead_letters]):
        # Those that cannot be read are reported with the group's.
        with suppress(MalformedError):
            topic, partition, offset = refused_in(record)
            if topic == raw:
                arrivals.add(partition, offset)
    gone = [name for name in outputs if any(span.low > 0 for span in spans[name].values())]
    records = arrivals.compare(
        ((record.partition, record.offset) for record in reader.read(raw, done)),
        found.violations,
        outputs,
        whole=not gone,
    )
    if gone:
        found.unchecked.append(
            f"that no record of {raw} was lost: retention has removed the oldest records of "
            f"{', '.join(gone)}"
        )
    waiting = sum(span.end - done[p].end for p, span in spans[raw].items())
    found.notes.append(
        f"intake is done with {records:,} records of {raw}"
        + (f", {waiting:,} offsets behind its end" if waiting else "")
    )
    if arrivals.left:
        found.notes.append(
            f"{arrivals.left:,} records that came from {raw} are no longer there, as after "
            "compaction"
        )
    if arrivals.foreign:
        found.notes.append(
            f"{arrivals.foreign:,} records of {topics.events} did not come from {raw} by intake"
        )
    return found


def _obstacle(group_id: str, raw: str, spans: Spans, group: GroupOffsets) -> str | None:
    """Say why what came of the input cannot be held against it, None when it can."""
    if all(offset is None for offset in group.offsets.values()):
        return f"group {group_id!r} has committed no offset of it"
    for partition, span in spans.items():
        if (end := group.offsets[partition] or 0) > span.end:
            return (
                f"group {group_id!r} has committed offset {end} of {raw}[{partition}], "
                f"which ends at {span.end}: the topic was made anew or truncated"
            )
        if group.metadata[partition].begun_anew:
            return (
                "it was made anew or truncated since the group began, so that an offset may name "
                "two records"
            )
    return None


class _Arrivals:
    """How often each record of the foreign input arrived, up to a limit that tells one from more.

    Parameters
    ----------
    raw
        The foreign input.
    done
        What its group is done with.
    """

    def __init__(self, raw: str, done: Spans) -> None:
        self.foreign = 0
        """Records that came from elsewhere."""
        self._raw = raw
        self._done = done
        self._counts: dict[int, NDArray[np.uint8]] = {
            partition: np.zeros(span.end - span.low, np.uint8) for partition, span in done.items()
        }

    def add(self, partition: int, offset: int) -> None:
        """Count one; what lies outside of what is done is not looked at."""
        span = self._done.get(partition)
        if span is not None and span.low <= offset < span.end:
            counts = self._counts[partition]
            counts[offset - span.low] = min(2, int(counts[offset - span.low]) + 1)

    def compare(
        self,
        records: Iterator[tuple[int, int]],
        violations: Violations,
        outputs: tuple[str, ...],
        *,
        whole: bool,
    ) -> int:
        """Hold the counts against the records that there are; give the number of these.

        Parameters
        ----------
        records
            Partition and offset of each.
        violations
            Where the findings go.
        outputs
            Topics in which records arrive.
        whole
            Whether all that ever arrived is still there.
        """
        number, places = 0, " or ".join(outputs)
        for partition, offset in records:
            number += 1
            at = offset - self._done[partition].low
            times = int(self._counts[partition][at])
            self._counts[partition][at] = 0
            if times == 1 or (times == 0 and not whole):
                continue
            kind = ViolationKind.INTAKE_REPEATED if times else ViolationKind.INTAKE_LOST
            place = f"{self._raw}[{partition}]@{offset}"
            violations.add(
                kind, self._raw, f"the record {place} is {'twice' if times else 'not'} in {places}"
            )
        return number

    @property
    def left(self) -> int:
        """Offsets that were named and of which `compare` has seen no record."""
        return sum(int(np.count_nonzero(counts)) for counts in self._counts.values())
