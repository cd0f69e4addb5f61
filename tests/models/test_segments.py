from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.distances import VectorsError
from models.segments import (
    NO_SEGMENT,
    AssignmentPolicy,
    Decision,
    SegmentModel,
    SegmentModelError,
    decide,
)
from schemas.segment_model import SegmentModelRecord
from tests.models.synthetic import EMBEDDING


def a_model(**changes) -> SegmentModel:
    """Three segments on a line: 2 at 0, 5 at 1, 6 at 3."""
    fields = {
        "version": 4,
        "embedding": EMBEDDING,
        "ids": np.array([2, 5, 6]),
        "centres": np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]),
        "radii": np.array([0.5, 0.25, 0.125]),
        "sizes": np.array([10, 20, 0]),
        "labels": ("hops, ale", "qubit, gate", "segment 6"),
        "words": (("hops", "ale"), ("qubit", "gate"), ()),
        "since": (1, 3, 4),
        "next_id": 7,
        "sample_threshold": 0.25,
        "samples": 1234,
        "seed": 7,
    }
    return SegmentModel(**(fields | changes))


def on_the_line(*places: float):
    return np.array([[place, 0.0] for place in places])


def decided(places, current, *, events=None, rested=None, model=None, **policy):
    n = len(places)
    return decide(
        on_the_line(*places),
        current,
        [9] * n if events is None else events,
        [9] * n if rested is None else rested,
        model or a_model(),
        AssignmentPolicy(**{"margin": 0.25, **policy}),
    )


# --- the model ------------------------------------------------------------------------------------


def test_a_model_comes_back_from_json_bit_for_bit():
    centres = np.random.default_rng(0).normal(size=(3, 384))
    model = a_model(centres=centres)
    text = model.to_record().model_dump_json()
    back = SegmentModel.from_record(SegmentModelRecord.model_validate_json(text))
    assert back.centres.tobytes() == centres.tobytes()
    assert back.to_record() == model.to_record()
    assert back.to_record().model_dump_json() == text


def test_a_centre_of_the_wrong_length_is_refused():
    record = a_model().to_record().model_copy(update={"dimensions": 3})
    with pytest.raises(SegmentModelError, match="segment 2 has 2 numbers where dimensions says 3"):
        SegmentModel.from_record(record)


def test_a_models_arrays_are_its_own_and_read_only():
    centres = np.eye(3)
    model = a_model(centres=centres)
    centres[0, 0] = 9
    assert model.centres[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        model.centres[0, 0] = 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": np.array([2, 5])}, "ids has the shape"),
        ({"ids": np.array([5, 2, 6])}, "ascending"),
        ({"ids": np.array([2, 2, 6])}, "none twice"),
        ({"ids": np.array([-1, 2, 6])}, "from 0"),
        ({"next_id": 6}, "below next_id"),
        ({"centres": np.empty((0, 2))}, "at least one segment"),
        ({"centres": np.empty((3, 0))}, "at least one segment"),
        ({"centres": np.ones(3)}, "one row of numbers"),
        ({"centres": np.array([[0, 0], [1, math.nan], [2, 0]])}, "finite"),
        ({"radii": np.array([1, 1, math.inf])}, "finite"),
        ({"radii": np.array([1, -1, 1])}, "radii holds -1"),
        ({"radii": np.ones((3, 1))}, "radii has the shape"),
        ({"sizes": np.array([1, -1, 1])}, "sizes holds -1"),
        ({"labels": ("a", "b")}, "labels has 2 entries"),
        ({"words": ((),)}, "words has 1 entries"),
        ({"since": (1,)}, "since has 1 entries"),
        ({"since": (1, 2, 5)}, "since is"),
        ({"version": 0, "since": (0, 0, 0)}, "version is 0"),
        ({"sample_threshold": 0.0}, "sample_threshold is 0.0"),
        ({"sample_threshold": 1.5}, "sample_threshold is 1.5"),
        ({"sample_threshold": math.nan}, "sample_threshold is nan"),
        ({"samples": -1}, "samples is -1"),
        ({"embedding": ""}, "embedding is empty"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(changes, said):
    with pytest.raises(SegmentModelError, match=said):
        a_model(**changes)


def test_rows_are_found_by_id():
    ids = np.array([6, 2, NO_SEGMENT, 3, 99, 5])
    assert a_model().rows_of(ids).tolist() == [2, 0, -1, -1, -1, 1]


def test_a_label_is_found_by_id():
    assert a_model().label_of(5) == "qubit, gate"
    assert a_model().label_of(4) is None


# --- the policy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"margin": -0.1}, "margin is -0.1"),
        ({"margin": math.nan}, "margin is nan"),
        ({"min_events": 0}, "min_events is 0"),
        ({"dwell_events": -1}, "dwell_events is -1"),
        ({"margin": 0.5, "max_distance": 0.5}, "above the margin"),
        ({"max_distance": math.nan}, "max_distance is nan"),
    ],
)
def test_a_policy_out_of_bounds_is_refused(policy, said):
    with pytest.raises(SegmentModelError, match=said):
        AssignmentPolicy(**policy)


# --- decisions ------------------------------------------------------------------------------------


def test_a_new_user_enters_the_nearest_segment():
    outcome = decided([0.75], [NO_SEGMENT])
    assert outcome.at(0) == Decision(
        segment=5, changed=True, distance=0.25, previous_distance=None, margin=0.5
    )


def test_a_new_user_waits_for_enough_events():
    outcome = decided([0.75, 0.75], [NO_SEGMENT] * 2, events=[2, 3], min_events=3)
    assert outcome.segment.tolist() == [NO_SEGMENT, 5]


