"""Measures of rankings, against their definitions taken literally and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from models.measures.rankings import Bootstrap, coverage, measured, novelty, order_of


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[int], set[int]]:
    order = draw(st.permutations(range(draw(st.integers(2, 40)))))
    relevant = draw(st.sets(st.sampled_from(order), min_size=1))
    return list(order), relevant


@given(rankings())
def test_a_ranking_is_judged_as_the_definitions_say(case):
    order, relevant = case
    recall = [len(relevant & set(order[:k])) / len(relevant) for k in (10, 20)]
    gain = sum(1 / math.log2(n + 2) for n, item in enumerate(order[:10]) if item in relevant)
    best = sum(1 / math.log2(n + 2) for n in range(min(10, len(relevant))))
    hits = [
        len(relevant & set(order[: n + 1])) / (n + 1) for n, i in enumerate(order) if i in relevant
    ]
    expected = [*recall, gain / best, sum(hits) / len(relevant)]
    found = measured(np.array(order), np.array(sorted(relevant)))
    assert found.tolist() == pytest.approx(expected)


@given(rankings())
def test_ndcg_and_average_precision_are_those_of_scikit_learn(case):
    order, relevant = case
    truth = np.isin(np.arange(len(order)), sorted(relevant)).astype(int)[None]
    scores = np.empty((1, len(order)))
    scores[0, order] = -np.arange(len(order))
    found = measured(np.array(order), np.array(sorted(relevant)))
    assert found[2] == pytest.approx(ndcg_score(truth, scores, k=10))
    assert found[3] == pytest.approx(label_ranking_average_precision_score(truth, scores))


def test_an_item_that_is_not_shown_counts_against_the_ranking():
    whole, without = (measured(np.array(order), np.array([1, 5])) for order in ([1, 0, 5], [1, 0]))
    assert (whole > without).all()


def test_equal_scores_are_ordered_by_the_ties_and_then_by_number():
    scores = np.array([1.0, 2.0, 1.0, 1.0, -np.inf])
    assert order_of(scores, np.array([0.0, 0.0, 5.0, 0.0, 9.0])).tolist() == [1, 2, 0, 3]


def test_novelty_is_in_bits_and_coverage_a_share():
    assert novelty(np.array([0, 1]), np.array([8.0, 2.0]), 8) == pytest.approx(1.0)
    assert novelty(np.array([0]), np.array([0.0]), 4) == pytest.approx(2.0)
    assert coverage([np.array([0, 1]), np.array([1, 2])], 6) == 0.5
    assert coverage([], 0) == 0.0


def test_a_user_counts_once_however_many_rankings_and_the_interval_holds_the_mean():
    users = np.array([1] * 50 + [2, 3])
    found = Bootstrap(users).interval(np.array([1.0] * 50 + [0.0, 0.0]))
    assert found.mean == pytest.approx(1 / 3)
    assert found.low == 0.0
    assert found.high == 1.0


def test_nine_of_ten_intervals_or_more_hold_the_mean_that_was_drawn_from():
    random, held = np.random.default_rng(0), 0
    for seed in range(100):
        found = Bootstrap(np.arange(80), 400, seed).interval(random.random(80))
        held += found.low <= 0.5 <= found.high
    assert held >= 88
