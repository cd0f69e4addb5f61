"""What every clusterer has in common: a start on given centres, checks and the frame of a state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from models.distances import Floats, Ints, VectorsError, nearest

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

    River begins with random centres far away from unit vectors, or with settings of scale that fit
    nothing. Here it begins with real users and good centres of theirs.

    Asking for centres or labels changes nothing. The outcome depends on the settings and on the
    order of what was learned only. What `restore` was given goes on as the clusterer that
    `snapshot` was taken of.
    """

    name: str
    """Name of the algorithm in settings and states."""

    only_centres: bool = False
    """Whether its centres are all that it holds, so that `start` with them restores it."""

    dimensions: int = 0
    """Length of the vectors, 0 before `start`."""

    @property
    def ready(self) -> bool:
        """Whether there are clusters."""
        return self.dimensions > 0 and len(self._centres()) > 0

    @property
    def centres(self) -> Floats:
        """Centres of the (macro) clusters, float64[K, d]: copies.

        Raises
        ------
        ClustererError
            Before there are any.
        """
        if not self.ready:
            raise ClustererError(f"{self.name} has no clusters yet: start it, and let it learn")
        return self._centres()

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
        self._start(np.array(vectors, np.float64), np.array(weights, np.float64), np.array(centres))

    def steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None:
        """Go on from better centres, keeping what else was learned; as `start` before that.

        An algorithm that finds its own number of clusters measures by them whether its scale still
        fits, and begins anew if it does not.
        """
        if not self.dimensions:
            self.start(vectors, weights, centres)
            return
        self._steer(np.array(vectors, np.float64), np.array(weights, np.float64), np.array(centres))

    def learn(self, vector: ArrayLike) -> None:
        """Learn one vector, float64[d].

        River's clusterers know no weights that would do them good (see the modules).

        Raises
        ------
        VectorsError
            Where the vector is not finite or not as long as those before.
        """
        own = np.array(vector, np.float64)
        if own.shape != (self.dimensions,) or not np.isfinite(own).all():
            raise VectorsError(
                f"the vector has the shape {own.shape} or holds NaN, where {self.name} learns "
                f"{self.dimensions} numbers: give finite ones, made by the same embedding model"
            )
        self._learn(own)

    def labels(self, vectors: ArrayLike) -> Ints:
        """Row in `centres` of each vector's cluster, int64[n], for float64[n, d].

        It is what River's `predict_one` says of the row, but where two centres are equally near up
        to rounding, and does not depend on what other rows share the call.

        Raises
        ------
        ClustererError
            Before there are clusters.
        VectorsError
            Where the shapes do not fit or a number is not finite.
        """
        return nearest(vectors, self.centres)[0]

    def snapshot(self) -> State:
        """Give all that is needed to go on: no pickles, and nothing shared with this clusterer."""
        return {"algorithm": self.name, "dimensions": self.dimensions, "learned": self._state()}

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
        self._restore(state["learned"])

    # --- what each algorithm has to say -----------------------------------------------------

    @abstractmethod
    def _start(self, vectors: Floats, weights: Floats, centres: Floats) -> None: ...

    @abstractmethod
    def _steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None: ...

    @abstractmethod
    def _learn(self, vector: Floats) -> None: ...

    @abstractmethod
    def _centres(self) -> Floats: ...

    @abstractmethod
    def _state(self) -> State: ...

    @abstractmethod
    def _restore(self, state: State) -> None: ...


class RiverClusterer(Clusterer):
    """One whose estimator is River's own: `_river` learns and has the centres."""

    _river: Any

    def _learn(self, vector: Floats) -> None:
        self._river.learn_one(as_features(vector))

    def _centres(self) -> Floats:
        return as_rows(self._river.centers)


def as_features(vector: Floats) -> Features:
    """Give a vector as the dict that River learns from; always a new one, which it may keep."""
    return defaultdict(float, enumerate(vector.tolist()))


def as_rows(centres: dict[int, Any]) -> Floats:
    """Give River's centres as rows, float64[K, d], in the order of the dict."""
    return np.array([list(centre.values()) for centre in centres.values()], dtype=np.float64)
