"""Makes a model ready to run: weights to an ONNX file, tokenizer and manifest in the cache."""

import hashlib
import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from models.embedding.bert_graph import build_bert
from models.embedding.bert_int8 import build_int8
from models.embedding.calibration import measure_ranges
from models.embedding.checkpoint import BertConfig, file_digest, read_config, read_tensors
from models.embedding.embedder import OnnxEmbedder, load_tokenizer
from models.embedding.errors import DamagedFileError, MissingFileError, UnfaithfulModelError
from models.embedding.gpu_files import write_gpu_graphs
from models.embedding.graph_writer import EXPORTER_VERSION, OPSET, Precision, Weights
from models.embedding.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest
from models.embedding.sample_texts import CALIBRATION, PROBES
from models.embedding.weights import (
    DEFAULT_SOURCE,
    Source,
    cache_folder,
    resolve_source,
    staged_folder,
)

logger = logging.getLogger(__name__)

LEAST_COSINE = 0.97
"""An int8 model is refused if a probe's vector is further than this from its fp32 vector.

all-MiniLM-L6-v2 has 0.995 at worst; a model far below was not made for eight bits.
"""

LEAST_FP16_COSINE = 0.9995
"""The same for fp16. It is measured on the CPU, so it tells what rounding the weights costs; the
arithmetic of a GPU is measured there (`benchmarks.embed_gpu`)."""


def prepare_model(
    source: str = DEFAULT_SOURCE, precision: Precision = "int8", cache: Path | None = None
) -> Path:
    """Return the folder of a ready model, making it when it is not there yet.

    Once made, the default model and local ones need no network. Several processes may prepare the
    same model at once.

    Parameters
    ----------
    source
        ``default`` (all-MiniLM-L6-v2), a folder as sentence-transformers lays it out, or a hub id.
    precision
        ``int8`` for CPUs, ``fp16`` for GPUs, ``fp32`` for both and for reference.
    cache
        Where models are kept, by default the user's cache folder.

    Raises
    ------
    EmbeddingError
        One of its subclasses: the weights cannot be had, are damaged, are of an architecture that
        is not supported, or lose too much in int8 or fp16.
    """
    cache = cache or cache_folder()
    found = resolve_source(source, cache)
    final = cache / "models" / _folder_name(found, precision)
    if final.is_dir():
        try:
            manifest = Manifest.read(final)
        except (DamagedFileError, MissingFileError) as error:
            logger.warning("Making the model again: %s", error)
            shutil.rmtree(final)
        else:
            logger.info("Model %s is ready in %s", manifest.name, final)
            return final
    started = time.monotonic()
    weights = found.fetch()
    logger.info("Making the %s model of %s", precision, found.name)
    with staged_folder(final) as staging:
        _write_model(found, weights, precision, staging)
        if precision != "fp32":
            _check_fidelity(found, weights, precision, staging)
    logger.info("Model %s is ready in %s (%.1f s)", found.name, final, time.monotonic() - started)
    return final


def _folder_name(source: Source, precision: Precision) -> str:
    """Name the folder by everything that the model's bytes depend on."""
    digest = hashlib.sha256(json.dumps(dict(source.digests), sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^\w.-]+", "-", source.name)
    return f"{name}-{precision}-v{EXPORTER_VERSION}-{digest[:12]}"


def _write_model(source: Source, weights: Path, precision: Precision, folder: Path) -> None:
    config = read_config(weights)
    tensors = read_tensors(weights / "model.safetensors")
    graphs: tuple[str, ...] = (MODEL_FILE,)
    if precision == "fp16":
        graphs = write_gpu_graphs(config, tensors, folder)
    else:
        model = (
            build_bert(config, tensors)
            if precision == "fp32"
            else _int8_graph(config, tensors, weights / TOKENIZER_FILE)
        )
        (folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    shutil.copyfile(weights / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    _manifest(source, config, precision, folder, (*graphs, TOKENIZER_FILE)).write(folder)


def _int8_graph(
    config: BertConfig, tensors: Mapping[str, NDArray[np.float32]], tokenizer: Path
) -> onnx.ModelProto:
    """Calibrate on the sample texts and write the graph."""
    weights = Weights(tensors)
    encode = load_tokenizer(tokenizer, config.max_tokens).encode
    rows = [np.array(encode(text).ids, dtype=np.int64) for text in CALIBRATION]
    logger.info("Calibrating on %d texts, %d tokens", len(rows), sum(row.size for row in rows))
    return build_int8(config, weights, measure_ranges(config, weights, rows))


def _manifest(
    source: Source, config: BertConfig, precision: Precision, folder: Path, files: Sequence[str]
) -> Manifest:
    return Manifest(
        name=source.name,
        source=source.origin,
        dimensions=config.hidden,
        max_tokens=config.max_tokens,
        pad_id=config.pad_id,
        pooling=config.pooling,
        normalise=config.normalise,
        precision=precision,
        opset=OPSET,
        exporter=EXPORTER_VERSION,
        files={name: file_digest(folder / name) for name in files},
    )


def _check_fidelity(source: Source, weights: Path, precision: Precision, folder: Path) -> None:
    """Refuse a model of lower precision that strays from fp32 on a few texts."""
    least = LEAST_COSINE if precision == "int8" else LEAST_FP16_COSINE
    with tempfile.TemporaryDirectory(dir=folder.parent) as reference:
        _write_model(source, weights, "fp32", Path(reference))
        exact = _embed_probes(Path(reference))
    cosine = np.sum(exact * _embed_probes(folder), axis=1)
    logger.info(
        "Cosine of %s to fp32: mean %.4f, least %.4f", precision, cosine.mean(), cosine.min()
    )
    if not cosine.min() >= least:
        raise UnfaithfulModelError(
            f"{precision} vectors of {source.name} have a cosine of only {cosine.min():.4f} to "
            f"fp32 (least allowed {least}); prepare it with precision 'fp32'."
        )


def _embed_probes(folder: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    with OnnxEmbedder.load(folder, threads=1, device="cpu", allow_cpu_fallback=True) as embedder:
        return embedder.embed(PROBES)
