"""The process of one contender: opens it, and does a round whenever a line asks for it.

    python -m benchmarks.embedding.child '{"engine": "module:Class", "options": {}, ...}'

Orders come in on standard input, a line each; each is answered by one line of JSON on standard
output. What libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import IO, Any

SWEPT = 4
"""Settings are compared on one stretch of texts in so many."""

_STRETCH = 32
_PACKAGES = (
    "onnxruntime-gpu",
    "onnxruntime",
    "nncf",
    "openvino",
    "optimum-onnx",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


def main() -> None:
    order = json.loads(sys.argv[1])
    threads = order["threads"]
    keep_to_cores(threads)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = order["engine"].partition(":")
    engine = getattr(importlib.import_module(module), name)(**order["options"], threads=threads)
    texts = json.loads(Path(order["texts"]).read_text(encoding="utf-8"))
    if (setting := order["setting"]) is not None:
        engine.use(setting)
        tried = []
    else:
        setting, tried = choose(engine, texts)
    answer(answers, {"setting": setting, "tried": tried, "versions": versions()})
    serve(engine, texts, answers)


def serve(engine: Any, texts: Sequence[str], answers: IO[str]) -> None:
    """Answer orders until there are no more: ``peak``, ``round``, or a path for the vectors."""
    for line in sys.stdin:
        what = line.strip()
        if what == "peak":
            answer(answers, engine.peak())
        elif what == "round":
            answer(answers, timed(engine, texts))
        else:
            import numpy as np  # noqa: PLC0415, after the cores are set

            np.save(what, engine.embed(texts))
            answer(answers, {})


def timed(engine: Any, texts: Sequence[str]) -> dict[str, float]:
    """Seconds of one pass over the texts, and of all cores within it."""
    used = _processor_seconds()
    started = time.perf_counter()
    engine.embed(texts)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "processor_seconds": _processor_seconds() - used}


def choose(engine: Any, texts: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Find the fastest of the engine's settings, and leave it set so; gives all that were tried.

    Stretches of texts of like length stand for all of them: a batch pads as it does over all.
    """
    settings = getattr(engine, "settings", ())
    tried = []
    if len(settings) > 1:
        order = sorted(texts, key=len)
        starts = range(0, len(order), _STRETCH * SWEPT)
        part = [text for start in starts for text in order[start : start + _STRETCH]]
        for setting in settings:
            engine.use(setting)
            engine.embed(part)
            seconds = min(timed(engine, part)["seconds"] for _ in range(2))
            tried.append({**setting, "texts_per_second": round(len(part) / seconds, 1)})
        best = max(range(len(tried)), key=lambda i: tried[i]["texts_per_second"])
        settings = settings[best : best + 1]
    for setting in settings:
        engine.use(setting)
        return setting, tried
    return {}, tried


def keep_to_cores(count: int) -> None:
    """Stay on so many cores, whatever thread pools the libraries make."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:count])


def versions() -> dict[str, str]:
    """Versions of what is installed of the packages that decide on speed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def answer(answers: IO[str], what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
