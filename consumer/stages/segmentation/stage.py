"""The workers' stage: from user events to segment changes.

Reading order for the way of an event: `prepare` (what an event is, its text, its vector, in
`consumer.stages.segmentation.preparation`), `apply` (the profile moves, the segment follows),
`maintain` (a new model moves users without an event, in
`consumer.stages.segmentation.reassignment`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumer.contract.clock import Clock, wall_clock
from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.segmentation.changes import Cause, ChangeWriter
from consumer.stages.segmentation.decisions import Decisions, count_changes
from consumer.stages.segmentation.for_users import ListSource, UserRecommender
from consumer.stages.segmentation.inactive import SilentUsers
from consumer.stages.segmentation.item_events import ItemEventWriter, segments_after
from consumer.stages.segmentation.labelling import FixedLabelModel, Labelling, LabelModelSource
from consumer.stages.segmentation.model_source import FixedModel, InForce, ModelSource
from consumer.stages.segmentation.placement import Placement
from consumer.stages.segmentation.preparation import CleanElsewhere, Preparation
from consumer.stages.segmentation.prepared import EVENT_TYPES, PreparedBatch
from consumer.stages.segmentation.profile_writer import ProfileWriter
from consumer.stages.segmentation.reassignment import Look, Reassignment
from consumer.stages.segmentation.restoration import ProfileRestoration
from consumer.stages.segmentation.sampled_users import SampledUserWriter
from consumer.stages.segmentation.stats import SegmentationStats
from consumer.stages.segmentation.turns import Moves
from consumer.stages.segmentation.words import Words
from consumer.stages.shared.dead_letters import (
    DeadLetterLimit,
    DeadLetterLimitError,
    dead_letter_output,
)
from consumer.stages.shared.refusal_log import RefusalLog
from consumer.stages.shared.unexpected import Faults, apply_apart
from models.embedding.runner_types import Embedder
from models.profiles.sample import rank
from models.profiles.snapshot import ProfileSnapshot
from models.profiles.table import ProfileRows, ProfileTable, Seats, from_microseconds
from models.segments.model import SegmentModel
from schemas.dead_letters import redrives_of
from schemas.user_labels import LabelGiven

logger = logging.getLogger(__name__)

# How long a piece of a take-up lasts where no event comes; and where some do, since what was
# written takes as long again to be committed.
_PIECE_SECONDS, _SHORT_PIECE_SECONDS = 0.02, 0.01
_NOBODY = np.zeros(0, np.int64)


class _Touched(NamedTuple):
    """Users of a partition whose states a transaction makes.

    Attributes
    ----------
    states, seats
        Theirs; the seats where they are known.
    looked
        Places of those who were looked at under the present model as writers of a batch.
    """

    partition: int
    states: ProfileRows
    seats: Seats | None = None
    looked: NDArray[np.int64] = _NOBODY


class SegmentationStage:
    """Keeps the profiles of the users of its partitions and publishes their changes of segment.

    Parameters
    ----------
    settings
        Topics, policies and limits.
    embedder
        From text to vector.
    models
        Where segment models come from.
    clock
        Gives `changed_at`; the wall clock when not given.
    intake_clock
        What event times in the future are told by; the wall clock when not given.
    label_models
        Where label models come from, where `labels.enabled`.
    lists
        Where items of segments come from, where `recommendations.users`; without it nothing is
        recommended to users, though what they have is kept.
    input_partitions
        Partitions of the input, where records are to be looked at for being in the right one.
    clean_elsewhere
        What cleans in other processes, where that is not done in the threads that call `prepare`.
    log_refusals
        Whether the log tells of refused records; a replay tells of them at its end.
    """

    restore_after_abort = False
    fixed_partitions = True

    def __init__(
        self,
        settings: Settings,
        embedder: Embedder,
        models: ModelSource,
        clock: Clock = wall_clock,
        intake_clock: Clock = wall_clock,
        *,
        label_models: LabelModelSource | None = None,
        lists: ListSource | None = None,
        input_partitions: int | None = None,
        clean_elsewhere: CleanElsewhere | None = None,
        log_refusals: bool = True,
    ) -> None:
        self._faults = Faults()
        self.labels = Labelling(
            settings, label_models or FixedLabelModel(), embedder.identity, self._faults
        )
        self.inputs = (
            (settings.topics.events, settings.topics.labels)
            if self.labels.enabled
            else (settings.topics.events,)
        )
        self.stats = SegmentationStats()
        self.model: SegmentModel | None = None
        self._topics = settings.topics
        self._embedder = embedder
        self._models = models
        self._clock = clock
        self._intake_clock = intake_clock
        self._preparation = Preparation(
            settings.events.intake(),
            embedder,
            intake_clock,
            self._faults,
            settings.dead_letters.max_unexpected,
            language_share=settings.events.language_share,
            elsewhere=clean_elsewhere,
        )
        weights = settings.events.weights
        self._weights = np.array([weights[kind] for kind in EVENT_TYPES], np.float64)
        self._policy = settings.profile
        self._dead_letters = settings.dead_letters
        self._limit = DeadLetterLimit(settings.dead_letters)
        self._refusals = RefusalLog(enabled=log_refusals)
        partitioner = settings.events.partitioner
        self.placement = (
            None
            if partitioner == "any" or input_partitions is None
            else Placement(partitioner, input_partitions)
        )
        writer = ChangeWriter(settings.topics, settings.kafka.group_id)
        self._decisions = Decisions(settings.assignment, self.labels, writer)
        self._reassignment = Reassignment(
            self._decisions, self._faults, most_users=settings.batch.reassign_users
        )
        self._silent = SilentUsers(settings, writer)
        self._words = Words()
        self._profiles = ProfileWriter(
            settings.topics, embedder.identity, labels=self.labels.enabled
        )
        self._items = (
            ItemEventWriter(settings.topics.item_events, embedder.identity)
            if settings.recommendations.enabled
            else None
        )
        self._kept_items = settings.recommendations.items_kept
        self._for_users = (
            None
            if lists is None or self._kept_items is None
            else UserRecommender(
                settings.topics.user_recommendations, settings.recommendations, lists
            )
        )
        self._sampled_users = (
            SampledUserWriter(settings.topics) if settings.recommendations.enabled else None
        )
        self._drift = settings.drift.enabled
        self._tables: dict[int, ProfileTable] = {}
        self._touched: list[_Touched] = []
        # Who else was looked at under the present model, by their rows.
        self._looked: list[tuple[int, NDArray[np.int64]]] = []
        self._pending = SegmentationStats()
        self._in_time: PreparedBatch | None = None

    # --- partitions -------------------------------------------------------------------------

    def restoration(self, partition: int) -> ProfileRestoration:
        """Begin to read back a partition's profiles."""
        return ProfileRestoration(
            self._topics.profiles,
            partition,
            self._embedder,
            self._policy.event_memory,
            self._policy.float16_limit,
            references=self._policy.references,
            items=self._kept_items,
        )

    def may_take_over(self, restoration: ProfileRestoration) -> bool:
        """Tell whether the newest model known is as late as those that have decided on the users.

        Another worker may have read a newer one already. To decide under the one before would put
        changes of a user behind those of a later version. A model from a file stays as it is.
        """
        newest = self._models.latest()
        if isinstance(self._models, FixedModel):
            return True
        return restoration.latest_version <= (newest.version if newest else 0)

    def assigned(self, partition: int, restoration: ProfileRestoration) -> None:
        """Take over a partition.

        Raises
        ------
        StageError
            If profiles of another embedding model are among what was read back.
        """
        restoration.check()
        self._tables[partition] = restoration.table
        self._words.keep(partition, restoration.table, self._worded_upto)
        self._reassignment.partition_came()

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""
        self._tables.pop(partition, None)
        self._words.partition_went(partition)
        self._reassignment.partition_went(partition)
        self._silent.revoked(partition)

    def snapshot(self, partition: int) -> ProfileSnapshot:
        """Take a partition's committed profiles; between `committed` and the next of it."""
        return ProfileSnapshot.of(self._tables[partition])

    @property
    def recommends(self) -> bool:
        """Whether items are published for users."""
        return self._for_users is not None

    @property
    def tables(self) -> dict[int, ProfileTable]:
        """Profiles by partition; not to be written."""
        return self._tables

    def written(self, partition: int, users: Sequence[str]) -> list[Output]:
        """Give the records of users' committed states, and of those whom the trainer samples.

        Users who are not known any more are left out.
        """
        table = self._tables[partition]
        rows = table.gather([user for user in users if user in table])
        known = set(np.flatnonzero(rows.weights > 0).tolist())
        return [
            *self._profiles.states(partition, rows),
            *self._profiles.samples(rows, self._sampled_upto, moved=known),
        ]

    @property
    def settled(self) -> bool:
        """Whether every user has been looked at under the newest model known, if there is one."""
        return self.model is None or self._reassignment.settled

    @property
    def users_left(self) -> int:
        """Users who have not been looked at under the newest model known."""
        return 0 if self.model is None else self._reassignment.left(list(self._tables.values()))

    # --- the way of an event ----------------------------------------------------------------

    def prepare(self, records: Sequence[Record]) -> PreparedBatch:
        """Validate, clean and embed; touches no state, and may run beside itself."""
        labels = [record for record in records if record.topic == self.labels.topic]
        if not (self.labels.enabled and labels):
            return self._preparation(records)
        events = [record for record in records if record.topic != self.labels.topic]
        read = self.labels.read(labels, self._intake_clock())
        return replace(self._preparation(events), labels=read)

    def apply(self, prepared: PreparedBatch, partitions: frozenset[int]) -> Sequence[Output]:
        """Move profiles and segments by the batch's events, in their order for each user.

        A record on which that fails in a way that nobody expected is refused, and the others are
        applied as if it had not been there.
        """
        self._adopt_newest()
        outputs = apply_apart(
            prepared,
            lambda batch: self._apply(batch, partitions),
            self.aborted,
            faults=self._faults,
            limit=self._limit,
            most=self._dead_letters.max_unexpected,
        )
        outputs = self._with_sampled(outputs)
        try:
            self._limit.check(accepted=self._pending.used, refused=self._pending.all_refused)
        except DeadLetterLimitError:
            self._refusals.stopped()
            raise
        return outputs

    def without_late(self, prepared: PreparedBatch, partitions: frozenset[int]) -> PreparedBatch:
        """Give the batch with those events refused that would bring silent users back.

        One that is given back here is not looked through again before it is committed.
        """
        if prepared is not self._in_time:
            late = self._silent.late(prepared, self._tables, partitions)
            self._in_time = prepared = prepared.refusing_events(late)
        return prepared

    def _apply(self, prepared: PreparedBatch, partitions: frozenset[int]) -> list[Output]:
        prepared = self.without_late(prepared, partitions)
        if self.placement is not None:
            own = [record for record in prepared.records if record.partition in partitions]
            self.placement.look(own)
        outputs = self._refused(prepared, partitions)
        records = prepared.records
        homes = [records[number].partition for number in prepared.events.numbers.tolist()]
        home = np.array(homes, np.int64)
        by_partition = {
            number: np.flatnonzero(home == number)
            for number in dict.fromkeys(homes)
            if number in partitions
        }
        for row, names in prepared.events.left_out.items():
            if prepared.record_of(row).partition in partitions:
                self._pending.left_out.update(names)
        labels: dict[int, list[LabelGiven]] = defaultdict(list)
        current = [each for each in prepared.labels if each.record.partition in partitions]
        outputs += self.labels.refused(current, self._pending.labels_refused)
        if self.placement is not None:
            self.placement.look([each.record for each in current])
        for each in current:
            if isinstance(each.outcome, LabelGiven):
                labels[each.record.partition].append(each.outcome)
                self._pending.labels += 1
            else:
                self._refusals.note(each.record, each.outcome, self._topics.label_dead_letters)
        now = self._clock()
        for partition in dict.fromkeys((*by_partition, *labels)):
            outputs += self._apply_partition(
                partition,
                prepared,
                by_partition.get(partition, home[:0]),
                now,
                labels[partition],
            )
        return outputs

    def _refused(self, prepared: PreparedBatch, partitions: frozenset[int]) -> list[Output]:
        """Give the dead letters of events, and count them."""
        topic, most_bytes = self._topics.dead_letters, self._dead_letters.most_bytes
        outputs = []
        for record, refusal in prepared.refused():
            if record.partition in partitions:
                self._pending.refused[refusal.reason] += 1
                self._pending.refused_again[refusal.reason] += redrives_of(record.headers) > 0
                self._refusals.note(record, refusal, topic)
                outputs.append(dead_letter_output(topic, record, refusal, most_bytes))
        return outputs

    def _apply_partition(
        self,
        partition: int,
        batch: PreparedBatch,
        chosen: NDArray[np.int64],
        now: datetime,
        given: Sequence[LabelGiven],
    ) -> list[Output]:
        events, rows_of_events = batch.events, chosen.tolist()
        places: dict[str, int] = {}
        users = [events.users[row] for row in rows_of_events]
        own = np.array([places.setdefault(user, len(places)) for user in users], np.int64)
        moved = len(places)
        for each in given:
            places.setdefault(each.user_id, len(places))
        table = self._tables[partition]
        seats = table.seats(list(places))
        rows = table.gather(list(places), seats)
        look = self._look_at_writers(partition, rows, seats.rows[:moved], now)
        relabelled = self.labels.give(rows, places, given)
        ranks = np.ones(len(rows))
        ranks[own] = events.ranks[chosen]
        ranks[moved:] = [rank(user) for user in rows.users[moved:]]
        worded = ranks <= self._worded_upto
        for row in [row for row, terms in enumerate(rows.terms) if terms]:
            if not worded[row]:
                rows.terms[row] = {}
        events_before = rows.events[:moved].copy() if self._for_users is not None else None
        moves = Moves(
            rows,
            own,
            chosen,
            batch,
            weights=self._weights,
            policy=self._policy,
            worded=worded,
            stats=self._pending,
        )
        changes, left, of_items = self._move(moves, partition, look.left, seats, now)
        if self._for_users is not None and events_before is not None:
            counted = np.flatnonzero(rows.events[:moved] > events_before)
            for_users = self._for_users.outputs(rows, counted, partition)
            self._pending.recommended += len(for_users)
            of_items += for_users
        looked = np.setdiff1d(np.arange(moved), left, assume_unique=True)
        # A label that says what is known already touches nobody.
        if moved < len(rows):
            touched = [*range(moved), *(row for row in relabelled if row >= moved)]
            rows = rows.take(touched)
            relabelled = [touched.index(row) for row in relabelled]
            ranks, seats = ranks[touched], seats.take(touched)
        self._touched.append(_Touched(partition, rows, seats, looked))
        outputs = [*look.changes, *changes, *self._profiles.states(partition, rows)]
        # One for each sampled user that the batch touched.
        sampled = np.flatnonzero(ranks[own] <= self._sampled_upto) if self._drift else own[:0]
        latest = dict(zip(own[sampled].tolist(), batch.embeddings[chosen[sampled]], strict=True))
        outputs += self._profiles.samples(
            rows,
            self._sampled_upto,
            ranks=ranks,
            moved=range(moved),
            relabelled=relabelled,
            latest=latest,
        )
        return outputs + of_items

    def _look_at_writers(
        self, partition: int, rows: ProfileRows, own: NDArray[np.int64], now: datetime
    ) -> Look:
        """Look at users under a new model before their events are applied, where that is due.

        They are the first of `rows`, which are set to what that comes to.
        """
        if (under := self._in_force) is None:
            return Look()
        look = self._reassignment.of_batch(
            self._tables[partition], rows, own, Cause.of_model(now), under
        )
        self._take_in(look)
        return look

    def _move(
        self, moves: Moves, partition: int, left: NDArray[np.int64], seats: Seats, now: datetime
    ) -> tuple[list[Output], NDArray[np.int64], list[Output]]:
        """Apply the events of a partition.

        Parameters
        ----------
        left
            Places of users on whom the former model goes on deciding.

        Returns
        -------
        tuple
            The records of the changes, those on whom it still does, and what the events say of
            items.
        """
        fresh, after = moves.apply()
        batch, items = moves.batch, self._items
        if not len(fresh) or (under := self._in_force) is None:
            nobody = moves.rows.segments[after.places]
            return [], left, self._told(batch, fresh, nobody, partition)

        def cause_of(entry: int) -> Cause:
            row = int(fresh[entry])
            time = from_microseconds(int(batch.events.times[row]))
            return Cause.of_event(
                batch.record_of(row),
                batch.events.event_ids[row],
                time,
                now,
            )

        former, outputs = self._reassignment.former, list[Output]()
        is_left = np.zeros(len(moves.rows), np.bool_)
        is_left[left] = former is not None
        by_former = np.flatnonzero(is_left[after.places])
        leaving = self._reassignment.leaving(after, by_former, under)
        if len(leaving):
            look = self._reassignment.of_leaving(
                self._tables[partition],
                moves.rows,
                leaving,
                seats.rows[leaving],
                Cause.of_model(now),
                under,
            )
            self._take_in(look)
            outputs += look.changes
            is_left[leaving] = False
            by_former = np.flatnonzero(is_left[after.places])
        others = np.flatnonzero(~is_left[after.places])
        before = None if items is None else moves.rows.segments.copy()
        pushes_of = partial(moves.pushes, fresh, after)
        decide = partial(self._decisions.by_events, cause_of=cause_of, pushes_of=pushes_of)
        decided = decide(moves.rows, after, under, others)
        if former is not None:
            decided |= decide(moves.rows, after, former, by_former)
        self._pending.changes.update(count_changes(decided))
        outputs += [output for entry in sorted(decided) for output in decided[entry][1]]
        told = []
        if items is not None and before is not None:
            segments = segments_after(before, after, decided)
            told = self._told(batch, fresh, segments, partition)
        return outputs, np.flatnonzero(is_left), told

    def _told(
        self, batch: PreparedBatch, fresh: NDArray[np.int64], segments: NDArray[np.int64], home: int
    ) -> list[Output]:
        """Give what events of a partition say of items, and of users by their attributes."""
        if self._items is None or self._sampled_users is None:
            return []
        return [
            *self._items.outputs(batch, fresh, segments, home),
            *self._sampled_users.of_events(batch, fresh, segments, self._sampled_upto),
        ]

    def _with_sampled(self, outputs: list[Output]) -> list[Output]:
        """Add in which segment sampled users are whose membership is among outputs."""
        if self._sampled_users is None:
            return outputs
        return outputs + self._sampled_users.of_changes(outputs, self._sampled_upto)

    # --- a new model ------------------------------------------------------------------------

    def maintain(self, *, idle: bool) -> Sequence[Output] | None:
        """Take a new model over, look at the next users under it, let go of who fell silent."""
        self._adopt_newest()
        if self._for_users is not None:
            self._for_users.follow()
        if self.model is None or (under := self._in_force) is None:
            return None
        if self._words.piece():
            return []
        cause = Cause.of_model(self._clock())
        seconds = _PIECE_SECONDS if idle else _SHORT_PIECE_SECONDS
        look = self._reassignment.piece(self._tables, cause, under, seconds=seconds)
        if look is None:
            gone = self._silent.next(self._tables, self.model, self._clock(), self._pending)
            return None if gone is None else self._with_sampled([*gone])
        return self._outputs_of(look)

    def share(self, seconds: float) -> Sequence[Output]:
        """Look at the next users under a new model in the transaction of a batch."""
        if (under := self._in_force) is None:
            return []
        # A batch touches each partition once.
        beside = {own.partition: own.seats.rows for own in self._touched if own.seats is not None}
        look = self._reassignment.piece(
            self._tables,
            Cause.of_model(self._clock()),
            under,
            seconds=seconds,
            beside=beside,
        )
        return [] if look is None else self._outputs_of(look)

    def _outputs_of(self, look: Look) -> Sequence[Output]:
        self._take_in(look)
        self._looked += look.looked
        self._touched += [_Touched(partition, moved) for partition, moved in look.moved]
        states = [self._profiles.states(partition, moved) for partition, moved in look.moved]
        outputs = [*look.changes, *(output for outputs in states for output in outputs)]
        return self._with_sampled(outputs)

    def _take_in(self, look: Look) -> None:
        self._pending.changes.update(look.counts)
        self._pending.passed_over += look.passed_over

    @property
    def _in_force(self) -> InForce | None:
        """The newest models known; None before the first one of the segments."""
        return None if self.model is None else InForce(self.model, self.labels.model)

    def _adopt_newest(self) -> None:
        former, newest = self._in_force, self._models.latest()
        is_new = newest is not None and (self.model is None or newest.version > self.model.version)
        if newest is not None and is_new:
            self._adopt(newest)
            if newest.rollback_of is not None:
                # What an operator has taken back is not to decide any further.
                former = None
        if self.labels.adopt() or is_new:
            self._reassignment.begin(former)

    def _adopt(self, model: SegmentModel) -> None:
        if model.embedding != self._embedder.identity:
            raise StageError(
                f"segment model {model.version} was learned on the embedding model "
                f"{model.embedding[:12]}, this worker runs {self._embedder.identity[:12]}; "
                "run the same embedding model in workers and trainer's feed, or bring the group to "
                "this one with 'segmenter migrate'"
            )
        logger.info("segment model %d: %d segments", model.version, len(model.ids))
        self.model = model
        self._preparation.sampled = self._worded_upto
        for partition, table in self._tables.items():
            self._words.keep(partition, table, self._worded_upto)

    @property
    def _worded_upto(self) -> float:
        """Rank up to which users' words are kept."""
        return self._sampled_upto if self._policy.words == "sampled" else 1.0

    @property
    def _sampled_upto(self) -> float:
        """Rank up to which users are in the trainer's sample."""
        return self.model.sample_threshold if self.model else 1.0

    # --- the end of a transaction -----------------------------------------------------------

    def committed(self) -> None:
        """Make the batch's rows the state."""
        for partition, states, seats, looked in self._touched:
            table = self._tables[partition]
            rows = table.put(states, seats)
            self._silent.wrote(partition, states)
            table.mark_looked(rows[looked], self._reassignment.epoch)
        for partition, rows in self._looked:
            self._tables[partition].mark_looked(rows, self._reassignment.epoch)
        self._silent.committed(self._tables)
        self.stats.add(self._pending)
        self._limit.commit(accepted=self._pending.used, refused=self._pending.all_refused)
        self._refusals.committed()
        if self.placement is not None:
            self.placement.committed()
        self._clear()

    def aborted(self) -> None:
        """Forget the batch; who was looked at in it is looked at again."""
        self._silent.aborted()
        self._refusals.aborted()
        if self.placement is not None:
            self.placement.aborted()
        self._clear()

    def _clear(self) -> None:
        self._touched, self._looked, self._in_time = [], [], None
        self._pending = SegmentationStats()
