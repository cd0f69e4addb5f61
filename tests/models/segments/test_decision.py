"""Which segment a user belongs to: hysteresis, waiting, reach and confidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.distances import VectorsError
from models.segments import decision
from models.segments.confidence import EXPONENT, HALF_WEIGHT
from models.segments.decision import AssignmentPolicy, Decision, decide
from schemas.segment_model import NO_SEGMENT
from tests.models.segments.test_model import a_model


def on_the_line(*places: float):
    return np.array([[place, 0.0] for place in places])


def decided(places, current, *, events=None, rested=None, weights=None, model=None, **policy):
    n = len(places)
    return decide(
        on_the_line(*places),
        current,
        [9] * n if events is None else events,
        [9] * n if rested is None else rested,
        model or a_model(),
        AssignmentPolicy(**{"margin_share": 0.25, "thin_margin_share": 0, **policy}),
        weights=weights,
    )


# --- decisions ------------------------------------------------------------------------------------


def test_a_new_user_enters_the_nearest_segment():
    outcome = decided([0.75], [NO_SEGMENT])
    assert outcome.at(0) == Decision(
        segment=5,
        changed=True,
        distance=0.25,
        previous_distance=None,
        margin=0.5,
        confidence=outcome.confidence[0],
    )
    assert outcome.confidence[0] > 0.9


def test_a_new_user_waits_for_enough_events():
    outcome = decided([0.75, 0.75], [NO_SEGMENT] * 2, events=[2, 3], min_events=3)
    assert outcome.segment.tolist() == [NO_SEGMENT, 5]


def test_a_user_moves_only_when_the_new_segment_is_nearer_by_the_margin():
    farther_apart = a_model(centres=[[0.0, 0.0], [1.5, 0.0], [9.0, 0.0]])
    places = [0.75, 0.99, 1.0, 1.01]
    outcome = decided(places, [2] * 4, model=farther_apart, margin_share=0.5)
    assert outcome.segment.tolist() == [2, 2, 5, 5]
    assert outcome.at(2) == Decision(
        segment=5,
        changed=True,
        distance=0.5,
        previous_distance=1.0,
        margin=0.5,
        confidence=outcome.confidence[2],
    )
    assert 0.5 < outcome.confidence[2] < outcome.confidence[3] < 1


def test_the_fewer_texts_a_profile_rests_on_the_larger_the_margin():
    farther_apart = a_model(centres=[[0.0, 0.0], [1.5, 0.0], [9.0, 0.0]])
    weights = [0.0, 0.5, 0.999, 1.0, 9.0]
    policy = {"margin_share": 0.125, "thin_margin_share": 0.5, "model": farther_apart}
    # Nearer by half of the distance to the one before; then by a fifth; then by a tenth.
    moved = {
        place: decided([place] * 5, [2] * 5, weights=weights, **policy).segment.tolist()
        for place in (1.0, 0.8333, 0.789)
    }
    assert moved == {1.0: [2, 2, 2, 5, 5], 0.8333: [2, 2, 2, 2, 5], 0.789: [2] * 5}


def test_a_user_who_stays_is_measured_against_the_own_segment():
    assert decided([0.53], [2]).at(0) == Decision(
        segment=2,
        changed=False,
        distance=0.53,
        previous_distance=0.53,
        margin=0.0,
        confidence=None,
    )


def test_a_user_rests_in_a_segment_before_moving_on():
    outcome = decided([1.0, 1.0], [2, 2], rested=[2, 3], dwell_events=3)
    assert outcome.segment.tolist() == [2, 5]


def test_nobody_dwells_for_more_than_twice_the_events_that_led_there():
    """Of a user whom a first text has put there, two more say as much; of 20, as set."""
    events, rested = [2, 3, 4, 6, 27, 28], [1, 2, 2, 4, 7, 8]
    outcome = decided([1.0] * 6, [2] * 6, events=events, rested=rested, dwell_events=8)
    assert outcome.segment.tolist() == [2, 5, 2, 5, 2, 5]


def test_users_of_a_retired_segment_move_at_once_whatever_the_margin():
    outcome = decided([0.503], [4], events=[1], rested=[0], min_events=5)
    assert outcome.at(0) == Decision(
        segment=5,
        changed=True,
        distance=0.497,
        previous_distance=None,
        margin=pytest.approx(0.006),
        confidence=outcome.confidence[0],
    )
    assert 0.5 < outcome.confidence[0] < 0.6


def test_a_user_far_from_every_segment_leaves():
    outcome = decided([9.0], [6], max_distance_share=0.75)
    assert outcome.at(0) == Decision(
        segment=None,
        changed=True,
        distance=6.0,
        previous_distance=6.0,
        margin=None,
        confidence=None,
    )


def test_a_user_too_far_from_the_own_segment_goes_where_there_is_one_within_reach():
    # 5/3 from the middle, 3 from the own segment and 0 from the other one.
    outcome = decided([3.0], [2], max_distance_share=0.9, rested=[0], margin_share=0.99)
    assert outcome.segment.tolist() == [6]


def test_coming_back_in_takes_the_margin_too():
    # 1.9 of 3.57 is .53, and 1.2 of 2.87 is .42; three quarters of .6 is .45.
    outcome = decided([4.9, 4.2], [NO_SEGMENT] * 2, max_distance_share=0.6)
    assert outcome.segment.tolist() == [NO_SEGMENT, 6]
    assert decided([4.9], [6], max_distance_share=0.6).segment.tolist() == [6]


def test_the_middle_is_that_of_the_centres_however_many_users_they_have():
    assert a_model(sizes=[900, 1, 0]).middle.tolist() == a_model().middle.tolist() == [4 / 3, 0.0]


def test_a_single_segment_has_no_margin_and_no_end():
    model = a_model(
        ids=[3], centres=[[0.0, 0.0]], radii=[1], sizes=[1], labels=("a",), words=((),), since=(1,)
    )
    alone = decided([1.0], [NO_SEGMENT], model=model, max_distance_share=0.1).at(0)
    assert (alone.segment, alone.margin, alone.confidence) == (3, None, 1.0)


def test_a_user_who_is_not_sure_enough_neither_moves_nor_enters():
    outcome = decided(
        [0.58, 1.0, 0.5, 1.0],
        [2, 2, NO_SEGMENT, NO_SEGMENT],
        weights=[0.03] * 4,
        min_confidence=0.9,
    )
    assert outcome.segment.tolist() == [2, 5, NO_SEGMENT, 5]
    assert outcome.changed.tolist() == [False, True, False, True]
    assert np.isnan(outcome.confidence).tolist() == [True, False, True, False]


def test_users_of_a_retired_segment_move_however_unsure():
    outcome = decided([0.51], [4], min_confidence=0.99)
    assert outcome.segment.tolist() == [5]
    assert outcome.confidence[0] < 0.99


def test_the_same_move_is_surer_the_more_the_profile_rests_on():
    outcome = decided([0.7] * 4, [2] * 4, weights=[0.0, 0.1, 1.0, 30.0])
    assert outcome.confidence[0] == 1 / 3
    assert (np.diff(outcome.confidence) > 0).all()


def test_without_weights_a_profile_rests_on_its_events():
    given_none = decided([0.7], [2], events=[4])
    assert given_none.confidence == decided([0.7], [2], events=[4], weights=[4.0]).confidence


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_out_of_bounds_are_refused(weight):
    with pytest.raises(VectorsError, match="weights holds"):
        decided([0.7], [2], weights=[weight])


def test_nobody_gives_no_decisions():
    outcome = decide(np.empty((0, 2)), [], [], [], a_model(), AssignmentPolicy())
    assert outcome.segment.shape == outcome.margin.shape == (0,)


@pytest.mark.parametrize("short", ["current", "events", "rested", "weights"])
def test_arrays_of_another_length_are_refused_by_name(short):
    names = ("current", "events", "rested", "weights")
    arrays_by_name = {name: [2, 2] for name in names} | {short: [1]}
    with pytest.raises(VectorsError, match=short):
        decide(
            on_the_line(0, 1),
            model=a_model(),
            policy=AssignmentPolicy(),
            **arrays_by_name,
        )


def naive_confidence(distances, chosen, weight, model) -> float:
    """The formula of `models.segments.confidence`, by its letter; distances by segment id."""
    exponent = EXPONENT * weight / (weight + HALF_WEIGHT)
    if least := min(distances.values()):
        likelihood = {segment: (least / each) ** exponent for segment, each in distances.items()}
    else:
        likelihood = {
            segment: float(not each or not exponent) for segment, each in distances.items()
        }
    return likelihood[chosen] / sum(likelihood.values())


def naive_decision(vector, current, events, rested, weight, model, policy) -> Decision:
    """The rules of `decide`, one user at a time."""
    every = {
        int(segment): math.dist(vector, centre)
        for segment, centre in zip(model.ids, model.centres, strict=True)
    }
    closest = min(every, key=every.__getitem__)
    reach = math.inf
    if policy.max_distance_share is not None:
        middle = [sum(places) / len(places) for places in zip(*model.centres, strict=True)]
        reach = policy.max_distance_share * math.dist(vector, middle)
    previous = every.get(current)
    sure = naive_confidence(every, closest, weight, model) >= policy.min_confidence
    near_enough = every[closest] <= reach * (1 - policy.margin_share)
    new: int | None = None
    if current == NO_SEGMENT:
        if events >= policy.min_events and near_enough and sure:
            new = closest
    elif previous is not None and previous <= reach:
        new = current
        if (
            events >= policy.min_events
            and rested >= min(policy.dwell_events, 2 * (events - rested))
            and previous - every[closest] >= policy.margin_share * previous
            and (previous - every[closest]) * weight >= policy.thin_margin_share * previous
            and sure
        ):
            new = closest
    elif every[closest] <= reach:
        new = closest
    distance = every[closest if new is None else new]
    others = [every[segment] for segment in every if segment != new]
    if new is None:
        margin = None
    elif previous is not None:
        margin = previous - distance
    else:
        margin = min(others) - distance if others else None
    unchanged = (NO_SEGMENT if new is None else new) == current
    confidence = None
    if new is not None and not unchanged:
        confidence = pytest.approx(naive_confidence(every, new, weight, model), abs=1e-12)
    return Decision(new, not unchanged, distance, previous, margin, confidence)


# Eighths on a line: every distance and every difference is exact, so there is no tolerance.
EIGHTHS = st.integers(-16, 48).map(lambda n: n / 8)
POLICIES = st.builds(
    AssignmentPolicy,
    margin_share=st.sampled_from([0.0, 0.125, 0.5]),
    thin_margin_share=st.sampled_from([0.0, 0.25, 0.75]),
    min_events=st.integers(1, 3),
    dwell_events=st.integers(0, 3),
    max_distance_share=st.sampled_from([None, 0.5, 1.25]),
    min_confidence=st.sampled_from([0.0, 0.6, 0.95]),
)
USERS = st.lists(
    st.tuples(
        EIGHTHS,
        st.sampled_from([NO_SEGMENT, 2, 3, 5, 6]),
        st.integers(0, 4),
        st.integers(0, 4),
        st.sampled_from([0.0, 0.03, 1.0, 7.5]),
    ),
    max_size=12,
)


@given(USERS, POLICIES)
def test_decisions_equal_the_naive_reference_for_every_user(users, policy):
    columns = zip(*users, strict=True) if users else ((),) * 5
    places, current, events, rested, weights = columns
    vectors = on_the_line(*places).reshape(-1, 2)
    outcome = decide(vectors, current, events, rested, a_model(), policy, weights=weights)
    assert [outcome.at(i) for i in range(len(users))] == [
        naive_decision(vectors[i], *users[i][1:], a_model(), policy) for i in range(len(users))
    ]


@given(
    arrays(np.float64, (8, 2), elements=st.floats(-4, 4)),
    arrays(np.int64, 8, elements=st.sampled_from([NO_SEGMENT, 2, 3, 5, 6])),
    st.integers(0, 4),
    POLICIES,
)
def test_deciding_again_changes_nothing(vectors, current, events, policy):
    counts = [events] * 8
    first = decide(vectors, current, counts, counts, a_model(), policy)
    again = decide(vectors, first.segment, counts, counts, a_model(), policy)
    assert not again.changed.any()
    assert np.array_equal(again.segment, first.segment)
    assert np.array_equal(again.distance, first.distance)


@given(
    arrays(np.float64, (8, 2), elements=st.floats(-4, 4)),
    arrays(np.int64, 8, elements=st.sampled_from([NO_SEGMENT, 2, 3, 5, 6])),
    st.sampled_from([2.0**-7, 0.25, 8.0]),
    POLICIES,
)
def test_distances_have_no_unit(vectors, current, scale, policy):
    """By powers of two nothing is rounded, so that decisions are the same to the bit."""
    counts = [4] * 8
    whole = a_model(centres=a_model().centres)
    small = a_model(centres=whole.centres * scale)
    # Squares of numbers near the least that there are would lose digits.
    vectors = np.where(np.abs(vectors) < 1e-9, 0.0, vectors)
    one = decide(vectors, current, counts, counts, whole, policy)
    other = decide(vectors * scale, current, counts, counts, small, policy)
    assert np.array_equal(one.segment, other.segment)
    assert np.array_equal(one.confidence, other.confidence, equal_nan=True)
    for name in ("distance", "previous_distance", "margin"):
        figures = getattr(one, name) * scale
        assert np.array_equal(figures, getattr(other, name), equal_nan=True)


def test_a_decision_does_not_depend_on_who_shares_the_batch():
    random = np.random.default_rng(1)
    model = a_model(centres=random.normal(size=(3, 384)))
    vectors = random.normal(size=(200, 384))
    current = random.choice([NO_SEGMENT, 2, 3, 5, 6], size=200)
    counts = np.full(200, 5)
    weights = random.uniform(0, 9, size=200)
    policy = AssignmentPolicy(margin_share=0.01)
    together = decide(vectors, current, counts, counts, model, policy, weights=weights)
    for i in range(200):
        one = slice(i, i + 1)
        n = counts[one]
        alone = decide(vectors[one], current[one], n, n, model, policy, weights=weights[one])
        assert alone.at(0) == together.at(i)


@given(
    arrays(np.float64, (7, 2), elements=st.floats(-2, 2)),
    arrays(np.int64, 7, elements=st.sampled_from([NO_SEGMENT, 2, 5, 6, 77])),
    st.sampled_from([None, 0.5, 2.0]),
)
def test_many_centres_are_decided_on_as_few_are(vectors, current, share):
    policy = AssignmentPolicy(margin_share=0.25, max_distance_share=share, min_confidence=0.5)
    asked = (vectors, current, [9] * 7, [9] * 7, a_model(), policy)
    few = decide(*asked)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decision, "_FEW_CENTRES", 0)
        many = decide(*asked)
    for name in vars(few):
        assert getattr(few, name).tobytes() == getattr(many, name).tobytes(), name
