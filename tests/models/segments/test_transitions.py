"""What became of segments, from tables of users and from vectors."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.segments import transitions
from models.segments.history import History
from models.segments.identity import Matching, match
from models.segments.model import SegmentModel
from models.segments.transitions import Fate, Outcome, outcomes
from schemas.lifecycle import TransitionType
from schemas.segment_model import SegmentModelRecord
from tests.models.segments.segment_lives import after, first, made
from tests.models.synthetic import EMBEDDING, Topics

SPLIT, MERGED, RETIRED, SURVIVED = Fate.SPLIT, Fate.MERGED, Fate.RETIRED, Fate.SURVIVED


def told(before, now, table) -> dict[int, Outcome]:
    return outcomes(before, now, np.array(table))


# --- fates ----------------------------------------------------------------------------------------


def test_a_segment_that_keeps_its_users_survives():
    assert told([0, 1], [0, 1], [[95, 5], [0, 70]]) == {
        0: Outcome(SURVIVED),
        1: Outcome(SURVIVED),
    }


def test_a_segment_of_which_a_part_became_a_new_one_is_split():
    assert told([0], [0, 1], [[60, 40]]) == {0: Outcome(SPLIT, (0, 1))}
    assert told([0], [0, 1, 2], [[40, 30, 30]]) == {0: Outcome(SPLIT, (0, 1, 2))}


def test_a_segment_that_lost_less_than_a_tenth_to_a_new_one_is_not_split():
    assert told([0], [0, 1], [[91, 9]])[0].fate is SURVIVED
    assert told([0], [0, 1], [[90, 10]])[0].fate is SPLIT


def test_a_new_segment_with_users_from_everywhere_is_no_part_of_any():
    outcome = told([0, 1, 2], [0, 1, 2, 3], [[50, 0, 0, 20], [0, 50, 0, 20], [0, 0, 50, 20]])
    assert {each.fate for each in outcome.values()} == {SURVIVED}


def test_users_who_went_over_to_a_segment_that_was_there_are_no_split():
    assert told([0, 1], [0, 1], [[60, 40], [0, 90]])[0].fate is SURVIVED


def test_a_segment_whose_id_ends_has_the_successor_that_most_of_its_users_are_in():
    assert told([0, 1, 2], [1, 2], [[30, 20], [80, 0], [0, 90]])[0] == Outcome(MERGED, (), 1)
    assert told([0, 1, 2], [1, 2], [[50, 50], [80, 0], [0, 90]])[0] == Outcome(MERGED, (), 1)


def test_a_segment_whose_users_went_here_and_there_is_retired_without_a_successor():
    table = [[40, 30, 30], [80, 0, 0], [0, 90, 0], [0, 0, 70]]
    assert told([0, 1, 2, 3], [1, 2, 3], table)[0] == Outcome(RETIRED)
    assert told([0, 1], [1], [[0], [80]])[0] == Outcome(RETIRED)


def test_a_segment_may_fall_into_new_parts_only():
    table = [[45, 45, 10], [0, 0, 90]]
    assert told([0, 1], [2, 3, 1], table)[0] == Outcome(SPLIT, (2, 3))


contingencies = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 30))
)


@given(contingencies, st.data())
def test_every_old_segment_has_one_fate_that_fits_what_became_of_its_id(table, data):
    before = [*range(len(table))]
    ids = [*before, *range(10, 16)]
    now = data.draw(st.permutations(ids))[: table.shape[1]]
    found = outcomes(before, now, table)
    assert found.keys() == set(before)
    for segment, outcome in found.items():
        users = dict(zip(now, table[segment].tolist(), strict=True))
        goes_on = segment in now
        assert (outcome.successor is None) == (outcome.fate is not MERGED)
        assert bool(outcome.children) == (outcome.fate is SPLIT)
        if outcome.fate is SPLIT:
            assert len(outcome.children) > 1
            assert goes_on == (segment in outcome.children)
            assert all(users[child] for child in outcome.children if child != segment)
            assert not set(outcome.children) - {segment} & set(before)
        if outcome.fate is MERGED:
            assert 2 * users[outcome.successor] >= sum(users.values()) > 0
        assert not (goes_on and outcome.fate in {MERGED, RETIRED})
        assert goes_on or outcome.fate is not SURVIVED


@given(contingencies, st.data())
def test_neither_the_order_of_segments_nor_their_ids_change_a_fate(table, data):
    before, now = [*range(len(table))], data.draw(st.permutations(range(11)))[: table.shape[1]]
    found = outcomes(before, now, table)
    rows = data.draw(st.permutations(range(table.shape[0])))
    columns = data.draw(st.permutations(range(table.shape[1])))
    shuffled = outcomes(
        [before[row] for row in rows],
        [now[column] for column in columns],
        table[np.ix_(rows, columns)],
    )
    assert shuffled == found
    renamed = outcomes([7 * s + 3 for s in before], [7 * s + 3 for s in now], table)
    assert renamed == {
        7 * segment + 3: Outcome(
            outcome.fate,
            tuple(7 * child + 3 for child in outcome.children),
            None if outcome.successor is None else 7 * outcome.successor + 3,
        )
        for segment, outcome in found.items()
    }


# --- what a version writes down -------------------------------------------------------------------


def kinds(model: SegmentModel) -> list[tuple[str, int]]:
    return [(each.type, each.segment) for each in model.history.transitions]


def only(model: SegmentModel, kind: TransitionType):
    (found,) = (each for each in model.history.transitions if each.type is kind)
    return found


def test_the_first_version_creates_its_segments():
    model = first(3)
    assert kinds(model) == [("created", 0), ("created", 1), ("created", 2)]
    created = model.history.transitions[1]
    assert (created.label, created.parents, created.flows) == ("version 1, segment 1", [], [])
    assert (created.size_before, created.size) == (0, 10)
    assert (model.history.parents, model.history.survival) == ({}, {})


def test_a_split_tells_its_parts_and_creates_the_smaller_ones():
    model = after(first(2), [[60, 40, 0], [0, 0, 100]])
    assert kinds(model) == [("created", 2), ("split", 0)]
    created, split = model.history.transitions
    assert (created.parents, split.children) == ([0], [0, 2])
    assert split.label == "version 1, segment 0"
    assert (split.size_before, split.size) == (100, 60)
    assert [(f.child, f.users, f.of_parent, f.of_child) for f in split.flows] == [
        (0, 60, 0.6, 1.0),
        (2, 40, 0.4, 1.0),
    ]
    assert model.history.parents == {2: (0,)}
    assert model.history.survival == {0: 0.6, 1: 1.0}
    assert model.history.overlap == {0: 1.0, 1: 1.0}


def test_a_merger_tells_all_that_went_into_it_and_retires_the_smaller_ones():
    model = after(first(3), [[100, 0], [50, 0], [10, 90]])
    assert kinds(model) == [("merged", 0), ("retired", 1)]
    merged, retired = model.history.transitions
    assert (merged.parents, retired.successor) == ([0, 1], 0)
    assert [(flow.parent, flow.of_child) for flow in merged.flows] == [
        (0, 0.625),
        (1, 0.3125),
        (2, 0.0625),
    ]
    (gone,) = model.history.retired
    assert (gone.id, gone.version, gone.successor, gone.since, gone.parents) == (1, 2, 0, 1, [])


def test_a_segment_without_heirs_is_retired_without_a_successor():
    model = after(first(4), [[40, 30, 30], [80, 0, 0], [0, 90, 0], [0, 0, 70]])
    retired = only(model, TransitionType.RETIRED)
    assert (retired.segment, retired.successor, len(retired.flows)) == (0, None, 3)


def test_a_new_segment_of_strangers_has_no_parents():
    model = after(first(2), [[80, 0, 20], [0, 80, 20]])
    assert kinds(model) == [("created", 2)]
    assert only(model, TransitionType.CREATED).parents == []
    assert [flow.parent for flow in only(model, TransitionType.CREATED).flows] == [0, 1]


def test_a_part_that_swallows_another_segment_has_both_for_parents():
    model = after(first(2), [[990, 1010], [10, 0]])
    assert model.ids.tolist() == [0, 2]
    assert kinds(model) == [("created", 2), ("split", 0), ("merged", 2), ("retired", 1)]
    assert only(model, TransitionType.MERGED).parents == [0, 1]
    assert model.history.parents == {2: (0, 1)}


def test_a_version_in_which_nothing_happened_tells_nothing_and_remembers_the_parents():
    split = after(first(1), [[60, 40]])
    model = after(split, [[60, 0], [0, 40]])
    assert model.history.transitions == ()
    assert model.history.parents == {1: (0,)}


def test_a_retired_segment_is_remembered_with_its_parents():
    split = after(first(2), [[60, 40, 0], [0, 0, 90]])
    merged = after(split, [[60, 0], [0, 90], [0, 40]])
    assert [(g.id, g.since, g.parents, g.successor) for g in merged.history.retired] == [
        (2, 2, [0], 1)
    ]
    assert merged.history.parents == {}


def test_segments_of_another_embedding_model_are_retired_with_the_size_they_had():
    former = replace(first(2), embedding="f" * 64)
    matching = match(np.eye(2, 3), EMBEDDING, former, np.eye(3))
    history = made(former, matching, [2, 1], np.eye(2, 3)).history
    assert [(e.type, e.segment, e.size_before, e.size) for e in history.transitions] == [
        ("created", 2, 0, 2),
        ("created", 3, 0, 1),
        ("retired", 0, 10, 0),
        ("retired", 1, 10, 0),
    ]


def test_only_the_latest_retired_segments_are_kept(monkeypatch):
    monkeypatch.setattr(transitions, "KEPT_RETIRED", 2)
    model = first(4)
    while len(model.ids) > 1:
        users = np.diag(np.full(len(model.ids), 50))[:, 1:]
        users[0, 0] = 20
        model = after(model, users)
    assert [gone.id for gone in model.history.retired] == [1, 2]


def test_a_history_comes_back_from_json():
    model = after(first(3), [[60, 40, 0], [0, 0, 50], [0, 0, 100]])
    record = SegmentModelRecord.model_validate_json(model.to_record().model_dump_json())
    again = SegmentModel.from_record(record)
    assert again.history == model.history
    assert again.to_record() == model.to_record()


def test_a_snapshot_of_the_first_format_is_read_as_one_of_which_nothing_is_known():
    fields = first(2).to_record().model_dump(mode="json")
    del fields["transitions"], fields["retired"]
    fields["schema_version"] = 1
    for segment in fields["segments"]:
        del segment["parents"], segment["survival"], segment["overlap"]
    model = SegmentModel.from_record(SegmentModelRecord.model_validate(fields))
    assert model.history == History()
    assert after(model, [[60, 40, 0], [0, 0, 50]]).history.parents == {2: (0,)}


@given(st.data())
def test_over_many_versions_ids_are_unique_and_all_that_is_told_adds_up(data):
    model = first(data.draw(st.integers(1, 4)))
    known, ended = set(model.ids.tolist()), set()
    for _ in range(3):
        shape = (len(model.ids), data.draw(st.integers(1, 5)))
        table = data.draw(arrays(np.int64, shape, elements=st.integers(0, 30)))
        former, model = model, after(model, table)
        history, before = model.history, set(former.ids.tolist())
        now = set(model.ids.tolist())
        by_kind = Counter(each.type for each in history.transitions)
        created = {t.segment for t in history.transitions if t.type == "created"}
        retired = {t.segment for t in history.transitions if t.type == "retired"}
        assert (created, retired) == (now - before, before - now)
        assert (by_kind["created"], by_kind["retired"]) == (len(created), len(retired))
        assert not created & known
        assert not now & (ended | retired)
        known |= created
        ended |= retired
        for each in history.transitions:
            assert set(each.parents) <= before
            assert set(each.children) <= now
            assert each.successor is None or each.successor in now
            shares = [
                f.of_parent if each.type in {"split", "retired"} else f.of_child for f in each.flows
            ]
            if former.history == model.history or not table.any():
                continue
            size = each.size_before if each.type in {"split", "retired"} else each.size
            assert math.fsum(shares) == pytest.approx(1.0 if size else 0.0)
            assert sum(flow.users for flow in each.flows) == size
        parts = [c for t in history.transitions if t.type == "split" for c in t.children]
        assert len(parts) == len(set(parts))
        assert {gone.id for gone in history.retired} == ended


@given(contingencies, st.randoms(use_true_random=False))
def test_new_clusters_in_another_order_give_the_same_history_but_for_new_numbers(table, random):
    order = [*range(table.shape[1])]
    random.shuffle(order)
    ids = [*range(len(table)), *range(20, 26)]
    random.shuffle(ids)
    ids = ids[: table.shape[1]]
    previous = first(len(table))
    histories = []
    for columns in ([*range(table.shape[1])], order):
        own = [ids[column] for column in columns]
        matching = Matching(
            ids=np.array(own),
            next_id=30,
            born=tuple(sorted(s for s in own if s >= 20)),
            retired=tuple(sorted(set(range(len(table))) - set(own))),
            table=table[:, columns],
            moved=0.0,
        )
        histories.append(made(previous, matching, [1] * len(own), np.eye(len(own), 8)).history)
    assert histories[0] == histories[1]


# --- with vectors ---------------------------------------------------------------------------------


class World:
    """Users of some topics; centres are the means of groups of topics."""

    def __init__(self, users: dict[int, int]) -> None:
        topics = Topics(max(users) + 1, dimension=64, seed=4)
        self.vectors = np.array([topics.profile(t) for t, n in users.items() for _ in range(n)])
        self.topics = np.array([t for t, n in users.items() for _ in range(n)])

    def version(self, previous: SegmentModel | None, *groups: set[int]) -> SegmentModel:
        """Publish one segment a group of topics."""
        centres = [self.vectors[np.isin(self.topics, [*group])].mean(axis=0) for group in groups]
        matching = match(centres, EMBEDDING, previous, self.vectors)
        return after(previous, matching=matching, centres=np.array(centres))


@pytest.fixture
def world() -> World:
    return World({0: 60, 1: 30, 2: 50})


def test_topics_that_were_one_segment_and_become_two_are_a_split(world):
    one = world.version(None, {0, 1}, {2})
    two = world.version(one, {1}, {2}, {0})
    assert kinds(two) == [("created", 2), ("split", 0)]
    # The larger topic keeps the id, wherever it stands among the new centres.
    assert only(two, TransitionType.CREATED).size == 30
    assert two.history.survival[0] == pytest.approx(2 / 3)


def test_topics_that_become_one_segment_are_a_merger_that_keeps_the_id_of_the_larger(world):
    three = world.version(None, {0}, {1}, {2})
    two = world.version(three, {2}, {0, 1})
    assert kinds(two) == [("merged", 0), ("retired", 1)]
    assert only(two, TransitionType.RETIRED).successor == 0


def test_a_topic_that_had_no_segment_of_its_own_gets_one_and_its_users_are_told():
    world = World({0: 60, 1: 30, 2: 50, 3: 20})
    old = world.version(None, {0}, {1}, {2})
    new = world.version(old, {0}, {1}, {2}, {3})
    (created,) = (t for t in new.history.transitions if t.type == "created")
    assert created.segment == 3
    assert sum(flow.users for flow in created.flows) == 20


def test_the_same_centres_in_another_order_tell_nothing(world):
    old = world.version(None, {0}, {1}, {2})
    again = world.version(old, {2}, {0}, {1})
    assert again.history.transitions == ()
    assert set(again.history.survival.values()) == {1.0}
