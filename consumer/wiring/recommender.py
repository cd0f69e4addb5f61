"""The recommender, wired from settings."""

from __future__ import annotations

from consumer.kafka.groups import recommender_group
from consumer.kafka.topic_limits import fit_topics, message_limits, written_topics
from consumer.kafka.topics import check_topics
from consumer.settings import Settings
from consumer.stages.recommending.stage import RecommenderStage
from consumer.wiring.shell import ends_at_once, run


@ends_at_once
def run_recommender(settings: Settings) -> None:
    """Run a recommender until SIGTERM or SIGINT."""
    partitions = check_topics(settings)
    written = written_topics(settings, "recommender")
    settings = fit_topics(settings, message_limits(settings, written))
    stage = RecommenderStage(settings, partitions[settings.topics.events])
    run(
        settings,
        stage,
        stage.figures,
        role="recommender",
        group_id=recommender_group(settings.kafka),
        facts=lambda: {"items": sum(map(len, stage.items.values()))},
    )
