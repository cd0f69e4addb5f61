"""What learning a labelled profile costs by the number of labels, beside the build at 48f6e1e.

    python -m benchmarks.labelling.cost

Users' profiles are means of a few made-up texts on their interest (`benchmarks.interests`). Both
builds learn the same ones by turns in one run, in processor time of the whole process.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.interests.texts import vectors_like_texts
from benchmarks.labels import PAGE
from benchmarks.markdown import Cell, columns
from benchmarks.pipeline.builds import former_build
from benchmarks.pipeline.checkouts import ROOT, Checkout
from benchmarks.shared import Figures, parser, run, say, write_page

DRIVER = Path(__file__).parent / "driver.py"
LABELS = (2, 6, 20, 50)
CLASSIFIERS = ("logistic", "softmax", "svm")
DIMENSIONS = 384
ROUNDS, EACH, REST = 7, 150, 500
_TEXTS = 6
_PUBLISH_EVERY = 500


def profiles(labels: int, count: int, seed: int = 0) -> dict[str, Any]:
    """Make profiles of users with one label each, the labels in any order."""
    draw = np.random.default_rng((labels, seed))
    texts = vectors_like_texts()
    own = draw.integers(0, labels, count)
    vectors = np.zeros((count, DIMENSIONS))
    for _ in range(_TEXTS):
        found = texts.draw(own, draw)
        vectors[:, : found.shape[1]] += found
    # As the embedding model's: spread over all dimensions.
    vectors = vectors @ np.linalg.qr(draw.normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    users = draw.integers(0, count // 2, count)
    return {"users": users, "vectors": vectors.astype(np.float32).astype(np.float64), "labels": own}


def measure(against: Path, classifiers: Sequence[str] = CLASSIFIERS) -> Figures:
    """Let both builds learn by turns, with each classifier and number of labels."""
    checkouts = {"former": against, "this": ROOT}
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for classifier, labels in itertools.product(classifiers, LABELS):
            examples = Path(folder) / "examples.npz"
            np.savez(examples, **profiles(labels, (ROUNDS + 1) * EACH + REST))
            runs = _by_turns(checkouts, examples, classifier)
            rows.append({"classifier": classifier, "labels": labels, **_summed_up(runs)})
            say(f"{rows[-1]}")
    return {"machine": machine.facts(), "dimensions": DIMENSIONS, "rows": rows}


def _by_turns(
    checkouts: dict[str, Path], examples: Path, classifier: str
) -> dict[str, dict[str, Any]]:
    spent: dict[str, list[float]] = {name: [] for name in checkouts}
    judged = {}
    with ExitStack() as stack:
        drivers = {
            name: stack.enter_context(Checkout(path, DRIVER)) for name, path in checkouts.items()
        }
        for driver in drivers.values():
            driver.ask(
                "make",
                examples=str(examples),
                classifier=classifier,
                publish_every=_PUBLISH_EVERY,
            )
            # All labels are known before anything is timed.
            driver.ask("learn", start=0, stop=EACH)
        for number in range(1, ROUNDS + 1):
            turn = list(drivers.items())
            for name, driver in turn if number % 2 else turn[::-1]:
                told = driver.ask("learn", start=number * EACH, stop=(number + 1) * EACH)
                spent[name].append(told["seconds"] / EACH)
        for name, driver in drivers.items():
            judged[name] = driver.ask("judge", start=(ROUNDS + 1) * EACH)
    return {name: {**judged[name], "seconds": spent[name]} for name in checkouts}


def _summed_up(runs: dict[str, dict[str, Any]]) -> Figures:
    former, this = runs["former"], runs["this"]
    pairs = zip(this["seconds"], former["seconds"], strict=True)
    return {
        "learn_former": round(1e6 * statistics.median(former["seconds"]), 1),
        "learn": round(1e6 * statistics.median(this["seconds"]), 1),
        "ratio": round(statistics.median(own / other for own, other in pairs), 4),
        "predict_former": round(1e6 * former["predict_seconds"] / REST, 1),
        "predict": round(1e6 * this["predict_seconds"] / REST, 1),
        "unseen_accuracy": round(this["unseen_accuracy"], 4),
        "progressive_f1": round(this["progressive_f1"], 4),
        "same_weights": former["digest"] == this["digest"],
    }


def text(figures: Figures) -> str:
    """Write the figures in Markdown."""
    cells: dict[str, Cell] = {
        "": "{classifier}",
        "labels": "{labels}",
        "learn, 48f6e1e": "{learn_former:,.0f}",
        "learn": "{learn:,.0f}",
        "of it": "{ratio:.2f}",
        "predict, 48f6e1e": "{predict_former:,.0f}",
        "predict": "{predict:,.0f}",
        "F1, progressive": "{progressive_f1:.3f}",
        "same weights": lambda row: "yes" if row["same_weights"] else "no",
    }
    return columns(figures["rows"], cells, texts=1)


def main() -> None:
    """Measure, or only render."""
    made = parser(__doc__ or "", "labels-cost.json", page=True)
    made.add_argument("--against", type=Path, help="a checkout of another version with its .venv")
    options: argparse.Namespace = made.parse_args()
    figures = run(options, lambda _: measure(options.against or former_build()))
    write_page(PAGE, {"labels-cost": text(figures)})


if __name__ == "__main__":
    main()
