"""Where a group goes on in a partition, also where the place that it left is not there any more.

`auto.offset.reset` of the client speaks for two cases at once: a group that has no offset, and one
whose offset is gone. The first is a choice (`kafka.auto_offset_reset`). The second is a loss, or a
topic that is another one than before, and nobody wants to skip what can be read because of it. So
the client is told to decide nothing (`error`), and both are decided here:

===============  ===================================================================================
no offset        The beginning or the end, as `kafka.auto_offset_reset` says. It is committed at
                 once, so that what comes from then on is read, whenever the process ends. Offsets
                 go with their topic: where the state is known to rest on a topic of another id, it
                 was made anew
another cluster  The topics were copied, and the group's offsets with them: their ids mean nothing
                 here, and neither do leaders' epochs. The offset is gone on from
behind it        Retention has removed records before they were read: go on where the log begins
another topic    The topic was made anew (its id differs, KIP-516): go on where that begins
beyond the end,  The log was truncated, by the election of a leader that lacked records: go on where
or of another    the records of its leader's epoch end (KIP-320). An offset of an earlier version
epoch            of segmenter tells no topic id; beyond the end it counts as of another topic
===============  ===================================================================================

Each of the last three is a loss that is logged and counted in the metadata of the offset, or a
refusal (`kafka.fail_on_data_loss`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from confluent_kafka import OFFSET_INVALID, TopicPartition

from consumer.contract.clock import Clock, Timer, wall_clock
from consumer.contract.stage import StageError
from consumer.kafka.asking import Pace, ask
from consumer.kafka.cluster import Cluster
from consumer.kafka.offset_metadata import LossReason, OffsetMetadata
from consumer.settings import Settings
from consumer.settings.agreed import agreed, differences

logger = logging.getLogger(__name__)

# A broker that was away may for a moment tell of a former topic, or of an end long past. What would
# send a group back is therefore asked again until it has been the same for so long.
CERTAIN_SECONDS = 5.0
_PACE = Pace(pause=0.5, longest_pause=0.5)


class UnfinishedResetError(StageError):
    """A reset was begun and has not come to its end: some of the state is emptied, some is not."""


class LostRecordsError(StageError):
    """The place where the group goes on is gone, and `kafka.fail_on_data_loss` is set."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a group goes on in a partition.

    Attributes
    ----------
    offset
        The next record to read.
    metadata
        What goes with the offset from now on.
    leader_epoch
        Of the leader under which the last record was written, as far as it is known.
    committed
        Whether just this is what the group has committed.
    begins
        Whether the group has no offset yet.
    """

    offset: int
    metadata: OffsetMetadata = field(default_factory=OffsetMetadata)
    leader_epoch: int | None = None
    committed: bool = True
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Log:
    """Where a partition stands: its first offset, its end, and the topic that it is of."""

    low: int
    end: int
    topic_id: str | None
    cluster_id: str | None = None

    def elsewhere(self, known: OffsetMetadata) -> bool:
        """Whether an offset is of another cluster, as far as both are known."""
        ids = known.cluster_id, self.cluster_id
        return None not in ids and ids[0] != ids[1]

    def gone(self, offset: int, known: OffsetMetadata) -> LossReason | None:
        """Say why an offset is not to be read on from, None where it is.

        Parameters
        ----------
        offset
            The next one to read.
        known
            Of the topic that it is of.
        """
        topic_id = None if self.elsewhere(known) else known.topic_id
        if None not in (topic_id, self.topic_id) and topic_id != self.topic_id:
            return LossReason.RECREATED
        if offset > self.end:
            return LossReason.RECREATED if topic_id is None else LossReason.TRUNCATED
        return LossReason.RETENTION if offset < self.low else None


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known of a partition besides what the brokers tell.

    Attributes
    ----------
    former
        What the state tells of the input that it rests on.
    unread
        Records that were known to wait.
    suspect
        Whether the client has found the group's position to be gone.
    cancelled
        Asked now and then while there is no answer.
    """

    former: OffsetMetadata | None = None
    unread: int = 0
    suspect: bool = False
    cancelled: Callable[[], bool] = lambda: False


