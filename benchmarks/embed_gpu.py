"""Measures the embedding engine on an NVIDIA GPU: tokens a second, its share of the chip, fidelity.

    python -m benchmarks.embed_gpu

MiniLM-L6 (the default model, or random weights where its own cannot be had) and BERT-base (random
weights of its true architecture), both in fp16, packed and, beside it in the same run, padded: the
usual way of ONNX Runtime's own operators. Token ids are made up; no text is tokenised. Without a
GPU it says so and exits with 2.

Until a results file is beside it, it has not been run: no GPU could be had where it was written.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from benchmarks import machine
from benchmarks.embedding.flops import EncoderShape
from benchmarks.embedding.kernel_probe import attention_kernels
from benchmarks.shared import Figures, parser, say, write
from models.embedding.batching import PaddedLayout
from models.embedding.cache import cache_folder
from models.embedding.engine.runners import open_runner
from models.embedding.errors import DeviceUnavailableError, EmbeddingError, SourceUnavailableError
from models.embedding.gpu.runner import GpuRunner
from models.embedding.gpu.session import BoundSession, cuda_options
from models.embedding.making.bert_graph import build_bert
from models.embedding.making.bert_packed import build_padded
from models.embedding.making.gpu_files import write_gpu_graphs
from models.embedding.making.graph_writer import OPSET
from models.embedding.making.pretrained import BertConfig, read_config, read_tensors
from models.embedding.making.weights import resolve_source
from models.embedding.manifest import (
    EXPORTER_VERSION,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    Precision,
    Provenance,
)
from models.embedding.model_files import file_digest
from models.embedding.runner_types import Runner
from models.embedding.runtime import nodes_by_provider, open_session
from tests.models.embedding import tiny_bert

NO_GPU = 2

# Dense fp16 with fp32 sums, from NVIDIA's data sheets (H100: SXM), 10^12 operations a second.
PEAKS = {"H200": 989, "H100": 989, "A100": 312, "L4": 121, "T4": 65}

LEAST_COSINE = 0.9995

Tensors = dict[str, NDArray[np.float32]]


def architecture(
    *, hidden: int, layers: int, heads: int, intermediate: int, limit: int
) -> BertConfig:
    """A BERT's sizes, with the vocabulary and the pooling that both models have."""
    return BertConfig(
        hidden=hidden,
        layers=layers,
        heads=heads,
        intermediate=intermediate,
        vocabulary=30_522,
        positions=512,
        token_types=2,
        epsilon=1e-12,
        pad_id=0,
        max_tokens=limit,
        pooling="mean",
        normalise=True,
    )


MINILM = architecture(hidden=384, layers=6, heads=12, intermediate=1536, limit=256)
BERT_BASE = architecture(hidden=768, layers=12, heads=12, intermediate=3072, limit=512)


def random_weights(config: BertConfig) -> Tensors:
    """Weights as BERT's are before training: normal, of spread 0.02."""
    sizes = {
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.positions,
        "type_vocab_size": config.token_types,
        "num_hidden_layers": config.layers,
    }
    return tiny_bert.random_weights(0, sizes, spread=0.02)


def default_model() -> tuple[BertConfig, Tensors, str]:
    """MiniLM-L6 with its own weights where they can be had."""
    try:
        folder = resolve_source("default", cache_folder()).fetch()
    except SourceUnavailableError as error:
        print(f"random weights for MiniLM-L6: {error}")
        return MINILM, random_weights(MINILM), "random"
    return read_config(folder), read_tensors(folder / "model.safetensors"), "all-MiniLM-L6-v2"


def write_model(
    name: str, config: BertConfig, tensors: Tensors, precision: Precision, folder: Path
) -> Path:
    """Write a model's folder, with an empty tokenizer: nothing here needs one."""
    folder.mkdir()
    files: Sequence[str] = [MODEL_FILE]
    if precision == "fp16":
        files = write_gpu_graphs(config, tensors, folder)
    else:
        graph = build_bert(config, tensors)
        (folder / MODEL_FILE).write_bytes(graph.SerializeToString(deterministic=True))
    Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(folder / TOKENIZER_FILE))
    files = [*files, TOKENIZER_FILE]
    Manifest(
        name=name,
        dimensions=config.hidden,
        max_tokens=config.max_tokens,
        pad_id=config.pad_id,
        prefix="",
        pooling=config.pooling,
        normalise=config.normalise,
        precision=precision,
        opset=OPSET,
        exporter="direct",
        exporter_version=str(EXPORTER_VERSION),
        operators={},
        files={file: file_digest(folder / file) for file in files},
        provenance=Provenance(source="benchmark", source_files={}, libraries={}),
    ).write(folder)
    return folder


