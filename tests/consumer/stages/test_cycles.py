"""Nothing that a stage makes of records waits for Python's look for garbage.

A process at work looks for it rarely (`consumer.process.garbage`). What refers to itself would keep
what it holds until then, such as a batch's texts and vectors: memory that grows with each event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from consumer.contract.records import Record
from consumer.process.children import Children
from consumer.settings import LogSettings, Settings
from consumer.stages.intake import IntakeStage
from consumer.stages.segmentation.cleaning import CleaningRecipe, make_cleaning
from consumer.stages.segmentation.processes import CleaningProcesses
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.making.prepare import prepare_model
from models.embedding.runner_types import Embedder
from tests.consumer.stages.label_data import label_record
from tests.consumer.stages.left_behind import assert_nothing_is_left
from tests.consumer.stages.stage_data import ALL, NOW, Worker, a_model, event, records, turned
from tests.consumer.stages.test_processes import every_kind
from tests.consumer.stages.test_training import Trainer, samples
from tests.models.embedding.tiny_bert import TinyBert

INTAKE, SHARE = Settings().events.intake(), Settings().events.language_share


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxEmbedder]:
    """A real one of a small model, whose memory of texts is soon full."""
    folder = tmp_path_factory.mktemp("tiny")
    model = prepare_model(str(TinyBert.write(folder / "bert").folder), cache=folder)
    with OnnxEmbedder.load(model, long_texts="chunk", max_chunks=3, cache_texts=4) as embedder:
        yield embedder


def a_batch(number: int) -> list[Record]:
    """Records of all kinds, repeats, texts of several lengths, and labels."""
    texts = ("the coffee was great", "a phone that broke again . " * (number % 20 + 1))
    own = [event(f"u{n}", number, texts[n % 2]) for n in range(12)]
    labels = [label_record(f"u{n}", f"label {number % 3}", number) for n in (0, 1, 99)]
    batch = [*every_kind(), *records(own, 1), *records(own[:3], 1), *labels]
    return [replace(record, offset=100 * number + n) for n, record in enumerate(batch)]


def worker_of(embedder: Embedder, **given: object) -> Worker:
    model = a_model(
        embedding=embedder.identity,
        centres=embedder.embed(["the coffee was great", "the phone broke"]).astype(np.float64),
    )
    sections = {"dead_letters": {"max_share": 1}, "labels": {"enabled": True}}
    return Worker(model, (0, 1), embedder, **sections, **given)


def test_a_worker_leaves_nothing_behind(embedder: OnnxEmbedder) -> None:
    worker = worker_of(embedder)

    def work(number: int) -> None:
        if number % 10 == 1:
            assert worker.source.model is not None
            worker.source.model = turned(worker.source.model)
        worker.run(a_batch(number))
        worker.apply(a_batch(number + 1))
        worker.stage.aborted()
        worker.maintain()

    assert_nothing_is_left(work)
    stats = worker.stage.stats
    assert stats.labels > 0
    assert stats.changes.total() > 0
    assert stats.refused.total() > 0


def test_what_prepares_in_processes_leaves_nothing_behind_on_either_side(
    embedder: OnnxEmbedder,
) -> None:
    recipe = CleaningRecipe(INTAKE, SHARE, embedder.recipe)
    with Children(make_cleaning, recipe, 1, log=LogSettings()) as child:
        elsewhere = CleaningProcesses(child, Settings().dead_letters)
        worker = worker_of(embedder, clean_elsewhere=elsewhere)
        assert_nothing_is_left(lambda number: worker.run(a_batch(number)))
    clean = make_cleaning(recipe)  # as the child does

    def work(number: int) -> None:
        batch = a_batch(number)
        clean(([record.value for record in batch], [record.key for record in batch], NOW, 1.0))

    assert_nothing_is_left(work)


def test_intake_leaves_nothing_behind() -> None:
    stage = IntakeStage(Settings(dead_letters={"max_share": 1}), "raw-events", 3)

    def work(number: int) -> None:
        assert stage.apply(stage.prepare(a_batch(number)), ALL)
        stage.committed()

    assert_nothing_is_left(work)


def test_a_trainer_leaves_nothing_behind() -> None:
    trainer = Trainer()
    trainer.learn(samples(range(20)))
    assert trainer.stage.published is not None
    assert_nothing_is_left(
        lambda number: trainer.learn(samples(range(20 * number, 20 * number + 40)))
    )
    assert trainer.stage.published.version > 2
