"""River's own linear classifiers, one label after the other: what the product's have to equal."""

from __future__ import annotations

import numpy as np
from river import linear_model, multiclass, optim

from models.labels.classifiers import INTERCEPT_RATE, LEARNING_RATES


class RiverClassifier:
    """Learns as `models.labels.classifiers.Classifier` does."""

    def __init__(self, name: str, dimensions: int) -> None:
        step = optim.SGD(LEARNING_RATES[name])
        self._softmax = name == "softmax"
        self._dimensions = dimensions
        self._labels = 0
        if self._softmax:
            self._model = linear_model.SoftmaxRegression(step)
            return
        loss = optim.losses.Log() if name == "logistic" else optim.losses.Hinge()
        binary = linear_model.LogisticRegression(step, loss=loss, intercept_lr=INTERCEPT_RATE)
        self._model = multiclass.OneVsRestClassifier(binary)

    def add_label(self) -> None:
        """Make the next number known, of which nothing is learned yet."""
        if self._softmax:
            zeros = dict.fromkeys(range(self._dimensions), 0.0)
            self._model.weights[self._labels].update(zeros)
        else:
            self._model.classifiers[self._labels] = self._model.classifier.clone()
        self._labels += 1

    def learn(self, vector: np.ndarray, label: int) -> None:
        """Learn one example of a known label."""
        self._model.learn_one(dict(enumerate(vector.tolist())), label)

    def probabilities(self, vector: np.ndarray) -> np.ndarray:
        """Give the probability of each known label."""
        found = self._model.predict_proba_one(dict(enumerate(vector.tolist())))
        return np.array([found[label] for label in range(self._labels)])

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """Give weights and intercepts."""
        if self._softmax:
            parts = [(weights, 0.0) for weights in self._model.weights.values()]
        else:
            parts = [(own.weights, own.intercept) for own in self._model.classifiers.values()]
        rows = [[weights.get(i, 0.0) for i in range(self._dimensions)] for weights, _ in parts]
        return np.array(rows), np.array([float(intercept) for _, intercept in parts])
