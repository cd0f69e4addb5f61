"""Users who have fallen silent: all that is known of them is let go, and they leave their segment.

Silence is told by event time, in each partition by itself: the latest event of the user against the
time that ten users of the partition have reached with theirs. So one wrong date makes nobody else
silent. That time follows from the state alone, and is the same after a restart; and it never goes
back, since nobody who has reached it is let go.

Silence is looked for now and then, not at every event. So how long a user stays beyond the limit is
left to chance, and an event that comes before the look keeps the user; what is written is one
transaction either way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np

from consumer.contract.records import Output
from consumer.settings import Settings
from consumer.stages.segmentation.changes import ChangeWriter
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.segmentation.stats import SegmentationStats
from models.profiles.sample import rank
from models.profiles.table import ProfileRows, ProfileTable
from models.segments.model import SegmentModel
from schemas.dead_letters import Refusal, RefusalReason

_MICROSECOND = timedelta(microseconds=1)
_TOO_LATE = Refusal(
    reason=RefusalReason.TIME_TOO_OLD,
    field="occurred_at",
    detail="occurred_at lies more than profile.inactive_half_lives before the latest events of the "
    "partition, and nothing is known of the user: one who is silent for so long is let go",
)
# Users who must have reached a time. With one, a single date years ahead would make all others
# silent, and for good: what they write next would be refused as too old.
_USERS = 10
# A look costs a pass over a column: this often in the time that makes a user silent.
_LOOKS = 50


class PartitionClock:
    """The event time that ten users of a partition have reached.

    Parameters
    ----------
    table
        The partition's users so far.
    """

    def __init__(self, table: ProfileTable) -> None:
        self._newest = table.newest(_USERS)

    @property
    def time(self) -> int | None:
        """Microseconds since 1970, None where there are fewer users."""
        return min(self._newest.values()) if len(self._newest) == _USERS else None

    def see(self, rows: ProfileRows) -> None:
        """Take in states that have become those of their users."""
        fresh = np.flatnonzero(rows.reference > (self.time or 0))
        if len(fresh) > _USERS:
            latest = np.argpartition(rows.reference[fresh], -_USERS)
            fresh = fresh[latest[-_USERS:]]
        for row in fresh.tolist():
            self._newest[rows.users[row]] = int(rows.reference[row])
        for user in sorted(self._newest, key=self._newest.__getitem__)[:-_USERS]:
            del self._newest[user]


class SilentUsers:
    """Lets users go who have been silent for `profile.inactive_half_lives`.

    Parameters
    ----------
    settings
        Sections `profile`, `topics` and `batch`.
    writer
        Writes their last changes.
    """

    def __init__(self, settings: Settings, writer: ChangeWriter) -> None:
        after = settings.profile.inactive_after
        self._after = None if after is None else after // _MICROSECOND
        self._topics = settings.topics
        self._most = settings.batch.reassign_users
        self._writer = writer
        self._clocks: dict[int, PartitionClock] = {}
        # By partition, up to which event time was looked, and who is still to be let go.
        self._looked: dict[int, int] = {}
        self._silent: defaultdict[int, list[str]] = defaultdict(list)
        self._going: list[tuple[int, list[str]]] = []

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""
        self._looked.pop(partition, None)
        self._silent.pop(partition, None)
        self._clocks.pop(partition, None)

    def _bound(self, partition: int, table: ProfileTable, after: int) -> int | None:
        """Give the time before which one is silent; None where there are too few users for one."""
        if partition not in self._clocks:
            self._clocks[partition] = PartitionClock(table)
        time = self._clocks[partition].time
        return None if time is None else time - after

    def late(
        self,
        prepared: PreparedBatch,
        tables: Mapping[int, ProfileTable],
        partitions: frozenset[int],
    ) -> dict[int, Refusal]:
        """Refuse events that lie so far back that they alone would make a silent user.

        Of a user who was let go every event is of this kind when it comes again. It would bring the
        user back for a moment, with changes under the ids of the former life.

        Returns
        -------
        dict
            By the rows of the events.
        """
        if self._after is None:
            return {}
        events, found = prepared.events, {}
        bounds = {
            number: bound
            for number in partitions & {*tables}
            if (bound := self._bound(number, tables[number], self._after)) is not None
        }
        come = set()
        for row, (user, time) in enumerate(zip(events.users, events.times.tolist(), strict=True)):
            partition = prepared.record_of(row).partition
            if partition not in bounds or time >= bounds[partition]:
                come.add((partition, user))
            elif user not in tables[partition] and (partition, user) not in come:
                found[row] = _TOO_LATE
        return found

    def next(
        self,
        tables: dict[int, ProfileTable],
        model: SegmentModel,
        now: datetime,
        stats: SegmentationStats,
    ) -> list[Output] | None:
        """Let the next users go, as many as go into one transaction; None where there are none."""
        if self._after is None:
            return None
        for partition, table in tables.items():
            if (bound := self._bound(partition, table, self._after)) is None:
                continue
            self._look(partition, table, bound)
            silent = self._silent[partition]
            while silent:
                users = silent[-self._most :]
                del silent[-self._most :]
                # Some may have written since the look.
                rows = table.gather([user for user in users if user in table])
                still = [
                    i
                    for i, time in enumerate(rows.reference.tolist())
                    if time < bound and rows.given[i] is None
                ]
                if still:
                    return self._let_go(partition, rows.take(still), model, now, stats)
        return None

    def wrote(self, partition: int, rows: ProfileRows) -> None:
        """Take in states that have become a partition's."""
        if (clock := self._clocks.get(partition)) is not None:
            clock.see(rows)

    def committed(self, tables: dict[int, ProfileTable]) -> None:
        """Forget those who were let go."""
        for partition, users in self._going:
            for user in users:
                tables[partition].remove(user)
        self._going = []

    def aborted(self) -> None:
        """Keep them, and look anew."""
        for partition, _ in self._going:
            self._looked.pop(partition, None)
        self._going = []

    def _look(self, partition: int, table: ProfileTable, bound: int) -> None:
        """Find silent users, where enough event time has passed since the last look."""
        if self._after is not None and (
            bound - self._looked.get(partition, -self._after) >= self._after // _LOOKS
        ):
            self._looked[partition] = bound
            self._silent[partition] = table.silent(bound)

    def _let_go(
        self,
        partition: int,
        rows: ProfileRows,
        model: SegmentModel,
        now: datetime,
        stats: SegmentationStats,
    ) -> list[Output]:
        self._going.append((partition, rows.users))
        stats.let_go.update(
            users=len(rows), accepted=int(rows.events.sum()), repeated=int(rows.repeats.sum())
        )
        outputs: list[Output] = []
        for row, user in enumerate(rows.users):
            key = user.encode()
            # Who was never told of needs no farewell.
            if rows.sequence[row]:
                change, written = self._writer.let_go(rows, row, model, now)
                stats.changes[change.status, change.reason] += 1
                outputs += written
            outputs.append(Output(self._topics.profiles, key, None, partition=partition))
            if rows.items.shape[1] and rows.items[row, 0]:
                topic = self._topics.user_recommendations
                outputs.append(Output(topic, key, None, partition=partition))
            if rank(user) <= model.sample_threshold:
                outputs.append(Output(self._topics.samples, key, None))
        return outputs
