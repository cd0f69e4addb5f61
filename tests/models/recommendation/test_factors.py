"""Factors learned online, within bounds, that nobody gets into by being asked about."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from models.recommendation.factors import FactorModel, Factors

MODELS = get_args(FactorModel)


def two_tastes(factors: Factors, events: int = 1500) -> Factors:
    """Users of even numbers choose items of even numbers, the others the others."""
    random = np.random.default_rng(1)
    for _ in range(events):
        user, item = random.integers(12), 2 * random.integers(6)
        factors.learn(f"u{user}", f"i{item + user % 2}")
    return factors


@pytest.mark.parametrize("model", ["biased_mf", "funk_mf"])
def test_users_like_what_those_who_chose_alike_chose(model):
    factors = two_tastes(Factors(model, dimensions=4))
    items = [f"i{number}" for number in range(12)]
    for user in range(12):
        scores = factors.scores(f"u{user}", items)
        own = np.arange(12) % 2 == user % 2
        assert scores[own].min() > scores[~own].max()


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_those_of_rivers_own_predict_one(model):
    factors = two_tastes(Factors(model, dimensions=4), 100)
    items = ["i1", "i2", "i3"]
    expected = [factors._model.predict_one("u1", item) for item in items]
    assert factors.scores("u1", items).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("model", MODELS)
def test_nobody_gets_known_by_being_asked_about(model):
    factors = two_tastes(Factors(model, dimensions=4), 100)
    before = (factors.users, factors.items)
    assert factors.scores("nobody", ["i1"]) is None
    assert np.isnan(factors.scores("u1", ["never", "i1"])).tolist() == [True, False]
    assert (factors.users, factors.items) == before
    kept = [vars(factors._model).get(name, {}) for name in ("u_latents", "i_biases")]
    assert not any("nobody" in each or "never" in each for each in kept)


@pytest.mark.parametrize("model", MODELS)
def test_users_and_items_are_bounded_and_who_was_met_least_recently_goes(model):
    factors = Factors(model, dimensions=2, most_users=3, most_items=4)
    for number in range(20):
        factors.learn(f"u{number}", f"i{number}")
        factors.learn("u0", "i0")
    assert (factors.users, factors.items) == (3, 4)
    assert factors.scores("u0", ["i0", "i19", "i1"]) is not None
    assert np.isnan(factors.scores("u0", ["i0", "i19", "i1"])).tolist() == [False, False, True]
    assert factors.scores("u1", ["i0"]) is None
    held = [len(each) for each in vars(factors._model).values() if isinstance(each, dict)]
    assert max(held) <= 4


def test_items_that_are_withdrawn_are_forgotten_and_drawn_no_more():
    factors = two_tastes(Factors(dimensions=2), 100)
    factors.forget(["i1", "never"])
    assert np.isnan(factors.scores("u1", ["i1"])).all()
    two_tastes(factors, 50)
    assert factors.items == 12


def test_the_same_events_give_the_same_factors():
    one, other = (two_tastes(Factors(dimensions=4, seed=3), 200) for _ in range(2))
    items = [f"i{number}" for number in range(12)]
    assert one.scores("u1", items).tolist() == other.scores("u1", items).tolist()
