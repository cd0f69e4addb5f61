"""River's STREAMKMeans: k-means on chunks, and on the centres of chunks."""

from __future__ import annotations

import numpy as np

from models.clustering.clusterers.base import (
    ClustererError,
    State,
    WarmStarted,
    as_features,
    as_rows,
    assign,
)
from models.clustering.clusterers.kmeans import check_share
from models.clustering.clusterers.mended import WarmSTREAMKMeans
from models.distances import Floats, Ints


class STREAMKMeans(WarmStarted):
    """`river.cluster.STREAMKMeans`: vectors are learned chunk by chunk.

    River has no weights for it, and raises when asked before the first chunk; here it is asked only
    once there are centres.

    Parameters
    ----------
    segments, seed, warm_up
        As for `WarmStarted`.
    chunk
        Vectors in a chunk.
    step
        Share of the way by which a centre moves, in a chunk and then from chunk to chunk.

    References
    ----------
    O'Callaghan et al., "Streaming-data algorithms for high-quality clustering", ICDE 2002.
    """

    name = "streamkmeans"

    def __init__(
        self,
        segments: int,
        *,
        seed: int = 0,
        warm_up: int = 100,
        chunk: int = 50,
        step: float = 0.1,
    ) -> None:
        super().__init__(segments, seed=seed, warm_up=warm_up)
        check_share("step", step)
        if chunk < 1:
            raise ClustererError(f"chunk is {chunk}: give a count, 1 or more")
        self.step = step
        self.chunk = chunk
        self._river = self._new()

    def _new(self) -> WarmSTREAMKMeans:
        return WarmSTREAMKMeans(
            chunk_size=self.chunk, n_clusters=self.segments, halflife=self.step, seed=self.seed
        )

    def _start(self, vectors: Floats, weights: Floats, centres: Floats) -> None:  # noqa: ARG002
        self._river = self._new()
        self._put(centres)

    def _steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None:  # noqa: ARG002
        self._put(centres)

    def _put(self, centres: Floats) -> None:
        self._river.put({row: as_features(centre) for row, centre in enumerate(centres)})

    def _learn(self, vector: Floats, weight: float) -> None:  # noqa: ARG002
        self._river.learn_one(as_features(vector))

    def _centres(self) -> Floats:
        return as_rows(self._river.centers)

    def _labels(self, vectors: Floats) -> Ints:
        return assign(vectors, self._centres(), self._river.predict_one)

    def _predict_one(self, vector: Floats) -> int:
        return int(self._river.predict_one(as_features(vector)))

    def _state(self) -> State:
        return {
            "centres": self._centres(),
            "chunk": as_rows(self._river._temp_chunk).reshape(-1, self.dimensions),
            "learned": self._river.time_stamp,
        }

    def _restore(self, state: State) -> None:
        self._river = self._new()
        self._put(np.asarray(state["centres"]))
        self._river._temp_chunk = {
            row: as_features(vector) for row, vector in enumerate(state["chunk"])
        }
        self._river.time_stamp = int(state["learned"])

    def _size(self) -> int:
        return (len(self._river.centers) + len(self._river._temp_chunk)) * self.dimensions

    def _max_size(self, dimensions: int) -> int:
        return (max(self.segments, len(self._river.centers)) + self.chunk) * dimensions
