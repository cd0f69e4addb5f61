"""Audits `segmenter intake`: each record of the foreign input came once, or is a dead letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from consumer.settings import TopicSettings
from consumer.verify.cut import Span, Spans, TopicReader
from consumer.verify.decode import MalformedError, refused_in
from consumer.verify.lookups import GroupOffsets
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.whole import WholeAudit
from schemas.dead_letters import redriven_into
from schemas.origins import origin_of


def audit_intake(
    reader: TopicReader,
    raw: str,
    topics: TopicSettings,
    partitions: Mapping[str, list[int]],
    audit: WholeAudit,
) -> None:
    """Hold what came of a foreign input against it, up to where the group has committed.

    The group may be at work meanwhile: what it has committed is asked for before the ends of its
    outputs, so that all that came of it lies below these. It takes a byte for each record of the
    input.

    Parameters
    ----------
    reader
        Of the group of intake.
    raw, topics
        The foreign input and the topics that it goes to.
    partitions
        Of these topics.
    audit
        Where the findings go; they count whether the group of the workers moves or not.

    Raises
    ------
    VerifyError
        If a topic cannot be read.
    """
    group = reader.group(raw, partitions[raw])
    audit.notes += [
        sentence
        for partition, known in group.metadata.items()
        for sentence in known.losses(f"{raw}[{partition}]")
    ]
    outputs = (topics.events, topics.dead_letters)
    spans = reader.spans({name: partitions[name] for name in (raw, *outputs)})
    if reason := _obstacle(reader.group_id, raw, spans[raw], group):
        audit.unchecked.append(f"that each record of {raw} came once: {reason}")
        return
    done: dict[int, Span] = {}
    for partition, span in spans[raw].items():
        low = max(span.low, group.metadata[partition].first or 0)
        done[partition] = Span(low, max(low, group.offsets[partition] or 0))
    arrivals = _Arrivals(raw, done)
    for record in reader.read(topics.events, spans[topics.events]):
        origin = origin_of(record.headers)
        if redriven_into(record.headers, topics.events):
            arrivals.redriven += 1  # it keeps its origin, of which it came before
        elif origin is None or origin.topic != raw:
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
        audit.in_changes,
        outputs,
        whole=not gone,
    )
    if gone:
        audit.unchecked.append(
            f"that no record of {raw} was lost: retention has removed the oldest records of "
            f"{', '.join(gone)}"
        )
    waiting = sum(span.end - done[p].end for p, span in spans[raw].items())
    audit.notes.append(
        f"intake is done with {records:,} records of {raw}"
        + (f", {waiting:,} offsets behind its end" if waiting else "")
    )
    if arrivals.left:
        audit.notes.append(
            f"{arrivals.left:,} records that came from {raw} are no longer there, as after "
            "compaction"
        )
    if arrivals.redriven:
        audit.notes.append(
            f"{arrivals.redriven:,} records of {topics.events} were brought back from "
            f"{topics.dead_letters}"
        )
    if arrivals.foreign:
        audit.notes.append(
            f"{arrivals.foreign:,} records of {topics.events} did not come from {raw} by intake"
        )


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
        self.redriven = 0
        """Records that `segmenter dead-letters redrive` has brought back behind intake."""
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
