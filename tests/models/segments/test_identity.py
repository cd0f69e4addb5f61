from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.segments.identity import contingency, continues, match, pairs
from models.segments.model import SegmentModel
from tests.models.synthetic import EMBEDDING


def published(centres, ids, next_id=None, **changes) -> SegmentModel:
    count = len(ids)
    fields = {
        "version": 1,
        "embedding": EMBEDDING,
        "ids": np.array(ids),
        "centres": np.array(centres, dtype=float),
        "radii": np.full(count, 0.5),
        "sizes": np.ones(count, dtype=int),
        "labels": ("",) * count,
        "words": ((),) * count,
        "since": (1,) * count,
        "next_id": max(ids) + 1 if next_id is None else next_id,
        "sample_threshold": 1.0,
        "samples": 1,
        "seed": 0,
    }
    return SegmentModel(**(fields | changes))


def test_the_first_segments_are_numbered_from_0():
    first = match([[0.0], [4.0]], EMBEDDING, None)
    assert first.ids.tolist() == [0, 1]
    assert (first.next_id, first.born, first.retired) == (2, (0, 1), ())


def test_centres_that_moved_a_little_keep_their_ids_in_any_order():
    outcome = match([[8.5], [0.5], [3.5]], EMBEDDING, published([[0], [4], [8]], [1, 5, 9]))
    assert outcome.ids.tolist() == [9, 1, 5]
    assert (outcome.next_id, outcome.born, outcome.retired) == (10, (), ())


def test_a_centre_that_jumped_away_is_a_new_segment_and_the_old_one_is_retired():
    outcome = match([[0.0], [4.0], [50.0]], EMBEDDING, published([[0], [4], [8]], [1, 5, 9]))
    assert outcome.ids.tolist() == [1, 5, 10]
    assert (outcome.next_id, outcome.born, outcome.retired) == (11, (10,), (9,))


def test_a_jump_does_not_push_its_neighbours_into_wrong_pairs():
    # The sum of distances alone is least when every centre is paired one further to the right.
    outcome = match([[4.0], [8.0], [12.4]], EMBEDDING, published([[0], [4], [8]], [0, 1, 2]))
    assert outcome.ids.tolist() == [1, 2, 3]


def test_a_split_keeps_the_id_of_the_nearer_part():
    outcome = match([[0.0], [3.8], [6.5]], EMBEDDING, published([[0], [4]], [0, 1]))
    assert outcome.ids.tolist() == [0, 1, 2]


def test_a_merger_retires_one_of_the_two():
    outcome = match([[0.4], [9.0]], EMBEDDING, published([[0], [1], [9]], [3, 4, 7]))
    assert outcome.ids.tolist() == [3, 7]
    assert outcome.retired == (4,)


def test_an_id_that_was_retired_long_ago_is_not_given_again():
    outcome = match([[0.0], [90.0]], EMBEDDING, published([[0], [4]], [0, 1], next_id=12))
    assert outcome.ids.tolist() == [0, 12]


def test_centres_of_another_embedding_model_are_all_new():
    outcome = match([[0.0, 1.0]], "f" * 64, published([[0], [4]], [0, 1]))
    assert outcome.ids.tolist() == [2]
    assert outcome.retired == (0, 1)


def test_a_single_segment_may_move_by_half_its_radius():
    model = published([[0]], [4])
    assert match([[0.25]], EMBEDDING, model).ids.tolist() == [4]
    assert match([[0.26]], EMBEDDING, model).ids.tolist() == [5]


@given(
    arrays(np.float64, (5, 2), elements=st.integers(-9, 9)),
    st.integers(1, 6).flatmap(
        lambda k: arrays(np.float64, (k, 2), elements=st.integers(-9, 9)),
    ),
)
def test_every_centre_gets_one_id_and_every_id_one_centre(old, new):
    model = published(old, [0, 2, 3, 7, 8], next_id=11)
    outcome = match(new, EMBEDDING, model)
    ids = outcome.ids.tolist()
    assert len(set(ids)) == len(new)
    assert set(outcome.born) == {segment for segment in ids if segment >= 11}
    assert set(outcome.retired) == set(model.ids.tolist()) - set(ids)
    assert set(ids) <= set(model.ids.tolist()) | set(range(11, outcome.next_id))


@given(arrays(np.float64, (4, 3), elements=st.floats(-1, 1), unique=True))
def test_a_model_matched_with_itself_keeps_every_id(centres):
    model = published(centres, [0, 1, 4, 6])
    assert match(centres, EMBEDDING, model).ids.tolist() == [0, 1, 4, 6]


# --- by the users ---------------------------------------------------------------------------------

FAR = 9.0
"""Beyond every limit of the tables below, which is 1."""


def paired(table, in_place=None) -> dict[int, int]:
    """Pair by a table; nothing is in its place but what `in_place` says."""
    table = np.array(table)
    distance = np.full(table.shape, FAR)
    for old, new in in_place or ():
        distance[old, new] = 0.5
    old, new = pairs(table, distance, np.ones(len(table)))
    return dict(zip(old.tolist(), new.tolist(), strict=True))


def test_a_segment_goes_where_its_users_went_however_far_the_centre_moved():
    assert paired([[90, 10], [5, 80]]) == {0: 0, 1: 1}
    assert paired([[10, 90], [80, 5]]) == {0: 1, 1: 0}


def test_of_a_split_segment_the_larger_part_keeps_the_id_even_where_the_smaller_is_nearer():
    assert paired([[60, 40]], in_place=[(0, 1)]) == {0: 0}


