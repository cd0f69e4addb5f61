"""How sure an assignment is: the probability of the chosen segment against all the others.

By distances d from the profile to the centres, that is

    p(segment) = d^-s / sum over all centres of the same
    s          = EXPONENT * W / (W + HALF_WEIGHT)

the membership of fuzzy c-means (Bezdek, "Pattern Recognition with Fuzzy Objective Function
Algorithms", 1981). Only ratios of distances count, so it has no unit: it says the same in an
embedding model in which all texts lie close together as in one in which they are far apart, and
under centres of thin, scattered profiles, from which everybody is far, as under those of rich ones.
W is the profile's weight: with no evidence every segment is as likely, 1 / K.

The two constants were fitted to the Stack Exchange stream with the default embedding model, and
hold within a few points for users drawn from its texts with one event each or with twenty, also
where a constant is mixed into all vectors up to a cosine of .81 between any two (docs/stability.md
has the tables). Shares of segments do not enter: rare segments are not doubted for being rare.
"""

from __future__ import annotations

import math

import numpy as np

from models.distances import Floats, Ints, distances_to_all

EXPONENT = 32.0
"""Of a profile that rests on much evidence. A single text is worth 27: what its noise along the
line between two topics amounts to. That more texts add so little comes from users, not from texts:
where a user is misplaced, the next ten texts are often alike."""

HALF_WEIGHT = 0.2
"""Weight W at which the exponent is half of what it is with endless evidence."""


def confidence(vectors: Floats, rows: Ints, weights: Floats, centres: Floats) -> Floats:
    """Give the probability that each profile belongs to the centre chosen for it.

    It rises with every distance to another centre and falls with the one to the chosen centre. It
    depends neither on the order of the centres nor on who shares the call, to the last bit.

    Parameters
    ----------
    vectors
        float64[n, d]. Profiles of unit length.
    rows
        int64[n]. Row of the chosen centre of each.
    weights
        float64[n], 0 or more. How much each profile rests on.
    centres
        float64[K, d], K at least 1.

    Returns
    -------
    float64[n]
        In [0, 1].
    """
    return confidence_at(distances_to_all(vectors, centres), rows, weights)


def confidence_at(distances: Floats, rows: Ints, weights: Floats) -> Floats:
    """Give the same, from the distance to every centre, float64[n, K]."""
    exponents = EXPONENT * (weights / (weights + HALF_WEIGHT))
    found = [
        _share(*each)
        for each in zip(distances.tolist(), rows.tolist(), exponents.tolist(), strict=True)
    ]
    return np.array(found, np.float64)


def _share(distances: list[float], row: int, exponent: float) -> float:
    """Share of one centre, from the distances of one profile.

    One by one with the C library's pow and an exact sum: numpy's vectorised pow may round a value
    differently by its place in the array.
    """
    least = min(distances)
    # The nearest may be where the profile is: of several such each has the same.
    likelihoods = [(least / each) ** exponent if each > least else 1.0 for each in distances]
    return likelihoods[row] / math.fsum(likelihoods)
