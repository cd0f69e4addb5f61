"""What an exporter gives, and the direct one: from safetensors to the fused graph, no torch."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx

from models.embedding.engine.tokenising import load_tokenizer
from models.embedding.errors import MissingFileError, UnsupportedModelError
from models.embedding.making.bert_graph import build_bert
from models.embedding.making.bert_int8 import build_int8
from models.embedding.making.calibration import LayerRanges, measure_ranges
from models.embedding.making.gpu_files import move_weights, write_gpu_graphs
from models.embedding.making.graph_writer import CONTRIB, TableFile, Weights
from models.embedding.making.pretrained import BertConfig, read_config, read_weights
from models.embedding.making.sample_texts import CALIBRATION
from models.embedding.making.steps import Tell, told, untold
from models.embedding.manifest import (
    EXPORTER_VERSION,
    LARGE_EXPORTER_VERSION,
    MODEL_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Precision,
)
from models.embedding.model_files import encoder_folder
from models.embedding.text_settings import TextSettings

logger = logging.getLogger(__name__)

_FUSED = {"Attention", "Gelu", "LayerNormalization"}
"""Operators of ONNX's own that stand for several."""


@dataclass(frozen=True)
class BuiltModel:
    """What an exporter has written, and all else that a manifest must tell about it.

    Parameters
    ----------
    files
        Names of the graphs that it wrote, and of what belongs to them; `MODEL_FILE` first. Inputs
        and output of that are as in `models.embedding.making.bert_graph`.
    text
        How the model wants its texts.
    dimensions
        Length of a vector.
    vocabulary
        Ids that its word table has; None if that is not known.
    tokenizer
        The file to copy.
    exporter_version, libraries
        For the manifest.
    """

    files: tuple[str, ...]
    text: TextSettings
    dimensions: int
    vocabulary: int | None
    tokenizer: Path
    exporter_version: str
    libraries: Mapping[str, str]


def build_direct(
    folder: Path,
    target: Path,
    *,
    name: str,
    precision: Precision,
    prefix: str | None,
    tell: Tell = untold,
) -> BuiltModel:
    """Write the graph of a BERT into `target`, straight from a checkpoint's safetensors.

    Ranges for int8 are measured on texts, of each of which `tell` is told.

    Raises
    ------
    MissingFileError, DamagedFileError, UnsupportedModelError
    """
    config = read_config(folder, name=name, prefix=prefix)
    tensors = read_weights(folder, config)
    tokenizer = encoder_folder(folder) / TOKENIZER_FILE
    beside = TableFile.of(config, target)
    if precision == "fp16":
        files = write_gpu_graphs(config, tensors, target)
    elif precision == "int8":
        weights = Weights(config, tensors)
        ranges = calibrate(config, weights, require_tokenizer(tokenizer), tell)
        files = _write(build_int8(config, weights, ranges, beside=beside), target, beside)
    else:
        files = _write(build_bert(config, tensors, beside), target, beside)
    return BuiltModel(
        files=files,
        text=config,
        dimensions=config.hidden,
        vocabulary=config.vocabulary,
        tokenizer=tokenizer,
        exporter_version=str(EXPORTER_VERSION if beside is None else LARGE_EXPORTER_VERSION),
        libraries=versions("onnx", "numpy"),
    )


def _write(graph: onnx.ModelProto, target: Path, beside: TableFile | None) -> tuple[str, ...]:
    """Write a graph; if its table lies beside it, so do its other weights.

    While a model is loaded, what is in the graph is in memory twice, and not all is given back.
    """
    if beside is None:
        return write_graph(graph, target)
    move_weights([graph], target / WEIGHTS_FILE)
    return (*write_graph(graph, target), WEIGHTS_FILE)


def calibrate(
    config: BertConfig, weights: Weights, tokenizer: Path, tell: Tell = untold
) -> Sequence[LayerRanges]:
    """Measure an encoder's ranges on the sample texts; `tokenizer` is its file."""
    encoder = load_tokenizer(tokenizer)
    encoder.enable_truncation(config.max_tokens)
    encodings = encoder.encode_batch_fast([config.prefix + text for text in CALIBRATION])
    rows = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
    logger.info("Calibrating on %d texts, %d tokens", len(rows), sum(row.size for row in rows))
    return measure_ranges(config, weights, told("calibrating", rows, len(rows), tell))


def write_graph(graph: onnx.ModelProto, target: Path) -> tuple[str, ...]:
    """Write a model's only graph; the same graph gives the same bytes.

    Raises
    ------
    UnsupportedModelError
        If it is too large for one file.
    """
    try:
        content = graph.SerializeToString(deterministic=True)
    except Exception as error:  # of protobuf, by its version EncodeError or ValueError
        raise UnsupportedModelError(
            "the model's graph does not fit into one file of 2 GB; choose a lower precision or a "
            "smaller model."
        ) from error
    (target / MODEL_FILE).write_bytes(content)
    return (MODEL_FILE,)


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def fused_operators(graph: onnx.ModelProto) -> dict[str, int]:
    """Count the operators that stand for several: ONNX Runtime's own, and some of ONNX's."""
    counts = Counter(
        node.op_type
        for node in graph.graph.node
        if node.domain == CONTRIB or node.op_type in _FUSED
    )
    return dict(sorted(counts.items()))


def opset(graph: onnx.ModelProto) -> int:
    """Version of ONNX's own operators in a graph."""
    versions_of = {entry.domain or "ai.onnx": int(entry.version) for entry in graph.opset_import}
    return versions_of["ai.onnx"]


def require_tokenizer(path: Path) -> Path:
    """Give a tokenizer's file back if it is there.

    Raises
    ------
    MissingFileError
    """
    if not path.is_file():
        raise MissingFileError(f"{path} is missing; only tokenizers in that form can be read.")
    return path
