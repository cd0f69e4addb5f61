"""The worker, wired from settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from consumer.contract.figures import Figures
from consumer.kafka.topic_limits import fit_topics, message_limits, written_topics
from consumer.kafka.topics import check_topics
from consumer.settings import Settings
from consumer.stages.segmentation.figures import figures as stage_figures
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.processes import CleaningProcesses
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.shared.snapshots import load_model
from consumer.wiring import embedder as embedding
from consumer.wiring import preparing
from consumer.wiring.list_feed import ListFeed, list_facts
from consumer.wiring.model_feed import LabelModelFeed, ModelFeed
from consumer.wiring.shell import ends_at_once, run
from consumer.wiring.switching_worker import run_switching_worker

if TYPE_CHECKING:
    from models.embedding.engine.text_embedder import ModelEmbedder


@ends_at_once
def run_worker(settings: Settings, model: Path | None = None) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        All settings.
    model
        A segment model to keep, in place of the trainer's.
    """
    embedder = embedding.load_embedder(settings)  # first: without it no broker need be asked
    if (former := embedding.load_former(settings)) is not None:
        run_switching_worker(settings, former, embedder, model)
        return
    with preparing.preparing(settings, embedder) as children:
        _run(settings, model, embedder, children)


def _run(
    settings: Settings,
    model: Path | None,
    embedder: ModelEmbedder,
    children: preparing.CleaningChildren | None,
) -> None:
    partitions = check_topics(settings)
    settings = fit_topics(settings, message_limits(settings, written_topics(settings, "worker")))
    source = FixedModel(load_model(model)) if model else ModelFeed(settings)
    labels = LabelModelFeed(settings) if settings.labels.enabled else None
    lists = ListFeed(settings) if settings.recommendations.users else None
    stage = SegmentationStage(
        settings,
        embedder,
        source,
        label_models=labels,
        lists=lists,
        input_partitions=partitions[settings.topics.events],
        clean_elsewhere=CleaningProcesses(children, settings.dead_letters) if children else None,
    )

    def figures() -> Figures:
        yield from stage_figures(stage, source.published_at)
        yield from embedding.figures(embedder)
        yield from preparing.figures(children)

    try:
        run(
            settings,
            stage,
            figures,
            role="worker",
            group_id=settings.kafka.group_id,
            facts=lambda: {
                # A worker that stands by has not taken over what it has read.
                "model_version": source.version,
                "model_age_seconds": source.age_seconds,
                **list_facts(lists),
            },
            ahead=preparing.ahead(children),
            suspect=lambda: preparing.suspect(children, settings.batch.prepare_timeout_seconds),
        )
    finally:
        if isinstance(source, ModelFeed):
            source.close()
        if labels is not None:
            labels.close()
        if lists is not None:
            lists.close()
