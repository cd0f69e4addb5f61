"""An earlier version put in force again, and what it makes of segments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.segments.identity import match
from models.segments.lineage import Lineage
from models.segments.model import SegmentModel, SegmentModelError
from models.segments.rollback import RollbackError, rolled_back
from schemas.changes import ChangeReason
from schemas.segment_model import SegmentModelRecord
from tests.models.segments.segment_lives import after, first

NOBODY = np.empty((0, 0))


def users(*counts: int) -> np.ndarray:
    """Profiles of so many users at each axis."""
    return np.repeat(np.eye(len(counts), 8), counts, axis=0)


@pytest.fixture
def lives() -> tuple[SegmentModel, SegmentModel, SegmentModel]:
    """Segments 0 and 1; 2 is split off 0; then 1 goes into 0."""
    one = first(2)
    two = after(one, [[60, 40, 0], [0, 0, 50]], centres=np.eye(8)[[0, 2, 1]])
    three = after(two, [[60, 0], [40, 0], [0, 40]], centres=np.eye(8)[[0, 2]])
    assert [model.ids.tolist() for model in (one, two, three)] == [[0, 1], [0, 1, 2], [0, 2]]
    return one, two, three


def test_an_earlier_version_comes_back_as_the_next_one_and_the_counts_go_on(lives):
    one, _, three = lives
    made = rolled_back(one, three, users(30, 20, 10), 0.25)
    model = made.model
    assert (model.version, model.rollback_of, model.next_id) == (4, 1, three.next_id)
    assert (model.sample_threshold, model.samples) == (0.25, three.samples)
    assert model.ids.tolist() == [0, 1]
    assert np.array_equal(model.centres, one.centres)
    assert (model.labels, model.words, model.since) == (one.labels, one.words, one.since)
    assert np.array_equal(model.radii, one.radii)
    assert (made.restored, made.retired) == ((1,), (2,))
    # Ten at the third axis are as near to either centre of version 1, and count with the first.
    assert model.sizes.tolist() == [40, 20]
    assert (made.users, made.moved) == (60, 10 + 20)


def test_segments_that_come_back_and_that_go_are_told_with_their_users(lives):
    one, _, three = lives
    model = rolled_back(one, three, users(30, 20, 10), 1.0).model
    told = [(each.type, each.segment, each.successor) for each in model.history.transitions]
    assert told == [("restored", 1, None), ("retired", 2, 0)]
    restored, retired = model.history.transitions
    assert (restored.label, restored.size_before, restored.size) == (one.labels[1], 0, 20)
    assert [(flow.parent, flow.child, flow.users) for flow in restored.flows] == [(0, 1, 20)]
    assert (retired.label, retired.size_before, retired.size) == (three.labels[1], 10, 0)
    assert [(gone.id, gone.version) for gone in three.history.retired] == [(1, 3)]
    assert [(gone.id, gone.version) for gone in model.history.retired] == [(2, 4)]


def test_without_users_what_versions_said_of_themselves_stands_in(lives):
    one, _, three = lives
    made = rolled_back(one, three, NOBODY, 1.0)
    assert (made.users, made.moved) == (0, 0)
    assert made.model.sizes.tolist() == one.sizes.tolist()
    _, retired = made.model.history.transitions
    assert (retired.size_before, retired.flows, retired.successor) == (three.sizes[1], [], None)


def test_what_comes_after_a_rollback_gets_ids_that_were_never_given(lives):
    one, _, three = lives
    back = rolled_back(one, three, NOBODY, 1.0).model
    # The third is where segment 2 was, whose id must not come again.
    matching = match(np.eye(8)[[0, 1, 2]], back.embedding, back, users(10, 10, 10))
    assert (matching.ids.tolist(), matching.born) == ([0, 1, 3], (3,))


def test_a_rollback_can_be_rolled_back_and_rolled_back_to(lives):
    one, two, three = lives
    back = rolled_back(one, three, NOBODY, 1.0).model
    again = rolled_back(three, back, NOBODY, 1.0)
    assert (again.restored, again.retired) == ((2,), (1,))
    assert (again.model.version, again.model.rollback_of) == (5, 3)
    assert [gone.id for gone in again.model.history.retired] == [1]
    to_back = rolled_back(back, rolled_back(two, again.model, NOBODY, 1.0).model, NOBODY, 1.0)
    assert (to_back.model.version, to_back.model.rollback_of) == (7, 4)


@pytest.mark.parametrize(
    ("old", "changes", "message"),
    [
        (2, {}, "version 3 is the one in force"),
        (2, {"version": 9}, "version 9 is later than version 3, which is in force"),
        (0, {"embedding": "f" * 64}, "version 1 is of the embedding model ffffffffffff and the"),
    ],
)
def test_what_cannot_be_put_in_force_again_is_refused(lives, old, changes, message):
    with pytest.raises(RollbackError, match=message):
        rolled_back(replace(lives[old], **changes), lives[2], NOBODY, 1.0)


def test_what_is_in_force_by_a_rollback_is_refused_a_second_time(lives):
    one, _, three = lives
    back = rolled_back(one, three, NOBODY, 1.0).model
    with pytest.raises(RollbackError, match="version 4, which is in force, is the rollback to"):
        rolled_back(one, back, NOBODY, 1.0)


def test_users_follow_for_the_operators_sake_whatever_became_of_their_segment(lives):
    one, _, three = lives
    assert Lineage(three).reason(1, 0, 2) is ChangeReason.SEGMENT_MERGED
    back = Lineage(rolled_back(one, three, NOBODY, 1.0).model)
    assert {back.reason(2, 0, 3), back.reason(0, 1, 3), back.reason(-1, 1, 2)} == {
        ChangeReason.ROLLBACK
    }


def test_only_a_rolled_back_version_is_of_the_new_form(lives):
    one, _, three = lives
    back = rolled_back(one, three, NOBODY, 1.0).model
    records = [model.to_record() for model in (three, back)]
    assert [record.schema_version for record in records] == [2, 3]
    learned, rolled = (record.model_dump_json() for record in records)
    assert "rollback_of" not in learned
    again = SegmentModel.from_record(SegmentModelRecord.model_validate_json(rolled))
    assert again.to_record() == records[1]


def test_a_rollback_to_a_later_version_is_no_model(lives):
    with pytest.raises(SegmentModelError, match="rollback_of is 3 in version 3: give an earlier"):
        replace(lives[2], rollback_of=3)
