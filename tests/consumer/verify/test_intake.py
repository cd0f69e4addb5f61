"""How often each record of a foreign input arrived."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.verify.cut import Span
from consumer.verify.intake import _Arrivals
from consumer.verify.report import ViolationKind, Violations

DONE = {0: Span(100, 105), 1: Span(0, 0)}
RECORDS = [(0, offset) for offset in (100, 101, 103, 104)]  # 102 is a marker of a transaction


def compare(arrived: Sequence[tuple[int, int]], *, whole: bool = True) -> dict[ViolationKind, int]:
    arrivals = _Arrivals("raw", DONE)
    for place in arrived:
        arrivals.add(*place)
    violations = Violations()
    assert arrivals.compare(iter(RECORDS), violations, ("a", "b"), whole=whole) == len(RECORDS)
    return dict(violations.by_kind)


def test_each_record_once_is_right_whatever_lies_outside_of_what_is_done() -> None:
    assert not compare([*RECORDS, (0, 99), (0, 105), (1, 0), (2, 0)])


def test_none_is_lost_and_two_or_more_are_repeated() -> None:
    assert compare([*RECORDS[1:], *[RECORDS[2]] * 300]) == {
        ViolationKind.INTAKE_LOST: 1,
        ViolationKind.INTAKE_REPEATED: 1,
    }


def test_where_the_outputs_beginning_is_gone_nothing_is_called_lost() -> None:
    assert not compare([], whole=False)
    assert compare(RECORDS[:1] * 2, whole=False) == {ViolationKind.INTAKE_REPEATED: 1}


def test_records_that_compaction_has_removed_are_counted() -> None:
    arrivals = _Arrivals("raw", DONE)
    for place in (*RECORDS, (0, 102)):
        arrivals.add(*place)
    arrivals.compare(iter(RECORDS), Violations(), ("a", "b"), whole=True)
    assert arrivals.left == 1
