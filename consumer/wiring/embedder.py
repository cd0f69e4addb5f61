"""The embedding model of a process, as the settings and the machine have it."""

from __future__ import annotations

import logging

from threadpoolctl import threadpool_limits

from consumer.contract.figures import Figures
from consumer.settings import Settings
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import DeviceUnavailableError
from models.embedding.making.prepare import prepare_model
from models.embedding.manifest import Precision, is_exported
from models.embedding.policy import Device, EmbeddingPolicy
from models.embedding.runtime import gpu_available

logger = logging.getLogger(__name__)


def load_embedder(settings: Settings) -> OnnxEmbedder:
    """Load the embedding model that the settings name; made first where it is missing.

    Raises
    ------
    EmbeddingError
        If the model cannot be had, or the device that was asked for cannot be used.
    """
    leave_cores_to_embedding()
    embedding = settings.embedding
    automatic = embedding.device == "auto" and embedding.precision == "auto"
    if automatic and not is_exported(embedding.model) and gpu_available():
        try:
            return _load(embedding, "fp16", "cuda")
        except DeviceUnavailableError as error:
            logger.warning("there is a GPU, but the CPU is used: %s", error)
    precision = model_precision(embedding)
    # The GPU was just found to be none, or not to be had: an int8 model belongs on the CPU.
    return _load(embedding, precision, "cpu" if precision == "int8" else embedding.device)


def leave_cores_to_embedding() -> None:
    """Keep NumPy's BLAS to one thread in this process.

    Its products here are small. Threads for them would only wait for one another, on cores that the
    embedding needs.
    """
    threadpool_limits(1, "blas")


def model_precision(embedding: EmbeddingPolicy) -> Precision | None:
    """Give the precision of the model to make or load; None for an exported model's own.

    `auto` is int8 unless a GPU is asked for.
    """
    if embedding.precision != "auto":
        return embedding.precision
    if is_exported(embedding.model):
        return None
    return "fp16" if embedding.device in ("cuda", "tensorrt") else "int8"


def _load(embedding: EmbeddingPolicy, precision: Precision | None, device: Device) -> OnnxEmbedder:
    folder = prepare_model(embedding.model, precision=precision)
    embedder = OnnxEmbedder.load(
        folder,
        threads=embedding.threads,
        device=device,
        batch_tokens=embedding.batch_tokens,
        sessions=embedding.gpu_sessions,
        allow_cpu_fallback=embedding.allow_cpu_fallback,
        long_texts=embedding.long_texts,
        max_chunks=embedding.max_chunks,
        cache_texts=embedding.cache_texts,
    )
    logger.info(
        "embedding model %s, %d dimensions, %s, on %s",
        embedder.identity[:12],
        embedder.dimensions,
        embedder.manifest.precision,
        embedder.device,
    )
    return embedder


def figures(embedder: OnnxEmbedder) -> Figures:
    """Give the figures of an embedder: all that it has embedded, committed or not."""
    totals, runner, manifest = embedder.totals, embedder.runner_totals, embedder.manifest
    yield "embedded_texts", totals.embedded
    yield "embedded_tokens", totals.tokens
    yield "truncated_texts", totals.truncated
    yield "embedding_cache_hits", totals.cache_hits
    yield "embedding_failed_texts", totals.failed
    yield "embedding_computed_tokens", runner.computed_tokens
    yield "embedding_oom_halvings", runner.oom_halvings
    yield "embedding_seconds", {"tokenise": totals.tokenise_seconds, "run": totals.run_seconds}
    yield "embedding_batch_tokens", runner.budget
    yield "embedding_fallback", embedder.fell_back
    model = (manifest.name, manifest.precision, embedder.device, embedder.identity)
    yield "embedding_info", {model: 1}