def test_a_user_moves_only_when_the_new_segment_is_nearer_by_the_margin():
    outcome = decided([0.5, 0.6, 0.625, 0.9], [2] * 4)
    assert outcome.segment.tolist() == [2, 2, 5, 5]
    assert outcome.at(2) == Decision(
        segment=5, changed=True, distance=0.375, previous_distance=0.625, margin=0.25
    )


def test_a_user_who_stays_is_measured_against_the_own_segment():
    assert decided([0.6], [2]).at(0) == Decision(
        segment=2, changed=False, distance=0.6, previous_distance=0.6, margin=0.0
    )


def test_a_user_rests_in_a_segment_before_moving_on():
    outcome = decided([1.0, 1.0], [2, 2], rested=[2, 3], dwell_events=3)
    assert outcome.segment.tolist() == [2, 5]


def test_users_of_a_retired_segment_move_at_once_whatever_the_margin():
    outcome = decided([0.51], [4], events=[1], rested=[0], min_events=5)
    assert outcome.at(0) == Decision(
        segment=5, changed=True, distance=0.49, previous_distance=None, margin=pytest.approx(0.02)
    )


def test_a_user_far_from_every_segment_leaves():
    outcome = decided([9.0], [6], max_distance=2.0)
    assert outcome.at(0) == Decision(
        segment=None, changed=True, distance=6.0, previous_distance=6.0, margin=None
    )


def test_a_user_too_far_from_the_own_segment_goes_where_there_is_one_within_reach():
    assert decided([2.0], [2], max_distance=1.5, rested=[0], margin=1.25).segment.tolist() == [5]


def test_coming_back_in_takes_the_margin_too():
    outcome = decided([4.9, 4.7], [NO_SEGMENT] * 2, max_distance=2.0)
    assert outcome.segment.tolist() == [NO_SEGMENT, 6]
    assert decided([4.9], [6], max_distance=2.0).segment.tolist() == [6]


def test_a_single_segment_has_no_margin():
    model = a_model(
        ids=[3], centres=[[0.0, 0.0]], radii=[1], sizes=[1], labels=("a",), words=((),), since=(1,)
    )
    assert decided([1.0], [NO_SEGMENT], model=model).at(0).margin is None


def test_nobody_gives_no_decisions():
    outcome = decide(np.empty((0, 2)), [], [], [], a_model(), AssignmentPolicy())
    assert outcome.segment.shape == outcome.margin.shape == (0,)


@pytest.mark.parametrize("short", ["current", "events", "rested"])
def test_arrays_of_another_length_are_refused_by_name(short):
    arrays_by_name = {"current": [2, 2], "events": [1, 1], "rested": [1, 1]} | {short: [1]}
    with pytest.raises(VectorsError, match=short):
        decide(
            on_the_line(0, 1),
            model=a_model(),
            policy=AssignmentPolicy(),
            **arrays_by_name,
        )


def naive_decision(vector, current, events, rested, model, policy) -> Decision:
    """The rules of `decide`, one user at a time."""
    every = {
        int(segment): math.dist(vector, centre)
        for segment, centre in zip(model.ids, model.centres, strict=True)
    }
    closest = min(every, key=every.__getitem__)
    reach = math.inf if policy.max_distance is None else policy.max_distance
    previous = every.get(current)
    new: int | None = None
    if current == NO_SEGMENT:
        if events >= policy.min_events and every[closest] <= reach - policy.margin:
            new = closest
    elif previous is not None and previous <= reach:
        new = current
        if (
            events >= policy.min_events
            and rested >= policy.dwell_events
            and previous - every[closest] >= policy.margin
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
    return Decision(new, not unchanged, distance, previous, margin)


# Eighths on a line: every distance and every difference is exact, so there is no tolerance.
EIGHTHS = st.integers(-16, 48).map(lambda n: n / 8)
POLICIES = st.builds(
    AssignmentPolicy,
    margin=st.sampled_from([0.0, 0.125, 0.5]),
    min_events=st.integers(1, 3),
    dwell_events=st.integers(0, 3),
    max_distance=st.sampled_from([None, 0.75, 2.0]),
)
USERS = st.lists(
    st.tuples(
        EIGHTHS, st.sampled_from([NO_SEGMENT, 2, 3, 5, 6]), st.integers(0, 4), st.integers(0, 4)
    ),
    max_size=12,
)


@given(USERS, POLICIES)
def test_decisions_equal_the_naive_reference_for_every_user(users, policy):
    places, current, events, rested = zip(*users, strict=True) if users else ((), (), (), ())
    vectors = on_the_line(*places).reshape(-1, 2)
    outcome = decide(vectors, current, events, rested, a_model(), policy)
    assert [outcome.at(i) for i in range(len(users))] == [
        naive_decision(vectors[i], current[i], events[i], rested[i], a_model(), policy)
        for i in range(len(users))
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


def test_a_decision_does_not_depend_on_who_shares_the_batch():
    random = np.random.default_rng(1)
    model = a_model(centres=random.normal(size=(3, 384)))
    vectors = random.normal(size=(200, 384))
    current = random.choice([NO_SEGMENT, 2, 3, 5, 6], size=200)
    counts = np.full(200, 5)
    policy = AssignmentPolicy(margin=0.01)
    together = decide(vectors, current, counts, counts, model, policy)
    for i in range(200):
        one = slice(i, i + 1)
        alone = decide(vectors[one], current[one], counts[one], counts[one], model, policy)
        assert alone.at(0) == together.at(i)


def test_replacing_a_field_checks_the_model_again():
    with pytest.raises(SegmentModelError, match="next_id 3"):
        replace(a_model(), next_id=3)
