"""The comparison with a replay: what may differ does not count, all else is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumer.verify.oracle import differences
from schemas.changes import ModelRef, SegmentChange, SegmentRef, SourceRef
from tests.schemas.test_contracts import change

LATER = datetime(2027, 1, 1, tzinfo=UTC)


def test_changes_of_different_users_have_no_order() -> None:
    """A worker looks at users under a new model in another order than a replay."""
    first, second = change(), change(user_id="u2")
    assert not list(differences([first, second], [second, first]))


def test_a_change_that_came_after_a_later_one_of_its_user_is_told() -> None:
    old = change(model=ModelRef(embedding="a" * 64, version=1), source=None)
    new = change(model=ModelRef(embedding="a" * 64, version=2), source=None, sequence=2)
    (told,) = differences([old, new], [new, old])
    assert f"change {old.id} of user 'u1', of model version 1, came after change {new.id}" in told


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
