"""Profiles of the embedding model that a running group is changed to, built beside the group.

They are on a compacted topic, partition n of it for partition n of the input, in the form of the
changelog; how far they are is a committed offset of a group that nobody joins, in the transactions
that write them. So what was built is the profiles as of that offset, whoever was killed when.

`segmenter migrate --running` builds them, and stops when the trainer has published segments of the
next model: then nobody writes them any more. Workers read them, and take the rest of the input from
there on by the same code (`Growing`), up to where the group stands. They write none of it here:
what a worker knows goes into the group's own changelog.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice

from confluent_kafka import OFFSET_INVALID
from pydantic import BaseModel, ConfigDict, ValidationError

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.kafka.cluster import Cluster, OffsetGoneError, read_topic
from consumer.kafka.groups import next_profiles_group
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.restoration import ProfileRestoration
from consumer.stages.segmentation.stage import SegmentationStage
from models.daemon_pool import DaemonPool
from models.embedding.runner_types import Embedder
from models.profiles.table import ProfileTable
from schemas.dead_letters import read_dead_letter_headers

logger = logging.getLogger(__name__)


class Progress(BaseModel):
    """What is committed beside the offset up to which a partition's profiles are built."""

    model_config = ConfigDict(frozen=True)

    embedding: str = ""
    """Identity of the model that they are of."""
    topic_id: str | None = None
    """Which topic of the input's name the offset is of."""
    resets: int = 0
    """How often the group had been reset: profiles rest on nothing of before."""
    begin: int = 0
    """Where their records begin: what lies before is of another model, or of an earlier try."""

    @classmethod
    def read(cls, text: str | None) -> Progress:
        """Read what was committed; that of no model where it is of another program."""
        try:
            return cls.model_validate_json(text or "")
        except ValidationError:
            return cls()

    def write(self) -> str:
        """Give the text that is committed."""
        return self.model_dump_json(exclude_defaults=True)


class Growing:
    """Profiles of one partition under the next model, and the offset up to which they are.

    Parameters
    ----------
    settings
        Of the workers.
    embedder
        The next model.
    partition, offset
        Whose they are, and of which offset on the input is still to come.
    restoration
        What was read back so far.
    """

    def __init__(
        self,
        settings: Settings,
        embedder: Embedder,
        partition: int,
        offset: int,
        restoration: ProfileRestoration,
    ) -> None:
        self.partition, self.offset = partition, offset
        self._size = settings.batch.usual_records
        self._stage = SegmentationStage(settings, embedder, FixedModel(), log_refusals=False)
        restoration.former.clear()  # users of another model, of whom nothing is known here
        self._stage.assigned(partition, restoration)

    @property
    def table(self) -> ProfileTable:
        """The profiles."""
        return self._stage.tables[self.partition]

    def grow(
        self,
        records: Iterable[Record],
        upto: int,
        refused: Collection[int] = (),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, list[str]]]:
        """Take records in, those of the input from `offset` up to `upto`.

        What the workers refused is left out, and so is what they would refuse now: of a record that
        the next model has no vector for nothing is known.

        Gives, batch by batch, the offset that was reached and the users who were touched.
        """
        for batch in _chunks(records, self._size):
            if cancelled():
                return
            prepared = self._stage.prepare([each for each in batch if each.offset not in refused])
            accepted = prepared.accepting_only()
            self._stage.apply(accepted, frozenset({self.partition}))
            self._stage.committed()
            self.offset = batch[-1].offset + 1
            yield self.offset, list(dict.fromkeys(accepted.events.users))
        if not cancelled():
            self.offset = max(self.offset, upto)  # markers of transactions are no records