def test_of_merged_segments_the_larger_keeps_its_id():
    assert paired([[40], [100], [60]]) == {1: 0}
    assert paired([[40], [100], [60]], in_place=[(0, 0)]) == {1: 0}


def test_a_segment_that_fell_apart_goes_on_in_its_largest_part():
    assert paired([[30, 40, 30]]) == {0: 1}


def test_a_segment_that_another_one_swallowed_does_not_go_on_in_its_rest():
    # 30 of its 100 users are by themselves, in another place; 70 are in the other segment.
    assert paired([[30, 70], [0, 1000]]) == {1: 1}
    # In its old place the rest is the segment.
    assert paired([[30, 70], [0, 1000]], in_place=[(0, 0)]) == {0: 0, 1: 1}


def test_a_few_users_do_not_give_their_id_to_a_segment_of_strangers():
    table = [[10, 0], [990, 1010]]
    assert paired(table) == {1: 1}
    assert paired(table, in_place=[(0, 0)]) == {0: 0, 1: 1}


def test_a_segment_in_its_place_with_none_of_its_users_is_another_one():
    assert paired([[0, 50], [70, 0]], in_place=[(0, 0), (1, 1)]) == {0: 1, 1: 0}


def test_of_a_segment_without_users_the_place_decides():
    assert paired([[0, 0], [0, 50]], in_place=[(0, 0)]) == {0: 0, 1: 1}
    assert paired([[0, 0], [0, 50]]) == {1: 1}


def test_of_equal_parts_the_nearer_one_keeps_the_id():
    table, limit = np.array([[50, 50]]), np.ones(1)
    for distance, part in (([[0.2, 0.1]], 1), ([[0.1, 0.2]], 0)):
        assert pairs(table, np.array(distance), limit)[1].tolist() == [part]


def test_users_are_counted_by_the_nearest_centre_before_and_after():
    before, after = np.array([[0.0], [10.0]]), np.array([[0.0], [4.0], [10.0]])
    table = contingency([[0.0], [1.0], [4.0], [6.0], [9.0]], before, after)
    assert table.tolist() == [[2, 1, 0], [0, 1, 1]]
    assert contingency([], before, after).tolist() == [[0] * 3] * 2


def test_the_users_decide_in_a_match_of_centres_too():
    model = published([[0], [10]], [3, 7])
    users = [[-2.0], [-1.0], [0.0], [9.0], [11.0]]
    # The left centre has moved farther than the gate lets it, and has kept its users.
    outcome = match([[-9.0], [10.0]], EMBEDDING, model, users)
    assert (outcome.ids.tolist(), outcome.moved) == ([3, 7], 0.0)
    assert outcome.table.tolist() == [[3, 0], [0, 2]]
    assert match([[-9.0], [10.0]], EMBEDDING, model).ids.tolist() == [8, 7]


def test_users_elsewhere_are_those_whose_segment_has_another_id():
    model = published([[0], [10]], [3, 7])
    users = [[0.0], [1.0], [4.8], [9.0], [10.0]]
    assert match([[-1.0], [10.0]], EMBEDDING, model, users).moved == pytest.approx(0.2)
    assert match([[0.0], [10.0]], "f" * 64, model, users).moved == 0.0


tables = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 20))
)


def worth(table, distance, pairing) -> tuple[int, float]:
    """How many users keep their segment, and how little the centres move."""
    return (
        sum(table[pair] for pair in pairing),
        round(sum(1.0 - min(distance[pair], 1.0) for pair in pairing), 9),
    )


@given(tables, st.integers(0, 2**32))
def test_no_other_pairing_lets_more_users_keep_their_segment(table, seed):
    distance = np.random.default_rng(seed).uniform(0, 2, table.shape)
    allowed = continues(table, distance <= 1)
    old, new = pairs(table, distance, np.ones(len(table)))
    found = list(zip(old.tolist(), new.tolist(), strict=True))
    assert all(allowed[pair] for pair in found)
    assert len({*old.tolist()}) == len({*new.tolist()}) == len(found)
    # The naive way: try all.
    rows, columns = table.shape
    choices = itertools.product([None, *range(columns)], repeat=rows)
    tried = [
        [(row, column) for row, column in enumerate(choice) if column is not None]
        for choice in choices
    ]
    best = max(
        worth(table, distance, pairing)
        for pairing in tried
        if len({column for _, column in pairing}) == len(pairing)
        and all(allowed[pair] for pair in pairing)
    )
    assert worth(table, distance, found) == best


@given(tables, st.randoms(use_true_random=False), st.integers(0, 2**32))
def test_the_order_of_the_new_clusters_does_not_matter(table, random, seed):
    distance = np.random.default_rng(seed).uniform(0, 2, table.shape)
    order = [*range(table.shape[1])]
    random.shuffle(order)
    limit = np.ones(len(table))
    old, new = pairs(table, distance, limit)
    old_again, new_again = pairs(table[:, order], distance[:, order], limit)
    assert worth(table, distance, zip(old, new, strict=True)) == worth(
        table[:, order], distance[:, order], zip(old_again, new_again, strict=True)
    )
    # Pairs beyond the limit are told apart by their users alone; where those differ, so do all.
    if len({*table[table > 0].tolist()}) == (table > 0).sum() and (distance <= 1).all():
        assert {(int(o), order[int(n)]) for o, n in zip(old_again, new_again, strict=True)} == {
            (int(o), int(n)) for o, n in zip(old, new, strict=True)
        }
