"""Fixtures that several layers' tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer.broker import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """One real Kafka broker for the whole session: name topics and groups uniquely on it."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka
