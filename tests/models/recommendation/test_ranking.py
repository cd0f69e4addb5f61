"""What one user is shown, against the formula taken number by number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommendation.policy import RecommendationPolicy
from models.recommendation.ranking import Reason, cosines, rank, scaled
from tests.models.synthetic import changed

POLICY = RecommendationPolicy()
numbers = st.floats(-5, 5).map(lambda number: round(number, 3))


def naive_scaled(values: list[float]) -> list[float]:
    known = [value for value in values if not math.isnan(value)]
    if not known or max(known) == min(known):
        return [0.0] * len(values)
    low, high = min(known), max(known)
    return [0.0 if math.isnan(value) else (value - low) / (high - low) for value in values]


@st.composite
def candidates(draw: st.DrawFn) -> dict[str, object]:
    n = draw(st.integers(1, 12))
    column = st.lists(numbers, min_size=n, max_size=n)
    return {
        "segment": draw(st.lists(st.floats(1e-6, 1), min_size=n, max_size=n)),
        "similarity": draw(st.none() | column),
        "factors": draw(st.none() | st.lists(numbers | st.just(math.nan), min_size=n, max_size=n)),
        "owned": draw(st.lists(st.booleans(), min_size=n, max_size=n)),
        "events": draw(st.sampled_from([0, 1, 3, 50])),
        "a": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "b": draw(st.sampled_from([0.0, 0.5, 1.0])),
    }


@given(candidates())
def test_the_order_is_that_of_the_formula_without_what_the_user_has(case):
    policy = changed(POLICY, similarity_weight=case["a"], own_weight=case["b"])
    arrays = {
        name: None if case[name] is None else np.array(case[name], np.float64)
        for name in ("segment", "similarity", "factors")
    }
    found = rank(
        arrays["segment"],
        np.full(len(case["segment"]), 0.5),
        policy,
        events=case["events"],
        similarity=arrays["similarity"],
        factors=arrays["factors"],
        owned=np.array(case["owned"]),
    )
    own = case["b"] * case["events"] / (case["events"] + policy.evidence_events)
    share = case["a"]
    if case["factors"] is None:
        share = 1.0
    if case["similarity"] is None:
        share = 0.0
    if case["similarity"] is None and case["factors"] is None:
        own = 0.0
    nothing = [math.nan] * len(case["segment"])
    popular = naive_scaled([math.log(value) for value in case["segment"]])
    similar = naive_scaled(case["similarity"] or nothing)
    liked = naive_scaled(case["factors"] or nothing)
    scores = [
        (1 - own) * p + own * (share * c + (1 - share) * f)
        for p, c, f in zip(popular, similar, liked, strict=True)
    ]
    left = [place for place, owned in enumerate(case["owned"]) if not owned]
    assert sorted(found.places.tolist()) == left
    assert found.scores.tolist() == pytest.approx(
        sorted((scores[place] for place in left), reverse=True), abs=1e-9
    )
    for place, score in zip(found.places.tolist(), found.scores.tolist(), strict=True):
        assert score == pytest.approx(scores[place], abs=1e-9)
    assert len(found.reasons) == len(left)


def test_each_item_says_what_brought_it_up_most():
    policy = changed(POLICY, own_weight=1, similarity_weight=0.5)
    found = rank(
        np.array([0.4, 0.3, 0.001, 0.001]),
        np.array([0.2, 0.3, 0.2, 0.2]),
        policy,
        events=5,
        similarity=np.array([0.0, 0.0, 0.9, 0.0]),
        factors=np.array([0.0, 0.0, 0.0, 2.0]),
    )
    reasons = dict(zip(found.places.tolist(), found.reasons, strict=True))
    assert reasons == {0: Reason.SEGMENT, 1: Reason.POPULAR, 2: Reason.SIMILAR, 3: Reason.FACTORS}


def test_the_more_is_known_of_a_user_the_more_the_users_own_texts_say():
    segment, similarity = np.array([0.9, 0.1]), np.array([0.0, 1.0])
    policy = changed(POLICY, own_weight=1)
    firsts = [
        rank(segment, segment, policy, events=events, similarity=similarity).places[0]
        for events in (0, 1, 4, 6, 100)
    ]
    assert firsts == [0, 0, 0, 1, 1]


def test_of_equal_scores_the_more_popular_leads_and_then_the_first():
    found = rank(np.array([0.2, 0.5, 0.5]), np.full(3, 0.1), POLICY, top=2)
    assert found.places.tolist() == [1, 2]


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), max_size=5))
def test_cosines_are_those_of_each_pair_and_nought_with_nothing(rows):
    vectors = np.array(rows, np.float64).reshape(-1, 3)
    profile = np.array([1.0, -2.0, 0.5])
    for cosine, row in zip(cosines(profile, vectors), vectors, strict=True):
        length = np.linalg.norm(row) * np.linalg.norm(profile)
        assert cosine == pytest.approx(float(row @ profile) / length if length else 0.0, abs=1e-9)
    assert not cosines(np.zeros(3), vectors).any()


def test_what_is_not_known_is_least_and_equal_numbers_say_nothing():
    assert scaled(np.array([1.0, np.nan, 3.0])).tolist() == [0.0, 0.0, 1.0]
    assert scaled(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    assert scaled(np.array([np.nan])).tolist() == [0.0]
