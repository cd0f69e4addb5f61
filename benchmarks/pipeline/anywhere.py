"""What works in a checkout of any version: a table for a model, and settings that it knows.

Programs that run in another checkout import it from beside themselves, without the package; so it
imports nothing of this checkout, and looks for what it needs under the names that it has had.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

IDENTITY = "0" * 64
_PREFIX = "SEGMENTER_"


def found(*places: str) -> Any:
    """Import the first of several names that there is, such as `module:name`."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            own = import_module(module)
            return getattr(own, name) if name else own
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"none of {', '.join(places)} is there")


class Table:
    """An embedder that answers from a table of texts; one that is not in it gets some row."""

    identity = IDENTITY

    def __init__(self, folder: Path) -> None:
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        self._vectors = np.load(folder / "vectors.npy")
        self._rows = {text: row for row, own in enumerate(texts) for text in own}
        self.dimensions = self._vectors.shape[1]
        self.missed = 0

    def embed(self, texts: Any) -> Any:
        """Look the vectors up."""
        rows = [self._rows.get(text, -1) for text in texts]
        for place, row in enumerate(rows):
            if row < 0:
                self.missed += 1
                rows[place] = zlib.crc32(texts[place].encode()) % len(self._vectors)
        return self._vectors[rows]


def segment_model(folder: Path, threshold: float, version: int = 1) -> Any:
    """Make the segment model of a table's centres."""
    model = found("models.segments.model:SegmentModel", "models.segments:SegmentModel")
    centres = np.load(folder / "centres.npy")
    count = len(centres)
    return model(
        version=version,
        embedding=IDENTITY,
        ids=np.arange(count),
        centres=centres,
        radii=np.full(count, 0.8),
        sizes=np.full(count, 500),
        labels=tuple(f"segment {i}" for i in range(count)),
        words=(("word",),) * count,
        since=(1,) * count,
        next_id=count,
        sample_threshold=threshold,
        samples=3000,
        seed=1,
    )


def keep_known() -> None:
    """Take out of the environment what this build has no setting for."""
    settings = found("consumer.settings:Settings")
    for name in [name for name in os.environ if name.startswith(_PREFIX)]:
        section = settings.model_fields.get(name.removeprefix(_PREFIX).lower())
        if section is None:
            if name != "SEGMENTER_CACHE":
                del os.environ[name]
            continue
        os.environ[name] = json.dumps(known(json.loads(os.environ[name]), section.annotation))


def known(given: Any, kind: Any) -> Any:
    """Keep of a section, and of those in it, what this build has a field for."""
    fields = getattr(kind, "model_fields", None)
    if fields is None or not isinstance(given, dict):
        return given
    return {key: known(given[key], fields[key].annotation) for key in given if key in fields}


def serve(driver: Any) -> None:
    """Answer requests until there are no more, each the name of a driver's method and arguments.

    Requests come in as JSON, one a line, and go out likewise.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    # As workers do when they load their model: OpenBLAS' threads turn on after each product, which
    # would count as the driver's time.
    threadpool_limits(1, "blas")
    # As workers do too (consumer/process/garbage.py): garbage is looked for rarely.
    gc.set_threshold(50_000)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(driver, request.pop("do"))(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
