"""Which users change segment or label, by an event or by a new model, and what is written of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Output
from consumer.stages.segmentation.changes import Cause, ChangeWriter
from consumer.stages.segmentation.labelling import Labelling
from models.profiles.table import ProfileRows
from models.segments.decision import decide
from models.segments.lineage import Lineage
from models.segments.model import SegmentModel
from models.segments.policy import AssignmentPolicy
from schemas.changes import ChangeReason, SegmentChange

Decided = dict[int, tuple[SegmentChange, list[Output]]]
"""Change and records of those who change, by their place in what was asked for."""


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
        places: NDArray[np.int64],
        cause_of: Callable[[int], Cause],
        model: SegmentModel,
    ) -> Decided:
        """Decide on some rows, each of which an event has moved.

        `cause_of` gives the event of an entry of `places`.
        """
        rested = rows.events[places] - rows.since[places]
        return self._decide(rows, places, cause_of, model, rested, by_model=False)

    def moved_by(self, rows: ProfileRows, model: SegmentModel) -> NDArray[np.int64]:
        """Give the rows that `by_model` would change; only notes in `rows` that it has decided.

        Of event ids and words nothing is asked, so `rows` need not have them.
        """
        everyone = np.arange(len(rows))
        decisions = decide(
            rows.vectors(),
            rows.segments,
            rows.events,
            self._rested(rows, model),
            model,
            self._policy,
            weights=rows.weights,
        )
        labels = self._labels.decide(rows, everyone, new=True)
        changed = decisions.changed if labels is None else decisions.changed | labels.changed
        return np.flatnonzero(changed)

    def by_model(self, rows: ProfileRows, cause: Cause, model: SegmentModel) -> Decided:
        """Decide on all rows under a model that may be new to them."""
        rested = self._rested(rows, model)
        places = np.arange(len(rows))
        return self._decide(rows, places, lambda _: cause, model, rested, by_model=True)

    def _rested(self, rows: ProfileRows, model: SegmentModel) -> NDArray[np.int64]:
        # What a new model says holds at once; dwelling is for behaviour. But users are also looked
        # at again after a restart, a rebalance or an abort: a model that has decided on them before
        # is not new to them, and must not move them earlier than their next event would.
        dwelt = rows.events - rows.since
        return np.where(rows.versions < model.version, self._policy.dwell_events, dwelt)

    def _decide(
        self,
        rows: ProfileRows,
        places: NDArray[np.int64],
        cause_of: Callable[[int], Cause],
        model: SegmentModel,
        rested: NDArray[np.int64],
        *,
        by_model: bool,
    ) -> Decided:
        decisions = decide(
            rows.vectors(places),
            rows.segments[places],
            rows.events[places],
            rested,
            model,
            self._policy,
            weights=rows.weights[places],
        )
        before, decided = rows.segments[places], rows.versions[places]
        rows.versions[places] = model.version
        labels = self._labels.decide(rows, places, new=by_model)
        changed = decisions.changed if labels is None else decisions.changed | labels.changed
        found: Decided = {}
        for i in np.flatnonzero(changed).tolist():
            place = int(places[i])
            label = self._labels.publish(rows, place, labels, i)
            if decisions.changed[i]:
                reason = ChangeReason.BEHAVIOUR
                if by_model:
                    after = int(decisions.segment[i])
                    reason = self._lineage_of(model).reason(int(before[i]), after, int(decided[i]))
            elif label is not None:
                reason = ChangeReason.LABEL_CHANGED
            else:
                continue
            found[i] = self._writer.write(
                rows, place, decisions.at(i), cause_of(i), model, reason=reason, label=label
            )
        return found

    def _lineage_of(self, model: SegmentModel) -> Lineage:
        """Give what became of former segments; worked out when the first user asks."""
        if self._lineage is None or self._lineage.version != model.version:
            self._lineage = Lineage(model)
        return self._lineage


def count_changes(found: Decided) -> Counter[tuple[str, str]]:
    """Count changes by status and reason."""
    return Counter((change.status, change.reason) for change, _ in found.values())
