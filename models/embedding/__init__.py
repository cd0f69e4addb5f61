"""Texts to unit vectors with a BERT encoder in ONNX Runtime.

`prepare_model` makes a model once, in a cache, or `export_model` where it is wanted; `OnnxEmbedder`
runs it. To read on, follow a model's way: `weights` (where they come from), `checkpoint` and
`text_settings` (what is in them), `bert_graph` (the ONNX file; `optimum_export` for what is no
BERT), `export` and `manifest` (the model folder), `prepare` (the cache), `embedder` (from texts to
vectors) with `text_cache` (texts seen lately) and `chunks` (long ones), `runners` (the cores and
GPUs). For int8: `calibration` and `bert_int8`; for GPUs: `bert_packed` and `gpu_files` (the
graphs), `batching`, `gpu_session` and `gpu_runner`. `verification` looks at all of it once more.
"""

from models.embedding.chunks import LongTexts
from models.embedding.embedder import Embedder, EmbeddingTotals, OnnxEmbedder
from models.embedding.errors import (
    DamagedFileError,
    DeviceFailedError,
    DeviceUnavailableError,
    EmbeddingError,
    ExportFailedError,
    MissingFileError,
    MissingPackageError,
    OutputExistsError,
    PrecisionMismatchError,
    SourceUnavailableError,
    UnfaithfulModelError,
    UnsupportedModelError,
    UnusableTextError,
)
from models.embedding.export import export_model
from models.embedding.graph_writer import Precision
from models.embedding.inventory import CachedModel, list_models
from models.embedding.manifest import Exporter, Manifest, is_exported
from models.embedding.prepare import prepare_model
from models.embedding.runner_types import RunnerTotals, Vectors
from models.embedding.runtime import Device, gpu_available
from models.embedding.verification import ModelReport, verify_model
from models.embedding.weights import DEFAULT_SOURCE, cache_folder

__all__ = [
    "DEFAULT_SOURCE",
    "CachedModel",
    "DamagedFileError",
    "Device",
    "DeviceFailedError",
    "DeviceUnavailableError",
    "Embedder",
    "EmbeddingError",
    "EmbeddingTotals",
    "ExportFailedError",
    "Exporter",
    "LongTexts",
    "Manifest",
    "MissingFileError",
    "MissingPackageError",
    "ModelReport",
    "OnnxEmbedder",
    "OutputExistsError",
    "Precision",
    "PrecisionMismatchError",
    "RunnerTotals",
    "SourceUnavailableError",
    "UnfaithfulModelError",
    "UnsupportedModelError",
    "UnusableTextError",
    "Vectors",
    "cache_folder",
    "export_model",
    "gpu_available",
    "is_exported",
    "list_models",
    "prepare_model",
    "verify_model",
]
