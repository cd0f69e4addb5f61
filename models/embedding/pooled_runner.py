"""What the runners on a CPU share: runs side by side, and texts on which a model fails."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.daemon_pool import DaemonPool
from models.embedding.runner_types import (
    CLOSE_SECONDS,
    RunnerTotals,
    TokenIds,
    UsedDevice,
    Vectors,
)

logger = logging.getLogger(__name__)


class TextRun(NamedTuple):
    """Texts that go through the model at once.

    Attributes
    ----------
    chosen
        Their indices.
    width
        Tokens of a row, padding included.
    rows
        How many rows the model gets; those behind the texts fill it up.
    """

    chosen: NDArray[np.int64]
    width: int
    rows: int


class PooledRunner(ABC):
    """Runs texts on so many cores of a CPU.

    Parameters
    ----------
    dimensions
        Of the model's vectors.
    threads
        Runs side by side, of one core each.
    fell_back
        Whether a GPU was asked for, or the model is made for one.
    """

    device: UsedDevice = "cpu"

    def __init__(self, dimensions: int, threads: int, *, fell_back: bool = False) -> None:
        self.threads = threads
        self.fell_back = fell_back
        self.totals = RunnerTotals()
        self._counting = threading.Lock()
        self._dimensions = dimensions
        self._pool = DaemonPool(threads, "embed")

    @abstractmethod
    def cut(self, lengths: NDArray[np.int64]) -> list[TextRun]:
        """Cut texts of so many tokens into runs; every text is in one."""

    @abstractmethod
    def infer(self, texts: list[TokenIds], width: int, rows: int) -> Vectors:
        """Give the vectors of a run's texts; raises whatever the model fails with."""

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        """Give the vector of each text."""
        vectors = np.full((len(rows), self._dimensions), np.nan, dtype=np.float32)
        runs = self.cut(np.array([row.size for row in rows], dtype=np.int64))
        under_way = [self._pool.submit(partial(self._run, rows, each, vectors)) for each in runs]
        for future in under_way:
            future.result()  # which raises what its run raised
        broken = ~np.isfinite(vectors).all(axis=1)
        vectors[broken] = np.nan
        with self._counting:
            self.totals = replace(
                self.totals,
                batches=self.totals.batches + len(runs),
                computed_tokens=self.totals.computed_tokens + sum(n * w for _, w, n in runs),
                failed_texts=self.totals.failed_texts + int(broken.sum()),
            )
        return vectors

    def _run(self, rows: Sequence[TokenIds], run: TextRun, vectors: Vectors) -> None:
        """Put the vectors of a run's texts in their places."""
        chosen = run.chosen
        try:
            vectors[chosen] = self.infer([rows[index] for index in chosen], run.width, run.rows)
            return
        except Exception as error:  # the engines' types have no common base
            kind = type(error).__name__
        if chosen.size == 1:
            tokens = rows[chosen[0]].size
            logger.warning("The model fails on a text of %d tokens (%s)", tokens, kind)
            return
        for index in chosen:  # find the text that it is
            self._run(rows, TextRun(np.array([index]), run.width, 1), vectors)

    def close(self) -> None:
        """End the threads; what is being embedded is waited for, a device that hangs is not."""
        self._pool.close(CLOSE_SECONDS)