class NextProfiles:
    """What was built, as workers and `segmenter migrate --running` read it.

    Parameters
    ----------
    settings
        Of the workers.
    embedder
        The next model.
    cluster
        Is asked.
    """

    def __init__(
        self, settings: Settings, embedder: Embedder, cluster: Cluster | None = None
    ) -> None:
        self._settings = settings
        self._embedder = embedder
        self._topics = settings.topics
        self._group = next_profiles_group(settings.kafka)
        self._cluster = cluster or Cluster(settings.kafka)
        self._patience = settings.restore.no_progress_seconds
        self._pool: DaemonPool | None = None
        self._begun: dict[int, Future[Growing]] = {}

    # --- for who builds ---------------------------------------------------------------------

    def standing(self, partition: int) -> tuple[int | None, OffsetMetadata]:
        """Give where the workers' group stands in a partition of the input."""
        place = self._cluster.committed(
            self._settings.kafka.group_id,
            self._topics.events,
            [partition],
            wait_seconds=self._patience,
        )[0]
        offset = int(place.offset)
        known = OffsetMetadata.read(place.metadata)
        return (offset if offset > OFFSET_INVALID else None), known

    def progress(self, partition: int) -> tuple[int, Progress] | None:
        """Give up to where a partition is built; None where nothing was built of this model.

        Nor has what was built of another topic of the name, or before the group was reset, anything
        to do with the group's profiles.
        """
        place = self._cluster.committed(
            self._group, self._topics.events, [partition], wait_seconds=self._patience
        )[0]
        known = Progress.read(place.metadata)
        if place.offset <= OFFSET_INVALID or known.embedding != self._embedder.identity:
            return None
        _, group = self.standing(partition)
        identity = self._cluster.identity(self._topics.events)
        if known.topic_id != identity.topic_id or known.resets != group.resets:
            return None
        return int(place.offset), known

    def fresh(self, partition: int) -> tuple[int, Progress]:
        """Give where to begin with a partition of which nothing is built."""
        low, end = self._cluster.watermarks(self._topics.events, partition)
        _, group = self.standing(partition)
        first = group.first or 0
        start = first if group.resets and first > low else low
        begin = self._cluster.end(self._topics.next_profiles, partition)
        topic_id = self._cluster.identity(self._topics.events).topic_id
        known = Progress(
            embedding=self._embedder.identity,
            topic_id=topic_id,
            resets=group.resets,
            begin=begin,
        )
        return min(start, end), known

    def read(
        self,
        partition: int,
        offset: int,
        known: Progress,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Growing:
        """Read what was built of a partition.

        Raises
        ------
        StageError
            If a record cannot be read.
        ReadStalledError
            If it cannot be read to its end.
        """
        topic, policy = self._topics.next_profiles, self._settings.profile
        restoration = ProfileRestoration(
            topic,
            partition,
            self._embedder,
            policy.event_memory,
            policy.float16_limit,
            references=policy.references,
            items=self._settings.recommendations.items_kept,
        )
        for records in self._cluster.read_columns(
            topic,
            partition,
            start=known.begin,
            no_progress_seconds=self._patience,
            cancelled=cancelled,
        ):
            restoration.load_many(records)
        return Growing(self._settings, self._embedder, partition, offset, restoration)

    def input_of(
        self, growing: Growing, upto: int, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """Give the records of the input that come next, up to an offset.

        Raises
        ------
        StageError
            If retention has removed some of them.
        """
        low, _ = self._cluster.watermarks(self._topics.events, growing.partition)
        if growing.offset < low and growing.offset < upto:
            raise self._gone(growing, f"the input begins at offset {low} by now")
        try:
            yield from self._cluster.read(
                self._topics.events,
                growing.partition,
                upto,
                start=growing.offset,
                no_progress_seconds=self._patience,
                cancelled=cancelled,
            )
        except OffsetGoneError as error:
            raise self._gone(growing, str(error)) from error

    def _gone(self, growing: Growing, why: str) -> StageError:
        return StageError(
            f"the profiles of the next embedding model are built up to offset {growing.offset} of "
            f"{self._topics.events}[{growing.partition}], and {why}: retention has removed records "
            "before they were read; make it longer, and start 'segmenter migrate --running' again "
            "with --accept-missing-history"
        )

    def refused(self, partition: int) -> set[int]:
        """Give the offsets of a partition's records that the workers have refused."""
        found = set()
        for letter in read_topic(self._settings, self._topics.dead_letters):
            try:
                said = read_dead_letter_headers(letter.headers)
            except ValueError:
                continue  # not one of the workers'; `verify` reports it
            if said.topic == self._topics.events and said.partition == partition:
                found.add(said.offset)
        return found

    # --- for who goes on with it ------------------------------------------------------------

    def begin(self, partition: int) -> bool:
        """Bring a partition's profiles up to where the group stands, in a thread; tell if done."""
        if (future := self._begun.get(partition)) is None:
            self._pool = self._pool or DaemonPool(1, "next-profiles")
            self._begun = {partition: self._pool.submit(lambda: self._brought(partition))}
            return False
        return future.done()

    def forget(self, partition: int) -> None:
        """Let go of what `begin` has brought together."""
        self._begun.pop(partition, None)

    def table(
        self, partition: int, offset: int, cancelled: Callable[[], bool], *, strictly: bool = False
    ) -> ProfileTable:
        """Give the profiles that the input up to an offset makes; see `BuiltProfiles`."""
        begun = self._begun.get(partition)
        if begun is not None and begun.done() and not strictly:
            growing = begun.result()
        else:
            growing = self._built(partition, cancelled)
        if growing.offset > offset:
            raise StageError(
                f"the profiles of the next embedding model are built up to offset {growing.offset} "
                f"of {self._topics.events}[{partition}], and the group stands at {offset}: it was "
                "sent back since; set embedding.model to the former one, leave embedding.former "
                "out, and build them anew with 'segmenter migrate --running'"
            )
        refused = self.refused(partition) if strictly else ()
        self._grown(growing, offset, refused, cancelled)
        return growing.table

    def _brought(self, partition: int) -> Growing:
        growing = self._built(partition)
        offset, _ = self.standing(partition)
        self._grown(growing, offset or 0, (), lambda: False)
        return growing

    def _built(self, partition: int, cancelled: Callable[[], bool] = lambda: False) -> Growing:
        known = self.progress(partition)
        if known is None:
            raise StageError(
                f"the segments are of the embedding model {self._embedder.identity[:12]}, and of "
                f"{self._topics.next_profiles}[{partition}] nothing is known that was built of it: "
                "was it emptied? bring the group to this model with 'segmenter migrate', which "
                "needs it stopped"
            )
        return self.read(partition, *known, cancelled)

    def _grown(
        self,
        growing: Growing,
        upto: int,
        refused: Collection[int],
        cancelled: Callable[[], bool],
    ) -> None:
        if upto <= growing.offset:
            return
        records = self.input_of(growing, upto, cancelled)
        for _ in growing.grow(records, upto, refused, cancelled):
            pass


def _chunks(records: Iterable[Record], size: int) -> Iterator[Sequence[Record]]:
    iterator = iter(records)
    while batch := list(islice(iterator, size)):
        yield batch
