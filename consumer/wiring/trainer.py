"""The trainer, wired from settings."""

from __future__ import annotations

from consumer.kafka.groups import trainer_group
from consumer.kafka.topic_limits import fit_topics, message_limits, written_topics
from consumer.kafka.topics import check_topics
from consumer.settings import Settings
from consumer.stages.training.figures import figures
from consumer.stages.training.stage import TrainingStage
from consumer.wiring.shell import ends_at_once, run


@ends_at_once
def run_trainer(settings: Settings) -> None:
    """Run a trainer until SIGTERM or SIGINT; a second one stands by."""
    check_topics(settings)
    settings = fit_topics(settings, message_limits(settings, written_topics(settings, "trainer")))
    # It looks at its sample between batches, so large ones would have it look late.
    few = settings.batch.model_copy(update={"max_records": settings.batch.usual_records})
    settings = settings.model_copy(update={"batch": few})
    stage = TrainingStage(settings)
    run(
        settings,
        stage,
        lambda: figures(stage),
        role="trainer",
        group_id=trainer_group(settings.kafka),
        facts=lambda: {
            "model_version": stage.published.version if stage.published else 0,
            "model_frozen": stage.frozen,
        },
    )
