"""`segmenter intake`, wired from settings."""

from __future__ import annotations

from consumer.kafka.groups import intake_group
from consumer.kafka.topic_limits import fit_topics, message_limits, retention_ms
from consumer.kafka.topics import check_intake_topics
from consumer.settings import Settings
from consumer.stages.intake import IntakeStage
from consumer.wiring.shell import ends_at_once, run


@ends_at_once
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
    run(
        settings,
        stage,
        stage.stats.figures,
        role="intake",
        group_id=intake_group(settings.kafka),
    )
