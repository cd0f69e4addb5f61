"""Figures as they are published: with six digits, the same on every processor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIGITS = 6
"""Enough to compare distances between unit vectors."""

_SCALE = 10.0**DIGITS
# A product is off by 2^-53 of itself at most: below the largest, that is less than the slack.
_LARGEST, _SLACK = 1e3, 1e-6


def rounded(figures: Floats) -> Floats:
    """Give `round(figure, DIGITS)` of each, to the bit, in a tenth of the time.

    `round` goes by way of the decimal digits. Of what lies between two halves the nearest whole
    number of millionths is never in doubt, and dividing it by a million is exact to the last bit,
    as reading its digits is. What is so near to a half that the product may be wrong is left to
    `round`, as are NaN, infinities and large numbers.

    Parameters
    ----------
    figures
        float64[n].

    Returns
    -------
    float64[n]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = figures * _SCALE
        whole = np.rint(scaled)
        sure = (np.abs(figures) < _LARGEST) & (np.abs(scaled - whole) < 0.5 - _SLACK)
    found = whole / _SCALE
    for row in np.flatnonzero(~sure).tolist():
        found[row] = round(float(figures[row]), DIGITS)
    return found
