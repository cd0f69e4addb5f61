"""Lets a checkout's own learner learn labels; started by `benchmarks.labelling.cost`.

It runs in checkouts of other versions too, as `benchmarks/pipeline/driver.py` does.
"""

from __future__ import annotations

import gc
import hashlib
import inspect
import time
from typing import Any

import numpy as np
from anywhere import found, serve

Learner = found("models.labels.learner:LabelLearner", "models.supervised.learner:LabelLearner")
Policy = found("models.labels.policy:LabelPolicy", "models.label_policy:LabelPolicy")


class Driver:
    """Answers requests, each a method's name and its arguments."""

    def __init__(self) -> None:
        self.learner: Any = None
        self.examples: list[tuple[str, Any, str]] = []

    def make(self, examples: str, classifier: str, publish_every: int) -> dict[str, Any]:
        """Make a learner, and read what it is to learn."""
        with np.load(examples) as arrays:
            columns = arrays["users"].tolist(), arrays["vectors"], arrays["labels"].tolist()
        self.examples = [
            (f"{user}", vector, f"label {label}")
            for user, vector, label in zip(*columns, strict=True)
        ]
        policy = Policy(classifier=classifier, max_labels=256, publish_every=publish_every)
        seed = {"seed": 0} if "seed" in inspect.signature(Learner).parameters else {}
        self.learner = Learner(policy, "0" * 64, **seed)
        gc.collect()
        return {}

    def learn(self, start: int, stop: int) -> dict[str, Any]:
        """Learn examples as the trainer does, versions included: `seconds` of processor time."""
        begun = time.process_time()
        for user, vector, label in self.examples[start:stop]:
            self.learner.learn(user, vector, label)
            if self.learner.due():
                self.learner.snapshot(None, 0)
        return {"seconds": time.process_time() - begun}

    def judge(self, start: int) -> dict[str, Any]:
        """Predict what was not learned, and tell how well all went; `digest` is of all weights."""
        rest = self.examples[start:]
        began = time.process_time()
        found = [self.learner.predict(vector) for _, vector, _ in rest]
        seconds = time.process_time() - began
        names = self.learner.names
        right = [names[each] == label for each, (_, _, label) in zip(found, rest, strict=True)]
        model = self.learner.snapshot(None, 0)
        bits = model.weights.tobytes() + model.intercepts.tobytes()
        return {
            "labels": len(names),
            "predict_seconds": seconds,
            "unseen_accuracy": float(np.mean(right)),
            "progressive_f1": self.learner.scores.macro_f1,
            "digest": hashlib.sha256(bits).hexdigest(),
        }


if __name__ == "__main__":
    serve(Driver())
