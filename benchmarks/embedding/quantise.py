"""Quantises the peers' ONNX export to int8 for OpenVINO, as its makers advise: by NNCF.

python -m benchmarks.embedding.quantise EXPORTED TEXTS LIMIT

Post-training quantisation for transformers: weights and activations of the dense layers in int8,
with fixed scales, smoothed, biases corrected
(https://docs.openvino.ai, "Basic Quantization Flow").
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.embedding.export import GRAPH, QUANTISED
from benchmarks.embedding.peers import feeds
from benchmarks.embedding.tokens import load_tokenizer, pad, tokenise


def quantise(exported: Path, texts: Path, limit: int) -> None:
    """Write an OpenVINO model (.xml, with its weights beside it), calibrated on some texts."""
    import nncf  # noqa: PLC0415
    import openvino  # noqa: PLC0415

    model = openvino.Core().read_model(exported / GRAPH)
    names = [each.get_any_name() for each in model.inputs]
    tokenizer = load_tokenizer(exported / "tokenizer.json", limit)
    rows = tokenise(tokenizer, json.loads(texts.read_text(encoding="utf-8")))
    batches = [feeds(names, pad([row])) for row in rows]
    made = nncf.quantize(
        model,
        nncf.Dataset(batches),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )
    target = exported / QUANTISED
    target.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(made, target, compress_to_fp16=False)


if __name__ == "__main__":
    quantise(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
