"""Questions that are asked now and then, beside whoever wants to know."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from consumer.kafka.background import Background
from tests.consumer.contract.scripted_clock import Clock
from tests.consumer.kafka_runs import until

EVERY = 5.0


class Asked:
    """A question that is answered when a test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.count = 0
        self.answers = threading.Event()
        self.answers.set()
        self.error: Exception | None = None
        self.background = Background("asked", "asking how many", self.ask, EVERY, self.clock)

    def ask(self) -> int:
        self.count += 1
        assert self.answers.wait(30)
        if self.error is not None:
            raise self.error
        return self.count

    def answer(self) -> int:
        """Tick until there is an answer; the time stands still."""
        found: list[int] = []

        def ticked() -> bool:
            if (answer := self.background.tick()) is not None:
                found.append(answer)
            return bool(found)

        until(ticked)
        return found[0]


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.answers.set()
    made.background.close()


def test_nothing_is_asked_before_it_is_time(asked: Asked) -> None:
    asked.clock.now += EVERY - 0.1
    assert asked.background.tick() is None
    asked.background.close()
    assert asked.count == 0


def test_each_answer_is_given_once_and_the_next_one_asked_for_in_time(asked: Asked) -> None:
    asked.clock.now += EVERY
    assert asked.answer() == 1
    assert asked.background.tick() is None
    asked.clock.now += EVERY
    assert asked.answer() == 2


def test_one_question_at_a_time_is_under_way_and_nobody_waits_for_it(asked: Asked) -> None:
    asked.answers.clear()
    for _ in range(3):
        asked.clock.now += EVERY
        assert asked.background.tick() is None
    asked.answers.set()
    assert asked.answer() == 1


def test_a_question_that_fails_is_told_and_asked_again(
    asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    asked.error = OSError("nobody there")
    asked.clock.now += EVERY
    until(lambda: asked.background.tick() is None and "nobody there" in caplog.text)
    assert "asking how many: nobody there" in caplog.text
    asked.error = None
    asked.clock.now += EVERY
    assert asked.answer() == 2
