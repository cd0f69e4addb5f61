"""Whether a figure grows: slopes by least squares with their 95 % intervals, and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

CONFIDENCE = 0.95
FLAT, GROWS, UNCLEAR = "flat", "grows", "unclear"
_HOUR = 3600.0
Floats = NDArray[np.float64]
Points = tuple[Sequence[float] | Floats, Sequence[float] | Floats]
"""Times in seconds, in their order, and what was measured at each."""


@dataclass(frozen=True)
class Slope:
    """How fast a figure grows, in its own unit an hour, and between which bounds that lies."""

    mean: float
    per_hour: float
    low: float
    high: float
    points: int

    def verdict(self, share: float) -> str:
        """Tell whether it is flat: even the upper bound is below a share of the mean, in an hour.

        It grows where the whole interval is above 0 and not below that. What is neither is unclear:
        the run is too short, or the figure too restless, to tell the two apart.
        """
        if self.high <= share * self.mean:
            return FLAT
        return GROWS if self.low > 0 else UNCLEAR


def slope(lives: Sequence[Points]) -> Slope:
    """Fit one slope to several lives, each with a level of its own.

    With one life that is the ordinary regression on time. With several it is the slope that all of
    them share: what differs between them, such as the level that a process comes to after a
    restart, has no part in it.

    Neighbouring samples are alike, so they tell less than as many independent ones would. The
    interval is widened for that: of n samples whose residuals have an autocorrelation of r from one
    to the next, n (1 - r) / (1 + r) count (Santer et al. 2000, doi:10.1029/1999JD901105). Without
    any it is Student's.

    Parameters
    ----------
    lives
        Each with its times in seconds and its values. Lives of less than two points say nothing.

    Returns
    -------
    Slope
        Of infinite bounds where the points are too few for any.
    """
    kept = [_centred(life) for life in lives if len(life[0]) >= 2]
    values = [np.asarray(life[1], np.float64) for life in lives]
    points = sum(map(len, values))
    mean = float(np.concatenate(values).mean()) if points else math.nan
    spread = sum(float(at @ at) for at, _ in kept)
    if spread == 0:
        return Slope(mean, math.nan, -math.inf, math.inf, points)
    steep = sum(float(at @ value) for at, value in kept) / spread
    residuals = [value - steep * at for at, value in kept]
    left = sum(float(each @ each) for each in residuals)
    number = sum(map(len, residuals))
    free = number * _independent(residuals) - len(kept) - 1
    wide = math.inf
    # Of a count that never moves nothing is left, and there is nothing to be unsure of.
    if left <= number * (1e-9 * max(1.0, abs(mean))) ** 2:
        wide = 0.0 if number > len(kept) + 1 else math.inf
    elif free > 0:
        wide = math.sqrt(left / free / spread) * float(student.ppf((1 + CONFIDENCE) / 2, free))
    return Slope(mean, steep * _HOUR, (steep - wide) * _HOUR, (steep + wide) * _HOUR, points)


def _centred(life: Points) -> tuple[Floats, Floats]:
    at, value = (np.asarray(each, np.float64) for each in life)
    return at - at.mean(), value - value.mean()


def _independent(residuals: Sequence[Floats]) -> float:
    """Give the share of samples that count, by the residuals' autocorrelation within lives."""
    left = sum(float(each @ each) for each in residuals)
    alike = sum(float(each[:-1] @ each[1:]) for each in residuals)
    r = min(max(alike / left, 0.0), 1.0) if left else 0.0
    return (1 - r) / (1 + r)


def across(lives: Sequence[Points]) -> Points:
    """Make one point of each life: the middle of its time, and its mean."""
    filled = [life for life in lives if len(life[0])]
    return (
        [float(np.mean(at)) for at, _ in filled],
        [float(np.mean(value)) for _, value in filled],
    )


def told(found: Slope, share: float) -> dict[str, Any]:
    """Give a slope for the file of figures; bounds that are not there are None."""

    def number(value: float) -> float | None:
        return round(value, 3) if math.isfinite(value) else None

    return {
        "mean": number(found.mean),
        "per_hour": number(found.per_hour),
        "low": number(found.low),
        "high": number(found.high),
        "points": found.points,
        "verdict": found.verdict(share),
    }
