"""From profiles to scores to probabilities of labels: one code for the trainer and for workers.

Sums run in the order of the dimensions, one number after the other, and exponentials are the C
library's: what comes out depends neither on the processor nor on who else is in the call, and is
River's to the bit (on Python 3.11; later ones add up floats more exactly than one by one).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from models.distances import Floats
from schemas.label_model import ClassifierName

# Scores computed at a time: with 384 dimensions their products take 0.8 MB, which caches hold.
_BLOCK = 256
# Beyond it River's sigmoid is 0 or 1 (`river.utils.math.sigmoid`).
_SURE = 30.0


def linear_scores(vectors: Floats, columns: Floats, intercepts: Floats) -> Floats:
    """Give each vector's score for each label: the sum of its products with the weights.

    Parameters
    ----------
    vectors
        float64[n, d].
    columns
        float64[d, K]. The weights, a column a label.
    intercepts
        float64[K].

    Returns
    -------
    float64[n, K]
    """
    scores = np.empty((len(vectors), columns.shape[1]))
    step = max(1, _BLOCK // columns.shape[1])
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        products = np.multiply(block.T[:, :, np.newaxis], columns[:, np.newaxis], order="C")
        # Across rows numpy adds one after the other. A single column it would add up in pairs.
        alone = products[0].size == 1
        total = np.cumsum(products, axis=0)[-1] if alone else np.add.reduce(products, axis=0)
        scores[start : start + step] = total
    scores += intercepts
    return scores


def probabilities(classifier: ClassifierName, scores: Floats) -> Floats:
    """Give the probability of each label from scores float64[n, K]; each row adds up to 1."""
    if classifier == "softmax":
        powers = each(math.exp, scores - scores.max(axis=1, keepdims=True))
        found: Floats = powers / np.cumsum(powers, axis=1)[:, -1:]
        return found
    votes = each(_sigmoid, scores)
    totals = np.cumsum(votes, axis=1)[:, -1:]
    even = np.full_like(votes, 1 / votes.shape[1])
    return np.divide(votes, totals, out=even, where=totals > 0)


def each(function: Callable[[float], float], values: Floats) -> Floats:
    """Apply a function to each number: numpy's own may round one differently by its place."""
    flat = [function(value) for value in values.ravel().tolist()]
    return np.array(flat, dtype=np.float64).reshape(values.shape)


def _sigmoid(score: float) -> float:
    if abs(score) > _SURE:
        return 1.0 if score > 0 else 0.0
    return 1 / (1 + math.exp(-score))
