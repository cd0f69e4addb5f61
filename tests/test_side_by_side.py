"""Which tests run in one process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import side_by_side

ROOT = Path(__file__).parents[1]


def test_what_is_named_is_there():
    for name in side_by_side.LONG:
        assert (ROOT / name).is_file()
    for function in side_by_side.IN_LANES:
        file, _, name = function.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text()


def test_a_file_stays_together_and_long_ones_are_shared_out():
    assert side_by_side.scope("tests/test_docs.py::test_a[1]") == "tests/test_docs.py"
    broker = "tests/consumer/tryout/test_broker.py::test_a"
    assert side_by_side.scope(f"{broker}[1]") == broker
    faults = "tests/faults/test_faults.py::test_a_group_survives"
    lanes = {side_by_side.scope(f"{faults}[{number}-classic]") for number in range(40)}
    assert lanes == {f"{side_by_side.LONG[0]}-{lane}" for lane in (0, 1)}
    brokers = {
        side_by_side.scope(f"{faults}_its_brokers[broker-{how}]") for how in ("kill", "stop")
    }
    assert len(brokers) == 1
    assert brokers < lanes


def test_no_fault_is_out_of_the_lanes():
    text = (ROOT / side_by_side.LONG[0]).read_text()
    found = {
        f"{side_by_side.LONG[0]}::{name}" for name in re.findall(r"^def (test_\w+)", text, re.M)
    }
    assert found == set(side_by_side.IN_LANES)


def test_each_process_begins_with_tests_of_its_own_and_comes_to_all():
    modules = [f"tests.test_{number}" for number in range(10)]
    turned = [side_by_side.begin_at(modules, process, 4) for process in range(4)]
    assert [each[0] for each in turned] == [modules[first] for first in (0, 2, 5, 7)]
    assert all(sorted(each) == modules for each in turned)


def test_a_test_that_ends_its_process_fails_by_name_and_once(tmp_path):
    (tmp_path / "test_end.py").write_text(
        "import os\n\ndef test_ends(): os._exit(9)\n\ndef test_after(): pass\n"
    )
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "-p", "xdist", "-p", "tests.side_by_side", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "crashed while running 'test_end.py::test_ends'" in done.stdout
    assert "1 failed, 2 passed" in done.stdout
