"""How good segments are by themselves: close within, far apart. No label is needed.

scikit-learn computes the silhouette, Davies-Bouldin and Calinski-Harabasz; River's versions of them
are for clusterers of its own and differ in sign (river#1236). All distances are Euclidean, as
everywhere in the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from models.distances import Floats, Ints, distances_to, nearest, separations

SILHOUETTE_USERS = 5_000
"""Users at most for the silhouette, which compares each with each: 25 million distances."""


@dataclass(frozen=True)
class InternalMeasures:
    """Measures of the members of K segments; None where they need two segments with members.

    Attributes
    ----------
    segments
        Segments with members.
    silhouette
        Mean of (b - a) / max(a, b), where a is a user's mean distance from the others of the same
        segment and b that from the nearest other segment's (Rousseeuw, Journal of Computational and
        Applied Mathematics 20, 1987). -1 to 1, higher is better.
    simplified_silhouette
        The same with a as the distance from the own centre and b that from the nearest other
        centre (Hruschka et al., 2004). What a worker can compute as it goes. Higher is better.
    cohesion
        Mean distance from the own centre. Lower is better.
    separation
        Mean over the segments of the distance from the nearest other centre. Higher is better.
    davies_bouldin
        Mean over the segments of the worst ratio of spread to distance (Davies and Bouldin, IEEE
        PAMI 1, 1979). Lower is better.
    calinski_harabasz
        Ratio of the dispersion between segments to that within (Caliński and Harabasz,
        Communications in Statistics 3, 1974). Higher is better.
    """

    segments: int
    silhouette: float | None
    simplified_silhouette: float | None
    cohesion: float
    separation: float | None
    davies_bouldin: float | None
    calinski_harabasz: float | None


def internal_measures(
    vectors: Floats, rows: Ints, centres: Floats, *, seed: int = 0
) -> InternalMeasures | None:
    """Measure segments on their members.

    Parameters
    ----------
    vectors
        float64[n, d].
    rows
        int64[n]. Row of each member's centre; it need not be the nearest one.
    centres
        float64[K, d].
    seed
        Draws the users of the silhouette where there are more than `SILHOUETTE_USERS`.

    Returns
    -------
    InternalMeasures or None
        None where there is nobody.
    """
    if not len(vectors):
        return None
    used = np.unique(rows)
    several = 2 <= len(used) < len(vectors)
    return InternalMeasures(
        segments=len(used),
        silhouette=_silhouette(vectors, rows, seed) if several else None,
        simplified_silhouette=simplified_silhouette(vectors, rows, centres),
        cohesion=float(distances_to(vectors, centres[rows]).mean()),
        separation=float(separations(centres[used]).mean()) if len(used) >= 2 else None,
        davies_bouldin=float(metrics.davies_bouldin_score(vectors, rows)) if several else None,
        calinski_harabasz=(
            float(metrics.calinski_harabasz_score(vectors, rows)) if several else None
        ),
    )


def simplified_silhouette(vectors: Floats, rows: Ints, centres: Floats) -> float | None:
    """Give the mean simplified silhouette, -1 to 1; None with one centre or nobody.

    A user who is as far from both centres as can be told counts 0. Shapes as in
    `internal_measures`.
    """
    if len(centres) < 2 or not len(vectors):
        return None
    own = distances_to(vectors, centres[rows])
    _, other = nearest(vectors, centres, exclude=rows)
    larger = np.maximum(own, other)
    each = np.divide(other - own, larger, out=np.zeros(len(own)), where=larger > 0)
    return float(each.mean())


def _silhouette(vectors: Floats, rows: Ints, seed: int) -> float | None:
    if len(vectors) > SILHOUETTE_USERS:
        drawn = np.random.default_rng(seed).choice(len(vectors), SILHOUETTE_USERS, replace=False)
        vectors, rows = vectors[drawn], rows[drawn]
        if len(np.unique(rows)) < 2:
            return None
    return float(metrics.silhouette_score(vectors, rows))
