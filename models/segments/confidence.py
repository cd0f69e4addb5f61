"""How sure an assignment is: the probability of the chosen segment against all the others.

A profile x is judged as by a mixture of von Mises-Fisher densities (Banerjee et al., "Clustering on
the Unit Hypersphere using von Mises-Fisher Distributions", JMLR 6, 2005) with equal shares and one
concentration. For unit vectors and centres c of about the same length that is, by distances,

    p(segment) = exp(-s d²(x, c) / 2) / sum over all centres of the same
    s          = CONCENTRATION / L * W / (W + HALF_WEIGHT)

L is the root mean square length of the centres. The members of a segment have unit length, so its
radius r and its centre's length say the same: |c|² = 1 - r². Centres of thin, scattered profiles
are short and lie close together; divided by L the same profiles come out as sure as under centres
of rich ones. W is the profile's weight: with no evidence every segment is as likely, 1 / K.

The two constants were fitted to the Stack Exchange stream with the default embedding model, and
hold within a few points for users drawn from its texts with one event each or with twenty
(docs/stability.md has the table). Shares of segments do not enter: rare segments are not doubted
for being rare.
"""

from __future__ import annotations

import math

import numpy as np

from models.distances import Floats, Ints, distances_to_all

CONCENTRATION = 24.0
"""Of a profile that rests on much evidence. A single text is worth 20: what its noise along the
line between two topics amounts to. That more texts add so little comes from users, not from texts:
where a user is misplaced, the next ten texts are often alike."""

HALF_WEIGHT = 0.2
"""Weight W at which a profile is half as concentrated as with endless evidence."""


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
    return confidence_at(distances_to_all(vectors, centres), rows, weights, centres)


def confidence_at(distances: Floats, rows: Ints, weights: Floats, centres: Floats) -> Floats:
    """Give the same, from the distance to every centre, float64[n, K]."""
    squares = np.square(distances)
    shrunk = weights / (weights + HALF_WEIGHT)
    sharpness = 0.5 * _sharpness(centres) * shrunk
    found = [
        _share(*each)
        for each in zip(squares.tolist(), rows.tolist(), sharpness.tolist(), strict=True)
    ]
    return np.array(found, np.float64)


def _sharpness(centres: Floats) -> float:
    """Concentration by squared distance, 0 where all centres are the origin."""
    squared = math.fsum(np.add.reduce(np.square(centres), axis=1).tolist()) / len(centres)
    return CONCENTRATION / math.sqrt(squared) if squared > 0 else 0.0


def _share(squares: list[float], row: int, sharpness: float) -> float:
    """Share of one centre, from the squared distances of one profile.

    One by one with the C library's exp and an exact sum: numpy's vectorised exp may round a value
    differently by its place in the array.
    """
    least = min(squares)
    likelihoods = [math.exp(-sharpness * (square - least)) for square in squares]
    return likelihoods[row] / math.fsum(likelihoods)
