"""The labels' part of the segmentation stage: who was given one, and which one is published."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.segmentation.standings import Standings
from consumer.stages.shared.dead_letters import dead_letter_output
from consumer.stages.shared.unexpected import Faults
from models.labels.decision import LabelDecisions, judge_labels
from models.labels.model import LabelModel
from models.profiles.table import ProfileRows, unit_rows
from schemas.changes import LabelRef
from schemas.dead_letters import Refusal
from schemas.intake import RefusedError
from schemas.user_labels import LabelGiven, LabelIntake

logger = logging.getLogger(__name__)

_DIGITS = 6


class LabelModelSource(Protocol):
    """Where a worker gets the label model from."""

    def latest(self) -> LabelModel | None:
        """Give the newest model known, without waiting."""
        ...


@dataclass(slots=True)
class FixedLabelModel:
    """The source of a group that learns no labels, and of a replay before the first model."""

    model: LabelModel | None = None

    def latest(self) -> LabelModel | None:
        """Give the model."""
        return self.model


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """A record of `segment-labels`: what it says, or why it is refused."""

    record: Record
    outcome: LabelGiven | Refusal


class Labelling:
    """Reads labels, keeps them in the users' profiles, and decides what is published.

    Parameters
    ----------
    settings
        Topics and policies.
    source
        Where label models come from.
    embedding
        Identity of the worker's embedding model.
    faults
        Makes refusals of what the program fails on.
    """

    def __init__(
        self, settings: Settings, source: LabelModelSource, embedding: str, faults: Faults
    ) -> None:
        self._faults = faults
        self.model: LabelModel | None = None
        self.enabled = settings.labels.enabled
        self.topic = settings.topics.labels
        self._dead_letters = settings.topics.label_dead_letters
        self._max_bytes = settings.dead_letters.most_bytes
        self._intake: LabelIntake = settings.labels_intake()
        self._policy = settings.labels
        self._source = source
        self._embedding = embedding
        self._passed_over = 0

    # --- what was given ---------------------------------------------------------------------

    def read(self, records: Sequence[Record], now: datetime) -> tuple[LabelEntry, ...]:
        """Read records of `segment-labels`; touches no state."""
        entries = []
        for record in records:
            try:
                outcome: LabelGiven | Refusal = self._intake.read(record.value, record.key, now)
            except RefusedError as error:
                outcome = error.refusal
            except Exception as error:
                outcome = self._faults.refusal(error)
            entries.append(LabelEntry(record, outcome))
        return tuple(entries)

    def refused(self, entries: Sequence[LabelEntry], counts: Counter[str]) -> list[Output]:
        """Give the dead letters among the entries, and count them by reason."""
        outputs = []
        for entry in entries:
            if isinstance(entry.outcome, Refusal):
                counts[entry.outcome.reason] += 1
                outputs.append(
                    dead_letter_output(
                        self._dead_letters, entry.record, entry.outcome, self._max_bytes
                    )
                )
        return outputs

    @staticmethod
    def give(rows: ProfileRows, places: dict[str, int], given: Sequence[LabelGiven]) -> list[int]:
        """Set the users' labels; give the rows of those whose label is another one now."""
        before = {places[each.user_id]: rows.given[places[each.user_id]] for each in given}
        for each in given:
            rows.given[places[each.user_id]] = each.label
        return sorted(row for row, label in before.items() if rows.given[row] != label)

    # --- what is published ------------------------------------------------------------------

    def adopt(self) -> bool:
        """Take a new label model over; tell whether there was one."""
        newest = self._source.latest() if self.enabled else None
        if newest is None or newest.version <= max(
            self._passed_over, self.model.version if self.model else 0
        ):
            return False
        if newest.embedding != self._embedding:
            # After a migration, until the trainer has learned from the new profiles.
            logger.info("label model %d is of another embedding model: not used", newest.version)
            self._passed_over, self.model = newest.version, None
            return False
        logger.info("label model %d: %d labels", newest.version, len(newest.names))
        self.model = newest
        return True

    # Under a model that need not be the latest: `consumer.stages.segmentation.reassignment`.

    @staticmethod
    def probabilities(
        model: LabelModel | None, sums: NDArray[np.float32]
    ) -> NDArray[np.float64] | None:
        """Give the probability of each label for profiles; None without a model."""
        return None if model is None else model.probabilities(unit_rows(sums))

    def decide(
        self,
        rows: ProfileRows,
        at: Standings,
        pending: NDArray[np.int64],
        model: LabelModel | None,
        probabilities: NDArray[np.float64] | None,
        *,
        new: bool,
    ) -> LabelDecisions | None:
        """Decide labels at some moments; None without a model.

        `new` tells that no event has made the users be looked at: a model that has not decided on a
        user before then need not wait for the user to dwell.
        """
        if model is None or probabilities is None:
            return None
        places = at.places[pending]
        rested = at.events[pending] - rows.label_since[places]
        if new:
            unseen = rows.label_versions[places] < model.version
            rested = np.where(unseen, self._policy.dwell_events, rested)
        return judge_labels(
            probabilities[pending],
            [rows.predicted[place] for place in places.tolist()],
            at.events[pending],
            rested,
            model,
            self._policy,
        )

    @staticmethod
    def note(rows: ProfileRows, places: NDArray[np.int64], model: LabelModel | None) -> None:
        """Note in rows that labels were decided, where there is a model."""
        if model is not None:
            rows.label_versions[places] = model.version

    @staticmethod
    def publish(
        rows: ProfileRows,
        at: Standings,
        moment: int,
        decisions: LabelDecisions | None,
        entry: int,
        *,
        model: LabelModel | None,
    ) -> LabelRef | None:
        """Set a user's label at a moment to what an entry of the decisions says.

        Gives the label for the change.
        """
        if decisions is None or model is None:
            return None
        row = int(at.places[moment])
        number = int(decisions.row[entry])
        name = model.names[number] if number >= 0 else None
        probability = None if name is None else float(decisions.probability[entry])
        previous = rows.predicted[row]
        if decisions.changed[entry]:
            rows.predicted[row] = name
            rows.label_since[row] = at.events[moment]
        return LabelRef(
            name=name,
            probability=None if probability is None else round(probability, _DIGITS),
            previous=previous,
            version=model.version,
        )
