"""Why a new version moved a user, also over versions that the worker never saw."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.segments.lineage import Lineage
from models.segments.model import SegmentModel
from models.segments.transitions import Fate, outcomes
from schemas.changes import ChangeReason
from schemas.segment_model import NO_SEGMENT
from tests.models.segments.segment_lives import after, first, matched

MERGED, SPLIT = ChangeReason.SEGMENT_MERGED, ChangeReason.SEGMENT_SPLIT
UPDATE = ChangeReason.MODEL_UPDATE


def reason(model: SegmentModel, before: int, now: int, decided: int) -> ChangeReason:
    return Lineage(model).reason(before, now, decided)


def test_a_user_of_a_merged_segment_follows_it_into_its_successor():
    model = after(first(3), [[100, 0], [50, 0], [0, 90]])
    assert reason(model, 1, 0, 1) is MERGED
    assert reason(model, 1, 2, 1) is UPDATE
    assert reason(model, 1, NO_SEGMENT, 1) is UPDATE


def test_a_user_of_a_split_segment_follows_the_part_that_he_is_in():
    model = after(first(2), [[60, 40, 0], [0, 0, 90]])
    assert reason(model, 0, 2, 1) is SPLIT
    assert reason(model, 0, 1, 1) is UPDATE
    assert reason(model, 1, 2, 1) is UPDATE


def test_a_user_of_a_segment_without_heirs_is_moved_by_the_model():
    model = after(first(4), [[40, 30, 30], [80, 0, 0], [0, 90, 0], [0, 0, 70]])
    assert {reason(model, 0, now, 1) for now in (1, 2, 3)} == {UPDATE}


def test_a_user_without_a_segment_or_of_one_that_nobody_remembers_is_moved_by_the_model():
    model = after(first(2), [[60, 40, 0], [0, 0, 90]])
    assert reason(model, NO_SEGMENT, 2, 0) is UPDATE
    assert reason(model, 77, 2, 1) is UPDATE


def test_a_split_from_before_the_last_decision_is_no_reason():
    split = after(first(1), [[60, 40]])
    model = after(split, [[50, 10], [0, 40]])
    assert reason(model, 0, 1, 1) is SPLIT
    assert reason(model, 0, 1, 2) is UPDATE


def test_versions_that_a_worker_skipped_are_gone_through():
    v2 = after(first(3), [[100, 0], [50, 0], [0, 90]])  # 1 goes into 0
    v3 = after(v2, [[110, 40, 0], [0, 0, 90]])  # 3 is split off 0
    v4 = after(v3, [[110, 0], [0, 90], [0, 40]])  # 3 goes into 2
    assert v3.ids.tolist() == [0, 2, 3]
    assert v4.ids.tolist() == [0, 2]
    assert reason(v3, 1, 0, 1) is MERGED
    assert reason(v3, 1, 3, 1) is SPLIT
    assert reason(v4, 1, 2, 1) is MERGED
    assert reason(v4, 0, 2, 1) is MERGED
    assert reason(v4, 0, 2, 3) is UPDATE
    assert reason(v4, 3, 2, 3) is MERGED


def test_whoever_came_into_a_segment_as_it_was_split_was_in_none_of_its_parts():
    # In one version 2 is split off 0, and 1 goes into what is left of 0.
    model = after(first(2), [[60, 40], [30, 0]])
    assert model.history.parents == {2: (0,)}
    assert reason(model, 1, 0, 1) is MERGED
    assert reason(model, 1, 2, 1) is UPDATE


@given(st.data())
def test_the_last_version_tells_as_much_as_all_of_them(data):
    """The naive way: go through the versions one by one."""
    model = first(data.draw(st.integers(1, 4)))
    lives = []
    for _ in range(data.draw(st.integers(1, 4))):
        shape = (len(model.ids), data.draw(st.integers(1, 4)))
        table = data.draw(arrays(np.int64, shape, elements=st.integers(0, 12)))
        former, model = model, after(model, table)
        # `after` puts the columns in the order of ids.
        by_column = {
            segment: column for column, segment in enumerate(matched(former, table).ids.tolist())
        }
        columns = [by_column[segment] for segment in model.ids.tolist()]
        lives.append(outcomes(former.ids.tolist(), model.ids.tolist(), table[:, columns]))
    decided = data.draw(st.integers(1, model.version))
    before = data.draw(st.integers(0, model.next_id))
    heirs: dict[int, ChangeReason | None] = {before: None}
    for found in lives[decided - 1 :]:
        reached = dict(heirs)
        for segment in heirs:
            if segment not in found:
                continue
            if found[segment].fate is Fate.MERGED:
                reached.setdefault(found[segment].successor, MERGED)
        for segment in heirs:
            for child in found[segment].children if segment in found else ():
                reached.setdefault(child, SPLIT)
        heirs = reached
    lineage = Lineage(model)
    for now in model.ids.tolist():
        if now != before:
            assert lineage.reason(before, now, decided) is (heirs.get(now) or UPDATE)
