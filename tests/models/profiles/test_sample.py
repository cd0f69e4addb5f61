from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.distances import VectorsError
from models.profiles.rows import hash_event_id, hash_event_ids
from models.profiles.sample import UserSample, rank, ranks

USER_IDS = st.text(min_size=1, max_size=8)


def put_all(sample, users):
    return [gone for user in users for gone in sample.put(user, [1.0, 0.0], {})]


def test_a_rank_is_the_same_in_every_process():
    program = (
        "from models.profiles.sample import rank; print(repr(rank('beer-7')), repr(rank('用戶')))"
    )
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.split()
        assert printed == [repr(rank("beer-7")), repr(rank("用戶"))]


def test_ranks_are_spread_evenly():
    ranks = np.array([rank(f"user-{i}") for i in range(10_000)])
    counts, _ = np.histogram(ranks, bins=10, range=(0, 1))
    # 1,000 each, standard deviation 30.
    assert (np.abs(counts - 1_000) < 150).all()


@given(st.text())
def test_every_string_has_a_rank_above_0_up_to_1(user_id):
    assert 0 < rank(user_id) <= 1


@given(st.lists(st.text()))
def test_many_have_the_ranks_and_hashes_that_each_has(names):
    assert ranks(names).tolist() == [rank(name) for name in names]
    assert hash_event_ids(names).tolist() == [hash_event_id(name) for name in names]


def test_a_lone_surrogate_has_a_rank():
    assert 0 < rank("\ud800") <= 1


@given(st.lists(USER_IDS, max_size=30), st.integers(1, 6))
def test_the_users_of_lowest_rank_are_kept(users, capacity):
    sample = UserSample(capacity)
    put_all(sample, users)
    expected = sorted(set(users), key=lambda user: (rank(user), user))[:capacity]
    assert sample.users() == expected


@given(st.permutations([f"u{i}" for i in range(12)]))
def test_the_order_of_arrival_does_not_matter(users):
    sample = UserSample(5)
    put_all(sample, users)
    reference = UserSample(5)
    put_all(reference, sorted(users))
    assert sample.users() == reference.users()
    assert sample.threshold == reference.threshold


@given(st.lists(USER_IDS, unique=True, max_size=20), st.integers(1, 6))
def test_every_user_who_is_not_kept_was_reported_as_evicted_once(users, capacity):
    sample = UserSample(capacity)
    evicted = put_all(sample, users)
    assert sorted(evicted + sample.users()) == sorted(users)


def test_the_threshold_is_1_until_the_sample_is_full_and_then_lets_in_just_its_users():
    users = [f"u{i}" for i in range(50)]
    sample = UserSample(10)
    put_all(sample, users[:9])
    assert sample.threshold == 1.0
    put_all(sample, users[9:])
    assert sorted(user for user in users if rank(user) <= sample.threshold) == sorted(
        sample.users()
    )


def test_the_latest_profile_of_a_user_counts():
    sample = UserSample(3)
    sample.put("a", [1.0, 0.0], {"hops": 1.0})
    assert sample.put("a", [0.0, 1.0], {"ale": 1.0}) == []
    assert len(sample) == 1
    assert sample.vectors().tolist() == [[0.0, 1.0]]
    assert sample.terms() == [{"ale": 1.0}]


def test_rows_are_in_the_order_of_users():
    sample = UserSample(10)
    for i in range(10):
        sample.put(f"u{i}", [float(i)], {f"u{i}": 1.0})
    assert [f"u{int(vector[0])}" for vector in sample.vectors()] == sample.users()
    assert [next(iter(terms)) for terms in sample.terms()] == sample.users()


def test_weights_are_in_the_order_of_users_and_above_0():
    sample = UserSample(10)
    for i in range(10):
        sample.put(f"u{i}", [1.0], {}, weight=float(i))
    by_user = dict(zip(sample.users(), sample.weights().tolist(), strict=True))
    assert all(by_user[f"u{i}"] == i for i in range(1, 10))
    assert 0 < by_user["u0"] < 1e-3


def test_what_is_kept_is_a_copy():
    vector, terms = np.array([1.0, 0.0]), {"hops": 1.0}
    sample = UserSample(3)
    sample.put("a", vector, terms)
    vector[0] = 9
    terms["ale"] = 2
    assert sample.vectors().tolist() == [[1.0, 0.0]]
    assert sample.terms() == [{"hops": 1.0}]


def test_a_forgotten_user_makes_room():
    sample = UserSample(3)
    put_all(sample, [f"u{i}" for i in range(9)])
    gone = sample.users()[1]
    sample.discard(gone)
    sample.discard("never seen")
    assert gone not in sample
    assert len(sample) == 2
    assert sample.threshold == 1.0


def test_an_empty_sample_has_no_rows():
    assert UserSample(3).vectors().shape == (0, 0)


def test_vectors_of_two_lengths_are_refused():
    sample = UserSample(3)
    sample.put("a", [1.0, 0.0], {})
    with pytest.raises(VectorsError, match="3 numbers"):
        sample.put("b", [1.0, 0.0, 0.0], {})


def test_a_vector_that_is_not_finite_is_refused():
    with pytest.raises(VectorsError, match="finite"):
        UserSample(3).put("a", [np.nan, 0.0], {})


def test_a_sample_of_nobody_is_refused():
    with pytest.raises(ValueError, match="capacity is 0"):
        UserSample(0)
