"""Which tests run in one process."""

from __future__ import annotations

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
    faults = "tests/faults/test_faults.py::test_a_group_survives"
    lanes = {side_by_side.scope(f"{faults}[{number}-classic]") for number in range(40)}
    assert lanes == {f"{faults}-0", f"{faults}-1"}
    assert side_by_side.scope(f"{faults}_its_brokers[broker-kill]") == f"{faults}_its_brokers"
