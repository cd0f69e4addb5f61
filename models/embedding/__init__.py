"""Texts to unit vectors with a BERT encoder in ONNX Runtime.

`prepare_model` makes a model once; `OnnxEmbedder` runs it. To read on, follow a model's way:
`weights` (where they come from), `checkpoint` (what is in them), `bert_graph` (the ONNX file),
`prepare` and `manifest` (the cache), `embedder` (from texts to vectors) with `text_cache` (texts
seen lately) and `chunks` (long ones), `runners` (the cores and GPUs).
"""

from models.embedding.chunks import LongTexts
from models.embedding.embedder import Embedder, EmbeddingTotals, OnnxEmbedder
from models.embedding.errors import (
    DamagedFileError,
    DeviceUnavailableError,
    EmbeddingError,
    MissingFileError,
    SourceUnavailableError,
    UnfaithfulModelError,
    UnsupportedModelError,
    UnusableTextError,
)
from models.embedding.graph_writer import Precision
from models.embedding.manifest import Manifest
from models.embedding.prepare import prepare_model
from models.embedding.runners import RunnerTotals, Vectors
from models.embedding.runtime import Device, gpu_available
from models.embedding.weights import DEFAULT_SOURCE, cache_folder

__all__ = [
    "DEFAULT_SOURCE",
    "DamagedFileError",
    "Device",
    "DeviceUnavailableError",
    "Embedder",
    "EmbeddingError",
    "EmbeddingTotals",
    "LongTexts",
    "Manifest",
    "MissingFileError",
    "OnnxEmbedder",
    "Precision",
    "RunnerTotals",
    "SourceUnavailableError",
    "UnfaithfulModelError",
    "UnsupportedModelError",
    "UnusableTextError",
    "Vectors",
    "cache_folder",
    "gpu_available",
    "prepare_model",
]
