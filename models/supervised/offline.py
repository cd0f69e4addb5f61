"""What the label model is compared with: the majority, and scikit-learn's offline classifiers.

Nothing of it runs in a worker or a trainer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from models.distances import Floats, Ints
from models.supervised.confusion import ConfusionMatrix, confusion_of

FOLDS = 5
TREES = 100

OfflinePredict = Callable[[Floats, Ints, int], Ints]


def majority(labels: Sequence[int]) -> Ints:
    """Predict for everyone the most frequent label, of equals the lowest."""
    counts = Counter(labels)
    most = min(counts, key=lambda label: (-counts[label], label))
    return np.full(len(labels), most, np.int64)


def random_forest(vectors: Floats, labels: Ints, seed: int = 0) -> Ints:
    """Predict each profile by a forest that learned from the other folds.

    Parameters
    ----------
    vectors
        float64[n, d].
    labels
        int64[n].
    seed
        Of the folds and of the trees.
    """
    return _across(RandomForestClassifier(TREES, random_state=seed), vectors, labels, seed)


def linear_svm(vectors: Floats, labels: Ints, seed: int = 0) -> Ints:
    """Predict each profile by a linear SVM that learned from the others; as `random_forest`."""
    return _across(LinearSVC(random_state=seed), vectors, labels, seed)


def scored(labels: Ints, predicted: Ints, count: int) -> ConfusionMatrix:
    """Compare predictions with labels, `count` labels in all."""
    return confusion_of(zip(labels.tolist(), predicted.tolist(), strict=True), count)


def _across(estimator: object, vectors: Floats, labels: Ints, seed: int) -> Ints:
    rarest = min(Counter(labels.tolist()).values())
    folds = max(2, min(FOLDS, rarest))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    found = cross_val_predict(estimator, vectors, labels, cv=splitter)
    return np.asarray(found, np.int64)
