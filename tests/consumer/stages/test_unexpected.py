"""A record on which the program itself fails is a dead letter, and the only one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import consumer.stages.segmentation.cleaning
from consumer.contract.records import Output
from consumer.settings import Settings
from consumer.stages.intake import IntakeStage
from consumer.stages.segmentation.standings import Standings
from consumer.stages.shared.dead_letters import DeadLetterLimitError
from consumer.stages.shared.unexpected import embed_apart, shortest_failing
from models.embedding.errors import DeviceFailedError
from models.embedding.runner_types import Vectors
from models.profiles.table import ProfileRows
from schemas.user_labels import LabelIntake
from tests.consumer.stages.label_data import label_record
from tests.consumer.stages.left_behind import BATCHES, assert_nothing_is_left
from tests.consumer.stages.stage_data import (
    ALL,
    EMBEDDER,
    TOPICS,
    Worker,
    a_model,
    changes_in,
    event,
    of,
    records,
    turned,
)

SECRET = "heliotrope"
"""Stands in the text of the records that are to blame, and in the exception's message."""


class SomeError(Exception):
    """What a library might raise."""


class FailingEmbedder:
    """Fails on every batch with a text that holds the word."""

    dimensions = EMBEDDER.dimensions
    identity = EMBEDDER.identity

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or SomeError(f"no piece for {SECRET}")

    def embed(self, texts: Sequence[str]) -> Vectors:
        if any(SECRET in text for text in texts):
            raise copy(self.error)  # a library makes a new one each time
        return EMBEDDER.embed(texts)


def a_stream(count: int = 40, bad: Sequence[int] = (17,)) -> list[dict[str, Any]]:
    """Events of four users; the bad ones hold the word."""
    return [
        event(f"u{n % 4}", n, f"{TOPICS[n % 2]} {SECRET if n in bad else ''}") for n in range(count)
    ]


def without(stream: list[dict[str, Any]], bad: Sequence[int]) -> list[dict[str, Any]]:
    return [each for n, each in enumerate(stream) if n not in bad]


def reasons(outputs: Sequence[Output], topic: str = "user-events.dlq") -> list[dict[str, str]]:
    return [
        {name: value.decode() for name, value in letter.headers} for letter in of(outputs, topic)
    ]


