"""The nearest centre in single precision: told where it is certain, and never wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.distances import nearest
from models.profiles.table import unit_rows
from models.segments.decision import nearest_beyond_doubt
from models.segments.model import SegmentModel
from tests.models.segments.test_model import a_model

DIMENSIONS = 48


def model_of(centres: np.ndarray) -> SegmentModel:
    n = len(centres)
    return a_model(
        ids=np.arange(n), centres=centres, radii=np.ones(n), sizes=np.ones(n, int),
        labels=("x",) * n, words=((),) * n, since=(1,) * n, next_id=n,
    )  # fmt: skip


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 6),
    # How far from the border between two centres, and how long the sum is.
    off=st.sampled_from([0.0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-2, 1.0]),
    length=st.sampled_from([0.0, 1e-44, 1e-30, 1e-8, 1.0, 3e4, 1e18, 1e30]),
)
def test_what_is_told_is_the_nearest_centre(
    seed: int, count: int, off: float, length: float
) -> None:
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng.normal(size=(count, DIMENSIONS))) * rng.uniform(0.3, 1, (count, 1))
    # The first and the last one are as long as each other, so that their border goes through the
    # origin: points on it stay there whatever their length. Then they are moved off it.
    centres[-1] *= np.linalg.norm(centres[0]) / np.linalg.norm(centres[-1])
    normal = unit_rows((centres[0] - centres[-1])[None])[0]
    points = rng.normal(size=(40, DIMENSIONS)) + 9 * (centres[0] + centres[-1])
    points = unit_rows(points - np.outer(points @ normal, normal))
    points = unit_rows(points + off * rng.normal(size=points.shape))
    sums = (points * length).astype(np.float32)
    told = nearest_beyond_doubt(sums, model_of(centres))
    right, _ = nearest(unit_rows(sums), centres)
    assert np.array_equal(told[told >= 0], right[told >= 0])


def test_of_usual_profiles_nearly_all_are_told() -> None:
    rng = np.random.default_rng(5)
    centres = unit_rows(rng.normal(size=(12, 384))) * 0.7
    sums = rng.normal(size=(2000, 384)).astype(np.float32)
    told = nearest_beyond_doubt(sums, model_of(centres))
    assert (told >= 0).mean() > 0.98


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_of_numbers_that_are_none_nothing_is_told(number: float) -> None:
    sums = np.ones((3, DIMENSIONS), np.float32)
    sums[1, 2] = number
    told = nearest_beyond_doubt(sums, model_of(np.eye(DIMENSIONS)[:2] * [[1.0], [0.5]]))
    assert told[1] == -1
