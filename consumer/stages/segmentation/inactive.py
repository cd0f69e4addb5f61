"""Users who have fallen silent: all that is known of them is let go, and they leave their segment.

Silence is told by event time, in each partition by itself: the latest event of the user against the
latest of all. It is looked for now and then, not at every event. So how long a user stays beyond
the limit is left to chance, and an event that comes before the look keeps the user; what is written
is one transaction either way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

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
    detail="occurred_at lies more than profile.inactive_half_lives before the latest event of the "
    "partition, and nothing is known of the user: one who is silent for so long is let go",
)
# A look costs a pass over a column: this often in the time that makes a user silent.
_LOOKS = 50


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
        # By partition, up to which event time was looked, and who is still to be let go.
        self._looked: dict[int, int] = {}
        self._silent: defaultdict[int, list[str]] = defaultdict(list)
        self._going: list[tuple[int, list[str]]] = []

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""
        self._looked.pop(partition, None)
        self._silent.pop(partition, None)

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
        bounds = {number: tables[number].latest - self._after for number in partitions & {*tables}}
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
            self._look(partition, table, self._after)
            silent = self._silent[partition]
            while silent:
                users = silent[-self._most :]
                del silent[-self._most :]
                # Some may have written since the look.
                rows = table.gather([user for user in users if user in table])
                still = [
                    i
                    for i, time in enumerate(rows.reference.tolist())
                    if time < table.latest - self._after and rows.given[i] is None
                ]
                if still:
                    return self._let_go(partition, rows.take(still), model, now, stats)
        return None

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

    def _look(self, partition: int, table: ProfileTable, after: int) -> None:
        """Find silent users, where enough event time has passed since the last look."""
        if table.latest - self._looked.get(partition, 0) >= after // _LOOKS:
            self._looked[partition] = table.latest
            self._silent[partition] = table.silent(table.latest - after)

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
            if rank(user) <= model.sample_threshold:
                outputs.append(Output(self._topics.samples, key, None))
        return outputs
