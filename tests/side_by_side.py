"""How the tests are shared out among processes: by file, and the long files by test.

A file's tests share fixtures, so they stay in one process. A plugin, named in pyproject.toml.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

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
# But of these only two at a time, one in each lane: each is three workers and a broker, or three.
# More leave none of them the time that its group allows it, while they wait for most of theirs.
_FAULTS = f"{LONG[0]}::test_a_group_survives"
IN_LANES = {
    _FAULTS: (0, 1),
    f"{_FAULTS}_its_brokers": (0,),
    f"{_FAULTS}_a_cut_network": (1,),
    f"{_FAULTS}_a_full_disk": (1,),
}


def scope(nodeid: str) -> str:
    """Name what runs in one process, one test after another."""
    file = nodeid.partition("::")[0]
    function = nodeid.partition("[")[0]
    if (lanes := IN_LANES.get(function)) is not None:
        return f"{file}-{lanes[zlib.crc32(nodeid.encode()) % len(lanes)]}"
    return function if file in BY_FUNCTION else file


class SideBySide(LoadScopeScheduling):
    """Hands out scopes in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)

    def remove_node(self, node: WorkerController) -> str | None:
        """Give the test at which a process has ended; it has failed, and none runs it again.

        pytest-xdist hands it to the next process with the rest of its scope, and when that ends
        too, to the one after that.
        """
        units = self.assigned_work[node].values()
        ended = next((test for unit in units for test, done in unit.items() if not done), None)
        for unit in units:
            if ended in unit:
                unit[ended] = True
        super().remove_node(node)
        return ended


def begin_at(modules: list[str], process: int, processes: int) -> list[str]:
    """Turn a list so that each of some processes begins with a share of its own."""
    first = len(modules) * process // processes
    return modules[first:] + modules[:first]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import the tests of a whole run, in each process from another one on.

    Processes that begin together with the same module would each rewrite and compile all of them.
    So each finds most of them done by the others. What does not import is told by the collection.
    """
    config = session.config
    if (own := getattr(config, "workerinput", None)) is None:
        return
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return  # a few files
    root = config.rootpath
    beside = {root / folder for folder in config.getini("norecursedirs")}
    modules = [
        ".".join(file.relative_to(root).with_suffix("").parts)
        for file in sorted((root / "tests").rglob("test_*.py"))
        if beside.isdisjoint(file.parents)
    ]
    for module in begin_at(modules, int(own["workerid"].removeprefix("gw")), own["workercount"]):
        with suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
            import_module(module)


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
