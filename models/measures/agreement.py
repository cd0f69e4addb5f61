"""How well segments agree with labels that are known: in `evaluate`, the demo and the benchmarks.

River computes the measures, from one confusion matrix. What needs no labels is in
`models.measures.internal`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from river import metrics
from river.metrics.confusion import ConfusionMatrix

from models.distances import Ints


@dataclass(frozen=True)
class Agreement:
    """Agreement of segments with labels; 1 is perfect in each measure.

    Attributes
    ----------
    v_measure
        Harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg, EMNLP 2007).
    adjusted_rand
        Pairs of users treated alike, adjusted for chance: 0 is what chance gives (Hubert and
        Arabie, Journal of Classification 2, 1985).
    purity
        Share of users whose label is the most frequent of their segment.
    users
        Users compared; events, where it is events that are counted.
    """

    v_measure: float
    adjusted_rand: float
    purity: float
    users: int


class Confusion:
    """Counts of labels by segments, fed one pair at a time: memory for labels times segments.

    A label and a segment of the same name are not the same thing.
    """

    def __init__(self) -> None:
        # River keeps labels and segments in one set. As numbers that no label shares with a
        # segment, they are neither mixed up nor added up in an order that depends on
        # PYTHONHASHSEED.
        self._labels: dict[Hashable, int] = {}
        self._segments: dict[Hashable, int] = {}
        self._matrix = ConfusionMatrix()
        self.pairs = 0

    def add(self, label: Hashable, segment: Hashable) -> None:
        """Count one more of a label in a segment."""
        row = self._labels.setdefault(label, len(self._labels))
        column = self._segments.setdefault(segment, -1 - len(self._segments))
        self._matrix.update(row, column)
        self.pairs += 1

    @property
    def labels(self) -> list[Hashable]:
        """Labels in the order of their first pair: the rows of `counts`."""
        return list(self._labels)

    @property
    def segments(self) -> list[Hashable]:
        """Segments in the order of their first pair: the columns of `counts`."""
        return list(self._segments)

    def counts(self) -> Ints:
        """Pairs by label and segment, int64[L, S]."""
        return np.array(
            [
                [int(self._matrix[row][column]) for column in self._segments.values()]
                for row in self._labels.values()
            ],
            dtype=np.int64,
        ).reshape(len(self._labels), len(self._segments))

    def best_labels(self) -> dict[Hashable, Hashable]:
        """Give the most frequent label of each segment; of equals the one that came first."""
        if not self.pairs:
            return {}
        labels = self.labels
        return {
            segment: labels[row]
            for segment, row in zip(
                self._segments, self.counts().argmax(axis=0).tolist(), strict=True
            )
        }

    def agreement(self) -> Agreement | None:
        """Measure how well segments agree with labels; None without a pair."""
        if not self.pairs:
            return None
        return Agreement(
            v_measure=metrics.VBeta(cm=self._matrix).get(),
            adjusted_rand=metrics.AdjustedRand(cm=self._matrix).get(),
            purity=int(self.counts().max(axis=0).sum()) / self.pairs,
            users=self.pairs,
        )


def agreement(labels: Sequence[Hashable], segments: Sequence[Hashable]) -> Agreement:
    """Compare segments with labels, one of each a user.

    Raises
    ------
    ValueError
        Where there is nothing to compare, or one sequence is longer than the other.
    """
    confusion = Confusion()
    if len(labels) == len(segments):
        for label, segment in zip(labels, segments, strict=True):
            confusion.add(label, segment)
    if (found := confusion.agreement()) is None:
        raise ValueError(
            f"{len(labels)} labels and {len(segments)} segments: give one of each a user, "
            "for one user at least"
        )
    return found
