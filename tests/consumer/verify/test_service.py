"""The process around the audit that follows, on a scripted clock and a scripted audit."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from consumer.settings import Settings
from consumer.verify import service


class Clock:
    """Time that goes on where somebody waits; also the event that would end it all."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def is_set(self) -> bool:
        return False

    def set(self) -> None:
        raise AssertionError("nobody ends it")


class Follower:
    """An audit with nothing to tell but how often it was asked."""

    def __init__(self, *_: object, **__: object) -> None:
        self.reports = 0

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def take_news(self) -> list[str]:
        return []

    def report(self) -> SimpleNamespace:
        self.reports += 1
        return SimpleNamespace(number=self.reports, read_up=True, exit_code=0)


@contextmanager
def nothing(*_: object):
    yield


@pytest.mark.parametrize(
    ("every", "seconds", "lines"),
    # The last one stands for what would be due in the same moment.
    [(10, 60, 6), (10, 10, 1), (10, 9, 1), (10, 11, 2), (0.25, 1, 4), (60, 3, 1)],
)
def test_each_line_is_written_once_and_the_last_one_at_the_end(every, seconds, lines, monkeypatch):
    clock, written = Clock(), []
    monkeypatch.setattr(service, "time", clock)
    monkeypatch.setattr(service, "threading", SimpleNamespace(Event=lambda: clock))
    monkeypatch.setattr(service, "Follower", Follower)
    monkeypatch.setattr(service, "serving", nothing)
    monkeypatch.setattr(
        service, "_write_text", lambda line: written.append((line.number, clock.now))
    )
    assert service.run_follow(Settings(), every_seconds=every, for_seconds=seconds) == 0
    assert [number for number, _ in written] == [*range(1, lines + 1)]
    assert written[-1][1] == pytest.approx(100 + seconds)
