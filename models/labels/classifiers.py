"""River's linear classifiers behind one interface: features and labels by number.

Numbers keep the order of sums, and so the bits, the same under any PYTHONHASHSEED. What was
measured of these and of River's trees is in docs/labels.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from river import linear_model, multiclass, optim

from models.distances import Floats
from models.river_internals import set_weights
from schemas.label_model import ClassifierName

Features = dict[int, float]

LEARNING_RATES: dict[ClassifierName, float] = {"softmax": 1.0, "logistic": 1.0, "svm": 0.1}
"""Steps of SGD that suit vectors of length 1. River's own, 0.01, takes too long to learn them."""

_INTERCEPT_RATE = 0.1


class Classifier(ABC):
    """Learns labels 0, 1, 2, ... from vectors, one at a time.

    Parameters
    ----------
    dimensions
        Length d of the vectors.
    model
        River's.
    """

    def __init__(self, dimensions: int, model: Any) -> None:
        self._dimensions = dimensions
        self._model = model

    @property
    @abstractmethod
    def labels(self) -> int:
        """Number of labels known."""

    def add_label(self) -> None:
        """Make the next number known, of which nothing is learned yet."""
        self._set(self.labels, [0.0] * self._dimensions, 0.0)

    def learn(self, features: Features, label: int) -> None:
        """Learn one example of a known label."""
        self._model.learn_one(features, label)

    def probabilities(self, features: Features) -> dict[int, float]:
        """Give the probability of each known label, as River does."""
        found: dict[int, float] = self._model.predict_proba_one(features)
        return found

    def parameters(self) -> tuple[Floats, Floats]:
        """Give weights float64[K, d] and intercepts float64[K]: all that is learned."""
        parts = self._parts()
        rows = [[weights[i] for i in range(self._dimensions)] for weights, _ in parts]
        weights = np.array(rows).reshape(len(parts), self._dimensions)
        return weights, np.array([intercept for _, intercept in parts])

    def restore(self, weights: Floats, intercepts: Floats) -> None:
        """Go on from what `parameters` gave, as if never stopped."""
        for label, row in enumerate(weights.tolist()):
            self._set(label, row, float(intercepts[label]))

    @abstractmethod
    def _parts(self) -> list[tuple[Mapping[int, float], float]]:
        """Give weights and intercept of each label."""

    @abstractmethod
    def _set(self, label: int, row: list[float], intercept: float) -> None: ...


def make_classifier(name: ClassifierName, dimensions: int) -> Classifier:
    """Make a classifier that knows no label yet."""
    step = optim.SGD(LEARNING_RATES[name])
    if name == "softmax":
        return _Softmax(dimensions, linear_model.SoftmaxRegression(step))
    loss = optim.losses.Log() if name == "logistic" else optim.losses.Hinge()
    binary = linear_model.LogisticRegression(step, loss=loss, intercept_lr=_INTERCEPT_RATE)
    return _OneVsRest(dimensions, multiclass.OneVsRestClassifier(binary))


class _Softmax(Classifier):
    """Multinomial logistic regression: one set of weights a label, all moved by each example."""

    @property
    def labels(self) -> int:
        return len(self._model.weights)

    def _parts(self) -> list[tuple[Mapping[int, float], float]]:
        return [(own, 0.0) for own in self._model.weights.values()]

    def _set(self, label: int, row: list[float], intercept: float) -> None:  # noqa: ARG002
        self._model.weights[label].update(enumerate(row))


class _OneVsRest(Classifier):
    """One binary classifier a label, against all others."""

    @property
    def labels(self) -> int:
        return len(self._model.classifiers)

    def _parts(self) -> list[tuple[Mapping[int, float], float]]:
        parts = self._model.classifiers.values()
        # Weights are copied out of Rust each time that they are asked for.
        return [(part.weights, float(part.intercept)) for part in parts]

    def _set(self, label: int, row: list[float], intercept: float) -> None:
        part = self._model.classifier.clone()
        set_weights(part, dict(enumerate(row)), intercept)
        self._model.classifiers[label] = part
