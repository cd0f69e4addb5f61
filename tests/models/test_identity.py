from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.identity import match, separations
from models.segments import SegmentModel
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


def test_separation_is_the_distance_to_the_nearest_neighbour():
    assert separations(published([[0], [1], [9]], [0, 1, 2])).tolist() == [1, 1, 8]


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