def padded_runner(
    config: BertConfig, tensors: Tensors, folder: Path, batch_tokens: int, sessions: int
) -> GpuRunner:
    """ONNX Runtime's fused operators with padding, in the same runner."""
    path = folder / "fused.onnx"
    if not path.exists():
        graph = build_padded(config, tensors, "fp16", fused=True)
        path.write_bytes(graph.SerializeToString(deterministic=True))
    runner = GpuRunner(
        [
            BoundSession(open_session(path, "cuda", cuda=cuda_options("fp16")))
            for _ in range(sessions)
        ],
        PaddedLayout(config.pad_id, config.max_tokens),
        dimensions=config.hidden,
        most_tokens=config.max_tokens,
        pad_id=config.pad_id,
        batch_tokens=batch_tokens,
    )
    runner.warm_up()
    return runner


def made_up_texts(kind: str, count: int, config: BertConfig) -> list[NDArray[np.int64]]:
    """Token ids: all of 64 tokens, or of lengths as posts have, 140 on average, up to the limit."""
    random = np.random.default_rng(1)
    if kind == "64 tokens":
        lengths = np.full(count, 64)
    else:
        drawn = np.exp(random.normal(4.6, 0.9, count))
        lengths = np.clip(drawn, 4, config.max_tokens).astype(int)
    return [random.integers(1000, config.vocabulary, length) for length in lengths]


def operations(config: BertConfig, rows: Sequence[NDArray[np.int64]]) -> int:
    """Floating-point operations of the matrix products over texts, padding not counted."""
    shape = EncoderShape(config.layers, config.hidden, config.intermediate)
    return shape.total([row.size for row in rows])


def time_runs(
    runner: Runner, rows: Sequence[NDArray[np.int64]], seconds: float
) -> tuple[float, int]:
    """Median seconds of a run over the texts, and how many there were: three at least."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started = time.perf_counter()
        runner.run(rows)
        times.append(time.perf_counter() - started)
    return float(np.median(times)), len(times)


def gpu_name() -> str | None:
    """The first GPU as its driver calls it, if there is one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None


def peak_of(gpu: str) -> float | None:
    """Operations a second of a GPU's fp16 units, if it is in the table."""
    words = gpu.replace("-", " ").replace(",", " ").split()
    return next((1e12 * peak for name, peak in PEAKS.items() if name in words), None)


def cosine_to_fp32(
    half: Runner, config: BertConfig, tensors: Tensors, folder: Path
) -> dict[str, float]:
    """Cosine of fp16's vectors on the GPU to fp32's on the GPU, over 256 texts."""
    exact_folder = folder / "fp32"
    if not exact_folder.exists():
        write_model("fp32", config, tensors, "fp32", exact_folder)
    exact = open_runner(exact_folder, Manifest.read(exact_folder), device="cuda")
    rows = made_up_texts("posts", 256, config)
    cosine = np.sum(half.run(rows) * exact.run(rows), axis=1)
    exact.close()
    return {"mean": float(cosine.mean()), "least": float(cosine.min())}