@pytest.fixture
def failing_cleaner(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = consumer.stages.segmentation.cleaning.clean

    def fail(text: str) -> Any:
        if SECRET in text:
            raise OverflowError(f"cannot clean {SECRET}")
        return clean(text)

    def fail_together(texts: Sequence[str]) -> list[Any]:
        return [fail(text) for text in texts]

    monkeypatch.setattr(consumer.stages.segmentation.cleaning, "clean", fail)
    monkeypatch.setattr(consumer.stages.segmentation.cleaning, "clean_all", fail_together)


@pytest.fixture
def failing_profiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Profiles that cannot take the word up: applying fails, on a user who has it."""
    note = ProfileRows.note_terms

    def fail(self: ProfileRows, row: int, tokens: Sequence[str], *rest: Any) -> None:
        if SECRET in tokens:
            raise ZeroDivisionError(f"{SECRET} weighs nothing")
        note(self, row, tokens, *rest)

    monkeypatch.setattr(ProfileRows, "note_terms", fail)
    return


@pytest.mark.usefixtures("failing_cleaner")
def test_a_record_that_cannot_be_cleaned_is_the_only_dead_letter() -> None:
    alone_is_refused(Worker(a_model()))


def test_a_text_that_cannot_be_embedded_is_the_only_dead_letter() -> None:
    alone_is_refused(Worker(a_model(), embedder=FailingEmbedder()))


@pytest.mark.usefixtures("failing_profiles")
def test_an_event_that_cannot_be_applied_is_the_only_dead_letter() -> None:
    alone_is_refused(Worker(a_model()))


@pytest.mark.usefixtures("failing_profiles")
@pytest.mark.parametrize("embedder", [EMBEDDER, FailingEmbedder()])
def test_what_was_raised_keeps_no_batch(embedder: Any) -> None:
    limits = {"max_share": 1, "max_unexpected": 100}
    worker = Worker(a_model(), embedder=embedder, dead_letters=limits)

    def work(number: int) -> None:
        users = (f"{number}-{n}" for n in range(20))
        bad = f"{TOPICS[0]} {SECRET}"
        worker.run(
            records(
                event(user, 1, bad if n in {7, 8} else TOPICS[1]) for n, user in enumerate(users)
            )
        )

    assert_nothing_is_left(work)
    assert worker.stage.stats.refused == {"unexpected": 2 * (BATCHES + 1)}


def alone_is_refused(worker: Worker, bad: Sequence[int] = (17, 18, 30)) -> None:
    stream = a_stream(bad=bad)
    outputs = worker.run(records(stream))
    letters = reasons(outputs)
    assert sorted(int(letter["dlq_offset"]) for letter in letters) == list(bad)
    assert {letter["dlq_reason"] for letter in letters} == {"unexpected"}
    assert worker.stage.stats.refused == {"unexpected": len(bad)}

    undisturbed = Worker(a_model())
    expected = undisturbed.run(records(without(stream, bad)))
    # A refused record takes an offset too.
    assert worker.state(places=False) == undisturbed.state(places=False)
    assert [(c.user_id, c.source.event_id) for c in changes_in(outputs) if c.source] == [
        (c.user_id, c.source.event_id) for c in changes_in(expected) if c.source
    ]


@pytest.mark.usefixtures("failing_cleaner")
def test_the_reason_names_the_exception_and_the_place_and_quotes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker(a_model())
    with caplog.at_level(logging.WARNING):
        letters = reasons(worker.run(records(a_stream(bad=(3, 4)))))
    assert "OverflowError" in letters[0]["dlq_detail"]
    assert "at consumer/stages/segmentation/cleaning.py:" in letters[0]["dlq_detail"]
    assert SECRET not in letters[0]["dlq_detail"]
    assert SECRET not in caplog.text
    # Where it came from stands in the log, once.
    assert caplog.text.count("the program fails on a record with OverflowError") == 1
    assert "user-events[0]@3 is refused" in caplog.text


@pytest.mark.parametrize("failing", ["failing_cleaner", "failing_profiles"])
def test_more_than_the_limit_stop_the_worker_before_anything_is_written(
    failing: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(failing)
    worker = Worker(a_model(), dead_letters={"max_unexpected": 3})
    worker.run(records(a_stream(bad=(1, 2, 3))))
    before = worker.state()
    later = [event("u9", n, f"{TOPICS[0]} {SECRET}") for n in range(2)]
    with pytest.raises(DeadLetterLimitError, match=r"max_unexpected = 3"):
        worker.apply(records(later))
    worker.stage.aborted()
    assert worker.state() == before


@pytest.mark.usefixtures("failing_profiles")
def test_a_batch_with_far_more_than_the_limit_stops_the_worker_with_a_sentence_that_quotes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker(a_model(), dead_letters={"max_unexpected": 3})
    with pytest.raises(DeadLetterLimitError, match=r"max_unexpected = 3") as raised:
        worker.apply(records(a_stream(bad=range(20))))
    assert SECRET not in str(raised.value)
    assert SECRET not in caplog.text


def test_an_embedder_that_fails_on_every_text_stops_the_worker_with_its_own_error() -> None:
    everything = tuple(range(40))
    worker = Worker(embedder=FailingEmbedder(), dead_letters={"max_unexpected": 5})
    with pytest.raises(SomeError):
        worker.apply(records(a_stream(bad=everything)))


@pytest.mark.parametrize("error", [DeviceFailedError("gone"), MemoryError()])
def test_what_is_no_records_fault_stops_the_worker(error: Exception) -> None:
    worker = Worker(embedder=FailingEmbedder(error))
    with pytest.raises(type(error)):
        worker.apply(records(a_stream()))


def test_a_label_on_which_the_program_fails_is_a_dead_letter_of_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = LabelIntake.read

    def fail(self: LabelIntake, value: bytes | None, *rest: Any) -> Any:
        if value is not None and SECRET.encode() in value:
            raise KeyError(SECRET)
        return read(self, value, *rest)

    monkeypatch.setattr(LabelIntake, "read", fail)
    worker = Worker(a_model(), labels={"enabled": True})
    outputs = worker.run([label_record("u1", SECRET), label_record("u2", "brewer", 1)])
    (letter,) = reasons(outputs, "segment-labels.dlq")
    assert letter["dlq_reason"] == "unexpected"
    assert SECRET not in letter["dlq_detail"]
    assert worker.stage.stats.labels == 1


def test_a_user_on_whom_a_new_model_fails_is_passed_over_and_the_others_move(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = a_model()
    worker = Worker(model, batch={"reassign_users": 4})
    worker.run(records([event(f"u{n}", n) for n in range(9)]))
    of_rows = Standings.of

    def fail(rows: ProfileRows) -> Standings:
        if "u4" in rows.users:
            raise SomeError(SECRET)
        return of_rows(rows)

    with monkeypatch.context() as broken:
        broken.setattr(Standings, "of", fail)
        worker.source.model = turned(model)
        moved = {change.user_id for change in changes_in(worker.maintain())}
        assert moved == {f"u{n}" for n in range(9)} - {"u4"}
        assert (worker.stage.stats.passed_over, worker.stage.settled) == (1, True)
        assert caplog.text.count("the program fails on a user under a new model") == 1
        assert SECRET not in caplog.text
    worker.source.model = turned(turned(turned(model)))
    assert [change.user_id for change in changes_in(worker.maintain())] == ["u4"]


def test_what_is_no_users_doing_still_stops_a_worker_under_a_new_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker(a_model())
    worker.run(records([event("u1", 1)]))

    def fail(rows: ProfileRows) -> Standings:
        raise MemoryError

    monkeypatch.setattr(Standings, "of", fail)
    worker.source.model = turned(a_model())
    with pytest.raises(MemoryError):
        worker.maintain()


def test_intake_refuses_what_it_fails_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = IntakeStage(Settings(dead_letters={"max_share": 1}), "raw-events", 3)
    find = stage._find_user

    def fail(value: bytes | None) -> str:
        if value is not None and SECRET.encode() in value:
            raise RecursionError(SECRET)
        return find(value)

    monkeypatch.setattr(stage, "_find_user", fail)
    outputs = stage.apply(stage.prepare(records(a_stream(6, (2,)))), ALL)
    (letter,) = reasons(outputs)
    assert letter["dlq_offset"] == "2"
    assert letter["dlq_reason"] == "unexpected"
    assert len(outputs) == 6


@given(st.sets(st.integers(0, 60), max_size=8), st.integers(1, 61))
def test_halving_finds_every_text_to_blame_and_embeds_the_others_as_ever(
    bad: set[int], count: int
) -> None:
    texts = [f"text {n}" + (f" {SECRET}" if n in bad else "") for n in range(count)]
    embedder = FailingEmbedder()
    vectors, failed = embed_apart(embedder.embed, texts, dimensions=embedder.dimensions, most=8)
    assert set(failed) == {n for n in bad if n < count}
    expected = EMBEDDER.embed(texts)
    for row in range(count):
        if row in failed:
            assert np.isnan(vectors[row]).all()
        else:
            assert np.array_equal(vectors[row], expected[row])


@given(st.integers(1, 200), st.data())
def test_the_shortest_failing_beginning_is_found(count: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(1, count))
    attempt: Callable[[int], None]

    def attempt(length: int) -> None:
        if length >= least:
            raise SomeError(str(length))

    assert shortest_failing(attempt, count, SomeError())[0] == least
