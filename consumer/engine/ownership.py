"""The partitions of this process from the moment they come until they go.

A partition has a state, which the stage keeps, a place where it goes on, and records under way.
Whatever happens to it happens to all three: they are taken over together, go back together after an
abort, and are let go together. There is one place where it is decided where a partition goes on,
its restore; whoever doubts that place has the state read back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from consumer.contract.records import Output
from consumer.contract.stage import StateMark, Switching
from consumer.engine.partitions import Place
from consumer.engine.parts import Parts
from consumer.kafka.cluster import TopicIdentity
from consumer.kafka.offset_metadata import INPUTS_HEADER, write_inputs
from consumer.kafka.topics import TopicError, raised_partitions
from consumer.state.positions import Position
from consumer.state.restored import Restored

logger = logging.getLogger(__name__)


class Ownership:
    """Keeps state, positions and batches of the partitions in step."""

    def __init__(self, parts: Parts[Any]) -> None:
        self._parts = parts
        self._stage, self._assignment = parts.stage, parts.assignment
        self._restorer, self._metrics = parts.restorer, parts.metrics
        self._switching = parts.stage if isinstance(parts.stage, Switching) else None
        self._topic = parts.stage.inputs[0]
        self._partition_count = parts.assignment.partition_count
        self._metrics.input_partitions.set(self._partition_count)
        # Records that wait, by place, as of the last `show`.
        self._waiting: dict[Place, int] = {}
        # The partition whose inputs a changelog tells of, by place.
        self._logs: dict[Place, int] = {}

    # --- they come and go -------------------------------------------------------------------

    def add(self, numbers: Sequence[int]) -> None:
        """Begin to restore partitions; raise TopicError for one that must not have been added."""
        if (count := max(numbers, default=0) + 1) > self._partition_count:
            if self._stage.fixed_partitions:
                raise TopicError(raised_partitions(self._topic, self._partition_count, count))
            self._partition_count = count
            self._metrics.input_partitions.set(count)
        for number in numbers:
            self._assignment.add(number)
            self._restorer.start(number)

    def take_over_restored(self) -> None:
        """Go on with the partitions whose state has been read back since the last call."""
        for restored in self._restorer.finished():
            self._stage.assigned(restored.partition, restored.restoration)
            positions = {self._topic: restored.position, **restored.beside}
            positions[self._topic] = self._marked(restored)
            self._assignment.restored(restored.partition, positions)
            losses = {topic: position.metadata.lost for topic, position in positions.items()}
            self._metrics.losses.show(restored.partition, losses)
            self._logs.update(dict.fromkeys(restored.logs, restored.partition))
            if self._parts.checkpointer is not None:
                self._parts.checkpointer.assigned(restored)

    def _marked(self, restored: Restored) -> Position:
        """Have it committed with a position of which model the state behind it is."""
        position, known = restored.position, restored.position.metadata
        if self._switching is not None:
            mark = self._switching.mark(restored.partition)
        else:  # what it is of stays; who holds two models is the member's that was
            mark = StateMark(known.embedding, ())
        if (known.embedding, known.held) == mark:
            return position
        metadata = known.model_copy(update=mark._asdict())
        return replace(position, metadata=metadata, committed=False)

    def read_back_next(self) -> None:
        """Have a partition read back that the stage wants to go on with under another model."""
        if self._switching is None:
            return
        while (
            number := self._switching.to_read_back(at_rest=not self._restorer.tasks)
        ) is not None:
            self.find_again(number)

    def release(self, numbers: Sequence[int]) -> None:
        """Let go. Nothing is open here: every commit ends before the next poll."""
        for number in numbers:
            self._restorer.cancel(number)
        for number in self._assignment.remove(numbers):
            self._forget_state(number)
            self._metrics.forget(number)
        self._parts.batches.leave_out(frozenset(numbers))

    # --- they go back -----------------------------------------------------------------------

    def rewind(self) -> None:
        """Read again from where the last commit left off, on every restored partition."""
        self._assignment.rewind()
        self._parts.batches.drop()

    def restore_again(self) -> None:
        """Read the state of all partitions back, as after an assignment."""
        for number in self._assignment:
            self._forget_state(number)
            self._assignment.unrestored(number)
            self._restorer.start(number)

    def find_again(self, number: int, suspects: frozenset[str] = frozenset()) -> None:
        """Find out anew where a partition goes on, since it is not where it was."""
        topics = self._assignment.positions(number)
        logger.info("where partition %d goes on is looked for again", number)
        self._forget_state(number)
        self._assignment.unrestored(number)
        self._parts.batches.leave_out(frozenset([number]))
        unread = {topic: self._waiting.get((topic, number), 0) for topic in topics}
        self._restorer.start(number, unread, suspects)

    def compare(self, topics: Mapping[str, TopicIdentity]) -> None:
        """Find those again whose topic was made anew while it was read."""
        for topic, identity in topics.items():
            numbers = self._assignment.of_another(topic, identity.topic_id)
            others = identity.partitions != self._partition_count
            if numbers and others and self._stage.fixed_partitions:
                raise TopicError(
                    raised_partitions(topic, self._partition_count, identity.partitions)
                )
            for number in numbers:
                self.find_again(number)

    def ask_the_silent(self, seconds: float) -> None:
        """Have those read anew of which the client has told nothing since it was to read them.

        It tells of records or of the end. What it never tells of is a partition that nobody reads,
        without an error, and without a lag, since it knows of no end either. Seen once under load,
        right after an assignment; a seek ends it.
        """
        for topic, number in self._assignment.silent(seconds):
            logger.warning(
                "nothing is heard of %s[%d] for %g s: reading it anew", topic, number, seconds
            )
            self._assignment.ask_again((topic, number))

    def _forget_state(self, number: int) -> None:
        self._stage.revoked(number)
        if self._parts.checkpointer is not None:
            self._parts.checkpointer.release(number)

    # --- what is told of them ---------------------------------------------------------------

    def telling(self, outputs: Iterable[Output]) -> list[Output]:
        """Have the last record of each changelog tell of the inputs (`offset_metadata`)."""
        told = list(outputs)
        places = {(output.topic, output.partition): index for index, output in enumerate(told)}
        last: dict[int, int] = {}
        for (topic, partition), index in places.items():
            number = None if partition is None else self._logs.get((topic, partition))
            if number is not None and number in self._assignment:
                last[number] = max(index, last.get(number, 0))
        for number, index in last.items():
            header = (INPUTS_HEADER, write_inputs(self._assignment.inputs(number)))
            told[index] = replace(told[index], headers=(*told[index].headers, header))
        return told

    def show(self, *, idle: bool) -> None:
        """Set the gauges, and the details of /readyz, to how things stand."""
        metrics, restorer, membership = self._metrics, self._restorer, self._parts.membership
        progress, behind = restorer.progress, self._measure()
        metrics.partitions.set(len(self._assignment))
        metrics.under_way.set(self._parts.batches.bytes)
        metrics.restoring.set(len(restorer.tasks))
        metrics.restore_share.set(progress.share)
        metrics.restore.show(progress.records, progress.eta_seconds)
        metrics.idle.set(float(membership.joined and idle))
        metrics.connected.set(float(membership.connection.connected))
        self._parts.health.detail = {
            "assigned": sorted(self._assignment),
            "restoring": sorted(restorer.tasks),
            **progress.detail(),
            "lag": behind,
        }

    def _measure(self) -> int:
        """Set how many records wait in each partition and since when; give their number."""
        self._waiting.clear()
        for number in self._assignment.active:
            waiting = self._assignment.waiting(number)
            self._waiting.update({(topic, number): count for topic, count in waiting.items()})
            since = self._assignment.waiting_since(number, waiting)
            self._metrics.behind(number, sum(waiting.values()), since)
        return sum(self._waiting.values())
