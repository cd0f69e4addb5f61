"""The tree that tells segments apart by words, and what it is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.profiles.sample import ranks
from models.segments.surrogate import LEAST_USERS, MOST_USERS, Surrogate, fit_surrogate

INTERESTS = (
    ("coffee", "espresso", "beans", "grinder", "roast"),
    ("garden", "roses", "compost", "seeds", "spade"),
    ("跑鞋", "马拉松", "跑步", "膝盖", "越野"),
)
FILLERS = ("parcel", "price", "friend", "week", "box", "shop")


def stream(count: int, seed: int = 1) -> tuple[list[str], np.ndarray, list[dict[str, float]]]:
    """Users who say two words of their interest, and some that anybody says."""
    draw = np.random.default_rng(seed)
    segments = draw.integers(len(INTERESTS), size=count)
    terms = []
    for segment in segments.tolist():
        own = draw.choice(INTERESTS[segment], 2, replace=False).tolist()
        others = draw.choice(FILLERS, 3, replace=False).tolist()
        terms.append({word: float(draw.uniform(0.5, 2)) for word in own + others})
    return [f"u{n}" for n in range(count)], segments, terms


def fitted(count: int = 400, **more: int) -> Surrogate:
    users, segments, terms = stream(count, **more)
    found = fit_surrogate(users, segments, terms, len(INTERESTS))
    assert found is not None
    return found


def test_segments_that_differ_in_words_are_told_apart_by_them() -> None:
    found = fitted()
    assert found.fidelity == 1
    assert found.baseline < 0.5
    for words, interest in zip(found.words, INTERESTS, strict=True):
        assert set(words) == set(interest)
    assert found.depth <= 3
    assert found.learned + found.held_out == 400
    assert sum(found.members) == found.held_out


def test_where_words_tell_nothing_the_tree_is_no_better_than_the_largest_segment() -> None:
    users, segments, terms = stream(1_000)
    shuffled = np.random.default_rng(2).permutation(segments)
    found = fit_surrogate(users, shuffled, terms, len(INTERESTS))
    assert found is not None
    low, high = found.interval
    assert low <= found.baseline
    assert low < found.fidelity < high
    assert high - low < 0.15


def test_each_rule_is_what_it_says_and_every_user_tried_falls_under_one() -> None:
    """A naive reading of the rules comes to the same counts, user by user."""
    users, segments, terms = stream(500)
    # Some users say words of two interests, or none.
    draw = np.random.default_rng(3)
    for place in draw.choice(500, 150, replace=False).tolist():
        terms[place] |= {str(draw.choice(INTERESTS[int(draw.integers(3))])): 3.0}
    found = fit_surrogate(users, segments, terms, 3)
    assert found is not None
    order = np.argsort(ranks(users), kind="stable").tolist()
    seen, tried = dict.fromkeys(range(3), 0), []
    for place in order:
        own = int(segments[place])
        if seen[own] % 10 in (1, 4, 7):
            tried.append(place)
        seen[own] += 1
    counts = [[0, 0] for _ in found.rules]
    for place in tried:
        total = sum(terms[place].values())
        percents = [
            math.floor(100 * sum(terms[place].get(word, 0) for word in words) / total + 1e-9)
            for words in found.words
        ]
        under = [
            n
            for n, rule in enumerate(found.rules)
            if all(
                percents[each.segment] >= each.least
                and (each.below is None or percents[each.segment] < each.below)
                for each in rule.conditions
            )
        ]
        assert len(under) == 1
        counts[under[0]][0] += 1
        counts[under[0]][1] += int(segments[place]) == found.rules[under[0]].segment
    assert counts == [[rule.users, rule.right] for rule in found.rules]
    assert found.held_out == len(tried)
    assert found.right == sum(rule.right for rule in found.rules)


def test_the_same_users_give_the_same_tree_in_any_order() -> None:
    users, segments, terms = stream(300)
    order = np.random.default_rng(4).permutation(300)
    again = fit_surrogate(
        [users[place] for place in order], segments[order], [terms[place] for place in order], 3
    )
    assert again == fit_surrogate(users, segments, terms, 3)


def test_users_without_words_do_not_count_and_of_too_few_there_is_no_tree() -> None:
    users, segments, terms = stream(LEAST_USERS)
    assert fit_surrogate(users, segments, terms, 3) is not None
    assert fit_surrogate(users, segments, [{}, *terms[1:]], 3) is None
    assert fit_surrogate(users, np.zeros(LEAST_USERS, np.int64), terms, 3) is None
    assert fit_surrogate([], np.zeros(0, np.int64), [], 0) is None


def test_no_more_users_are_looked_at_than_are_of_use() -> None:
    found = fitted(MOST_USERS + 500)
    assert found.learned + found.held_out == MOST_USERS


def test_a_segment_of_one_user_is_no_reason_to_fail() -> None:
    users, segments, terms = stream(200)
    segments = segments.copy()
    segments[17] = 3
    found = fit_surrogate(users, segments, terms, 4)
    assert found is not None
    assert len(found.words) == 4
    assert found.members[3] == 0


def test_names_of_people_are_no_words() -> None:
    users, segments, terms = stream(200)
    users[0] = "coffee"
    found = fit_surrogate(users, segments, terms, 3, people=users)
    assert found is not None
    assert "coffee" not in {word for words in found.words for word in words}


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_wilsons(seed: int) -> None:
    found = fitted(100, seed=seed)
    from scipy.stats import binomtest  # noqa: PLC0415

    wanted = binomtest(found.right, found.held_out).proportion_ci(0.95, "wilson")
    assert found.interval == pytest.approx((wanted.low, wanted.high), abs=1e-6)
