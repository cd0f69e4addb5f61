"""Batches cleaned in processes of their own: the same outcome, whatever those die of."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.engine.batches import Batches
from consumer.process.children import ChildDiedError, ChildFailedError, Children
from consumer.settings import BatchSettings, DeadLetterSettings, LogSettings, Settings
from consumer.stages.segmentation.cleaning import Cleaned, CleaningRecipe, Request, make_cleaning
from consumer.stages.segmentation.preparation import Preparation
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.segmentation.processes import CleaningProcesses
from consumer.stages.shared.dead_letters import DeadLetterLimitError
from consumer.stages.shared.unexpected import Faults
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.tokenising import TextTokeniser, TokeniserRecipe
from models.embedding.making.fit_words import FitOptions, fit_words
from models.embedding.making.prepare import prepare_model
from models.embedding.tokens import Inputs
from models.embedding.words.both import BothEmbedder
from models.embedding.words.embedder import WordsEmbedder
from schemas.dead_letters import RefusalReason
from tests.consumer.stages.cleaning_jobs import (
    POISON,
    dying,
    dying_once,
    is_poisoned,
    telling_what_is_loaded,
)
from tests.consumer.stages.stage_data import EMBEDDER, NOW, Worker, a_model, event, records
from tests.models.embedding.tiny_bert import TinyBert

RECIPE = CleaningRecipe(Settings().events.intake(), Settings().events.language_share)


# Of the device, the program, intake, and settings that are not set.
NOT_IN_A_BATCH = {
    *("embedding_failed", "unknown_words", "unexpected", "record_too_large", "excluded")
}


def a_child(count: int = 1, recipe: CleaningRecipe = RECIPE, make: Any = make_cleaning) -> Children:
    return Children(make, recipe, count, log=LogSettings())


def elsewhere(ask: Callable[[Request], Cleaned], most: int = 20) -> CleaningProcesses:
    return CleaningProcesses(ask, DeadLetterSettings(max_unexpected=most))


class Scripted:
    """In place of a process: dies of what it is told to, and counts its deaths."""

    def __init__(self, dies_of: Callable[[Request], bool]) -> None:
        self.dies_of = dies_of
        self.deaths = 0
        self._clean = make_cleaning(RECIPE)

    def __call__(self, request: Request) -> Cleaned:
        if self.dies_of(request):
            self.deaths += 1
            raise ChildDiedError("exit code 9")
        return self._clean(request)


def preparation(embedder: Any, ask: Callable[[Request], Cleaned] | None = None) -> Preparation:
    return Preparation(
        Settings().events.intake(),
        embedder,
        lambda: NOW,
        Faults(),
        20,
        language_share=RECIPE.language_share,
        elsewhere=None if ask is None else elsewhere(ask),
    )


def poisoned(batch: Sequence[Record], *numbers: int) -> list[Record]:
    return [
        replace(record, value=(record.value or b"").replace(b"hops", POISON))
        if number in numbers
        else record
        for number, record in enumerate(batch)
    ]


def a_batch(count: int = 12) -> list[Record]:
    return records(event(f"u{n % 5}", n, f"hops and {n} kinds of malt") for n in range(count))


def every_kind() -> list[Record]:
    """Records of all kinds: good ones in several languages, and one for each refusal there is."""
    good = [
        event("anna", 1),
        event("anna", 2, "The phone broke after two weeks, and the shop was of no help.", rating=1),
        event("boris", 1, "<p>Der Kaffee war leider kalt &amp; zu teuer.</p>", language=None),
        event("chen", 1, "这家店的咖啡非常好喝", language=None),
        event("dana", 1, None, item_title="Espresso machine with a grinder"),
        event("emil", 1, "same text"),
        event("fred", 1, "same text"),
        event("gina", 1, "a rating that is none", rating="many", item_id=7),
        event("hans", 1, " ".join(["again"] * 400)),
    ]
    bad = [
        event("i", 1, "!!! 12 :-)"),
        event("j", 1, "x" * 100_001),
        event("k", 1, occurred_at="1980-01-01T00:00:00Z"),
        event("l", 1, occurred_at="2031-01-01T00:00:00Z"),
        event("m", 1, type="opinion"),
        event("n", 1, occurred_at="yesterday"),
        {"user_id": "o", "event_id": "o-1"},
    ]
    batch = records([*good[:5], *bad, *good[5:]])
    first = batch[0]
    odd = [
        replace(first, value=None),
        replace(first, key=None),
        replace(first, key=b"somebody else"),
        replace(first, value=b"\xff\xfe"),
        replace(first, value=b"{"),
        replace(first, value=b"[1, 2]"),
        replace(first, value=(first.value or b"").replace(b"hops", b"\\ud800")),
    ]
    return [replace(record, offset=offset) for offset, record in enumerate([*batch, *odd])]


def assert_the_same(batch: PreparedBatch, expected: PreparedBatch) -> None:
    """Every column, bit for bit."""
    assert batch.records == expected.records
    assert batch.refusals == expected.refusals
    for name in expected.events.__slots__:
        value, wanted = getattr(batch.events, name), getattr(expected.events, name)
        if isinstance(wanted, np.ndarray):
            assert value.dtype == wanted.dtype, name
            np.testing.assert_array_equal(value, wanted, err_msg=name)
        else:
            assert value == wanted, name
    assert batch.embeddings.tobytes() == expected.embeddings.tobytes()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxEmbedder]:
    folder = tmp_path_factory.mktemp("tiny")
    model = prepare_model(str(TinyBert.write(folder / "bert").folder), cache=folder)
    with OnnxEmbedder.load(model, long_texts="chunk", max_chunks=3, cache_texts=4) as embedder:
        yield embedder


@pytest.fixture(scope="module")
def both(tiny: OnnxEmbedder, tmp_path_factory: pytest.TempPathFactory) -> BothEmbedder:
    said = ("the phone broke, and the shop was of no help", "espresso grinder", "咖啡 好喝 跑鞋")
    folder = tmp_path_factory.mktemp("both") / "words"
    fit_words([f"{said[n % 3]} {n}" for n in range(150)], folder, FitOptions(dimensions=4))
    words = WordsEmbedder.load(folder)
    return BothEmbedder(tiny, words, weight=0.3, language_weights={"zh": 0.8})


@pytest.fixture(scope="module")
def tokenising(tiny: OnnxEmbedder) -> Iterator[Children]:
    with a_child(recipe=replace(RECIPE, tokeniser=tiny.recipe)) as child:
        yield child


@pytest.fixture(scope="module")
def two() -> Iterator[Children]:
    with a_child(2) as children:
        yield children


def test_a_batch_of_every_kind_comes_out_the_same_with_the_text_for_a_vector(
    two: Children,
) -> None:
    batch = every_kind()
    expected = preparation(EMBEDDER)(batch)
    seen = {refusal.reason for refusal in expected.refusals.values()}
    assert {*RefusalReason} - seen == NOT_IN_A_BATCH
    for _ in range(2):
        assert_the_same(preparation(EMBEDDER, two)(batch), expected)


def test_a_batch_of_every_kind_comes_out_the_same_with_tokens_for_a_vector(
    tiny: OnnxEmbedder, tokenising: Children
) -> None:
    batch = every_kind()
    without_events = [record for record in batch if record.value is None]
    for each in (batch, [], without_events):
        assert_the_same(preparation(tiny, tokenising)(each), preparation(tiny)(each))


def test_a_batch_of_every_kind_comes_out_the_same_with_tokens_for_two_models(
    both: BothEmbedder,
) -> None:
    batch = every_kind()
    without_events = [record for record in batch if record.value is None]
    with a_child(recipe=replace(RECIPE, tokeniser=both.recipe)) as tokenising:
        for each in (batch, [], without_events):
            assert_the_same(preparation(both, tokenising)(each), preparation(both)(each))


def test_who_has_words_cut_is_told_with_each_batch(two: Children) -> None:
    batch = a_batch(20)
    here, there = preparation(EMBEDDER), preparation(EMBEDDER, two)
    for share in (0.5, 0.0, 1.0):
        here.sampled = there.sampled = share
        prepared = there(batch)
        assert_the_same(prepared, here(batch))
        assert (None in prepared.events.words) == (share < 1)


def test_state_and_changes_are_the_same_as_in_threads(two: Children) -> None:
    batches = [every_kind(), a_batch(30), every_kind()]
    here, there = Worker(a_model()), Worker(a_model(), clean_elsewhere=elsewhere(two))
    assert [there.run(batch) for batch in batches] == [here.run(batch) for batch in batches]
    assert there.state() == here.state()


def test_batches_are_given_back_in_their_order(two: Children) -> None:
    """The first takes far longer than the others."""
    prepare = preparation(EMBEDDER, two)
    batches: Batches[PreparedBatch] = Batches(
        prepare, BatchSettings(max_records=4, max_wait_seconds=60), ahead=4
    )
    stream = records([event("u", 0, "hops & malt <b>" * 6000), *(event("u", n) for n in range(39))])
    came: list[Record] = []
    try:
        for record in [*stream, None]:
            while record is None or batches.room <= 0:
                if (ready := batches.advance()) is not None:
                    came += ready.future.result().records
                if record is None and batches.empty:
                    break
                batches.wait(0.05)
            if record is not None:
                batches.collect([record], lambda _: 1)
    finally:
        batches.close()
    assert came == stream


def test_a_batch_whose_process_is_killed_is_cleaned_anew(tmp_path: Path) -> None:
    mark = tmp_path / "die"
    batch = a_batch()
    batch[3] = replace(batch[3], key=str(mark).encode())
    expected = preparation(EMBEDDER)(batch)
    with a_child(make=dying_once) as child:
        mark.touch()
        assert_the_same(preparation(EMBEDDER, child)(batch), expected)
        assert (mark.exists(), child.restarts) == (False, 1)
        os.kill(child.pids[0], signal.SIGKILL)
        assert_the_same(preparation(EMBEDDER, child)(batch), expected)
        assert child.restarts == 2


def assert_refused(prepared: PreparedBatch, batch: Sequence[Record], numbers: set[int]) -> None:
    """These records alone are dead letters, and the others as if those had not been there."""
    assert set(prepared.refusals) == numbers
    for refusal in prepared.refusals.values():
        assert refusal.reason == RefusalReason.UNEXPECTED
        assert "exit code 9" in refusal.detail
        assert POISON.decode() not in refusal.detail
    kept = [number for number in range(len(batch)) if number not in numbers]
    assert prepared.events.numbers.tolist() == kept
    expected = preparation(EMBEDDER)([batch[number] for number in kept])
    assert_the_same(prepared.accepting_only(), expected)


def test_a_record_that_processes_die_of_is_refused_and_the_others_go_on() -> None:
    batch = a_batch(3)
    with a_child(make=dying) as child:
        prepared = preparation(EMBEDDER, child)(poisoned(batch, 1))
        assert (
            child.restarts == 5
        )  # the batch twice, its first two records, and the one alone, twice
    assert_refused(prepared, batch, {1})


@given(st.sets(st.integers(0, 19), max_size=4), st.integers(1, 20))
def test_whichever_records_processes_die_of_are_found(numbers: set[int], count: int) -> None:
    numbers = {number for number in numbers if number < count}
    batch, child = a_batch(count), Scripted(is_poisoned)
    prepared = preparation(EMBEDDER, child)(poisoned(batch, *numbers))
    assert_refused(prepared, batch, numbers)
    assert child.deaths <= len(numbers) * (4 + count.bit_length())


@given(st.sets(st.integers(0, 9), max_size=3))
def test_deaths_by_chance_refuse_nobody(deaths: set[int]) -> None:
    """Any three of the first ten requests."""
    numbers = itertools.count()
    child = Scripted(lambda _: next(numbers) in deaths)
    batch = a_batch(8)
    assert_the_same(preparation(EMBEDDER, child)(batch), preparation(EMBEDDER)(batch))


def test_too_many_records_that_processes_die_of_stop_the_worker() -> None:
    batch = poisoned(a_batch(9), 0, 2, 5)
    with pytest.raises(DeadLetterLimitError, match=r"failed on 3 .*max_unexpected = 2") as error:
        elsewhere(Scripted(is_poisoned), most=2)(batch, NOW, 1.0)
    assert POISON.decode() not in str(error.value)
    assert len(elsewhere(Scripted(is_poisoned), most=3)(batch, NOW, 1.0).refusals) == 3


def test_processes_that_die_of_no_record_alone_stop_the_worker() -> None:
    child = Scripted(lambda request: len(request[0]) > 1)
    with pytest.raises(StageError, match=r"of no record alone: is there memory"):
        elsewhere(child)(a_batch(8), NOW, 1.0)
    assert len(elsewhere(child)(a_batch(1), NOW, 1.0).events) == 1


def test_what_a_process_cannot_go_on_with_is_no_records_fault() -> None:
    def fail(request: Request) -> Cleaned:
        raise ChildFailedError("a process cannot go on: MemoryError")

    with pytest.raises(ChildFailedError, match="MemoryError"):
        elsewhere(fail)(a_batch(), NOW, 1.0)


def test_processes_refuse_to_start_on_a_tokenizer_that_has_changed(tiny: OnnxEmbedder) -> None:
    assert isinstance(tiny.recipe, TokeniserRecipe)
    other = replace(tiny.recipe, digests=dict.fromkeys(tiny.recipe.digests, "0" * 64))
    with pytest.raises(ChildFailedError, match=r"tokenizer\.json has SHA-256"):
        a_child(recipe=replace(RECIPE, tokeniser=other))


def test_a_process_that_cleans_loads_neither_model_nor_kafka_nor_settings(
    both: BothEmbedder,
) -> None:
    recipe = replace(RECIPE, tokeniser=both.recipe)
    with a_child(recipe=recipe, make=telling_what_is_loaded) as child:
        batch = every_kind()
        request = [record.value for record in batch], [record.key for record in batch], NOW, 1.0
        loaded = set(child(request))
    unwanted = {
        *("onnxruntime", "confluent_kafka", "prometheus_client", "pydantic_settings", "river"),
        *("sklearn", "scipy", "click", "consumer.settings", "consumer.engine"),
        *("consumer.kafka", "consumer.telemetry", "consumer.wiring", "multiprocessing"),
    }
    assert unwanted & loaded == set()
    assert {"tokenizers", "numpy", "models.text"} <= loaded


def test_a_text_that_cannot_be_tokenised_is_refused_alone(
    tiny: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = TextTokeniser.inputs

    def fail(self: TextTokeniser, texts: Sequence[str]) -> Inputs:
        if any(POISON.decode() in text for text in texts):
            raise ArithmeticError(POISON.decode())
        return inputs(self, texts)

    monkeypatch.setattr(TextTokeniser, "inputs", fail)
    clean, batch = make_cleaning(replace(RECIPE, tokeniser=tiny.recipe)), a_batch(5)
    prepared = preparation(tiny, clean)(poisoned(batch, 2))
    assert_the_same(prepared.accepting_only(), preparation(tiny)(batch[:2] + batch[3:]))
    assert list(prepared.refusals) == [2]
    assert prepared.refusals[2].reason == RefusalReason.UNEXPECTED
    assert POISON.decode() not in prepared.refusals[2].detail
