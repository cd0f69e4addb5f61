"""What scikit-learn makes of the same profiles when it may see them all: peers for an evaluation.

Nothing of it runs in a worker or a trainer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from models.distances import Floats, Ints, nearest

STARTS = 10
"""Starts of k-means, of which the one with the least inertia is kept."""

BATCH = 256
"""Profiles that MiniBatchKMeans learns from in one step."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """Centres float64[K, d], and the row of each profile's nearest centre, int64[n]."""

    centres: Floats
    rows: Ints


def offline_kmeans(
    vectors: Floats, count: int, seed: int = 0, *, starts: int = STARTS
) -> Clustering:
    """Run k-means to the end, the best of several starts.

    Parameters
    ----------
    vectors
        float64[n, d], n at least `count`.
    count
        Number of clusters.
    seed
        Seed of the starts.
    starts
        How many.
    """
    with _fewer_are_fine():
        fitted = KMeans(count, n_init=starts, random_state=seed).fit(vectors)
    return _assigned(vectors, fitted.cluster_centers_)


def one_pass_kmeans(vectors: Floats, count: int, seed: int = 0) -> Clustering:
    """Run mini-batch k-means over the profiles once, in their order; then assign them all.

    Parameters as for `offline_kmeans`.
    """
    learner = MiniBatchKMeans(count, random_state=seed)
    # The first step picks the first centres, so it needs as many profiles.
    first = max(BATCH, count)
    learner.partial_fit(vectors[:first])
    for start in range(first, len(vectors), BATCH):
        learner.partial_fit(vectors[start : start + BATCH])
    return _assigned(vectors, learner.cluster_centers_)


@contextmanager
def _fewer_are_fine() -> Iterator[None]:
    """Accept that there are fewer different profiles than clusters: some stay empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _assigned(vectors: Floats, centres: Floats) -> Clustering:
    centres = np.asarray(centres, dtype=np.float64)
    rows, _ = nearest(vectors, centres)
    return Clustering(centres, rows)
