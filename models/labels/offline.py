"""What the label model is compared with: the majority, and scikit-learn's offline classifiers.

Nothing of it runs in a worker or a trainer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from models.distances import Floats, Ints

FOLDS = 5
TREES = 100


def majority(labels: Sequence[int]) -> Ints:
    """Predict for everyone the most frequent label, of equals the lowest."""
    counts = Counter(labels)
    if not counts:
        return np.empty(0, np.int64)
    most = min(counts, key=lambda label: (-counts[label], label))
    return np.full(len(labels), most, np.int64)


def random_forest(vectors: Floats, labels: Ints, seed: int = 0) -> Ints:
    """Predict each profile by a forest that learned from the other folds.

    Parameters
    ----------
    vectors
        float64[n, d].
    labels
        int64[n], `FOLDS` of each at least.
    seed
        Of the folds and of the trees.
    """
    return _across(RandomForestClassifier(TREES, random_state=seed), vectors, labels, seed)


def linear_svm(vectors: Floats, labels: Ints, seed: int = 0) -> Ints:
    """Predict each profile by a linear SVM that learned from the others; as `random_forest`."""
    return _across(LinearSVC(max_iter=10_000, random_state=seed), vectors, labels, seed)


def _across(estimator: object, vectors: Floats, labels: Ints, seed: int) -> Ints:
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = cross_val_predict(estimator, vectors, labels, cv=splitter)
    return np.asarray(found, np.int64)
