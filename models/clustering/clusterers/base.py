"""What every clusterer has in common: the warm start, its checks and exact assignment by rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from models.clustering.reseed import reseed
from models.distances import ROWS_AT_ONCE, Floats, Ints, VectorsError

State = dict[str, Any]
"""A clusterer's state: numbers, strings, booleans, None, arrays, and dicts of these by name."""

Features = defaultdict[Hashable, Any]
"""A vector as River takes it. The keys are whole numbers: with strings the order of a set, and so
the rounding of a sum, would depend on PYTHONHASHSEED."""


class ClustererError(ValueError):
    """A setting out of bounds, a state of another clusterer, or a step asked for too early."""


def check_counts(least: int = 1, **counts: int) -> None:
    """Refuse counts, given by name, that are below the least."""
    for name, count in counts.items():
        if count < least:
            raise ClustererError(f"{name} is {count}: give a count, {least} or more")


def check_above_zero(most: float = math.inf, **values: float | None) -> None:
    """Refuse numbers, given by name, that are not above 0 or are above the most; not None."""
    for name, value in values.items():
        if value is not None and not (0 < value <= most and value < math.inf):
            bound = "above 0" if most == math.inf else f"above 0, {most:g} at most"
            raise ClustererError(f"{name} is {value}: give a number {bound}")


class Clusterer(ABC):
    """A streaming clusterer, as the trainer sees it.

    Predicting changes nothing. The outcome depends on the settings and on the order of what was
    learned only. What `restore` was given goes on as the clusterer that `snapshot` was taken of.

    River begins with random centres far away from unit vectors, or with settings of scale that fit
    nothing. Here the first vectors are kept until there are enough; k-means++ and Lloyd's steps
    find centres among them, and the estimator begins with these.

    Parameters
    ----------
    segments
        Number of clusters K; for an algorithm that finds its own, the number by which the warm-up
        measures how wide a cluster is.
    seed
        Seed of the draws of k-means++.
    warm_up
        Vectors to collect before the start; 2 K where that is more.
    """

    name: str
    """Name of the algorithm in settings and states."""

    only_centres: bool = False
    """Whether its centres are all that it holds, so that `start` with them restores it."""

    def __init__(self, segments: int, *, seed: int = 0, warm_up: int = 100) -> None:
        check_counts(segments=segments, warm_up=warm_up)
        check_counts(0, seed=seed)
        self.segments = segments
        self.seed = seed
        self.warm_up = max(warm_up, 2 * segments)
        self.dimensions = 0
        self._started = False
        self._buffer: list[tuple[Floats, float]] = []

    @property
    def ready(self) -> bool:
        """Whether there are clusters."""
        return self._started and len(self._centres()) > 0

    @property
    def centres(self) -> Floats:
        """Centres of the (macro) clusters, float64[K, d]: copies.

        Raises
        ------
        ClustererError
            Before there are any.
        """
        self._require_clusters()
        return self._centres()

    @property
    def size(self) -> int:
        """Numbers that a state of it holds, as a count; memory in Python is a multiple of that."""
        return len(self._buffer) * (self.dimensions + 1) + (self._size() if self._started else 0)

    @property
    def max_size(self) -> int:
        """The most that `size` can become; known with the length of the first vector."""
        return max(self.warm_up * (self.dimensions + 1), self._max_size(self.dimensions))

    def start(self, vectors: Floats, weights: Floats, centres: Floats) -> None:
        """Begin anew: forget everything, and take these users and their centres for the beginning.

        Parameters
        ----------
        vectors
            float64[n, d], n at least 1.
        weights
            float64[n], above 0.
        centres
            float64[K, d]. Good centres of these vectors.
        """
        self.dimensions = centres.shape[1]
        self._buffer = []
        self._start(np.array(vectors, np.float64), np.array(weights, np.float64), np.array(centres))
        self._started = True

    def steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None:
        """Go on from better centres, keeping what else was learned; as `start` before that.

        An algorithm that finds its own number of clusters measures by them whether its scale still
        fits, and begins anew if it does not.
        """
        if not self._started:
            self.start(vectors, weights, centres)
            return
        self._steer(np.array(vectors, np.float64), np.array(weights, np.float64), np.array(centres))

    def learn(self, vector: ArrayLike, weight: float = 1.0) -> None:
        """Learn one vector, float64[d].

        River's clusterers know no weights that would do them good (see the modules), so the weight
        counts in the warm-up only.

        Raises
        ------
        VectorsError
            Where the vector is not finite or not as long as those before.
        """
        row = self._checked(np.array(vector, np.float64)[None])[0]
        if self._started:
            self._learn(row, float(weight))
            return
        self.dimensions = len(row)
        self._buffer.append((row, float(weight)))
        if len(self._buffer) >= self.warm_up:
            vectors = np.stack([kept for kept, _ in self._buffer])
            weights = np.array([own for _, own in self._buffer])
            generator = np.random.default_rng(self.seed)
            centres, _ = reseed(vectors, None, self.segments, generator, weights=weights)
            self.start(vectors, weights, centres)

    def labels(self, vectors: ArrayLike) -> Ints:
        """Row in `centres` of each vector's cluster, int64[n], for float64[n, d].

        Equal to `predict_one` of the row, for every row.

        Raises
        ------
        ClustererError
            Before there are clusters.
        VectorsError
            Where the shapes do not fit or a number is not finite.
        """
        self._require_clusters()
        return self._labels(self._checked(np.ascontiguousarray(vectors, np.float64)))

    def predict_one(self, vector: ArrayLike) -> int:
        """Ask River about one vector, float64[d]: what `labels` is held against."""
        self._require_clusters()
        return self._predict_one(self._checked(np.array(vector, np.float64)[None])[0])

    def snapshot(self) -> State:
        """Give all that is needed to go on: no pickles, and nothing shared with this clusterer."""
        return {
            "algorithm": self.name,
            "dimensions": self.dimensions,
            "started": self._started,
            "buffer": np.array([kept for kept, _ in self._buffer]),
            "buffer_weights": np.array([own for _, own in self._buffer]),
            "learned": self._state() if self._started else {},
        }

    def restore(self, state: State) -> None:
        """Become the clusterer that the state was taken of.

        Raises
        ------
        ClustererError
            Where the state is of another algorithm.
        """
        if state["algorithm"] != self.name:
            raise ClustererError(
                f"the state is of {state['algorithm']}, not of {self.name}: "
                "restore it into a clusterer of the same algorithm and settings"
            )
        self.dimensions = int(state["dimensions"])
        self._started = bool(state["started"])
        rows = zip(state["buffer"], state["buffer_weights"].tolist(), strict=True)
        self._buffer = [(np.array(row, np.float64), weight) for row, weight in rows]
        if self._started:
            self._restore(state["learned"])

    # --- what each algorithm has to say -----------------------------------------------------

    @abstractmethod
    def _start(self, vectors: Floats, weights: Floats, centres: Floats) -> None: ...

    @abstractmethod
    def _steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None: ...

    @abstractmethod
    def _learn(self, vector: Floats, weight: float) -> None: ...

    @abstractmethod
    def _centres(self) -> Floats: ...

    @abstractmethod
    def _labels(self, vectors: Floats) -> Ints: ...

    @abstractmethod
    def _predict_one(self, vector: Floats) -> int: ...

    @abstractmethod
    def _state(self) -> State: ...

    @abstractmethod
    def _restore(self, state: State) -> None: ...

    @abstractmethod
    def _size(self) -> int: ...

    @abstractmethod
    def _max_size(self, dimensions: int) -> int: ...

    # --- checks -----------------------------------------------------------------------------

    def _require_clusters(self) -> None:
        if not self.ready:
            raise ClustererError(
                f"{self.name} has no clusters yet: learn {self.warm_up} vectors or more"
            )

    def _checked(self, vectors: Floats) -> Floats:
        if vectors.ndim != 2 or (self.dimensions and vectors.shape[1] != self.dimensions):
            raise VectorsError(
                f"vectors has the shape {vectors.shape} where {self.name} learned "
                f"{self.dimensions} numbers a row: give rows made by the same embedding model"
            )
        if not np.isfinite(vectors).all():
            raise VectorsError("vectors hold NaN or an infinity: give finite numbers")
        return vectors


