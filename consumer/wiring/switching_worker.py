"""A worker that holds two embedding models, while its running group goes from one to the other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from consumer.contract.errors import UsageError
from consumer.contract.figures import Figures, together
from consumer.kafka.topic_limits import fit_topics, message_limits, written_topics
from consumer.kafka.topics import check_topics
from consumer.settings import Settings
from consumer.stages.segmentation.figures import figures as stage_figures
from consumer.stages.segmentation.for_users import ListSource
from consumer.stages.segmentation.model_source import ModelSource
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.segmentation.switching import SwitchingStage, switching_sources
from consumer.state.next_profiles import NextProfiles
from consumer.wiring import embedder as embedding
from consumer.wiring import preparing
from consumer.wiring.list_feed import ListFeed, list_facts
from consumer.wiring.model_feed import ModelFeed
from consumer.wiring.shell import run
from models.embedding.runner_types import Embedder

if TYPE_CHECKING:
    from models.embedding.engine.text_embedder import ModelEmbedder

logger = logging.getLogger(__name__)


def make_stage(
    settings: Settings,
    former: Embedder,
    embedder: Embedder,
    models: ModelSource,
    *,
    input_partitions: int | None = None,
    lists: ListSource | None = None,
) -> SwitchingStage:
    """Put the stage together: one of either model, and what was built of the next one.

    Raises
    ------
    UsageError
        If the two are one model.
    """
    if former.identity == embedder.identity:
        raise UsageError(
            f"embedding.model and embedding.former.model are one and the same embedding model "
            f"({embedder.identity[:12]}): give in embedding.former what the workers had before, or "
            "leave it out"
        )
    identities = former.identity, embedder.identity
    sources = switching_sources(models, identities)
    leaving, following = (
        SegmentationStage(settings, each, source, input_partitions=input_partitions, lists=lists)
        for each, source in zip((former, embedder), sources, strict=True)
    )
    return SwitchingStage(
        leaving,
        following,
        identities,
        models,
        NextProfiles(settings, embedder),
        most_users=settings.batch.reassign_users,
    )


def run_switching_worker(
    settings: Settings, former: ModelEmbedder, embedder: ModelEmbedder, model: object
) -> None:
    """Run a worker that holds two models until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        All settings.
    former, embedder
        The model that the group is leaving, and the next one.
    model
        A segment model to keep, which there must not be: it would be of one of the two alone.

    Raises
    ------
    UsageError
        If there is one, or the two are the same.
    """
    if model is not None:
        raise UsageError(
            "--model keeps segments of one embedding model, and embedding.former.model is set: "
            "follow the trainer's, or stop the group and use 'segmenter migrate'"
        )
    partitions = check_topics(settings)
    settings = fit_topics(settings, message_limits(settings, written_topics(settings, "worker")))
    if settings.restore.checkpoint_dir is not None:
        logger.info(
            "no local checkpoints (restore.checkpoint_dir) are kept or read while there are two "
            "embedding models: what tells them apart is in the changelog"
        )
        settings = settings.changed("restore", checkpoint_dir=None)
    source = ModelFeed(settings)
    count = partitions[settings.topics.events]
    lists = ListFeed(settings) if settings.recommendations.users else None
    stage = make_stage(settings, former, embedder, source, input_partitions=count, lists=lists)

    def figures() -> Figures:
        yield from together(
            *(stage_figures(each, source.published_at) for each in (stage.former, stage.following))
        )
        yield from together(embedding.figures(former), embedding.figures(embedder))
        yield from preparing.figures(None)

    def facts() -> dict[str, Any]:
        return {
            "model_version": source.version,
            "model_age_seconds": source.age_seconds,
            "partitions_of_next_embedding": stage.switched,
            **list_facts(lists),
        }

    try:
        run(
            settings,
            stage,
            figures,
            role="worker",
            group_id=settings.kafka.group_id,
            facts=facts,
        )
    finally:
        source.close()
        if lists is not None:
            lists.close()
