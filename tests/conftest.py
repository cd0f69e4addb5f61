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


# Files that take a minute or more, the longest first: what is begun last ends last.
LONGEST_FIRST = (
    "tests/faults/test_faults.py",
    "tests/consumer/migrate/test_migrate.py",
    "tests/consumer/engine/test_group.py",
    "tests/consumer/process/test_ending.py",
    "tests/consumer/tryout/test_broker.py",
    "tests/consumer/offline/test_evaluate.py",
    "tests/consumer/verify/test_follow.py",
    "tests/consumer/verify/test_topics.py",
)
# Of these each test may run beside the others: what shares a fixture of the module says so itself.
SHARED_OUT = (
    "tests/faults/test_faults.py",
    "tests/consumer/migrate/test_migrate.py",
    "tests/consumer/engine/test_group.py",
    "tests/consumer/process/test_ending.py",
    "tests/consumer/tryout/test_broker.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest, and tell pytest-xdist what belongs into one process.

    A file's tests share fixtures, so they stay together; those of the long ones are shared out.
    """
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    files = [item.path.relative_to(config.rootpath).as_posix() for item in items]
    order = sorted(range(len(items)), key=lambda index: place.get(files[index], len(place)))
    items[:] = [items[index] for index in order]
    for number, index in enumerate(order):
        file = files[index]
        item = items[number]
        if item.get_closest_marker("xdist_group") is None:
            group = f"{file}-{number}" if file in SHARED_OUT else file
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def _log_of_brokers() -> None:
    """What one test's clients have told of brokers is not left out of the next one's log."""
    broker_log.forget()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """One real Kafka broker for the whole session: name topics and groups uniquely on it."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka
