"""From one embedding model to another while the group runs: a worker that holds both.

Each partition is of one model at a time. As long as the segments in force are of the former one,
its events are embedded and decided on by a stage of that model. The profiles of the next model are
built from the input beside that, by `segmenter migrate --running` (`consumer.migrate.running`).
When the trainer has published segments of the next model, each worker has its partitions read back,
one after the other: the profiles come from what was built, brought up to where the group stands,
and where each user stands comes from the changelog. From then on the partition is a second stage's,
which is the worker's of the next model and knows nothing of any of this. What its users do not fit
any more they leave as under each new version, by pieces.

What a partition is of is in its changelog alone, so no crash can leave it in between:

* A user's record of the former model gives where the user stands, and what was built gives the
  profile; a record of the next model gives both.
* A partition without a record of the next model is of the former one, unless segments of the next
  one are in force. So the first record of the next model, in the transaction of whatever event or
  piece wrote it, is the partition's switch; before it, nothing has happened.
* Whoever reads a partition back that has both goes on with the next model: the users who still are
  of the former one have had no event since, or there would be a record. So what was built and the
  input up to where the group stands make the same profiles again, to the bit.
* All users are written anew, piece by piece, until there is none of the former model. What was
  built is needed until then, and not afterwards.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from consumer.contract.records import Output, Record, RecordColumns
from consumer.contract.stage import StageError, StateMark
from consumer.stages.segmentation.model_source import ModelSource
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.segmentation.restoration import ProfileRestoration
from consumer.stages.segmentation.stage import SegmentationStage
from models.profiles.table import ProfileRows, ProfileTable
from models.segments.model import SegmentModel

logger = logging.getLogger(__name__)

# Users whose profiles are put together at once.
_AT_ONCE = 4096


class BuiltProfiles(Protocol):
    """The profiles of the next model that were built beside the group; see `consumer.state`."""

    def begin(self, partition: int) -> bool:
        """Bring a partition's profiles up to where the group stands, in a thread; tell if done.

        Called again and again. What is there already need not be read while events wait.
        """
        ...

    def table(
        self, partition: int, offset: int, cancelled: Callable[[], bool], *, strictly: bool = False
    ) -> ProfileTable:
        """Give the profiles that the input up to an offset makes.

        `strictly` leaves out what the workers have refused and would accept now; that is asked for
        where the profiles do not count the events that the changelog does.

        Raises
        ------
        StageError
            If nothing was built, or what was built does not fit the group.
        """
        ...

    def forget(self, partition: int) -> None:
        """Let go of what `begin` has brought together."""
        ...


class OfEmbedding:
    """The newest segment model of one embedding model, of those that a source gives.

    Parameters
    ----------
    models
        The source, which is asked by the loop's thread alone.
    embedding
        Identity of the embedding model.
    """

    def __init__(self, models: ModelSource, embedding: str) -> None:
        self._models = models
        self._embedding = embedding
        self._model: SegmentModel | None = None

    def latest(self) -> SegmentModel | None:
        """Give the newest model of that embedding model, without waiting."""
        newest = self._models.latest()
        if newest is not None and newest.embedding == self._embedding:
            self._model = newest
        return self._model


class SwitchRestoration:
    """Reads one partition's profiles back, of whichever of the two models they are.

    Parameters
    ----------
    former, next
        Take in the records of either model.
    built
        Where the profiles of the next model come from.
    due
        Whether segments of the next model are in force.
    """

    def __init__(
        self,
        partition: int,
        former: ProfileRestoration,
        following: ProfileRestoration,
        built: BuiltProfiles,
        due: Callable[[], bool],
    ) -> None:
        self.partition = partition
        self.changelogs = former.changelogs
        self.former, self.following = former, following
        self.switched = False
        """Whether it is of the next model."""
        self.uncopied: list[str] = []
        """Users whose records still are of the former one."""
        self._built = built
        self._due = due

    def load(self, record: Record) -> None:
        """Take one record of the changelog in."""
        self.load_many(RecordColumns.of(record))

    def load_many(self, records: RecordColumns) -> None:
        """Take records of the changelog in; of a user's only the latest is left."""
        self.former.load_many(records)
        self.following.load_many(records)

    def complete(self, offset: int, cancelled: Callable[[], bool]) -> None:
        """Decide of which model the partition is, and bring its profiles to that.

        Raises
        ------
        StageError
            If there are records of a third model, or what was built does not fit.
        """
        # Of each other's users each knows that they are of another model.
        for mine, other in ((self.former, self.following), (self.following, self.former)):
            for user in other.table.users:
                mine.former.pop(user, None)
            mine.check()
        self.switched = bool(len(self.following.table)) or self._due()
        self.uncopied = self.former.table.users if self.switched else []
        if not self.uncopied:
            return
        table = self._built.table(self.partition, offset, cancelled)
        if not cancelled() and self._differing(table):
            table = self._built.table(self.partition, offset, cancelled, strictly=True)
        if cancelled():
            return
        if differing := self._differing(table):
            logger.warning(
                "partition %d: the input has other events than the profiles of %d of %d users have "
                "counted; their counts stay, and their profiles rest on what is there",
                self.partition,
                differing,
                len(self.uncopied),
            )
        for rows in self.former.table.chunks(_AT_ONCE):
            self.following.table.put(rows.under_another_model(table.gather(rows.users)))

    def _differing(self, table: ProfileTable) -> int:
        """Count the users whose events are not those that the changelog has counted."""
        return sum(
            int(np.count_nonzero(_counts(rows) != _counts(table.gather(rows.users))))
            for rows in self.former.table.chunks(_AT_ONCE)
        )


def _counts(rows: ProfileRows) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    # Which of two was the repetition may be told otherwise where one of them was not embedded.
    return np.asarray(rows.events + rows.repeats, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SwitchingBatch:
    """What was prepared of a batch, by the stage whose partitions it is of."""

    parts: tuple[tuple[SegmentationStage, PreparedBatch], ...]


class SwitchingStage:
    """Two workers' stages behind one: each partition is of the one or of the other.

    Parameters
    ----------
    former, following
        The stages of the former and of the next model, whose sources are `OfEmbedding`s of
        `models`.
    identities
        Of the two embedding models, in that order.
    models
        Where segment models come from.
    built
        Where the profiles of the next model come from.
    most_users
        Written anew in one piece.
    """

    restore_after_abort = False
    fixed_partitions = True

    def __init__(
        self,
        former: SegmentationStage,
        following: SegmentationStage,
        identities: tuple[str, str],
        models: ModelSource,
        built: BuiltProfiles,
        *,
        most_users: int,
    ) -> None:
        self.former, self.following = former, following
        self.inputs = former.inputs
        self._identities = identities
        self._models = models
        self._built = built
        self._most_users = most_users
        self._stages: dict[int, SegmentationStage] = {}
        self._uncopied: dict[int, deque[str]] = {}
        # Partitions whose users may have been decided on under a version that was never seen here.
        self._stale: set[int] = set()
        # Of the transaction to come: the partition, and how many of its users are in it.
        self._copying: tuple[int, int] | None = None
        self._turn = 0
        # Read by threads that read back.
        self._due = False
        self._look_whether_due()

    # --- partitions -------------------------------------------------------------------------

    def restoration(self, partition: int) -> SwitchRestoration:
        """Begin to read back a partition's profiles."""
        return SwitchRestoration(
            partition,
            self.former.restoration(partition),
            self.following.restoration(partition),
            self._built,
            lambda: self._due,
        )

    def may_take_over(self, restoration: SwitchRestoration) -> bool:
        """Tell whether the segments are known that have decided on the users last."""
        self._look_whether_due()
        if restoration.switched:
            return self.following.may_take_over(restoration.following)
        # Behind the last version of the former model none comes: it is read back once more at once.
        return self._due or self.former.may_take_over(restoration.former)

    def assigned(self, partition: int, restoration: SwitchRestoration) -> None:
        """Take over a partition, as one of the model that it is of."""
        self._built.forget(partition)
        if not restoration.switched:
            self.former.assigned(partition, restoration.former)
            self._stages[partition] = self.former
            if self._due:
                self._stale.add(partition)
            return
        self.following.assigned(partition, restoration.following)
        self._stages[partition] = self.following
        if restoration.uncopied:
            self._uncopied[partition] = deque(restoration.uncopied)
        logger.info(
            "partition %d is of the embedding model %s from now on; %d users are written anew",
            partition,
            self._identities[1][:12],
            len(restoration.uncopied),
        )

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""
        if (stage := self._stages.pop(partition, None)) is not None:
            stage.revoked(partition)
        self._uncopied.pop(partition, None)
        self._stale.discard(partition)
        self._built.forget(partition)

    def to_read_back(self, *, at_rest: bool) -> int | None:
        """Name the next partition that is to go on under the next model; one after the other.

        What is built of it is read before, as far as it goes, so that events wait for less. One
        that was read back as of the former model, while segments of the next one came, goes first:
        this process may not know the version that has decided on its users last.
        """
        if self._stale:
            return min(self._stale)
        if not at_rest or not self._due or self._uncopied:
            return None
        left = [number for number in sorted(self._stages) if not self._is_switched(number)]
        if not left or not self._built.begin(left[0]):
            return None
        return left[0]

    def mark(self, partition: int) -> StateMark:
        """Say of which model a partition is, and that this process can go on with both."""
        return StateMark(self._identities[self._is_switched(partition)], self._identities)

    def _is_switched(self, partition: int) -> bool:
        return self._stages.get(partition) is self.following

    @property
    def switched(self) -> list[int]:
        """The partitions of the next model, all of whose users are of it in the changelog."""
        return [
            number
            for number in sorted(self._stages)
            if self._is_switched(number) and number not in self._uncopied
        ]

    @property
    def partitions(self) -> int:
        """How many partitions there are, of either model."""
        return len(self._stages)

    # --- the way of an event ----------------------------------------------------------------

    def prepare(self, records: Sequence[Record]) -> SwitchingBatch:
        """Validate, clean and embed, each record by the model that its partition is of.

        A partition that changes meanwhile begins a new epoch: what is prepared of it here is void.
        """
        of = dict(self._stages)
        parts = []
        for stage in (self.former, self.following):
            own = [each for each in records if of.get(each.partition, self.following) is stage]
            if own:
                parts.append((stage, stage.prepare(own)))
        return SwitchingBatch(tuple(parts))

    def apply(self, prepared: SwitchingBatch, partitions: frozenset[int]) -> Sequence[Output]:
        """Move profiles and segments by the batch's events."""
        outputs: list[Output] = []
        for stage, batch in prepared.parts:
            own = frozenset(n for n in partitions if self._stages.get(n) is stage)
            outputs += stage.apply(batch, own)
        return outputs

    # --- work of its own --------------------------------------------------------------------

    def maintain(self, *, idle: bool) -> Sequence[Output] | None:
        """Do a piece of either stage's own work, or write users anew; in turns."""
        self._look_whether_due()
        work: tuple[Callable[[], Sequence[Output] | None], ...] = (
            self._copy,
            lambda: self.following.maintain(idle=idle),
            lambda: self.former.maintain(idle=idle),
        )
        for _ in work:
            self._turn = (self._turn + 1) % len(work)
            if (outputs := work[self._turn]()) is not None:
                return outputs
        return None

    def share(self, seconds: float) -> Sequence[Output]:
        """Look at the next users under a new version in the transaction of a batch."""
        following = self.following if self.following.tables else self.former
        return following.share(seconds)

    def _copy(self) -> Sequence[Output] | None:
        """Write the next users anew whose records still are of the former model."""
        for partition, users in self._uncopied.items():
            some = list(islice(users, self._most_users))
            self._copying = partition, len(some)
            return self.following.written(partition, some)
        return None

    def _look_whether_due(self) -> None:
        newest = self._models.latest()
        if newest is None or newest.embedding == self._identities[0]:
            return
        if newest.embedding != self._identities[1]:
            former, following = (identity[:12] for identity in self._identities)
            raise StageError(
                f"segment model {newest.version} was learned on the embedding model "
                f"{newest.embedding[:12]}, this worker runs {following} and, as the former one, "
                f"{former}; give the models that the group has with embedding.model and "
                "embedding.former"
            )
        if not self._due:
            logger.info(
                "segment model %d is of the next embedding model: partitions go over to it, one "
                "after the other",
                newest.version,
            )
        self._due = True

    # --- the end of a transaction -----------------------------------------------------------

    def committed(self) -> None:
        """Make the batch's rows the state."""
        for stage in (self.former, self.following):
            stage.committed()
        if self._copying is None:
            return
        (partition, count), self._copying = self._copying, None
        if (users := self._uncopied.get(partition)) is None:
            return
        _drop(users, count)
        if not users:
            del self._uncopied[partition]
            logger.info("partition %d: nobody is of the former embedding model any more", partition)

    def aborted(self) -> None:
        """Forget the batch."""
        self._copying = None
        for stage in (self.former, self.following):
            stage.aborted()

    # --- what is told -----------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether all partitions are of the model in force, with everybody looked at under it."""
        if self._due and len(self.switched) < len(self._stages):
            return False
        return self.former.settled and self.following.settled

    @property
    def tables(self) -> dict[int, ProfileTable]:
        """Profiles by partition; not to be written."""
        return {**self.former.tables, **self.following.tables}


def _drop(users: deque[str], count: int) -> None:
    for _ in range(count):
        users.popleft()


def switching_sources(
    models: ModelSource, identities: Iterable[str]
) -> tuple[OfEmbedding, OfEmbedding]:
    """Give the sources of segment models for the two stages, in the order of their identities."""
    former, following = (OfEmbedding(models, identity) for identity in identities)
    return former, following
