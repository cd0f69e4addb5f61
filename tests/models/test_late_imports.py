"""River, SciPy and scikit-learn are loaded by who learns, and not before it does."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "onnx", "pandas", "river", "scipy", "sklearn")


@pytest.mark.parametrize(
    "module",
    [
        # What a worker decides with.
        "models.segments.decision",
        "models.segments.carry_over",
        "models.profiles.table",
        "models.profiles.snapshot",
        "models.labels.decision",
        "models.labels.model",
        "models.text",
        # What a worker runs its embedding model with, and finds it by.
        "models.embedding.engine.embedder",
        "models.embedding.prepared",
        # What a trainer that stands by has loaded.
        "models.clustering.learner",
        "models.clustering.policy",
        "models.drift.check",
        "models.labels.learner",
        "models.labels.policy",
    ],
)
def test_a_module_does_not_load_what_only_learning_needs(module: str):
    program = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_process_that_tokenises_does_not_load_what_runs_the_model():
    module = "models.embedding.engine.tokenising"
    program = f"import sys, {module}; print('onnxruntime' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
