"""The cache of vectors: what it keeps, what it forgets, and what it never knows."""

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from models.embedding.engine.text_cache import KEY_BYTES, TextCache, TextHasher
from models.embedding.runner_types import Vectors

DIMENSIONS = 3
keys = st.lists(st.integers(0, 9).map(lambda n: bytes([n])), unique=True, max_size=10)


def read(cache: TextCache, wanted: list[bytes]) -> tuple[Vectors, NDArray[np.bool_]]:
    out = np.full((len(wanted), DIMENSIONS), -1, np.float32)
    known = cache.get(wanted, out)
    return out, known


class CacheMachine(RuleBasedStateMachine):
    """The cache beside an ordered dict of vectors, which is what it should be."""

    @initialize(capacity=st.integers(0, 6))
    def begin(self, capacity: int) -> None:
        self.capacity = capacity
        self.cache = TextCache(capacity, DIMENSIONS)
        self.expected: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self.number = 0.0

    @rule(given=keys, failed=st.sets(st.integers(0, 9)))
    def put(self, given: list[bytes], failed: set[int]) -> None:
        vectors = np.zeros((len(given), DIMENSIONS), np.float32)
        for row, key in enumerate(given):
            self.number += 1
            vectors[row] = self.number
            if row in failed:
                vectors[row, row % DIMENSIONS] = np.nan
                continue
            self.expected[key] = vectors[row].copy()
            self.expected.move_to_end(key)
            while len(self.expected) > self.capacity:
                self.expected.popitem(last=False)
        self.cache.put(given, vectors)

    @rule(wanted=keys)
    def get(self, wanted: list[bytes]) -> None:
        out, known = read(self.cache, wanted)
        for row, key in enumerate(wanted):
            assert known[row] == (key in self.expected)
            if known[row]:
                np.testing.assert_array_equal(out[row], self.expected[key])
                self.expected.move_to_end(key)
            else:
                assert (out[row] == -1).all()

    @invariant()
    def it_holds_no_more_than_its_capacity(self) -> None:
        if hasattr(self, "cache"):
            assert len(self.cache) == len(self.expected) <= self.capacity


CacheMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCache = CacheMachine.TestCase


def test_hashes_differ_between_texts_and_between_processes() -> None:
    ours, theirs = TextHasher(), TextHasher()
    assert len(ours("great")) == KEY_BYTES
    assert ours("great") == ours("great") != ours("great ")
    assert ours("great") != theirs("great")
    with pytest.raises(UnicodeEncodeError):
        ours("\ud800")


def test_threads_never_see_half_a_vector_or_anothers() -> None:
    cache = TextCache(8, DIMENSIONS)

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(200):
            numbers = random.choice(24, 6, replace=False)
            names = [bytes([n]) for n in numbers]
            out, known = read(cache, names)
            expected = np.repeat(numbers[:, np.newaxis], DIMENSIONS, axis=1).astype(np.float32)
            np.testing.assert_array_equal(out[known], expected[known])
            cache.put(names, expected)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(cache) == 8
