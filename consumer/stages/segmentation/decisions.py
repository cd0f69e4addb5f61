"""Which users change segment or label, by an event or by a new model, and what is written of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Output
from consumer.stages.segmentation.changes import (
    Cause,
    Change,
    ChangeWriter,
    Pushes,
    shares_of,
)
from consumer.stages.segmentation.labelling import Labelling
from consumer.stages.segmentation.model_source import InForce
from consumer.stages.segmentation.standings import Standings
from models.labels.decision import LabelDecisions
from models.profiles.table import ProfileRows, unit_rows
from models.segments.decision import Decisions as SegmentDecisions
from models.segments.decision import decide, nearest_beyond_doubt
from models.segments.lineage import Lineage
from models.segments.model import SegmentModel
from models.segments.policy import AssignmentPolicy
from models.segments.rounding import rounded
from schemas.changes import ChangeReason
from schemas.segment_model import NO_SEGMENT

Rows = NDArray[np.int64]

Decided = dict[int, tuple[Change, list[Output]]]
"""Change and records of those who change, by their place in what was asked for."""

AT_ONCE = 64
"""Moments of one user that are decided on at once: after a change the rest is decided again."""


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """On whom is to be decided, and what the answer rests on whatever the segment so far.

    Attributes
    ----------
    certain
        Row of the nearest centre at each moment, -1 where there is doubt.
    probabilities
        Of each label at each moment, where labels are known.
    """

    rows: ProfileRows
    at: Standings
    under: InForce
    certain: Rows
    probabilities: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    """What was decided on some moments.

    Attributes
    ----------
    before, decided
        The segments so far, and the versions that they were decided under, of every moment.
    seats
        The moments of which an exact answer was asked; of the others nothing changes.
    segments
        The answers, one a seat.
    labels
        Where labels are known, of every moment.
    changes
        Entries of `seats` of which something changes.
    """

    before: Rows
    decided: Rows
    seats: Rows
    segments: SegmentDecisions
    labels: LabelDecisions | None
    changes: Rows


class Decisions:
    """Decides on users, and writes down what changes.

    Parameters
    ----------
    policy
        When a user changes segment.
    labels
        What is known of labels.
    writer
        Writes changes.
    """

    def __init__(self, policy: AssignmentPolicy, labels: Labelling, writer: ChangeWriter) -> None:
        self._policy = policy
        self._labels = labels
        self._writer = writer
        self._lineage: Lineage | None = None

    def by_events(
        self,
        rows: ProfileRows,
        after: Standings,
        under: InForce,
        entries: Rows,
        *,
        cause_of: Callable[[int], Cause],
        pushes_of: Callable[[Rows], Pushes],
    ) -> Decided:
        """Decide on users as each of their events has left them.

        All of a user's moments are decided on at once, as if nothing changed in between. Where
        something does, what follows is decided again: nobody's decision rests on another row, so
        the outcome is that of one event after the other.

        `cause_of` gives the event of an entry of `after`, and `pushes_of` what made the profiles of
        some. Only `entries` are decided on, which are all or all of some users.
        """
        if not len(entries):
            return {}
        if len(entries) < len(after.places):
            every = np.arange(len(entries))
            own = self.by_events(
                rows,
                after.take(entries),
                under,
                every,
                cause_of=lambda entry: cause_of(int(entries[entry])),
                pushes_of=lambda some: pushes_of(entries[some]),
            )
            return {int(entries[entry]): change for entry, change in own.items()}
        question = self._question(rows, after, under)
        found: Decided = {}
        last = int(after.nth.max(initial=0))
        for first in range(0, last + 1, AT_ONCE):
            pending = np.arange(len(after.places))
            if last >= AT_ONCE:
                pending = np.flatnonzero((after.nth >= first) & (after.nth < first + AT_ONCE))
            while len(pending):
                rested = after.events[pending] - rows.since[after.places[pending]]
                changed = self._decide(question, pending, rested, cause_of, pushes_of)
                found |= changed
                pending = _following(after.places, pending, list(changed))
        return found

    def may_move(self, rows: ProfileRows, places: Rows, under: InForce) -> Rows:
        """Give those of some rows that `by_model` may change; it would leave the others in place.

        To ask takes a tenth of what deciding takes, and leaves no trace. Of event ids and words
        nothing is asked, so `rows` need not have them.
        """
        at = Standings.of(rows)
        question = self._question(rows, at if len(places) == len(rows) else at.take(places), under)
        seats, _ = self._asked(question, np.arange(len(places)), by_model=True)
        return places[seats]

    def by_model(self, rows: ProfileRows, cause: Cause, under: InForce) -> Decided:
        """Decide on all rows under a model that may be new to them."""
        question = self._question(rows, Standings.of(rows), under)
        rested = self._rested(rows, under.segments)
        return self._decide(question, question.at.places, rested, lambda _: cause, None)

    def _rested(self, rows: ProfileRows, model: SegmentModel) -> Rows:
        # What a new model says holds at once; dwelling is for behaviour. But users are also looked
        # at again after a restart, a rebalance or an abort: a model that has decided on them before
        # is not new to them, and must not move them earlier than their next event would.
        dwelt = rows.events - rows.since
        return np.where(rows.versions < model.version, self._policy.dwell_events, dwelt)

    def _question(self, rows: ProfileRows, at: Standings, under: InForce) -> _Question:
        # Distance alone may put a user out of a segment, so where there is a limit all are asked.
        certain = (
            nearest_beyond_doubt(at.sums, under.segments)
            if self._policy.max_distance_share is None
            else np.full(len(at.sums), -1)
        )
        probabilities = self._labels.probabilities(under.labels, at.sums)
        return _Question(rows, at, under, certain, probabilities)

    def _asked(
        self, question: _Question, pending: Rows, *, by_model: bool
    ) -> tuple[Rows, LabelDecisions | None]:
        """Give the entries of `pending` of which something may change, and the labels of all."""
        rows, at, under = question.rows, question.at, question.under
        labels = self._labels.decide(
            rows, at, pending, under.labels, question.probabilities, new=by_model
        )
        known = under.segments.rows_of(rows.segments[at.places[pending]])
        asked = (known < 0) | (question.certain[pending] != known)
        if labels is not None:
            asked |= labels.changed
        return np.flatnonzero(asked), labels

    def _judge(
        self, question: _Question, pending: Rows, rested: Rows, *, by_model: bool
    ) -> _Verdict:
        """Decide on some moments, and note in the rows that they were decided on."""
        rows, at, (model, label_model) = question.rows, question.at, question.under
        places = at.places[pending]
        before, decided = rows.segments[places], rows.versions[places]
        seats, labels = self._asked(question, pending, by_model=by_model)
        rows.versions[places] = model.version
        self._labels.note(rows, places, label_model)
        entries = pending[seats]
        segments = decide(
            unit_rows(at.sums[entries]),
            before[seats],
            at.events[entries],
            rested[seats],
            model,
            self._policy,
            weights=at.weights[entries],
        )
        changed = segments.changed if labels is None else segments.changed | labels.changed[seats]
        return _Verdict(before, decided, seats, segments, labels, np.flatnonzero(changed))

    def _decide(
        self,
        question: _Question,
        pending: Rows,
        rested: Rows,
        cause_of: Callable[[int], Cause],
        pushes_of: Callable[[Rows], Pushes] | None,
    ) -> Decided:
        """Decide on some moments, and write down the first change of each user among them.

        `pushes_of` is not given where a model is what decides.
        """
        rows, at, (model, label_model) = question.rows, question.at, question.under
        by_model = pushes_of is None
        verdict = self._judge(question, pending, rested, by_model=by_model)
        places = at.places[pending[verdict.seats[verdict.changes]]]
        changes = verdict.changes[np.sort(np.unique(places, return_index=True)[1])]
        seats = verdict.seats[changes]
        entries = pending[seats]
        found: Decided = {}
        for seat, entry, place, before, decision, moment, shares in zip(
            seats.tolist(),
            entries.tolist(),
            at.places[entries].tolist(),
            verdict.before[seats].tolist(),
            verdict.segments.each(changes, rounded),
            at.moments(entries),
            _shares(verdict.segments, changes, entries, model, pushes_of),
            strict=True,
        ):
            reason = ChangeReason.BEHAVIOUR
            now = NO_SEGMENT if decision.segment is None else decision.segment
            if now == before:
                reason = ChangeReason.LABEL_CHANGED
            elif by_model and before == NO_SEGMENT and not rows.since[place]:
                reason = ChangeReason.FIRST_ASSIGNMENT
            elif by_model:
                version = int(verdict.decided[seat])
                reason = self._lineage_of(model).reason(before, now, version)
            found[entry] = self._writer.write(
                rows,
                place,
                moment,
                decision,
                cause_of(entry),
                model,
                reason=reason,
                label=self._labels.publish(
                    rows, at, entry, verdict.labels, seat, model=label_model
                ),
                shares=shares,
            )
        return found

    def _lineage_of(self, model: SegmentModel) -> Lineage:
        """Give what became of former segments; worked out when the first user asks."""
        if self._lineage is None or self._lineage.version != model.version:
            self._lineage = Lineage(model)
        return self._lineage


def _shares(
    segments: SegmentDecisions,
    changes: Rows,
    entries: Rows,
    model: SegmentModel,
    pushes_of: Callable[[Rows], Pushes] | None,
) -> list[dict[str, Any] | None]:
    """Tell what makes the margins of those of some changes in which a user moves to a segment.

    The margin of one who leaves is none, nor is that of one who enters the only segment there is.
    """
    found: list[dict[str, Any] | None] = [None] * len(changes)
    moved = segments.changed[changes] & (segments.against[changes] >= 0)
    if pushes_of is None or not moved.any():
        return found
    told = shares_of(pushes_of(entries[moved]), segments, changes[moved], model)
    for place, shares in zip(np.flatnonzero(moved).tolist(), told, strict=True):
        found[place] = shares
    return found


def _following(places: Rows, pending: Rows, changed: list[int]) -> Rows:
    """Give what is pending of the users who have changed, behind the change of each."""
    if not changed or len(pending) == 1:
        return pending[:0]
    behind = np.full(int(places.max()) + 1, len(places))
    behind[places[changed]] = changed
    return pending[pending > behind[places[pending]]]


def count_changes(found: Decided) -> Counter[tuple[str, str]]:
    """Count changes by status and reason."""
    return Counter((change.status, change.reason) for change, _ in found.values())
