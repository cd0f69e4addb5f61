"""River's linear classifiers behind one interface: features and labels by number.

Numbers keep the order of sums, and so the bits, the same under any PYTHONHASHSEED. What was
measured of these and of River's trees is in docs/labels.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

import numpy as np
from river import linear_model, multiclass, optim

from models.distances import Floats
from models.river_internals import set_weights
from schemas.label_model import ClassifierName

Features = dict[int, float]

LEARNING_RATES: dict[ClassifierName, float] = {"softmax": 1.0, "logistic": 1.0, "svm": 0.1}
"""Steps of SGD that suit vectors of length 1. River's own, 0.01, takes too long to learn them."""

_INTERCEPT_RATE = 0.1


class Classifier(Protocol):
    """Learns labels 0, 1, 2, ... from vectors, one at a time."""

    @property
    def labels(self) -> int:
        """Number of labels known."""
        ...

    def add_label(self) -> None:
        """Make the next number known, of which nothing is learned yet."""
        ...

    def learn(self, features: Features, label: int) -> None:
        """Learn one example of a known label."""
        ...

    def probabilities(self, features: Features) -> dict[int, float]:
        """Give the probability of each known label, as River does."""
        ...

    def parameters(self) -> tuple[Floats, Floats]:
        """Give weights float64[K, d] and intercepts float64[K]: all that is learned."""
        ...

    def restore(self, weights: Floats, intercepts: Floats) -> None:
        """Go on from what `parameters` gave, as if never stopped."""
        ...


def make_classifier(name: ClassifierName, dimensions: int) -> Classifier:
    """Make a classifier that knows no label yet."""
    rate = LEARNING_RATES[name]
    if name == "softmax":
        return _Softmax(dimensions, rate)
    if name == "logistic":
        return _OneVsRest(dimensions, rate, optim.losses.Log)
    if name == "svm":
        return _OneVsRest(dimensions, rate, optim.losses.Hinge)
    assert_never(name)


@dataclass(slots=True)
class _Softmax:
    """Multinomial logistic regression: one set of weights a label, all moved by each example."""

    dimensions: int
    rate: float
    _model: Any = None

    def __post_init__(self) -> None:
        self._model = linear_model.SoftmaxRegression(optim.SGD(self.rate))

    @property
    def labels(self) -> int:
        return len(self._model.weights)

    def add_label(self) -> None:
        self._set(self.labels, [0.0] * self.dimensions)

    def learn(self, features: Features, label: int) -> None:
        self._model.learn_one(features, label)

    def probabilities(self, features: Features) -> dict[int, float]:
        found: dict[int, float] = self._model.predict_proba_one(features)
        return found

    def parameters(self) -> tuple[Floats, Floats]:
        rows = [[own[i] for i in range(self.dimensions)] for own in self._model.weights.values()]
        return np.array(rows).reshape(self.labels, self.dimensions), np.zeros(self.labels)

    def restore(self, weights: Floats, intercepts: Floats) -> None:  # noqa: ARG002 - it has none
        for label, row in enumerate(weights.tolist()):
            self._set(label, row)

    def _set(self, label: int, row: list[float]) -> None:
        self._model.weights[label].update(enumerate(row))


@dataclass(slots=True)
class _OneVsRest:
    """One binary classifier a label, against all others."""

    dimensions: int
    rate: float
    loss: Callable[[], Any]
    _model: Any = None

    def __post_init__(self) -> None:
        self._model = multiclass.OneVsRestClassifier(
            linear_model.LogisticRegression(
                optim.SGD(self.rate), loss=self.loss(), intercept_lr=_INTERCEPT_RATE
            )
        )

    @property
    def labels(self) -> int:
        return len(self._model.classifiers)

    def add_label(self) -> None:
        self._set(self.labels, [0.0] * self.dimensions, 0.0)

    def learn(self, features: Features, label: int) -> None:
        self._model.learn_one(features, label)

    def probabilities(self, features: Features) -> dict[int, float]:
        found: dict[int, float] = self._model.predict_proba_one(features)
        return found

    def parameters(self) -> tuple[Floats, Floats]:
        parts = list(self._model.classifiers.values())
        rows = [[own.weights[i] for i in range(self.dimensions)] for own in map(_Weights, parts)]
        weights = np.array(rows).reshape(len(parts), self.dimensions)
        return weights, np.array([float(part.intercept) for part in parts])

    def restore(self, weights: Floats, intercepts: Floats) -> None:
        for label, row in enumerate(weights.tolist()):
            self._set(label, row, float(intercepts[label]))

    def _set(self, label: int, row: list[float], intercept: float) -> None:
        part = self._model.classifier.clone()
        set_weights(part, dict(enumerate(row)), intercept)
        self._model.classifiers[label] = part


class _Weights:
    """The weights of a binary classifier, copied out of Rust once."""

    def __init__(self, part: Any) -> None:
        self.weights: dict[int, float] = part.weights
