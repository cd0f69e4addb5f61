"""The linear classifiers that learn labels: River's, with all labels in one step.

They take the steps of `river.linear_model.SoftmaxRegression` and of one
`river.linear_model.LogisticRegression` a label, to the bit. River runs through the labels one by
one and through their weights by name; with 50 labels nearly all time went there. The tests hold
River's beside these. What was measured of them, and of River's trees, is in docs/labels.md.
"""

from __future__ import annotations

import math

import numpy as np

from models.distances import Floats
from models.labels.scores import each, linear_scores, probabilities
from schemas.label_model import ClassifierName

LEARNING_RATES: dict[ClassifierName, float] = {"softmax": 1.0, "logistic": 1.0, "svm": 0.1}
"""Steps of SGD that suit vectors of length 1. River's own, 0.01, takes too long to learn them."""

INTERCEPT_RATE = 0.1
"""Steps of the intercepts of one against the rest; softmax has none."""

# River's bounds: beyond the first `exp` is left out, beyond the second a probability is cut.
_STEEP = 18.0
_LEAST = 1e-15


class Classifier:
    """Learns labels 0, 1, 2, ... from vectors, one at a time.

    Parameters
    ----------
    name
        Which: `softmax` moves all weights by each example; `logistic` and `svm` are one binary
        classifier a label, against all others.
    dimensions
        Length d of the vectors.
    """

    def __init__(self, name: ClassifierName, dimensions: int) -> None:
        self.name = name
        # Weights, a column a label: so sums run down the rows.
        self._columns = np.zeros((dimensions, 0))
        self._intercepts = np.zeros(0)

    @property
    def labels(self) -> int:
        """Number of labels known."""
        return len(self._intercepts)

    def add_label(self) -> None:
        """Make the next number known, of which nothing is learned yet."""
        self._columns = np.pad(self._columns, ((0, 0), (0, 1)))
        self._intercepts = np.pad(self._intercepts, (0, 1))

    def scores(self, vector: Floats) -> Floats:
        """Give the score of each known label, float64[K]."""
        found: Floats = linear_scores(vector[np.newaxis], self._columns, self._intercepts)[0]
        return found

    def probabilities(self, scores: Floats) -> Floats:
        """Give the probability of each known label from its score."""
        found: Floats = probabilities(self.name, scores[np.newaxis])[0]
        return found

    def learn(self, vector: Floats, label: int, scores: Floats | None = None) -> None:
        """Learn one example of a known label.

        Parameters
        ----------
        vector
            float64[d].
        label
            Its label.
        scores
            What `scores` gives of the vector, where that is known.
        """
        gradient = self._gradient(self.scores(vector) if scores is None else scores, label)
        if self.name != "softmax":
            self._intercepts -= INTERCEPT_RATE * gradient
        # In this order, as River rounds it.
        self._columns -= LEARNING_RATES[self.name] * np.multiply.outer(vector, gradient)

    def parameters(self) -> tuple[Floats, Floats]:
        """Give weights float64[K, d] and intercepts float64[K]: all that is learned."""
        return np.ascontiguousarray(self._columns.T), self._intercepts.copy()

    def restore(self, weights: Floats, intercepts: Floats) -> None:
        """Go on from what `parameters` gave, as if never stopped."""
        self._columns = np.array(weights.T, order="C")
        self._intercepts = intercepts.copy()

    def _gradient(self, scores: Floats, label: int) -> Floats:
        """Give the loss's slope along each score."""
        own = np.arange(len(scores)) == label
        if self.name == "softmax":
            bounded = self.probabilities(scores).clip(_LEAST, 1 - _LEAST)
            found: Floats = bounded - own
            return found
        signs = np.where(own, 1.0, -1.0)
        margins = scores * signs
        if self.name == "svm":
            return np.where(margins <= 1.0, -signs, 0.0)
        return -signs * each(_missing, margins)


def _missing(margin: float) -> float:
    """How far logistic regression is from sure of what it should say."""
    if margin > _STEEP:
        return math.exp(-margin)
    return 1.0 if margin < -_STEEP else 1.0 / (math.exp(margin) + 1.0)
