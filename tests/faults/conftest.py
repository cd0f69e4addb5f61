"""Tests marked `lab` run in a lab of their own: pytest starts each once more, in there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable

import pytest

from tests.faults import disk, lab, network

_NEEDS: dict[str, tuple[Callable[[], str | None], tuple[str, ...]]] = {
    "wire": (network.available, network.REASONS),
    "disk": (disk.available, disk.REASONS),
}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test in a lab; where there can be none, hold that the reason is a known one."""
    marker = pyfuncitem.get_closest_marker("lab")
    if marker is None or lab.inside():
        return None
    available, reasons = _NEEDS[marker.args[0]]
    if reason := available():
        assert reason.startswith(reasons)
        return True
    pytest_again = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    with tempfile.TemporaryDirectory() as folder:
        # Of its own: in a lab an ordinary user looks like root, whose folder is another's outside.
        argv = lab.command([*pytest_again, f"--basetemp={folder}/tests"])
        root = pyfuncitem.config.rootpath
        done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    return True
