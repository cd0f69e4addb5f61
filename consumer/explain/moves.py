"""What would move a user: events taken away, or more of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from consumer.explain.case import Case
from consumer.explain.facts import Counterfactuals, More, Without
from models.profiles.rows import unit_rows
from models.segments.counterfactual import Standing, fewest_without, how_many_more, unmoved
from models.segments.policy import AssignmentPolicy
from schemas.changes import SegmentChange
from schemas.segment_model import NO_SEGMENT


def counterfactuals(
    case: Case, policy: AssignmentPolicy, since: SegmentChange | None
) -> Counterfactuals:
    """Tell what would move a user, by the rules that move users.

    Parameters
    ----------
    case
        The user's.
    policy
        The rules.
    since
        The change that brought the user here, where it is kept.
    """
    profile = case.profile
    standing = Standing(
        case.total,
        profile.weight,
        profile.events,
        profile.segment_since_event,
        NO_SEGMENT if profile.segment is None else profile.segment,
    )
    anew, alone = (None, []) if since is None else _alone(case, policy, standing, since)
    return Counterfactuals(
        would_not_be_here=alone,
        decided_anew=case.by_id(anew),
        fewest=_fewest(case, standing),
        more=_more(case, policy, standing),
    )


def _alone(
    case: Case, policy: AssignmentPolicy, standing: Standing, since: SegmentChange
) -> tuple[int | None, list[Without]]:
    """Give where the user would be with all events, and without which of them elsewhere."""
    read = case.vectors
    former = NO_SEGMENT if since.previous_segment is None else since.previous_segment.id
    # Behind the events, nothing is taken away.
    vectors = np.vstack([*read.vectors, np.zeros(case.model.centres.shape[1])])
    weights = [*read.weights, 0.0]
    *where, anew = unmoved(standing, vectors, weights, former, model=case.model, policy=policy)
    if anew != case.profile.segment:
        return anew, []
    return anew, [
        Without(offsets=[case.known[n].offset], segment=case.by_id(there))
        for n, there in zip(read.places, where, strict=True)
        if there != case.profile.segment
    ]


def _fewest(case: Case, standing: Standing) -> Without | None:
    read = case.vectors
    order = np.argsort(-case.shares.events, kind="stable")
    found = fewest_without(standing, read.vectors, read.weights, order, case.model)
    if found is None:
        return None
    count, there = found
    offsets = [case.known[read.places[n]].offset for n in order[:count].tolist()]
    return Without(offsets=offsets, segment=case.by_id(there))


def _more(case: Case, policy: AssignmentPolicy, standing: Standing) -> list[More]:
    def asked(vector: ArrayLike, weight: float) -> tuple[int, int | None] | None:
        return how_many_more(standing, vector, weight, case.model, policy)

    told = []
    read = case.vectors
    if read.places:
        number = max(
            range(len(read.places)), key=lambda n: case.known[read.places[n]].reference.occurred_at
        )
        event = case.known[read.places[number]]
        count, there = asked(read.vectors[number], event.reference.weight) or (None, None)
        told.append(
            More(
                like="event",
                offset=event.offset,
                towards=None,
                events=count,
                segment=case.by_id(there),
            )
        )
    centre = unit_rows(case.model.centres[[case.farther]])[0]
    count, there = asked(centre, 1.0) or (None, None)
    return [
        *told,
        More(
            like="segment",
            offset=None,
            towards=case.segment(case.farther),
            events=count,
            segment=case.by_id(there),
        ),
    ]
