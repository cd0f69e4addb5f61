"""How well segments agree with labels that are known: in the demo, the benchmarks and the tests.

River computes the measures, from one confusion matrix.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from river import metrics
from river.metrics.confusion import ConfusionMatrix


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
        Users compared.
    """

    v_measure: float
    adjusted_rand: float
    purity: float
    users: int


def agreement(labels: Sequence[Hashable], segments: Sequence[Hashable]) -> Agreement:
    """Compare segments with labels, one of each a user.

    Raises
    ------
    ValueError
        Where there is nothing to compare, or one sequence is longer than the other.
    """
    if len(labels) != len(segments) or not len(labels):
        raise ValueError(
            f"{len(labels)} labels and {len(segments)} segments: give one of each a user, "
            "for one user at least"
        )
    # River keeps labels and segments in one set. As numbers that no label shares with a segment,
    # they are neither mixed up nor added up in an order that depends on PYTHONHASHSEED.
    label_codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    segment_codes = {segment: -1 - code for code, segment in enumerate(dict.fromkeys(segments))}
    matrix = ConfusionMatrix()
    for label, segment in zip(labels, segments, strict=True):
        matrix.update(label_codes[label], segment_codes[segment])
    in_best_label = sum(
        max(matrix[label][segment] for label in label_codes.values())
        for segment in segment_codes.values()
    )
    return Agreement(
        v_measure=metrics.VBeta(cm=matrix).get(),
        adjusted_rand=metrics.AdjustedRand(cm=matrix).get(),
        purity=in_best_label / len(labels),
        users=len(labels),
    )
