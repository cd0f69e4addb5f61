"""The confusion matrix of a stream, and what is measured of it: exact, in integers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from models.distances import Ints


@dataclass(frozen=True, slots=True)
class Scores:
    """How well predictions agree with labels; 1 is perfect in each.

    The macro measures are means over labels, each counting alike: over all that were given or
    predicted. A label that was never predicted has a precision of 0, one that was never given a
    recall of 0, as scikit-learn has it with `zero_division=0`.
    """

    accuracy: float
    macro_recall: float
    macro_precision: float
    macro_f1: float
    count: int
    """Predictions compared."""


class ConfusionMatrix:
    """Counts of given by predicted labels, fed one pair at a time; labels are numbers from 0."""

    def __init__(self, counts: Sequence[Sequence[int]] | Ints = ()) -> None:
        self._counts = np.array(counts, dtype=np.int64).reshape(len(counts), len(counts))

    @property
    def counts(self) -> Ints:
        """Pairs, int64[K, K]: row is the label given, column the one predicted."""
        return self._counts.copy()

    def grow(self, labels: int) -> None:
        """Make room for so many labels in all."""
        if (more := labels - len(self._counts)) > 0:
            self._counts = np.pad(self._counts, (0, more))

    def add(self, given: int, predicted: int) -> None:
        """Count one more."""
        self.grow(max(given, predicted) + 1)
        self._counts[given, predicted] += 1

    def scores(self, among: Ints | None = None) -> Scores | None:
        """Measure; None without a pair.

        Parameters
        ----------
        among
            Labels of which the macro measures are means; by default all that were given or
            predicted.
        """
        counts = self._counts
        total = int(counts.sum())
        if not total:
            return None
        right = np.diagonal(counts).astype(np.float64)
        given, predicted = counts.sum(axis=1), counts.sum(axis=0)
        seen = (given + predicted) > 0
        if among is not None:
            seen &= np.isin(np.arange(len(counts)), among)
        return Scores(
            accuracy=float(right.sum()) / total,
            macro_recall=_mean(right, given, seen),
            macro_precision=_mean(right, predicted, seen),
            macro_f1=_mean(2 * right, given + predicted, seen),
            count=total,
        )


def confusion_of(pairs: Iterable[tuple[int, int]], labels: int = 0) -> ConfusionMatrix:
    """Count pairs of given and predicted labels."""
    matrix = ConfusionMatrix()
    matrix.grow(labels)
    for given, predicted in pairs:
        matrix.add(given, predicted)
    return matrix


def _mean(part: np.ndarray, whole: Ints, seen: np.ndarray) -> float:
    shares = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return float(shares[seen].mean())
