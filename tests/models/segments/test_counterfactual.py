"""What would move a user, beside deciding on each case by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.profiles.rows import unit_rows
from models.segments.counterfactual import (
    MOST_MORE,
    Standing,
    fewest_without,
    how_many_more,
    unmoved,
)
from models.segments.decision import decide
from models.segments.policy import AssignmentPolicy
from schemas.segment_model import NO_SEGMENT
from tests.consumer.stages.stage_data import a_model

POLICY = AssignmentPolicy(dwell_events=2)
EAST, NORTH = np.array([1.0, 0.0]), np.array([0.0, 1.0])
MODEL = a_model(centres=np.array([EAST, NORTH]), embedding="a" * 64)


def standing(total: Any, segment: int = 0, events: int = 9, since: int = 5) -> Standing:
    return Standing(np.asarray(total, np.float64), 4.0, events, since, segment)


def test_without_the_events_that_moved_a_user_the_user_would_have_stayed():
    vectors, weights = [EAST, NORTH, NORTH], [1.0, 1.0, 2.5]
    total = np.average(vectors, axis=0, weights=weights) * sum(weights)
    where = unmoved(standing(total, segment=1), vectors, weights, 0, model=MODEL, policy=POLICY)
    assert where == [1, 1, 0 if POLICY.margin_share > 0 else None]
    # Who was in none before would have entered the other one.
    none = unmoved(
        standing(total, segment=1), vectors, weights, NO_SEGMENT, model=MODEL, policy=POLICY
    )
    assert none == [1, 1, 0]


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 3)), min_size=1, max_size=6))
def test_the_fewest_are_taken_away_until_another_segment_is_nearest(stream) -> None:
    vectors = np.array([EAST if east else NORTH for east, _ in stream])
    weights = np.array([weight for _, weight in stream])
    total = (vectors * weights[:, None]).sum(axis=0) + 0.5 * EAST
    order = np.argsort(-weights, kind="stable")
    found = fewest_without(standing(total), vectors, weights, order, MODEL)

    def nearest(some: np.ndarray) -> int:
        return int(np.linalg.norm(unit_rows(some[None])[0] - MODEL.centres, axis=1).argmin())

    left, wanted = total.copy(), None
    for count, place in enumerate(order, 1):
        left = left - weights[place] * vectors[place]
        # As near to both: the order of sums decides.
        assume(np.linalg.norm(left) <= 1e-5 or abs(left @ (EAST - NORTH)) > 1e-9)
        if np.linalg.norm(left) > 1e-5 and nearest(left) != nearest(total):
            wanted = count, int(MODEL.ids[nearest(left)])
            break
    assert found == wanted


@given(st.floats(0.3, 6), st.floats(0.2, 2), st.integers(5, 9))
def test_so_many_more_events_move_a_user_and_one_less_does_not(east, weight, since) -> None:
    here = standing(east * EAST, since=since)
    count, there = how_many_more(here, NORTH, weight, MODEL, POLICY) or (None, None)
    assert there == 1

    def after(more: int) -> int:
        total = here.total + more * weight * NORTH
        decisions = decide(
            unit_rows(total[None]),
            [0],
            [here.events + more],
            [here.events + more - since],
            MODEL,
            POLICY,
            weights=[here.weight + more * weight],
        )
        return int(decisions.segment[0])

    assert count is not None
    assert after(count) == 1
    assert all(after(less) == 0 for less in range(1, count))


def test_no_number_of_events_like_the_user_s_own_moves_the_user():
    assert how_many_more(standing(EAST), EAST, 1.0, MODEL, POLICY) is None
    assert MOST_MORE >= 100
    assert fewest_without(standing(EAST), np.zeros((0, 2)), [], [], MODEL) is None


@pytest.mark.parametrize("segment", [NO_SEGMENT, 0])
def test_a_profile_of_one_event_is_nothing_without_it(segment):
    where = unmoved(standing(EAST, events=1), [EAST], [1.0], segment, model=MODEL, policy=POLICY)
    assert where == [None if segment == NO_SEGMENT else segment]
