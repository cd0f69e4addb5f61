"""A worker whose preparing process is killed amid the stream, on a real broker."""

from __future__ import annotations

import os
import signal

from consumer.process.children import Children
from consumer.settings import LogSettings
from consumer.stages.segmentation.cleaning import CleaningRecipe, make_cleaning
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.processes import CleaningProcesses
from consumer.stages.segmentation.stage import SegmentationStage
from tests.consumer.kafka_runs import (
    Running,
    assert_as_replayed,
    committed,
    model_of,
    produce,
    settings_for,
    stream,
    until,
)
from tests.stubs import HashingEmbedder


def test_a_worker_whose_process_is_killed_over_and_over_ends_as_the_replay_does(broker):
    settings, embedder, pairs = (
        settings_for(broker.bootstrap_servers),
        HashingEmbedder(),
        stream(20, 30),
    )
    recipe = CleaningRecipe(settings.events.intake(), settings.events.language_share)
    with Children(make_cleaning, recipe, 1, log=LogSettings()) as children:
        stage = SegmentationStage(
            settings,
            embedder,
            FixedModel(model_of(embedder)),
            clean_elsewhere=CleaningProcesses(children, settings.dead_letters),
        )
        running = Running(settings, stage, "w0", ahead=3)
        try:
            for done in range(0, len(pairs), 150):
                produce(settings, pairs[done : done + 100])
                # Amid a batch, or before the next one: either way what follows notices it.
                os.kill(children.pids[0], signal.SIGKILL)
                produce(settings, pairs[done + 100 : done + 150])
                until(lambda done=done: committed(settings) >= min(done + 150, len(pairs)))
            running.stop()
        finally:
            running.loop.stop()
            running.thread.join(60)
        assert children.restarts == len(pairs) // 150
    assert_as_replayed(settings, pairs)
