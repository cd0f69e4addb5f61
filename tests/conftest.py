"""Fixtures that several layers' tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from consumer.kafka.broker_log import broker_log
from consumer.tryout.broker import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import Iterator

# No test is timed: the machines that run them are shared and noisy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _log_of_brokers() -> None:
    """What one test's clients have told of brokers is not left out of the next one's log."""
    broker_log.forget()


@pytest.fixture(autouse=True)
def _log_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs in a test does not take the log away from the tests after it."""
    monkeypatch.setattr("consumer.cli.command.configure_logging", lambda _: None)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """One real Kafka broker for the whole session: name topics and groups uniquely on it."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka
