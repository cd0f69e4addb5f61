"""How the tests are shared out among processes: by file, and the long files by test.

A file's tests share fixtures, so they stay in one process. A plugin, named in pyproject.toml.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

# Files that take a minute or more, the longest first, so that none of them is begun last.
LONG = (
    "tests/faults/test_faults.py",
    "tests/consumer/migrate/test_migrate.py",
    "tests/consumer/engine/test_group.py",
    "tests/consumer/process/test_ending.py",
    "tests/consumer/tryout/test_broker.py",
    "tests/consumer/offline/test_evaluate.py",
    "tests/consumer/verify/test_follow.py",
    "tests/consumer/verify/test_topics.py",
)
# Of these files each test function may run beside the others: they share the session's broker only.
BY_FUNCTION = frozenset(LONG[:5])
# And the cases of these in so many processes: each is three workers and a broker, and four at a
# time leave none of them the time that its group allows it.
IN_LANES = {"tests/faults/test_faults.py::test_a_group_survives": 2}


def scope(nodeid: str) -> str:
    """Name what runs in one process, one test after another."""
    file = nodeid.partition("::")[0]
    function = nodeid.partition("[")[0]
    if (lanes := IN_LANES.get(function)) is not None:
        return f"{function}-{zlib.crc32(nodeid.encode()) % lanes}"
    return function if file in BY_FUNCTION else file


class SideBySide(LoadScopeScheduling):
    """Hands out scopes in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SideBySide:
    """Have pytest-xdist share the tests out as above."""
    config.option.loadscopereorder = False  # else scopes of many tests come first, however short
    return SideBySide(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long files first."""
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(
        key=lambda item: place.get(item.path.relative_to(config.rootpath).as_posix(), len(place))
    )
