"""The embedding model of a process, as the settings and the machine have it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from consumer.contract.figures import Figures
from consumer.settings import Settings
from models.embedding.errors import (
    DeviceUnavailableError,
    ModelNotMadeError,
    PrecisionMismatchError,
    UnsupportedModelError,
)
from models.embedding.fitness import ModelFit, unread_letters
from models.embedding.manifest import Precision, is_exported
from models.embedding.policy import Device, EmbeddingPolicy
from models.embedding.prepared import BOTH, fitted_folder, fitted_words, prepared_model

# ONNX Runtime is loaded with a model, and not before.
if TYPE_CHECKING:
    from models.embedding.engine.text_embedder import ModelEmbedder

logger = logging.getLogger(__name__)


def load_embedder(settings: Settings) -> ModelEmbedder:
    """Load the embedding model that the settings name.

    Raises
    ------
    EmbeddingError
        If the model cannot be had, or the device that was asked for cannot be used;
        ModelNotMadeError if nobody has made it on this machine.
    """
    leave_cores_to_embedding()
    embedder = _load_any(settings.embedding)
    embedder.watch = ModelFit(
        embedder.manifest,
        settings.embedding.max_unknown_share,
        words=embedder.by_words_alone,
    )
    logger.info(
        "embedding model %s, %d dimensions, %s, on %s",
        embedder.identity[:12],
        embedder.dimensions,
        embedder.manifest.precision,
        embedder.device,
    )
    return embedder


def load_former(settings: Settings) -> ModelEmbedder | None:
    """Load the embedding model that a running group is leaving; None where it leaves none.

    Raises
    ------
    EmbeddingError
        As `load_embedder`.
    """
    if settings.embedding.former.model is None:
        return None
    return load_embedder(settings.model_copy(update={"embedding": settings.embedding.of_former()}))


def _load_any(embedding: EmbeddingPolicy) -> ModelEmbedder:
    if embedding.model == BOTH:
        return _load_both(embedding)
    if (folder := _words(embedding)) is not None:
        return _load_words(embedding, folder)
    *preferred, (precision, device) = model_choices(embedding)
    for choice in preferred:
        try:
            return _load(embedding, *choice)
        except DeviceUnavailableError as error:
            logger.warning("there is a GPU, but the CPU is used: %s", error)
    return _load(embedding, precision, device)


def leave_cores_to_embedding() -> None:
    """Keep NumPy's BLAS to one thread in this process.

    Its products here are small. Threads for them would only wait for one another, on cores that the
    embedding needs.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    threadpool_limits(1, "blas")


def model_choices(embedding: EmbeddingPolicy) -> list[tuple[Precision | None, Device]]:
    """Give the models that would do, by precision and device, the best first.

    A precision of None is an exported model's own.
    """
    precision, device = embedding.precision, embedding.device
    if embedding.engine == "openvino":
        own = precision == "auto" and is_exported(embedding.model)
        return [(None if own else "int8", "cpu")]
    if precision != "auto":
        return [(precision, "cpu" if precision == "int8" else device)]
    if is_exported(embedding.model):
        return [(None, device)]
    if device in ("cuda", "tensorrt"):
        return [("fp16", device)]
    from models.embedding.runtime import gpu_available  # noqa: PLC0415

    # An int8 model belongs on the CPU.
    if device == "auto" and gpu_available():
        return [("fp16", "cuda"), ("int8", "cpu")]
    return [("int8", "cpu")]


def make_models(embedding: EmbeddingPolicy) -> list[Path]:
    """Make each of the models that would do, where it is not there yet; give their folders."""
    from consumer.report.progress import steps  # noqa: PLC0415
    from models.embedding.making.prepare import prepare_model  # noqa: PLC0415 - loads ONNX

    if embedding.model == BOTH:
        return [*make_models(_encoder_of(embedding)), fitted_folder(embedding.words.folder)]
    if (folder := _words(embedding)) is not None:
        return [folder]  # fitted, which is all that there is to do
    choices = model_choices(embedding)
    with steps() as tell:
        return [prepare_model(embedding.model, precision, tell=tell) for precision, _ in choices]


