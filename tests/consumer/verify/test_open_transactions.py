"""Transactions that stay open are told: in the outputs as violations, in the inputs as warnings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumer.verify.news import News
from consumer.verify.open_transactions import OpenTransactions, in_inputs, in_outputs
from consumer.verify.report import ViolationKind
from consumer.verify.watch import Sample

Kind = ViolationKind
HANG = 10.0


@pytest.fixture
def news() -> News:
    return News()


@pytest.fixture
def outputs(news: News) -> OpenTransactions:
    return in_outputs({"changes"}, HANG, news)


@pytest.fixture
def inputs(news: News) -> OpenTransactions:
    return in_inputs({"events"}, HANG, news.tell)


def sample(at: float, stable: int, end: int, topic: str = "changes") -> Sample:
    return Sample(at, ends={(topic, 0): end}, stable={(topic, 0): stable})


def test_a_transaction_that_stays_open_is_found_once(outputs: OpenTransactions, news: News) -> None:
    for at, stable, end in [(0, 5, 5), (1, 5, 8), (11, 5, 9), (12, 5, 9), (30, 5, 9)]:
        outputs.sample(sample(at, stable, end))
    assert news.by_kind == {Kind.HANGING_TRANSACTION: 1}
    assert news.first[0].subject == "changes[0]"
    assert outputs.hanging == ("changes[0]",)
    outputs.sample(sample(31, 9, 9))
    assert outputs.hanging == ()


def test_transactions_one_after_the_other_do_not_hang(
    outputs: OpenTransactions, news: News
) -> None:
    for at in range(0, 100, 5):
        outputs.sample(sample(at, at, at + 3))
    assert len(news) == 0


def test_time_without_an_answer_is_no_time_in_which_a_transaction_hangs(
    outputs: OpenTransactions, news: News
) -> None:
    for at in (0, 5):
        outputs.sample(sample(at, 5, 8))
    outputs.sample(Sample(6, trouble="no broker"))
    for at in (50, 55):
        outputs.sample(sample(at, 5, 8))
    assert len(news) == 0
    outputs.sample(sample(61, 5, 8))
    assert news.by_kind == {Kind.HANGING_TRANSACTION: 1}


def test_one_in_the_input_is_told_with_place_and_time_and_is_no_violation(
    inputs: OpenTransactions, outputs: OpenTransactions, news: News
) -> None:
    for at in (0, 5, 11, 12):
        inputs.sample(sample(at, 5, 62, "events"))
        outputs.sample(sample(at, 5, 62, "events"))
    (told,) = news.take()
    assert isinstance(told, str)
    assert told.startswith("BLOCKED events[0]: a producer's transaction is open from offset 5 on")
    assert "the 57 offsets from there to the end" in told
    assert "find-hanging" in told
    since = datetime.fromisoformat(told.split("since ")[1].split(",")[0])
    assert timedelta(seconds=10) < datetime.now(UTC) - since < timedelta(seconds=60)
    assert (inputs.hanging, outputs.hanging) == (("events[0]",), ())
    assert len(news) == 0


def test_the_end_of_one_in_the_input_is_told_too(inputs: OpenTransactions, news: News) -> None:
    for at, stable in ((0, 5), (11, 5), (12, 9)):
        inputs.sample(sample(at, stable, 9, "events"))
    assert news.take()[1:] == ["events[0] can be read on"]
    assert inputs.hanging == ()
