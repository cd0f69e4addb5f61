"""A consistent cut through topics that are read one after another, and the reading up to it.

Offsets only grow. So when all of them are the same before and after the reading, nothing moved in
between, and what was read is the state of one moment. When they moved, it may mix two moments, and
what compares two topics proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from consumer.contract.records import Record
from consumer.kafka.messages import as_record
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.settings import Settings
from consumer.verify.lookups import GroupOffsets, Lookups, answer_to, error_text
from consumer.verify.report import VerifyError


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of one partition: `low` is the first that is still there, `end` the next to come."""

    low: int
    end: int


Spans = Mapping[int, Span]
"""One topic's partitions."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where everything stood at one moment.

    Attributes
    ----------
    committed
        The group's offset for each partition of the input, None where it has none.
    spans
        Partitions of each topic, open transactions included. A topic that does not exist is absent.
    metadata
        What is committed beside the group's offsets.
    labels
        The same for the labels, where there are any.
    """

    committed: Mapping[int, int | None]
    spans: Mapping[str, Spans]
    metadata: Mapping[int, OffsetMetadata] = field(default_factory=dict)
    labels: Mapping[int, OffsetMetadata] = field(default_factory=dict)

    def beginning_lost(self, topic: str) -> bool:
        """Whether the first records of a topic are gone."""
        return any(span.low > 0 for span in self.spans[topic].values())

    def moved(self, later: Cut, outputs: tuple[str, ...]) -> str | None:
        """Say what the group did between this cut and a later one, None when nothing."""
        for partition, offset in self.committed.items():
            now = later.committed.get(partition)
            if now != offset:
                return f"it committed offset {now} of input partition {partition}"
        for topic in outputs:
            for partition, span in self.spans[topic].items():
                now_span = later.spans.get(topic, {}).get(partition)
                if now_span is None or now_span.end != span.end:
                    return f"{topic}[{partition}] was written to"
        return None


class TopicReader(Lookups):
    """Reads topics read_committed, in no group: partitions are assigned by hand.

    Parameters
    ----------
    settings
        Of the cluster.
    group_id
        The group whose committed offsets are asked for. It is not joined and nothing is committed,
        so rights to read it are all that is needed.
    stall_seconds
        How long to wait for progress, and for an answer. Longer than a transaction may take to time
        out, since what lies behind an open one is not to be seen until then.
    """

    def __init__(self, settings: Settings, group_id: str, *, stall_seconds: float) -> None:
        # A fetch that waits at the end of one topic holds up the first of the next.
        super().__init__(settings, group_id, {"fetch.wait.max.ms": 20})
        self._stall_seconds = stall_seconds

    def group(self, topic: str, partitions: list[int]) -> GroupOffsets:
        """Give what the group has committed; an offset in an open transaction is waited for.

        Raises
        ------
        VerifyError
            If it cannot be had.
        """
        return answer_to(
            lambda seconds: self.committed(topic, partitions, seconds),
            f"the offsets of group {self.group_id!r}",
            self.consumer,
            self._stall_seconds,
        )

    def spans(
        self, topics: Mapping[str, list[int]], *, stable: bool = False
    ) -> dict[str, dict[int, Span]]:
        """Give beginnings and ends of topics, open transactions included if not `stable`.

        The last stable offset would hide what an open transaction holds back, and with it the
        committed records behind it.

        Raises
        ------
        VerifyError
            If they cannot be had.
        """
        ask, seconds = self.all_offsets, self._stall_seconds
        lows = ask(topics, OffsetSpec.earliest(), seconds)
        ends = ask(topics, OffsetSpec.latest(), seconds, stable=stable)
        return {
            topic: {n: Span(lows[topic, n], ends[topic, n]) for n in partitions}
            for topic, partitions in topics.items()
        }

    def read(self, topic: str, spans: Spans) -> Iterator[Record]:
        """Give the committed records of a topic within spans, in order for each partition.

        Raises
        ------
        VerifyError
            If nothing moves for `stall_seconds`, or the cluster refuses.
        """
        ends = {partition: span.end for partition, span in spans.items() if span.low < span.end}
        if ends:
            # It would look for the leaders in its own time, once a second: a second for each topic.
            answer_to(
                lambda seconds: self.consumer.list_topics(topic, timeout=seconds),
                f"the leaders of {topic}",
                self.admin,
                self._stall_seconds,
            )
        self.consumer.assign([TopicPartition(topic, p, spans[p].low) for p in ends])
        try:
            yield from self._read_assigned(topic, ends)
        except KafkaException as error:
            raise VerifyError(f"{topic} cannot be read: {error_text(error)}") from error

    def _read_assigned(self, topic: str, ends: dict[int, int]) -> Iterator[Record]:
        deadline = time.monotonic() + self._stall_seconds
        before: list[int] = []
        while ends:
            for message in self.consumer.consume(1000, 0.05):
                partition, offset = message.partition() or 0, message.offset() or 0
                if error := message.error():
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise VerifyError(
                            f"{topic}[{partition}] cannot be read: {error.str()}; run it again, "
                            "and look at retention and the cluster if that does not help"
                        )
                    # The end of what is stable, transaction markers included: `offset` comes next.
                elif offset < ends.get(partition, 0):
                    yield as_record(message)
                    offset += 1
                if offset >= ends.get(partition, 0) and ends.pop(partition, None) is not None:
                    self.consumer.incremental_unassign([TopicPartition(topic, partition)])
            places = [TopicPartition(topic, partition) for partition in ends]
            positions = [place.offset for place in self.consumer.position(places)]
            for place, position in zip(places, positions, strict=True):
                # Markers and aborted records move the position and give no message.
                if position >= ends[place.partition]:
                    del ends[place.partition]
                    self.consumer.incremental_unassign([place])
            if positions != before:
                before, deadline = positions, time.monotonic() + self._stall_seconds
            elif ends and time.monotonic() > deadline:
                partition, end = next(iter(ends.items()))
                raise VerifyError(
                    f"{topic}[{partition}] did not move for {self._stall_seconds:g} s, though "
                    f"offset {end} was not reached: is a broker down, or a transaction open?"
                )