class RiverClusterer(Clusterer):
    """One whose estimator is River's own: `_river` learns, has the centres and predicts."""

    _river: Any

    def _learn(self, vector: Floats, weight: float) -> None:  # noqa: ARG002
        self._river.learn_one(as_features(vector))

    def _centres(self) -> Floats:
        return as_rows(self._river.centers)

    def _labels(self, vectors: Floats) -> Ints:
        return assign(vectors, self._centres(), self._river.predict_one)

    def _predict_one(self, vector: Floats) -> int:
        return int(self._river.predict_one(as_features(vector)))


def as_features(vector: Floats) -> Features:
    """Give a vector as the dict that River learns from; always a new one, which it may keep."""
    return defaultdict(float, enumerate(vector.tolist()))


def as_rows(centres: dict[int, Any]) -> Floats:
    """Give River's centres as rows, float64[K, d], in the order of the dict."""
    return np.array([list(centre.values()) for centre in centres.values()], dtype=np.float64)


def assign(vectors: Floats, centres: Floats, ask: Callable[[Features], int]) -> Ints:
    """Find the row of the nearest centre of each vector, as River finds it.

    River adds up squares one after the other in Python, which rounds differently from NumPy. So
    where two different centres are equally near up to rounding, River itself is asked; everywhere
    else there is only one answer.

    Parameters
    ----------
    vectors
        float64[n, d].
    centres
        float64[K, d], K at least 1.
    ask
        River's answer for one vector: the row.

    Returns
    -------
    int64[n]
        Independent of what other rows share the call.
    """
    # Of equal centres River takes the first.
    _, first = np.unique(centres, axis=0, return_index=True)
    rows = np.sort(first)
    centres = centres[rows]
    found = np.empty(len(vectors), dtype=np.int64)
    norms = np.add.reduce(np.square(centres), axis=1)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = vectors[start : start + ROWS_AT_ONCE]
        rough = norms - 2.0 * (part @ centres.T)
        # As in `models.distances`: the nearest one by whatever order of summing is among these.
        scale = np.add.reduce(np.square(part), axis=1) + norms.max()
        slack = 16.0 * (part.shape[1] + 4) * np.finfo(np.float64).eps * scale
        near = rough <= (rough.min(axis=1) + slack)[:, None]
        found[start : start + len(part)] = rows[near.argmax(axis=1)]
        for row in np.flatnonzero(near.sum(axis=1) > 1).tolist():
            found[start + row] = ask(as_features(part[row]))
    return found
