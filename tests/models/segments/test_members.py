"""Members of centres, against counting them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.distances import nearest
from models.segments.members import members_of

WHOLE = st.integers(-3, 3).map(float)


@given(
    arrays(np.float64, (9, 2), elements=WHOLE),
    st.integers(1, 4).flatmap(lambda k: arrays(np.float64, (k, 2), elements=WHOLE)),
)
def test_sizes_and_radii_are_those_of_the_nearest_users(vectors, centres):
    found = members_of(vectors, centres)
    rows, distances = nearest(vectors, centres)
    assert np.array_equal(found.rows, rows)
    for row in range(len(centres)):
        own = distances[rows == row]
        assert found.sizes[row] == len(own)
        radius = float(np.sqrt(np.mean(own**2))) if len(own) else 0.0
        assert found.radii[row] == pytest.approx(radius)


def test_nobody_belongs_nowhere():
    found = members_of(np.empty((0, 0)), np.eye(3))
    assert found.rows.tolist() == []
    assert found.sizes.tolist() == [0, 0, 0]
    assert found.radii.tolist() == [0, 0, 0]
