"""Fewer dimensions to learn in: a random projection or incremental PCA.

River's clusterers go through a vector number by number, in Python; in 32 dimensions they learn
several times as fast as in 384. A projection cannot be taken back, and workers compare profiles in
the space of the embedding model. So the centres of a `Projected` clusterer are the means of its
members in the original space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from models.clustering.clusterers.base import Clusterer, ClustererError, State, check_counts
from models.distances import Floats, Ints, VectorsError

Members = Callable[[], tuple[Floats, Floats]]
"""Gives those whose means the centres are: float64[n, d] and their weights, float64[n]."""

CAPTURED = 0.9
"""A basis is given up when it captures less than this share of what the learning one does."""

_ROWS_AT_ONCE = 128
"""Rows projected in one go: 12 MB of products from 384 into 32 dimensions."""


class Projection(ABC):
    """A linear map into fewer dimensions; the same bits for a row whatever rows share the call.

    Parameters
    ----------
    dimensions
        m; less where there are not so many vectors, or numbers in one.
    """

    name: ClassVar[str]
    """Name in settings and states."""

    def __init__(self, dimensions: int) -> None:
        check_counts(dimensions=dimensions)
        self.dimensions = dimensions

    @abstractmethod
    def fit(self, vectors: Floats, weights: Floats) -> None:
        """Choose the map anew, for vectors like these."""

    def learn(self, vector: Floats) -> None:  # noqa: B027 - not all of them learn
        """See one more vector. The map stays as it is until `renew`."""

    def renew(self, vectors: Floats, weights: Floats) -> bool:  # noqa: ARG002
        """Change the map if it no longer fits these vectors; give whether it was changed."""
        return False

    @abstractmethod
    def apply(self, vectors: ArrayLike) -> Floats:
        """Project float64[n, d] to float64[n, m]."""

    @abstractmethod
    def lift(self, points: Floats) -> Floats:
        """Give vectors that are projected to these points, float64[n, d] for float64[n, m].

        Of all those there are, the ones nearest to the projection's origin.
        """

    def snapshot(self) -> State:
        """Give all that is needed to go on."""
        return {"projection": self.name, **self._state()}

    def restore(self, state: State) -> None:
        """Become the projection that the state was taken of."""
        if state["projection"] != self.name:
            raise ClustererError(
                f"the state is of the projection {state['projection']}, not of {self.name}: "
                "restore it into a projection of the same kind"
            )
        self._restore(state)

    @abstractmethod
    def _state(self) -> State: ...

    @abstractmethod
    def _restore(self, state: State) -> None: ...


class RandomProjection(Projection):
    """Random directions, drawn once: distances stay about what they were.

    With m dimensions they are off by about 1 / sqrt(2 m), whatever the data (Johnson and
    Lindenstrauss, 1984). It costs nothing to learn and never has to change.

    Parameters
    ----------
    dimensions
        m; d where that is less.
    seed
        Seed of the draw.
    """

    name = "random"

    def __init__(self, dimensions: int, *, seed: int = 0) -> None:
        super().__init__(dimensions)
        self.seed = seed
        self._basis = np.empty((0, 0))

    def fit(self, vectors: Floats, weights: Floats) -> None:  # noqa: ARG002 - whatever the data
        """Draw the directions, if they were not drawn for this length yet."""
        long = vectors.shape[1]
        if self._basis.shape[1] != long:
            count = min(self.dimensions, long)
            generator = np.random.default_rng(self.seed)
            self._basis = generator.normal(size=(count, long)) / np.sqrt(count)

    def apply(self, vectors: ArrayLike) -> Floats:
        """Project float64[n, d] to float64[n, m]."""
        return _products(np.asarray(vectors, np.float64), self._basis)

    def lift(self, points: Floats) -> Floats:
        """Give the shortest vectors that are projected to the points."""
        lifted: Floats = points @ np.linalg.pinv(self._basis).T
        return lifted

    def _state(self) -> State:
        return {"basis": self._basis.copy()}

    def _restore(self, state: State) -> None:
        self._basis = np.array(state["basis"], np.float64)


class IncrementalPca(Projection):
    """The directions in which the vectors differ most, learned as they come.

    Two bases are held: the one in use, and one that goes on learning. A clusterer cannot follow a
    basis that turns under it, so the one in use stays until `renew` finds that it misses too much
    of how users differ, as when new topics have appeared; then the clusterer has to start anew.

    The basis in use comes from LAPACK: other than the rest of the learning it may differ in the
    last bits between machines.

    Parameters
    ----------
    dimensions
        m; less where there are not so many vectors or numbers in one.
    batch
        Vectors merged into the learning basis at once.

    References
    ----------
    Ross et al., "Incremental learning for robust visual tracking", International Journal of
    Computer Vision 77, 2008: the mean is learned too.
    """

    name = "pca"

    def __init__(self, dimensions: int, *, batch: int = 100) -> None:
        super().__init__(dimensions)
        check_counts(batch=batch)
        self.batch = batch
        self._basis = np.empty((0, 0))
        self._origin = np.empty(0)
        self._next = np.empty((0, 0))
        self._lengths = np.empty(0)
        self._mean = np.empty(0)
        self._seen = 0
        self._waiting: list[Floats] = []

    @property
    def learning(self) -> Floats:
        """The basis that goes on learning, float64[m, d], orthonormal rows."""
        return self._next.copy()

    def fit(self, vectors: Floats, weights: Floats) -> None:  # noqa: ARG002 - each counts the same
        """Forget everything, learn these and use what was learned."""
        self._seen, self._waiting = 0, []
        self._mean = np.zeros(vectors.shape[1])
        self._next, self._lengths = np.empty((0, vectors.shape[1])), np.empty(0)
        self._merge(np.asarray(vectors, np.float64))
        self._basis, self._origin = self._next, self._mean

    def learn(self, vector: Floats) -> None:
        """See one more vector."""
        self._waiting.append(np.array(vector, np.float64))
        if len(self._waiting) >= self.batch:
            self._merge(np.stack(self._waiting))
            self._waiting = []

    def renew(self, vectors: Floats, weights: Floats) -> bool:
        """Go over to the learning basis, if it captures enough more of these vectors."""
        total = np.sqrt(weights)[:, None] * (vectors - np.average(vectors, axis=0, weights=weights))
        best = np.square(_products(total, self._next)).sum()
        if np.square(_products(total, self._basis)).sum() >= CAPTURED * best:
            return False
        self._basis, self._origin = self._next, self._mean
        return True

    def apply(self, vectors: ArrayLike) -> Floats:
        """Project float64[n, d] to float64[n, m]."""
        vectors = np.asarray(vectors, np.float64)
        return _products(vectors, self._basis, self._origin)

    def lift(self, points: Floats) -> Floats:
        """Give the vectors nearest to the mean that are projected to the points."""
        lifted: Floats = self._origin + points @ self._basis
        return lifted

    def _state(self) -> State:
        return {
            "basis": self._basis.copy(),
            "origin": self._origin.copy(),
            "next": self._next.copy(),
            "lengths": self._lengths.copy(),
            "mean": self._mean.copy(),
            "seen": self._seen,
            "waiting": np.array(self._waiting),
        }

    def _restore(self, state: State) -> None:
        self._basis = np.array(state["basis"], np.float64)
        self._origin = np.array(state["origin"], np.float64)
        self._next = np.array(state["next"], np.float64)
        self._lengths = np.array(state["lengths"], np.float64)
        self._mean = np.array(state["mean"], np.float64)
        self._seen = int(state["seen"])
        self._waiting = [np.array(row, np.float64) for row in state["waiting"]]

    def _merge(self, vectors: Floats) -> None:
        """Merge n vectors, float64[n, d], into the learning basis."""
        count = len(vectors)
        mean = vectors.mean(axis=0)
        seen = self._seen + count
        between = np.sqrt(self._seen * count / seen) * (self._mean - mean)
        stacked = np.vstack([self._lengths[:, None] * self._next, vectors - mean, between[None]])
        _, lengths, basis = np.linalg.svd(stacked, full_matrices=False)
        # Beyond the rank of the vectors directions are noise.
        rank = int((lengths > 1e-10 * lengths[0]).sum())
        kept = max(1, min(self.dimensions, rank))
        # A direction and its opposite serve as well; the largest number is made positive.
        largest = np.abs(basis[:kept]).argmax(axis=1)
        signs = np.sign(basis[np.arange(kept), largest])
        self._next, self._lengths = signs[:, None] * basis[:kept], lengths[:kept]
        self._mean = self._mean + (count / seen) * (mean - self._mean)
        self._seen = seen


class Projected(Clusterer):
    """A clusterer that learns in fewer dimensions and has its centres in the original space.

    A centre is the weighted mean of a cluster's members in the original space. A cluster that no
    member is left of has the shortest vector that is projected to its centre.

    Parameters
    ----------
    inner
        The clusterer that learns.
    projection
        The way into fewer dimensions.
    members
        Gives vectors in the original space with their weights, such as a sample of users: the
        centres are means of these. They are the caller's, and in no state.
    """

    def __init__(self, inner: Clusterer, projection: Projection, members: Members) -> None:
        self.name = inner.name
        self.projection = projection
        self._inner = inner
        self._members = members

    @property
    def ready(self) -> bool:
        """Whether there are clusters."""
        return self._inner.ready

    def labels(self, vectors: ArrayLike) -> Ints:
        """As for every clusterer, found in fewer dimensions."""
        return self._inner.labels(self.projection.apply(vectors))

    def _start(self, vectors: Floats, weights: Floats, centres: Floats) -> None:
        self.projection.fit(vectors, weights)
        self._inner.start(self.projection.apply(vectors), weights, self.projection.apply(centres))

    def _steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None:
        renewed = self.projection.renew(vectors, weights)
        go_on = self._inner.start if renewed else self._inner.steer
        go_on(self.projection.apply(vectors), weights, self.projection.apply(centres))

    def _learn(self, vector: Floats) -> None:
        self.projection.learn(vector)
        self._inner.learn(self.projection.apply(vector[None])[0])

    def _centres(self) -> Floats:
        centres = self.projection.lift(self._inner.centres)
        vectors, weights = self._members()
        if len(vectors):
            labels = self.labels(vectors)
            for row in np.unique(labels):
                own = labels == row
                centres[row] = np.average(vectors[own], axis=0, weights=weights[own])
        return centres

    def _state(self) -> State:
        return {"projection": self.projection.snapshot(), "inner": self._inner.snapshot()}

    def _restore(self, state: State) -> None:
        self.projection.restore(state["projection"])
        self._inner.restore(state["inner"])


def _products(vectors: Floats, basis: Floats, origin: Floats | float = 0.0) -> Floats:
    """Products of n vectors, less the origin, with m directions, float64[n, m].

    Each is added up by itself: a matrix product rounds differently from batch to batch, and a label
    must not depend on that.
    """
    if vectors.shape[1] != basis.shape[1]:
        raise VectorsError(
            f"vectors has the shape {vectors.shape} where the projection takes {basis.shape[1]} "
            "numbers a row: give rows made by the same embedding model"
        )
    products = np.empty((len(vectors), len(basis)))
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = (vectors[start : start + _ROWS_AT_ONCE] - origin)[:, None, :] * basis
        products[start : start + _ROWS_AT_ONCE] = np.add.reduce(part, axis=2)
    return products
