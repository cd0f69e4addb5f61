"""When the label that is published of a user changes, with hysteresis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.distances import Floats, Ints
from models.labels.model import LabelModel
from models.labels.policy import LabelPolicy

NO_LABEL = -1
"""What stands for "no label" in an array of rows of the model."""


@dataclass(frozen=True, eq=False, slots=True)
class LabelDecisions:
    """The label of each of n users now.

    Attributes
    ----------
    row
        int64[n]. Row of the label in the model, `NO_LABEL` for none.
    probability
        float64[n]. That of this label; NaN without one.
    changed
        bool[n]. It differs from the label before.
    """

    row: Ints
    probability: Floats
    changed: np.ndarray


def decide_labels(  # noqa: PLR0917 - one array after the other
    vectors: Floats,
    current: Sequence[str | None],
    events: Ints,
    rested: Ints,
    model: LabelModel,
    policy: LabelPolicy,
) -> LabelDecisions:
    """Decide the labels of n users.

    In this order, for each user:

    1. A label that the model does not hold cannot stay: the user is as one without.
    2. A user without a label gets the likeliest one, after `min_events` events, if it is likely
       enough (`min_probability`).
    3. A user with one gets the likeliest one if that is likely enough and likelier than the present
       one by `margin`, after `dwell_events` events with that.

    Deciding again with the outcome as `current` changes nothing.

    Parameters
    ----------
    vectors
        float64[n, d]. Profiles of unit length.
    current
        Published labels so far, n of them.
    events, rested
        int64[n] each. Accepted events of each user, ever, and since the latest change of label.
    model
        The labels.
    policy
        The thresholds.
    """
    return judge_labels(model.probabilities(vectors), current, events, rested, model, policy)


def judge_labels(  # noqa: PLR0917 - one array after the other
    probabilities: Floats,
    current: Sequence[str | None],
    events: Ints,
    rested: Ints,
    model: LabelModel,
    policy: LabelPolicy,
) -> LabelDecisions:
    """Decide as `decide_labels`, from the probability of each label, float64[n, K]."""
    rows = {name: row for row, name in enumerate(model.names)}
    before = np.array(
        [NO_LABEL if name is None else rows.get(name, NO_LABEL) for name in current], np.int64
    )
    users = np.arange(len(before))
    best = probabilities.argmax(axis=1)
    likeliest = probabilities[users, best]
    present = np.where(before >= 0, probabilities[users, before], 0.0)

    enough = (events >= policy.min_events) & (likeliest >= policy.min_probability)
    gets = (before < 0) & enough
    moves = (
        (before >= 0)
        & (best != before)
        & enough
        & (rested >= policy.dwell_events)
        & (likeliest - present >= policy.margin)
    )
    row = np.where(gets | moves, best, before)
    probability = np.where(row >= 0, probabilities[users, row], np.nan)
    lost = np.array([name is not None for name in current], bool) & (before < 0) & (row < 0)
    return LabelDecisions(row, probability, (row != before) | lost)
