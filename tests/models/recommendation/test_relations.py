"""Relations of segments, against pairs taken one by one."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommendation.relations import flows_of, relations
from schemas.segment_model import NO_SEGMENT

IDS = [1, 4, 9]
moves = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([*IDS, NO_SEGMENT, 7])), max_size=40)


@given(moves)
def test_flows_are_the_moves_of_each_user_from_one_known_segment_to_the_next(events):
    expected: Counter[tuple[int, int]] = Counter()
    at: dict[int, int] = {}
    for user, segment in events:
        if segment not in IDS:
            continue
        if at.get(user, segment) != segment:
            expected[at[user], segment] += 1
        at[user] = segment
    users = np.array([user for user, _ in events], np.int64)
    segments = np.array([segment for _, segment in events], np.int64)
    flows = flows_of(users, segments, IDS)
    for i, one in enumerate(IDS):
        for j, other in enumerate(IDS):
            assert flows[i, j] == expected[one, other]


weights = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=4, max_size=4), min_size=3, max_size=3
)


@given(weights)
def test_shared_items_are_the_bhattacharyya_coefficient_of_the_segments_own_shares(rows):
    found = relations(IDS, np.array(rows), np.zeros((3, 3), np.int64), np.eye(3))
    assert [(each.first, each.second) for each in found] == [(1, 4), (1, 9), (4, 9)]
    for each in found:
        p, q = rows[IDS.index(each.first)], rows[IDS.index(each.second)]
        expected = 0.0
        if sum(p) and sum(q):
            expected = sum(math.sqrt(a / sum(p) * b / sum(q)) for a, b in zip(p, q, strict=True))
        assert each.shared == pytest.approx(min(expected, 1.0), abs=1e-9)


def test_flows_are_told_both_ways_and_as_shares_of_who_left():
    flows = np.array([[5, 3, 1], [2, 0, 0], [0, 0, 7]])
    first, second, third = relations(IDS, np.ones((3, 2)), flows, np.eye(3))
    assert (first.there, first.back) == (3, 2)
    assert (first.there_share, first.back_share) == (0.75, 1.0)
    assert (second.there, second.there_share, second.back_share) == (1, 0.25, 0.0)
    assert (third.there, third.back_share) == (0, 0.0)


def test_similarity_is_of_what_sets_segments_apart():
    common = np.array([10.0, 0.0, 0.0])
    means = common + np.array([[0.0, 1.0, 0.1], [0.0, 1.0, -0.1], [0.0, -2.0, 0.0]])
    alike, one, other = relations(IDS, np.ones((3, 2)), np.zeros((3, 3), np.int64), means)
    assert alike.similarity > 0.9
    assert max(one.similarity, other.similarity) < -0.9


def test_one_segment_is_related_to_nobody():
    assert relations([3], np.ones((1, 2)), np.zeros((1, 1), np.int64), np.ones((1, 2))) == []
