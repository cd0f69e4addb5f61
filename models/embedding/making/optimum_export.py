"""Exports any encoder that Optimum can, through torch; `optimum_graph` makes a model of it.

Torch runs in a process of its own: it is several GB, and the settings that keep its libraries
silent and off the network must be there before they are imported.
"""

import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from models.embedding.errors import (
    ExportFailedError,
    MissingPackageError,
    UnsupportedModelError,
)
from models.embedding.making.exporters import (
    BuiltModel,
    fused_operators,
    require_tokenizer,
    versions,
    write_graph,
)
from models.embedding.making.graph_writer import OPSET
from models.embedding.making.optimum_graph import WIDTH_FIELDS, append_pooling, fuse, whole_number
from models.embedding.manifest import MODEL_FILE, TOKENIZER_FILE, Precision
from models.embedding.model_files import encoder_folder, read_json
from models.embedding.text_settings import TextSettings, read_text_settings

logger = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime-gpu")
_TOO_LARGE = 2_000_000_000
"""Bytes; a protocol buffer, and so an ONNX file without a second one, ends at 2 GiB."""

_EXPORT = """
import sys
from optimum.exporters.onnx import main_export
main_export(
    sys.argv[1], sys.argv[2], task="feature-extraction", library_name="transformers",
    framework="pt", device="cpu", opset=int(sys.argv[3]), local_files_only=True,
    do_validation=False,
)
"""
_QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


def build_optimum(
    folder: Path, target: Path, *, name: str, precision: Precision, prefix: str | None, work: Path
) -> BuiltModel:
    """Export a checkpoint with Optimum, fuse it, append its pooling and write it to `target`.

    Parameters
    ----------
    folder
        The checkpoint, as transformers or sentence-transformers lays it out.
    target
        Where to write the graph.
    name
        What people call the model.
    precision
        ``fp32`` or ``fp16``.
    prefix
        What to put before every text, by default what the checkpoint says.
    work
        An empty folder to work in.

    Raises
    ------
    MissingPackageError
        If the extra `export` is not installed.
    ExportFailedError, UnsupportedModelError, MissingFileError, DamagedFileError
    """
    if precision == "int8":
        raise UnsupportedModelError(
            "precision 'int8' is made by the direct exporter only; choose 'fp32' or 'fp16', or "
            "leave `--exporter optimum` out."
        )
    encoder = encoder_folder(folder)
    config = read_json(encoder / "config.json")
    text = _text_settings(folder, config, name, prefix)
    run_optimum(encoder, work)
    exported = _load(work / MODEL_FILE)
    graph = fuse(exported, config, precision)
    dimensions = append_pooling(graph, text, whole_number(config, *WIDTH_FIELDS))
    _log_fusion(name, graph, config)
    own_tokenizer = encoder / TOKENIZER_FILE
    return BuiltModel(
        files=write_graph(graph, target),
        text=text,
        dimensions=dimensions,
        vocabulary=whole_number(config, "vocab_size"),
        tokenizer=own_tokenizer
        if own_tokenizer.is_file()
        else require_tokenizer(work / TOKENIZER_FILE),
        exporter_version=versions("optimum-onnx").get("optimum-onnx", "unknown"),
        libraries=versions(*_PACKAGES),
    )


def _text_settings(
    folder: Path, config: Mapping[str, Any], name: str, prefix: str | None
) -> TextSettings:
    kind = str(config.get("model_type"))
    pad_id = whole_number(config, "pad_token_id") or 0
    positions = whole_number(config, "max_position_embeddings")
    if positions is not None and kind.endswith(("roberta", "camembert", "mpnet")):
        positions -= pad_id + 1  # theirs begin after the padding token's id
    return read_text_settings(folder, name=name, positions=positions, pad_id=pad_id, prefix=prefix)


def run_optimum(folder: Path, work: Path) -> None:
    """Write the graph of a checkpoint's bare encoder, ``last_hidden_state``, into `work`.

    Raises
    ------
    MissingPackageError, ExportFailedError
    """
    missing = [
        name for name in ("torch", "transformers", "optimum.exporters.onnx") if not _has(name)
    ]
    if missing:
        raise MissingPackageError(
            f"the exporter 'optimum' needs {missing[0].partition('.')[0]}, which is not installed; "
            "run `pip install 'segmenter[export]'` (in a checkout: `pip install -e '.[export]'`), "
            "or use the exporter 'direct'."
        )
    runs = [sys.executable, "-c", _EXPORT, str(folder.resolve()), str(work), str(OPSET)]
    done = subprocess.run(  # noqa: S603
        runs, env={**os.environ, **_QUIET}, capture_output=True, text=True, check=False
    )
    logger.debug("Optimum: %s", done.stderr)
    if done.returncode != 0 or not (work / MODEL_FILE).is_file():
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ExportFailedError(
            f"Optimum could not export the model ({reason}); choose another model."
        )


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent of it
        return False


def _load(path: Path) -> onnx.ModelProto:
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    if size > _TOO_LARGE:
        raise UnsupportedModelError(
            f"the model's graph has {size / 1e9:.1f} GB, but only up to 2 GB fit into one file; "
            "choose a smaller model."
        )
    return onnx.load(path)


def _log_fusion(name: str, graph: onnx.ModelProto, config: Mapping[str, Any]) -> None:
    operators = fused_operators(graph)
    found = ", ".join(f"{operator} {count}" for operator, count in operators.items()) or "none"
    logger.info("Fused operators of %s: %s", name, found)
    layers = whole_number(config, "num_hidden_layers", "n_layers")
    attention = sum(count for operator, count in operators.items() if "Attention" in operator)
    if attention != layers:
        logger.warning(
            "Attention was fused in %d of %s layers of %s: its vectors are right, but slow",
            attention,
            layers or "an unknown number of",
            name,
        )
