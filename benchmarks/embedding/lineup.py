"""Who takes part, and with what files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.embedding.export import FUSED, GRAPH, QUANTISED
from benchmarks.embedding.rounds import Contender
from benchmarks.embedding.sample import EVENTS_FILE
from consumer.settings import BatchSettings

REFERENCE = "st-torch-fp32"
"""What all vectors are compared with."""

ENGINE = "ours-int8"
CALLS = "ours-int8-calls"
"""The engine in calls as large as the worker's batches: what the worker is compared with."""

WORKER = "worker-int8"
OPENVINO = "openvino-bf16"
INSIDE = "ours-openvino"
"""The product's int8 model, run by OpenVINO."""


@dataclass(frozen=True)
class Files:
    """What contenders open.

    Attributes
    ----------
    int8, fp32
        The product's prepared models.
    exported
        What `benchmarks.embedding.export` made.
    work
        Folder with the texts and events of this run.
    limit
        Tokens after which a text is cut.
    peer_python
        The interpreter that has the peers' packages.
    """

    int8: Path
    fp32: Path
    exported: Path
    work: Path
    limit: int
    peer_python: str = sys.executable


def lineup(files: Files, variants: Sequence[tuple[str, Path]] = ()) -> list[Contender]:
    """List all contenders; `variants` are further models of the product by name and folder."""
    return [*_ours(files, variants), *_peers(files), *_peaks(files)]


def _ours(files: Files, variants: Sequence[tuple[str, Path]]) -> list[Contender]:
    engines = "benchmarks.embedding.engines"
    models = [
        (ENGINE, "segmenter, int8", files.int8),
        ("ours-fp32", "segmenter, fp32", files.fp32),
        *((f"ours-{name}", f"segmenter, {name}", folder) for name, folder in variants),
    ]
    ours = [
        Contender(
            name,
            label,
            f"{engines}:Ours",
            {"folder": str(folder)},
            precision="fp32" if name == "ours-fp32" else "int8",
            peer=False,
        )
        for name, label, folder in models
    ]
    ours.append(
        Contender(
            INSIDE,
            "segmenter, int8, OpenVINO",
            f"{engines}:Ours",
            {"folder": str(files.int8), "engine": "openvino"},
            precision="int8",
            peer=False,
        )
    )
    worker = Contender(
        WORKER,
        "segmenter, int8, inside the worker",
        f"{engines}:Worker",
        {"folder": str(files.int8), "events": str(files.work / EVENTS_FILE)},
        precision="int8",
        peer=False,
    )
    size = BatchSettings().max_records
    calls = Contender(
        CALLS,
        f"segmenter, int8, in calls of {size}",
        f"{engines}:Ours",
        {"folder": str(files.int8), "call": size},
        precision="int8",
        peer=False,
    )
    return [*ours, calls, worker]


def _peers(files: Files) -> list[Contender]:
    graph, fused = files.exported / GRAPH, files.exported / FUSED
    own = {"tokenizer": str(files.exported / "tokenizer.json"), "limit": files.limit}

    def peer(name: str, label: str, engine: str, precision: str, **options: object) -> Contender:
        where = f"benchmarks.embedding.peers:{engine}"
        return Contender(name, label, where, options, precision, python=files.peer_python)

    def library(name: str, label: str, precision: str, backend: str, dtype: str) -> Contender:
        return peer(
            f"st-{name}",
            f"sentence-transformers, {label}",
            "SentenceTransformers",
            precision,
            folder=str(files.exported),
            backend=backend,
            dtype=dtype,
        )

    def fixed(size: int) -> Contender:
        return peer(
            f"fixed-{size}",
            f"fixed batches of {size} as texts come (fastembed's way)",
            "FixedBatches",
            "fp32",
            **own,
            graph=str(graph),
            batch=size,
        )

    def openvino(precision: str, label: str, graph: Path, *hints: str) -> Contender:
        return peer(
            f"openvino-{precision}",
            f"OpenVINO, {label}",
            "OpenVino",
            precision,
            **own,
            graph=str(graph),
            hints=list(hints),
        )

    return [
        peer(
            "ort-fp32",
            "ONNX Runtime alone, fp32",
            "OrtAlone",
            "fp32",
            **own,
            graphs=[str(files.fp32 / "model.onnx"), str(fused)],
            names=["segmenter's", "Optimum's, fused"],
        ),
        library("torch-fp32", "torch fp32", "fp32", "torch", "float32"),
        library("torch-bf16", "torch bf16", "bf16", "torch", "bfloat16"),
        library("onnx", "ONNX fp32", "fp32", "onnx", "float32"),
        fixed(32),
        fixed(256),
        openvino("fp32", "fp32", graph, "f32"),
        openvino("bf16", "bf16", graph, "bf16"),
        openvino("int8", "int8 by NNCF", files.exported / QUANTISED, "bf16", "f32"),
    ]


def _peaks(files: Files) -> list[Contender]:
    peak = "benchmarks.embedding.peak"
    return [
        Contender("peak-ort", "ONNX Runtime", f"{peak}:OrtPeak", {}, python=files.peer_python),
        Contender("peak-torch", "PyTorch", f"{peak}:TorchPeak", {}, python=files.peer_python),
    ]