def measure_model(
    name: str,
    model: tuple[BertConfig, Tensors, str],
    folder: Path,
    peak: float | None,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Every layout, budget and number of sessions for one model."""
    config, tensors, weights = model
    half = write_model(name, config, tensors, "fp16", folder / "fp16")
    manifest = Manifest.read(half)
    measurements: list[Figures] = []
    cosine: dict[str, dict[str, float]] = {}
    layouts = ["packed", "padded", *(["tensorrt"] if arguments.tensorrt else [])]
    for layout, budget, sessions in itertools.product(
        layouts, arguments.batch_tokens, arguments.sessions
    ):
        runner: Runner
        if layout == "padded":
            runner = padded_runner(config, tensors, folder, budget, sessions)
        else:
            device: Any = "tensorrt" if layout == "tensorrt" else "cuda"
            runner = open_runner(
                half, manifest, device=device, batch_tokens=budget, sessions=sessions
            )
        if layout not in cosine:
            cosine[layout] = cosine_to_fp32(runner, config, tensors, folder)
        for kind in ("64 tokens", "posts"):
            rows = made_up_texts(kind, arguments.texts, config)
            tokens = sum(row.size for row in rows)
            runner.run(rows)  # its lengths are new to the GPU's libraries
            before = runner.totals
            seconds, runs = time_runs(runner, rows, arguments.seconds)
            after = runner.totals
            computed = after.computed_tokens - before.computed_tokens
            measurements.append(
                {
                    "model": name,
                    "weights": weights,
                    "layout": layout,
                    "device": runner.device,
                    "texts": kind,
                    "batch_tokens": budget,
                    "sessions": sessions,
                    "tokens_per_second": round(tokens / seconds),
                    "texts_per_second": round(len(rows) / seconds),
                    "share_of_peak": peak and round(operations(config, rows) / seconds / peak, 4),
                    "padding_share": round(1 - runs * tokens / max(1, computed), 4),
                    "budget_at_the_end": after.budget,
                    "oom_halvings": after.oom_halvings,
                    "failed_texts": after.failed_texts,
                }
            )
            print_measurement(measurements[-1])
        runner.close()
    session = open_session(half / "packed.onnx", "cuda", cuda=cuda_options("fp16"))
    kernels = attention_kernels(half, "cuda")
    print(f"  kernels {dict(kernels)}; cosine to fp32 {cosine}")
    return {
        "measurements": measurements,
        "cosine_to_fp32": cosine,
        "faithful": all(each["least"] >= LEAST_COSINE for each in cosine.values()),
        "attention_kernels": dict(kernels),
        "providers": list(session.get_providers()),
        "operators_by_provider": dict(nodes_by_provider(session)),
    }


def print_measurement(found: Figures) -> None:
    share = found["share_of_peak"]
    line = (
        "  {model:10} {layout:8} {texts:9} {batch_tokens:6} tokens x {sessions}: "
        "{tokens_per_second:12,} tokens/s {texts_per_second:9,} texts/s"
    )
    say(line.format_map(found) + ("" if share is None else f" {100 * share:5.1f} % of peak"))


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", "embed_gpu.json")
    add = made.add_argument
    budgets = [8192, 16_384, 32_768, 65_536]
    add("--batch-tokens", type=int, nargs="+", default=budgets, help="budgets")
    add("--sessions", type=int, nargs="+", default=[1, 2, 3], help="on one GPU")
    add("--texts", type=int, default=20_000, help="texts of a run")
    add("--seconds", type=float, default=3.0, help="least time of a measurement")
    add("--tensorrt", action="store_true", help="TensorRT too; minutes an engine")
    return made.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    arguments = parse(given)
    gpu = gpu_name()
    if gpu is None:
        print("There is no NVIDIA GPU here: nothing was measured.", file=sys.stderr)
        return NO_GPU
    peak = peak_of(gpu)
    print(f"{gpu}, peak {'unknown' if peak is None else f'{peak / 1e12:g} TFLOP/s'}")
    models = {
        "MiniLM-L6": default_model(),
        "BERT-base": (BERT_BASE, random_weights(BERT_BASE), "random"),
    }
    results: dict[str, Any] = {"gpu": gpu, "peak": peak, "machine": machine.facts()}
    with tempfile.TemporaryDirectory() as name:
        for model, content in models.items():
            folder = Path(name) / model
            folder.mkdir()
            try:
                results[model] = measure_model(model, content, folder, peak, arguments)
            except DeviceUnavailableError as error:
                print(f"ONNX Runtime cannot use the GPU: {error}", file=sys.stderr)
                return NO_GPU
            except EmbeddingError as error:
                print(f"{model} stopped: {error}", file=sys.stderr)
                results[model] = {"error": str(error)}
    write(arguments.output, results)
    failed = [model for model in models if not results[model].get("faithful")]
    if failed:
        print(f"cosine to fp32 below {LEAST_COSINE}, or stopped: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
