"""A process that stood still is noticed; one that is only slow is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from consumer.engine.pulse import Pulse, SuspendedError
from tests.consumer.kafka_runs import until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Iterator[Pulse]:
    """A limit of 30 s, and a thread that does not beat by itself."""
    made = Pulse(30, clock, beat_seconds=3600)
    yield made
    made.close()


def test_without_a_pause_nothing_is_raised(pulse: Pulse, clock: Clock) -> None:
    pulse.check()
    clock.now += 30
    pulse.check()


def test_a_slow_loop_whose_pulse_beats_raises_nothing(pulse: Pulse, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 29
        pulse.beat()
    pulse.check()


def test_a_pause_that_is_not_over_raises_and_names_the_setting(pulse: Pulse, clock: Clock) -> None:
    clock.now += 31.04
    with pytest.raises(SuspendedError) as raised:
        pulse.check()
    message = str(raised.value)
    assert "stood still for 31.0 s" in message
    assert "30 s, kafka.session_timeout_seconds" in message
    assert "start it again" in message


def test_it_stays_raised(pulse: Pulse, clock: Clock) -> None:
    clock.now += 31
    for _ in range(10):
        pulse.beat()
        clock.now += 1
        with pytest.raises(SuspendedError, match=r"still for 31\.0 s"):
            pulse.check()


def test_a_beat_amid_a_check_hides_no_pause(clock: Clock) -> None:
    """A process that goes on amid a check: the pulse's thread may beat before the check ends."""
    amid: list[Pulse] = []

    def reading() -> float:
        if amid:
            clock.now += 31
            amid.pop().beat()
        return clock.now

    pulse = Pulse(30, reading, beat_seconds=3600)
    try:
        amid.append(pulse)
        with pytest.raises(SuspendedError):
            pulse.check()
    finally:
        pulse.close()


def test_the_thread_beats_by_itself_until_it_is_closed(clock: Clock) -> None:
    beats = 0

    def reading() -> float:
        nonlocal beats
        beats += threading.current_thread().name == "pulse"
        return clock.now

    pulse = Pulse(30, reading, beat_seconds=0.001)
    for _ in range(5):
        clock.now += 20
        before = beats
        # The second one from here has begun after the clock was moved.
        until(lambda before=before: beats >= before + 2, 10)
    pulse.check()
    pulse.close()
    assert not pulse._thread.is_alive()
