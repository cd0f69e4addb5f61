"""Items for many users at once, beside `rank` for one user after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.profiles.items import item_digests
from models.recommendation.cold_start import Used, believe, mixed_popularity
from models.recommendation.for_users import (
    ALIKE,
    REASONS,
    Candidates,
    ItemList,
    evidence_of,
    rank_users,
)
from models.recommendation.policy import RecommendationPolicy
from models.recommendation.popularity import shares, smoothed
from models.recommendation.ranking import cosines, rank
from schemas.segment_model import NO_SEGMENT

POLICY = RecommendationPolicy(evidence_events=2, prior_weight=5)
D = 3


def a_list(items: str, scores: list[float], total: float = 10.0, **given: Any) -> ItemList:
    n = len(items)
    vectors = given.get("vectors", np.zeros((n, D)))
    weights = given.get("weights", np.zeros(n))
    return ItemList(
        tuple(items), np.array(scores, np.float64), np.array(weights), total, np.float32(vectors)
    )


def test_shares_that_a_list_lacks_follow_from_what_it_says() -> None:
    names = np.array([*"abcdef"])
    everybody, own = np.array([9.0, 8, 7, 3, 2, 1]), np.array([0.0, 1, 0, 3, 2, 0])
    overall = shares(everybody, 30.0)
    likely = smoothed(own, 6.0, overall, POLICY.prior_weight)
    lists = [
        ItemList(tuple(names[which]), values[which], weights[which], total, np.zeros((3, 0)))
        for which, values, weights, total in (
            (np.array([3, 4, 1]), likely, own, 6.0),
            (np.array([0, 1, 2]), overall, everybody, 30.0),
        )
    ]
    found = Candidates.of(*lists, POLICY.prior_weight)
    place = {name: number for number, name in enumerate(names.tolist())}
    at = [place[item] for item in found.items]
    assert sorted(found.items) == [*"abcde"]
    assert found.segment == pytest.approx(likely[at])
    assert found.overall == pytest.approx(overall[at])
    assert (np.diff(found.segment) <= 0).all()
    assert found.digests.tolist() == item_digests(found.items).tolist()


def test_without_smoothing_an_item_is_as_popular_at_least_as_the_segment_makes_it() -> None:
    own = a_list("ab", [0.75, 0.25], 4.0, weights=[3.0, 1.0])
    found = Candidates.of(own, a_list("cd", [0.4, 0.3], 20.0), 0.0)
    assert dict(zip(found.items, found.overall.tolist(), strict=True)) == {
        "a": 0.15,
        "b": 0.05,
        "c": 0.4,
        "d": 0.3,
    }
    # Above what the list of all ends with it cannot be: the two are of different moments.
    late = Candidates.of(own, a_list("cd", [0.4, 0.1], 20.0), 0.0)
    assert dict(zip(late.items, late.overall.tolist(), strict=True))["a"] == 0.1


def test_a_segment_of_which_nothing_is_known_is_as_everybody() -> None:
    everybody = a_list("cd", [0.4, 0.3])
    for own in (None, a_list("", [], 0.0, vectors=np.zeros((0, 0)))):
        found = Candidates.of(own, everybody, 0.0)
        assert (found.items, found.segment.tolist()) == (("c", "d"), [0.4, 0.3])
    assert not len(Candidates.of(None, a_list("", [], vectors=np.zeros((0, D))), 1.0))


def test_vectors_of_another_length_than_the_longest_are_left_out() -> None:
    former = a_list("a", [0.5], vectors=np.ones((1, 2)))
    both = Candidates.of(former, a_list("b", [0.5], vectors=np.ones((1, D))), 1.0)
    assert {len(set(row.tolist())) for row in both.vectors} == {1}
    lengths = dict(zip(both.items, np.linalg.norm(both.vectors, axis=1).tolist(), strict=True))
    assert lengths == {"a": 0.0, "b": pytest.approx(1.0)}


@given(st.integers(0, 12), st.booleans())
def test_what_the_segment_counts_is_what_is_believed(events: int, known: bool) -> None:
    belief = believe([4, 5], POLICY, segment=4 if known else NO_SEGMENT, events=events)
    if not events:
        return
    [own] = evidence_of(np.array([events]), known=np.array([known]), policy=POLICY)
    assert own == pytest.approx(belief.segments.get(4, 0.0))
    assert belief.everybody == pytest.approx(1.0 - own)
    used = Used.GLOBAL if not known else Used.FIRST_EVENT if events == 1 else Used.MIXTURE
    assert belief.used == used


FEW = st.sampled_from([0.0, 0.25, 0.5, 1.0])
VECTOR = st.lists(st.sampled_from([-1.0, 0.0, 0.0, 1.0]), min_size=D, max_size=D)


@st.composite
def lists(draw: Any) -> tuple[ItemList, ItemList]:
    found = []
    for names in ("abcdef", "defghi"):
        items = "".join(draw(st.lists(st.sampled_from(names), unique=True, max_size=6)))
        n = len(items)
        found.append(
            a_list(
                items,
                sorted(draw(st.lists(FEW, min_size=n, max_size=n)), reverse=True),
                draw(st.sampled_from([0.0, 8.0])),
                weights=np.array(draw(st.lists(FEW, min_size=n, max_size=n)), np.float64),
                vectors=np.array(draw(st.lists(VECTOR, min_size=n, max_size=n))).reshape(n, D),
            )
        )
    return found[0], found[1]


USERS = st.lists(
    st.tuples(
        st.booleans(),
        st.integers(1, 6),
        VECTOR,
        st.lists(st.sampled_from("abcdefghixyz"), max_size=6),
    ),
    min_size=1,
    max_size=6,
)


@given(lists(), USERS, st.integers(1, 5))
@settings(max_examples=300)
def test_users_together_get_what_each_gets_by_itself(both, users, top) -> None:
    if not both[1].items:
        return
    # Half of them have no list of their segment.
    sets = [Candidates.of(own, both[1], POLICY.prior_weight) for own in (None, both[0])]
    users = sorted(users, key=lambda each: each[0])
    known = np.array([each for each, *_ in users])
    events = np.array([each for _, each, *_ in users])
    sums = np.array([vector for _, _, vector, _ in users], np.float32)
    had = np.zeros((len(users), 8), np.uint32)
    for row, (*_, items) in enumerate(users):
        had[row, : len(items)] = item_digests(items)
    mixture = evidence_of(events, known=known, policy=POLICY)
    found = rank_users(sets, known.astype(np.int64), mixture, sums, events, had, POLICY, top)
    for row, (has_list, count, vector, items) in enumerate(users):
        candidates = sets[has_list]
        belief = believe([4], POLICY, segment=4 if has_list else NO_SEGMENT, events=count)
        likely = mixed_popularity(belief, {4: candidates.segment}, candidates.overall)
        similarity = cosines(np.array(vector), candidates.vectors)
        # By a float32 here and there, which must not become the whole scale.
        if similarity.max() - similarity.min() <= ALIKE:
            similarity = np.zeros(len(candidates))
        owned = np.array([item in items for item in candidates.items])
        wanted = rank(
            likely,
            candidates.overall,
            POLICY,
            events=count,
            similarity=similarity,
            owned=owned,
            top=top,
        )
        n = int(found.counts[row])
        assert n == len(wanted.places)
        scores = dict(zip(wanted.places.tolist(), wanted.scores.tolist(), strict=True))
        assert found.scores[row, :n] == pytest.approx(wanted.scores, abs=1e-5)
        for place, score, reason in zip(
            found.places[row, :n].tolist(), found.scores[row], found.reasons[row], strict=False
        ):
            assert candidates.items[place] not in items
            if place not in scores:
                continue  # it ties with one that the other way has
            assert scores[place] == pytest.approx(score, abs=1e-5)
            told = wanted.reasons[wanted.places.tolist().index(place)]
            assert REASONS[reason] == told or _nearly_tied(candidates, count, similarity, likely)


def _nearly_tied(candidates: Candidates, events: int, similarity: Any, likely: Any) -> bool:
    """Tell whether some item has both parts of its score as good as equal."""
    own = POLICY.own_weight * events / (events + POLICY.evidence_events)
    logs = np.log(np.maximum(likely, np.finfo(np.float64).tiny))

    def scaled(numbers: Any) -> Any:
        spread = numbers.max() - numbers.min()
        return (numbers - numbers.min()) / spread if spread > 0 else np.zeros(len(numbers))

    apart = np.abs(own * scaled(similarity) - (1 - own) * scaled(logs))
    return bool((apart < 1e-5).any())


def test_two_items_of_one_digest_are_both_had() -> None:
    everybody = a_list("abc", [0.5, 0.3, 0.2])
    one = Candidates.of(None, everybody, 1.0)
    same, order = np.array([7, 7, 9], np.uint32), np.arange(3)
    wide = same.astype(np.uint64)
    twins = Candidates(one.items, same, one.segment, one.overall, one.vectors, wide, order)
    had = np.array([[7, 0], [9, 7], [8, 0]], np.uint32)
    which, sums = np.zeros(3, np.int64), np.ones((3, D), np.float32)
    found = rank_users([twins], which, np.zeros(3), sums, which + 1, had, POLICY, 3)
    assert found.counts.tolist() == [1, 0, 3]
    assert twins.items[found.places[0, 0]] == "c"


def test_profiles_of_another_length_than_the_vectors_get_popularity_alone() -> None:
    everybody = a_list("ab", [0.5, 0.3], vectors=np.eye(2, D))
    sets = [Candidates.of(None, everybody, 1.0)]
    which, sums = np.zeros(1, np.int64), np.ones((1, D + 1), np.float32)
    had = np.zeros((1, 0), np.uint32)
    found = rank_users(sets, which, np.zeros(1), sums, which + 9, had, POLICY, 2)
    assert found.scores.tolist() == [[1.0, 0.0]]
