"""The processes: a worker and a trainer, wired from settings."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector
from threadpoolctl import threadpool_limits

from consumer.contract.stage import Stage
from consumer.engine.loop import Loop
from consumer.kafka.topic_limits import fit_topics, message_limits, retention_ms, written_topics
from consumer.kafka.topics import check_intake_topics, check_topics
from consumer.process import ending
from consumer.settings import KafkaSettings, Settings
from consumer.stages.intake import IntakeStage, intake_group
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.training.labels import read_label_model
from consumer.stages.training.stage import TrainingStage, read_model
from consumer.telemetry.drift import DriftCollector
from consumer.telemetry.health import Health, HealthServer
from consumer.telemetry.intake import IntakeCollector
from consumer.telemetry.metrics import (
    EmbeddingCollector,
    LoopMetrics,
    SegmentationCollector,
    TrainingCollector,
    tell_role,
)
from consumer.wiring.model_feed import LabelModelFeed, ModelFeed
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import DeviceUnavailableError
from models.embedding.making.prepare import prepare_model
from models.embedding.manifest import Precision, is_exported
from models.embedding.policy import Device, EmbeddingPolicy
from models.embedding.runtime import gpu_available
from models.labels.model import LabelModel
from models.segments.model import SegmentModel

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


def load_model(path: Path) -> SegmentModel:
    """Read a segment model from a file such as a replay's model.json.

    Raises
    ------
    StageError
        If the file holds none.
    OSError
        If it cannot be read.
    """
    return read_model(path.read_bytes(), str(path))


def load_label_model(path: Path) -> LabelModel:
    """Read a label model from a file such as a replay's label-model.json; raises likewise."""
    return read_label_model(path.read_bytes(), str(path))


# Until the loop turns nothing is begun that would have to be finished.
_ends_at_once = ending.stopping_by(partial(ending.leave, 0))


@_ends_at_once
def run_worker(settings: Settings, model: Path | None = None) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        All settings.
    model
        A segment model to keep, in place of the trainer's.
    """
    partitions = check_topics(settings)
    settings = fit_topics(settings, message_limits(settings, written_topics(settings)))
    embedder = load_embedder(settings)
    source = FixedModel(load_model(model)) if model else ModelFeed(settings)
    labels = LabelModelFeed(settings) if settings.labels.enabled else None
    stage = SegmentationStage(
        settings,
        embedder,
        source,
        label_models=labels,
        input_partitions=partitions[settings.topics.events],
    )
    collectors: list[Collector] = [SegmentationCollector(stage, lambda: source.age_seconds)]
    if isinstance(embedder, OnnxEmbedder):  # a test's stand-in counts nothing
        collectors.append(EmbeddingCollector(embedder))
    try:
        _run(
            settings,
            stage,
            collectors,
            role="worker",
            group_id=settings.kafka.group_id,
            facts=lambda: {
                # A worker that stands by has not taken over what it has read.
                "model_version": source.version,
                "model_age_seconds": source.age_seconds,
            },
        )
    finally:
        if isinstance(source, ModelFeed):
            source.close()
        if labels is not None:
            labels.close()


@_ends_at_once
def run_trainer(settings: Settings) -> None:
    """Run a trainer until SIGTERM or SIGINT; a second one stands by."""
    check_topics(settings)
    settings = fit_topics(settings, message_limits(settings, written_topics(settings)))
    stage = TrainingStage(settings)
    _run(
        settings,
        stage,
        [TrainingCollector(stage), DriftCollector(stage.drift)],
        role="trainer",
        group_id=f"{settings.kafka.group_id}-trainer",
        facts=lambda: {"model_version": stage.published.version if stage.published else 0},
    )


@_ends_at_once
def run_intake(settings: Settings) -> None:
    """Re-key a foreign input until SIGTERM or SIGINT."""
    source, partitions = check_intake_topics(settings)
    events = settings.topics.events
    limits = message_limits(settings, (events, settings.topics.dead_letters))
    settings = fit_topics(settings, limits)
    stage = IntakeStage(
        settings,
        source,
        partitions,
        max_record_bytes=limits.get(events),
        retention_ms=retention_ms(settings, events),
    )
    _run(
        settings,
        stage,
        [IntakeCollector(stage)],
        role="intake",
        group_id=intake_group(settings.kafka),
    )


def _run(
    settings: Settings,
    stage: Stage[Any, Any],
    collectors: Sequence[Collector],
    *,
    role: str,
    group_id: str,
    facts: Callable[[], dict[str, Any]] = dict,
) -> None:
    registry = CollectorRegistry()
    for collect in (ProcessCollector, PlatformCollector, GCCollector):
        collect(registry=registry)
    for collector in collectors:
        registry.register(collector)
    tell_role(registry, role)
    health = Health(settings.http.live_seconds, facts=facts)
    server = None
    if settings.http.port is not None:
        server = HealthServer(settings.http, health, registry)
        logger.info("health and metrics on port %d", server.port)
    try:
        loop: Loop[Any] = Loop(
            stage,
            settings,
            group_id=group_id,
            transactional_id=transactional_id(settings.kafka, role),
            metrics=LoopMetrics(registry),
            health=health,
            idle_seconds=settings.training.idle_seconds,
        )
        with ending.stopping_by(loop.stop):
            loop.run()
    finally:
        if server is not None:
            server.close()


def transactional_id(kafka: KafkaSettings, role: str) -> str:
    """Name the transactions of this process: stable with an instance id, else its own.

    A process without a lasting name cannot fence its predecessor; what that one left open ends by
    kafka.transaction_timeout_seconds.
    """
    return f"{kafka.group_id}-{role}-{kafka.instance_id or uuid.uuid4()}"
