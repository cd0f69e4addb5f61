"""Sums in half precision: what is rounded, what it costs, and what must not be lost by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.profiles.float16 import LEAST_WEIGHT, from_half, in_half, rounded, to_half
from models.profiles.policy import ProfilePolicy
from models.profiles.rows import ProfileRows, unit_rows
from models.profiles.snapshot import ProfileSnapshot, table_of
from models.profiles.table import ProfileTable
from schemas.profiles import ProfileRecord

DIMENSIONS = 384
EXACT = ProfilePolicy()
LIMITED = ProfilePolicy(precision="float16")
# A limit that the settings do not allow: float16 for everybody.
THROUGHOUT = LIMITED.model_copy(update={"float16_max_weight": 1e9})
ROW = np.array([0])

floats = st.floats(-65_519, 65_519, width=32)


@given(arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(0, 9)), elements=floats))
def test_rounding_is_that_of_numpy_bit_for_bit(numbers) -> None:
    assert to_half(numbers).tolist() == numbers.astype(np.float16).view(np.uint16).tolist()


def test_every_finite_number_of_half_precision_comes_back() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    bits = bits[np.isfinite(bits.view(np.float16))]
    numbers = from_half(bits)
    assert numbers.tobytes() == bits.view(np.float16).astype(np.float32).tobytes()
    assert (to_half(numbers) == bits).all()


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(3)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    st.floats(0, 1e6),
)
def test_what_is_rounded_stays_finite_and_is_rounded_no_further(sums, weight: float) -> None:
    weights = np.full(len(sums), weight)
    once = rounded(sums.copy(), weights, 128.0)
    assert np.isfinite(once).all()
    assert rounded(once.copy(), weights, 128.0).tobytes() == once.tobytes()
    # Row by row it is the same.
    for row in range(len(sums)):
        alone = rounded(sums[row : row + 1].copy(), weights[:1], 128.0)
        assert alone.tobytes() == once[row : row + 1].tobytes()


def test_who_is_kept_in_half_precision_follows_from_weight_and_sum() -> None:
    sums = np.zeros((6, 2), np.float32)
    sums[3, 1], sums[4, 1] = 65_520, -65_519
    weights = np.array([LEAST_WEIGHT, 128.0, 128.1, 1.0, 1.0, LEAST_WEIGHT / 2])
    assert in_half(sums, weights, 128.0).tolist() == [True, True, False, False, True, False]
    assert not in_half(sums, weights, None).any()


def moved(policy: ProfilePolicy, rows: ProfileRows, embeddings: np.ndarray) -> None:
    """Add events of one moment, one after the other."""
    for embedding in embeddings:
        rows.add(ROW, embedding[None], np.ones(1), np.zeros(1, np.int64), policy)
        rows.remember(ROW, np.ones(1, np.uint64))


def cosine(one: ProfileRows, other: ProfileRows) -> float:
    return float(one.vectors()[0] @ other.vectors()[0])


def test_a_new_interest_is_not_swallowed_after_twenty_thousand_events_of_another() -> None:
    rng = np.random.default_rng(0)
    old, new = unit_rows(rng.normal(size=(2, DIMENSIONS)))
    noise = unit_rows(rng.normal(size=(25_000, DIMENSIONS)))
    events = unit_rows(np.repeat([old, new], [20_000, 5_000], axis=0) + noise).astype(np.float32)
    held = {
        policy.precision + str(policy.float16_max_weight): (
            policy,
            ProfileRows.empty(["u"], DIMENSIONS, 1),
        )
        for policy in (EXACT, LIMITED, THROUGHOUT)
    }
    for policy, rows in held.values():
        moved(policy, rows, events[:20_000])
    exact, limited, throughout = (rows for _, rows in held.values())
    assert cosine(exact, throughout) < 0.97
    assert cosine(exact, limited) > 0.99999
    before = [float(rows.sums[0] @ new) for _, rows in held.values()]
    for policy, rows in held.values():
        moved(policy, rows, events[20_000:])
    # What the sums gained in the direction of the new interest.
    gained = [
        float(rows.sums[0] @ new) - start
        for (_, rows), start in zip(held.values(), before, strict=True)
    ]
    assert gained[1] == pytest.approx(gained[0], rel=1e-3)
    assert gained[2] < 0.7 * gained[0]


@given(
    st.lists(
        st.tuples(st.integers(0, 400 * 86_400_000_000), st.integers(0, 99), st.floats(0.05, 40)),
        min_size=1,
        max_size=25,
    )
)
def test_a_state_read_back_is_the_one_that_was_held_and_goes_on_the_same(stream) -> None:
    policy = ProfilePolicy(precision="float16", float16_max_weight=16, half_life_days=30)
    live = ProfileTable(4, 8, policy.float16_limit, first=2)
    for number, (time, seed, gain) in enumerate(stream):
        restored = ProfileTable(4, 8, policy.float16_limit)
        rows = live.gather(["u"])
        record = rows.to_record(0, "a" * 64).model_dump_json()
        restored.load(ProfileRecord.model_validate_json(record))
        columns = ProfileSnapshot.of(live).columns()
        mapped = table_of(
            {name: column.copy() for name, column in columns.items()}, 4, 8, policy.float16_limit
        )
        vector = unit_rows(np.random.default_rng(seed).normal(size=(1, 4))).astype(np.float32)
        for table in (live, restored, mapped):
            rows = table.gather(["u"])
            rows.add(ROW, vector, np.array([gain]), np.array([time]), policy)
            rows.remember(ROW, np.array([number + 1], np.uint64))
            held = rows.sums.copy()
            table.put(rows)
            assert table.gather(["u"]).sums.tobytes() == held.tobytes()
        states = [table.gather(["u"]) for table in (live, restored, mapped)]
        for name in states[0].arrays():
            assert len({state.arrays()[name].tobytes() for state in states}) == 1, name
        half = bool(in_half(held, states[0].weights, 16)[0])
        assert live.vector_slabs[half].in_use == 1
        assert live.vector_slabs[not half].in_use == 0
