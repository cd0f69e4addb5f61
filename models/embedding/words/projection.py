"""From the rows of a text's words to its vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.embedding.runner_types import RunnerTotals, TokenIds, UsedDevice, Vectors

UNKNOWN = 0
"""The row of a word that the model does not know; it holds zeros."""


def counted(
    ids: NDArray[np.integer], lengths: NDArray[np.integer], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Count how often each word is in each text.

    Parameters
    ----------
    ids
        Rows or columns of all texts' words, one text after the other, (words,).
    lengths
        Words of each text, (texts,).
    width
        Above every id.

    Returns
    -------
    starts, ids, weights
        Where each text begins in what follows, and where the last one ends, (texts + 1,); the
        different ids of each text, ascending, and the square root of how often each occurs.
    """
    texts = len(lengths)
    owners = np.repeat(np.arange(texts, dtype=np.int64), lengths)
    keys, counts = np.unique(owners * width + ids, return_counts=True)
    starts = np.searchsorted(keys, np.arange(texts + 1, dtype=np.int64) * width)
    return starts, keys % width, np.sqrt(counts).astype(np.float32)


def project(
    ids: NDArray[np.integer], lengths: NDArray[np.integer], projection: NDArray[np.float32]
) -> Vectors:
    """Add the rows of each text's words, each times the square root of how often it is there.

    Only sums and products of single numbers, in the order of the rows: the outcome is the same to
    the bit on every processor, whatever texts are beside, in whatever order the words stand.

    Parameters
    ----------
    ids, lengths
        As for `counted`.
    projection
        Each word's part, (rows, dimensions).

    Returns
    -------
    Vectors
        Unit vectors, (texts, dimensions); NaN for a text of which no word is known.
    """
    ids = np.asarray(ids)
    known = ids != UNKNOWN
    owners = np.repeat(np.arange(len(lengths)), lengths)[known]
    lengths = np.bincount(owners, minlength=len(lengths))
    starts, ids, weights = counted(ids[known], lengths, len(projection))
    sizes = np.diff(starts)
    order = np.argsort(-sizes, kind="stable")
    longest_first = sizes[order]
    sums = np.zeros((len(sizes), projection.shape[1]), np.float32)
    # Of all texts that have so many the first word, then the second, and so on.
    for place in range(int(longest_first[0]) if len(sizes) else 0):
        texts = int(np.searchsorted(-longest_first, -place))
        at = starts[order[:texts]] + place
        sums[:texts] += projection[ids[at]] * weights[at, np.newaxis]
    vectors = np.empty_like(sums)
    vectors[order] = _units(sums)
    return vectors


def _units(sums: Vectors) -> Vectors:
    """Bring vectors to length one; NaN for those without a direction."""
    squares = np.zeros(len(sums))
    for place in range(sums.shape[1]):
        squares += sums[:, place].astype(np.float64) ** 2
    squares[~(np.isfinite(squares) & (squares > 0))] = np.nan
    units: Vectors = (sums / np.sqrt(squares)[:, np.newaxis]).astype(np.float32)
    return units


class WordsRunner:
    """Runs the projection, in the thread that asks.

    Parameters
    ----------
    projection
        Each word's part, (rows, dimensions), zeros in the row `UNKNOWN`.
    """

    device: UsedDevice = "cpu"
    fell_back = False
    threads = 1

    def __init__(self, projection: NDArray[np.float32]) -> None:
        self.totals = RunnerTotals()
        self._projection = projection

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        """Give the vector of each text."""
        lengths = np.array([row.size for row in rows], np.int64)
        vectors = project(np.concatenate(rows), lengths, self._projection)
        failed = int(np.isnan(vectors[:, 0]).sum())
        self.totals = replace(
            self.totals,
            batches=self.totals.batches + 1,
            computed_tokens=self.totals.computed_tokens + int(lengths.sum()),
            failed_texts=self.totals.failed_texts + failed,
        )
        return vectors

    def close(self) -> None:
        """Do nothing: there is no thread to end."""
