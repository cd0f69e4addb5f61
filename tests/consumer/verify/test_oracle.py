"""The comparison with a replay: what may differ does not count, all else is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumer.verify.oracle import differences
from schemas.changes import SegmentChange, SegmentRef, SourceRef
from tests.schemas.test_contracts import change

LATER = datetime(2027, 1, 1, tzinfo=UTC)


def test_the_time_and_place_of_processing_may_differ() -> None:
    moved = SourceRef(topic="copy", partition=3, offset=99, event_id="e1")
    assert not list(differences([change()], [change(changed_at=LATER, source=moved)]))


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        ([change()], [], "is missing"),
        ([], [change()], "is not in the replay"),
        ([change()], [change(), change()], "came twice"),
        ([change()], [change(segment=SegmentRef(id=9, label="x"))], "differs in segment"),
        ([change()], [change(distance=0.6)], "differs in distance"),
    ],
)
def test_every_difference_is_told(
    expected: list[SegmentChange], found: list[SegmentChange], words: str
) -> None:
    told = list(differences(expected, found))
    assert len(told) == 1
    assert words in told[0]
    assert "'u1'" in told[0]
