"""Lays out what the peers read: the checkpoint, its ONNX export by Optimum, and that one fused.

python -m benchmarks.embedding.export WEIGHTS FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from benchmarks.embedding.peers import onnxruntime

GRAPH = "onnx/model.onnx"
FUSED = "fused/model.onnx"
QUANTISED = "openvino/model.xml"


def export(weights: Path, folder: Path) -> None:
    """Fill a folder that sentence-transformers can open with either back end."""
    onnxruntime()  # before anything else imports it
    from onnxruntime.transformers.optimizer import optimize_model  # noqa: PLC0415
    from optimum.exporters.onnx import main_export  # noqa: PLC0415

    shutil.copytree(weights, folder, dirs_exist_ok=True)
    made = folder / "export"
    # With library_name "sentence_transformers" the graph pools, but its attention is not fused.
    main_export(str(weights), str(made), task="feature-extraction", library_name="transformers")
    (folder / GRAPH).parent.mkdir()
    (made / "model.onnx").rename(folder / GRAPH)
    shutil.rmtree(made)
    config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    fused = optimize_model(
        str(folder / GRAPH),
        "bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        opt_level=0,
    )
    (folder / FUSED).parent.mkdir()
    fused.save_model_to_file(str(folder / FUSED))


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
