"""Figures rounded many at once, beside `round` of each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.segments.rounding import DIGITS, rounded

# All kinds of floats, such as lie at or near the middle of two millionths, and distances.
MIDDLES = st.builds(
    lambda n, ulps: (n + 0.5) / 1e6 * (1 + ulps * 2.0**-52),
    st.integers(-(10**9), 10**9),
    st.integers(-3, 3),
)


@given(st.lists(st.floats() | MIDDLES | st.floats(-2, 2) | st.floats(-1e-5, 1e-5), max_size=20))
def test_figures_are_rounded_as_each_by_itself(figures: list[float]) -> None:
    wanted = np.array([round(figure, DIGITS) for figure in figures], np.float64)
    assert rounded(np.array(figures, np.float64)).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("figure", [0.0000005, -0.0000005, 0.1234565, 2.6755, -0.0, 5e-324])
def test_what_is_amid_two_millionths_is_rounded_by_its_digits(figure: float) -> None:
    found = float(rounded(np.array([figure]))[0])
    assert (found, math.copysign(1, found)) == (
        round(figure, DIGITS),
        math.copysign(1, round(figure, DIGITS)),
    )