def _words(embedding: EmbeddingPolicy) -> Path | None:
    return fitted_words(embedding.model, embedding.words.folder)


def _load_words(embedding: EmbeddingPolicy, folder: Path) -> ModelEmbedder:
    if embedding.precision not in {"auto", "fp32"}:
        raise PrecisionMismatchError(
            f"embedding.precision is {embedding.precision}, and the model in {folder} is one of "
            "words, which is in fp32: leave the precision out"
        )
    if embedding.device not in {"auto", "cpu"} and not embedding.allow_cpu_fallback:
        raise DeviceUnavailableError(
            f"embedding.device is {embedding.device}, and the model in {folder} is one of words, "
            "which runs on the CPU: set embedding.device to auto or cpu"
        )
    from models.embedding.words.embedder import WordsEmbedder  # noqa: PLC0415

    return WordsEmbedder.load(folder, cache_texts=embedding.cache_texts)


def _load_both(embedding: EmbeddingPolicy) -> ModelEmbedder:
    from models.embedding.words.both import BothEmbedder  # noqa: PLC0415
    from models.embedding.words.embedder import WordsEmbedder  # noqa: PLC0415

    words = WordsEmbedder.load(fitted_folder(embedding.words.folder))
    encoder = _load_any(_encoder_of(embedding))
    if encoder.by_words_alone:
        raise UnsupportedModelError(
            f"embedding.both.model is {embedding.both.model}, which is a model of words itself: "
            "name the encoder that goes beside it"
        )
    both = embedding.both
    return BothEmbedder(
        encoder, words, weight=both.words_weight, language_weights=both.language_weights
    )


def _encoder_of(embedding: EmbeddingPolicy) -> EmbeddingPolicy:
    return embedding.model_copy(update={"model": embedding.both.model})


def _load(embedding: EmbeddingPolicy, precision: Precision | None, device: Device) -> ModelEmbedder:
    try:
        folder = prepared_model(embedding.model, precision)
    except ModelNotMadeError:
        if device in ("cuda", "tensorrt") and not embedding.allow_cpu_fallback:
            from models.embedding.runtime import check_gpu  # noqa: PLC0415

            check_gpu(device)  # without one the model would be made in vain
        raise
    from models.embedding.engine.embedder import OnnxEmbedder  # noqa: PLC0415

    return OnnxEmbedder.load(
        folder,
        threads=embedding.threads,
        device=device,
        engine=embedding.engine,
        batch_tokens=embedding.batch_tokens,
        sessions=embedding.gpu_sessions,
        allow_cpu_fallback=embedding.allow_cpu_fallback,
        long_texts=embedding.long_texts,
        max_chunks=embedding.max_chunks,
        cache_texts=embedding.cache_texts,
    )


def figures(embedder: ModelEmbedder) -> Figures:
    """Give the figures of an embedder: all that it has embedded, committed or not."""
    totals, runner, manifest = embedder.totals, embedder.runner_totals, embedder.manifest
    yield "embedded_texts", totals.embedded
    yield "embedded_tokens", totals.tokens
    yield "truncated_texts", totals.truncated
    yield "embedding_cache_hits", totals.cache_hits
    yield "embedding_failed_texts", totals.failed
    yield "unknown_tokens", totals.unknown
    yield "embedded_letters", totals.letters
    yield "unread_letters", unread_letters(totals.letters, manifest)
    yield "embedding_computed_tokens", runner.computed_tokens
    yield "embedding_oom_halvings", runner.oom_halvings
    yield "embedding_seconds", {"tokenise": totals.tokenise_seconds, "run": totals.run_seconds}
    yield "embedding_batch_tokens", runner.budget
    yield "embedding_fallback", embedder.fell_back
    model = (manifest.name, manifest.precision, embedder.device, embedder.identity)
    yield "embedding_info", {model: 1}