class Positions:
    """Finds where a group goes on.

    Parameters
    ----------
    cluster
        Is asked.
    group_id
        The group.
    settings
        How long an offset in an open transaction is waited for, and whether a loss is refused.
    certain_seconds
        How long what would send a group back has to be the same.
    command
        What the group's members run: `worker`, `trainer` or `intake`. With it, whoever takes a
        partition over is told where the former member's settings differ from its own.
    clock, timer
        The time of a loss, and what passes until it is certain.
    """

    def __init__(
        self,
        cluster: Cluster,
        group_id: str,
        settings: Settings,
        *,
        certain_seconds: float = CERTAIN_SECONDS,
        command: str | None = None,
        clock: Clock = wall_clock,
        timer: Timer = time,
    ) -> None:
        self._cluster = cluster
        self._group_id = group_id
        self._wait_seconds = settings.restore.no_progress_seconds
        self._refuses = settings.kafka.fail_on_data_loss
        self._certain_seconds = certain_seconds
        self._command = command
        self._agreed = None if command is None else agreed(settings, command)
        self._told: set[tuple[str, ...]] = set()
        self._clock = clock
        self._timer = timer
        # As of the last time: what the brokers forget when the topic is deleted.
        self._known: dict[tuple[str, int], OffsetMetadata] = {}
        # Topics made anew, of which one partition has made sure: name and id.
        self._sure: set[tuple[str, str | None]] = set()

    def find(self, topic: str, partition: int, begin: str, hints: Hints = Hints()) -> Position:
        """Find where the group goes on; `begin` is for one without an offset.

        Raises
        ------
        LostRecordsError
            If the group's position is gone and `kafka.fail_on_data_loss` is set.
        UnfinishedResetError
            If a reset was begun and not finished.
        KafkaException
            If there was no answer in time.
        AskCancelledError
            If it was cancelled.
        """
        place = self._cluster.committed(
            self._group_id,
            topic,
            [partition],
            wait_seconds=self._wait_seconds,
            cancelled=hints.cancelled,
        )[0]
        known = OffsetMetadata.read(place.metadata)
        if known.resetting:
            raise UnfinishedResetError(
                f"a reset of group {self._group_id!r} was begun and has not come to its end, so "
                "that some users' states are emptied and some are not: run 'segmenter reset "
                "--execute' again, with the options that it had"
            )
        if begins := place.offset <= OFFSET_INVALID:
            known = hints.former or self._known.get((topic, partition)) or known
        log, reason = self._look(place, known, hints.cancelled)
        offset = int(place.offset)
        if reason is LossReason.TRUNCATED or (hints.suspect and reason is None and not begins):
            offset = min(self._end_of_epoch(place, log), offset)
            reason = LossReason.TRUNCATED if offset < place.offset else None
        elif reason is not None:
            offset = log.low
        if reason is not None:
            position = self._lost(place, known, log, (reason, offset, hints.unread))
        elif begins:
            offset = log.low if begin == "earliest" else log.end
            metadata = OffsetMetadata(
                topic_id=log.topic_id, cluster_id=log.cluster_id, first=offset
            )
            position = Position(offset, metadata, committed=False, begins=True)
        else:
            metadata, moved = _seen(known, log), log.elsewhere(known)
            if moved:
                metadata = metadata.model_copy(update={"first": None})
            epoch = None if moved else place.leader_epoch
            position = Position(offset, metadata, epoch, committed=metadata == known)
        position = self._with_settings(position, known, f"{topic}[{partition}]")
        # Without the cluster: one that is made anew under a process has its topics made anew.
        self._known[topic, partition] = position.metadata.model_copy(update={"cluster_id": None})
        return position

    def _with_settings(self, position: Position, known: OffsetMetadata, name: str) -> Position:
        """Have this member's settings committed too; tell, once, where a former one's differ."""
        if self._command is None or self._agreed is None or known.settings == self._agreed:
            return position
        differing = differences(known.settings or self._agreed, self._agreed, self._command)
        if differing and differing not in self._told:
            self._told.add(differing)
            logger.warning(
                "in the %s of the group %r that had %s before, %s: all members of a group need "
                "these alike; where they were changed, start those anew that still have the "
                "former ones",
                self._command,
                self._group_id,
                name,
                ", ".join(differing),
            )
        metadata = position.metadata.model_copy(update={"settings": self._agreed})
        return replace(position, metadata=metadata, committed=False)

    def _lost(
        self,
        place: TopicPartition,
        known: OffsetMetadata,
        log: Log,
        loss: tuple[LossReason, int, int],
    ) -> Position:
        """Tell a loss (its reason, where to go on, what was unread) and count it, or refuse."""
        name, before, records = f"{place.topic}[{place.partition}]", place.offset, 0
        reason, offset, unread = loss
        if reason is LossReason.RETENTION:
            records = offset - before
            what = (
                f"the group {self._group_id!r} stands at offset {before} of {name}, which begins "
                f"at {log.low} by now: retention has removed {records:,} records before they were "
                "read"
            )
        elif reason is LossReason.RECREATED:
            records = unread
            what = (
                f"{name} was made anew under the group {self._group_id!r} (topic id "
                f"{known.topic_id or 'unknown'} before, {log.topic_id} now): what was unread of "
                f"the former one is gone, {records:,} records as far as is known"
            )
        else:
            what = (
                f"{name} was truncated behind the group {self._group_id!r}, which stands at offset "
                f"{before}, to {offset} (it ends at {log.end} now), as by the election of a leader "
                "that lacked records: others may have taken the place of those that were read"
            )
        if self._refuses:
            raise LostRecordsError(
                f"{what}; kafka.fail_on_data_loss = true refuses to go on: make up for what is "
                "lost, then start with kafka.fail_on_data_loss = false, which goes on at offset "
                f"{offset} and counts the loss"
            )
        logger.warning("%s; going on at offset %d", what, offset)
        metadata = _seen(known, log)
        if reason is LossReason.RECREATED:
            metadata = metadata.model_copy(update={"first": offset})
        metadata = metadata.with_loss(reason, records, self._clock())
        return Position(offset, metadata, committed=False)

    def _look(
        self, place: TopicPartition, known: OffsetMetadata, cancelled: Callable[[], bool]
    ) -> tuple[Log, LossReason | None]:
        """See whether an offset is gone; again and again for a while where it sends a group back.

        Without an offset only another topic would do so.
        """
        before, since = None, self._timer.monotonic()

        def look(_seconds: float) -> tuple[Log, LossReason | None]:
            log = self._log(place)
            offset = log.low if place.offset <= OFFSET_INVALID else place.offset
            return log, log.gone(offset, known)

        def certain(seen: tuple[Log, LossReason | None]) -> bool:
            nonlocal before, since
            log, reason = seen
            made_anew = place.topic, log.topic_id
            if reason in (None, LossReason.RETENTION):
                return True
            if reason is LossReason.RECREATED and made_anew in self._sure:
                return True
            now = self._timer.monotonic()
            if reason != before:
                before, since = reason, now
            if now - since < self._certain_seconds:
                return False
            if reason is LossReason.RECREATED:
                self._sure.add(made_anew)
            return True

        return ask(
            look,
            f"whether {place.topic}[{place.partition}] is the same",
            seconds=math.inf,
            passing=lambda _: False,  # each question in it has been asked again
            enough=certain,
            cancelled=cancelled,
            pace=_PACE,
            timer=self._timer,
        )

    def _log(self, place: TopicPartition) -> Log:
        identity = self._cluster.identity(place.topic)
        low, end = self._cluster.watermarks(place.topic, place.partition)
        return Log(low, end, identity.topic_id, identity.cluster_id)

    def _end_of_epoch(self, place: TopicPartition, log: Log) -> int:
        """Give where the records of an offset's leader epoch end, without one the log's end."""
        if place.leader_epoch is None:
            return log.end
        start = TopicPartition(
            place.topic, place.partition, min(place.offset, log.end), "", place.leader_epoch
        )
        end = self._cluster.end_of_epoch(start)
        return log.end if end is None else end


def _seen(known: OffsetMetadata, log: Log) -> OffsetMetadata:
    """Give what is known with the ids of the topic and the cluster that were seen."""
    seen = {
        "topic_id": log.topic_id or known.topic_id,
        "cluster_id": log.cluster_id or known.cluster_id,
    }
    return known.model_copy(update=seen)
