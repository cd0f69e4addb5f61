"""The merged top of several partitions, against all items looked at together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommendation.partials import (
    EVERYBODY,
    Merged,
    Partial,
    PartialsError,
    merge,
    partial_of,
)
from models.recommendation.table import ItemTable
from schemas.segment_model import NO_SEGMENT
from tests.models.recommendation.naive import (
    DIMENSIONS,
    HALF_LIFE,
    MICROSECONDS,
    START,
    Event,
    Naive,
    counted,
    events,
)

NOW = START + 300 * MICROSECONDS
many = st.lists(
    st.builds(
        lambda event, item: Event(**(vars(event) | {"item": item})),
        events,
        st.integers(0, 25).map(lambda number: f"i{number:02d}"),
    ),
    max_size=80,
)


def partials_of(batch: list[Event], parts: int, candidates: int) -> list[Partial]:
    """A partition by the last letter of an item's id."""
    found = []
    for part in range(parts):
        table = ItemTable(DIMENSIONS)
        counted([each for each in batch if int(each.item[1:]) % parts == part], table)
        found.append(partial_of(table, NOW, HALF_LIFE, candidates))
    return found


def listed(merged: Merged, segment: int) -> list[str]:
    return [merged.items[place] for place in merged.tops[segment].items.tolist()]


@given(many, st.integers(1, 4), st.sampled_from([0.0, 1.0, 20.0]))
def test_with_all_candidates_the_top_is_that_of_the_formula(batch, parts, prior):
    merged, naive = merge(partials_of(batch, parts, 100), 5, prior), Naive(batch)
    segments = {each.segment for each in batch} - {NO_SEGMENT}
    assert set(merged.tops) == segments | {EVERYBODY}
    for segment, top in merged.tops.items():
        which = None if segment == EVERYBODY else segment
        scores = {item: naive.score(item, which, NOW, prior) for item in naive.items()}
        assert top.scores.tolist() == pytest.approx(
            sorted(scores.values(), reverse=True)[:5], rel=1e-9
        )
        for place, score, weight in zip(top.items, top.scores, top.weights, strict=True):
            item = merged.items[place]
            assert score == pytest.approx(scores[item], rel=1e-9)
            assert weight == pytest.approx(naive.weight(item, which, NOW), rel=1e-9)
        assert top.total == pytest.approx(naive.weight(None, which, NOW), rel=1e-9)
        assert top.exact == len(top.items)
        assert top.slack == 0


@given(many, st.integers(1, 4), st.integers(1, 6), st.sampled_from([0.0, 1.0, 20.0]))
def test_what_truncation_leaves_out_is_within_the_bound(batch, parts, candidates, prior):
    merged, naive = merge(partials_of(batch, parts, candidates), 4, prior), Naive(batch)
    for segment, top in merged.tops.items():
        which = None if segment == EVERYBODY else segment
        scores = {item: naive.score(item, which, NOW, prior) for item in naive.items()}
        own = listed(merged, segment)
        last = scores[own[-1]] if len(own) == 4 else 0.0
        left_out = [scores[item] for item in scores if item not in own]
        assert max(left_out, default=0.0) <= last + top.slack + 1e-12
        best = sorted(scores.values(), reverse=True)
        assert top.scores[: top.exact].tolist() == pytest.approx(best[: top.exact], rel=1e-9)


@given(many, st.integers(2, 4))
def test_ratings_and_vectors_go_with_their_items_and_segments(batch, parts):
    merged, naive = merge(partials_of(batch, parts, 100), 100, 20.0), Naive(batch)
    for segment, top in merged.tops.items():
        which = None if segment == EVERYBODY else segment
        expected = {item: naive.moments(item, which, NOW) for item in merged.items}
        for number, place in enumerate(top.items.tolist()):
            weight, mean, variance = expected[merged.items[place]]
            assert top.ratings.weight[number] == pytest.approx(weight, rel=1e-5)
            assert top.ratings.mean[number] == pytest.approx(mean, rel=1e-4, abs=1e-2)
            assert top.ratings.variance()[number] == pytest.approx(variance, rel=1e-2, abs=1.0)
    for place, (segment, _) in enumerate(merged.tops.items()):
        weight, mean, _ = naive.moments(None, None if segment == EVERYBODY else segment, NOW)
        assert merged.segment_ratings.weight[place] == pytest.approx(weight, rel=1e-5)
        assert merged.segment_ratings.mean[place] == pytest.approx(mean, rel=1e-4, abs=1e-2)
    for item, vector in zip(merged.items, merged.vectors, strict=True):
        assert vector == pytest.approx(naive.vector(item, NOW), abs=1e-3)


def test_ties_are_settled_by_the_items_ids_whatever_the_order_of_partitions():
    batch = [Event(f"i{number:02d}", 1, 1.0, START, None, None) for number in range(12)]
    partials = partials_of(batch, 3, 12)
    for order in ([0, 1, 2], [2, 0, 1]):
        merged = merge([partials[each] for each in order], 4, 1.0)
        assert listed(merged, 1) == listed(merged, EVERYBODY) == ["i00", "i01", "i02", "i03"]


def test_a_partition_without_an_item_changes_nothing():
    batch = [Event("i01", 1, 1.0, START, 4.0, None)]
    empty = partial_of(ItemTable(DIMENSIONS), NOW, HALF_LIFE, 5)
    merged = merge([empty, *partials_of(batch, 1, 5)], 3, 1.0)
    assert listed(merged, 1) == ["i01"]
    assert merge([empty], 3, 1.0).tops[EVERYBODY].items.tolist() == []


def test_vectors_are_left_out_where_they_are_not_wanted():
    table = ItemTable(DIMENSIONS)
    counted([Event("i01", 1, 1.0, START, None, (0.3, 0.3, 0.3))], table)
    assert partial_of(table, NOW, HALF_LIFE, 5, vectors=False).vectors.shape == (1, 0)


@pytest.mark.parametrize("case", ["none", "times", "twice"])
def test_partials_that_do_not_go_together_are_refused(case):
    table = ItemTable(DIMENSIONS)
    counted([Event("i01", 1, 1.0, START, None, None)], table)
    one = partial_of(table, NOW, HALF_LIFE, 5)
    later = partial_of(table, NOW + 1, HALF_LIFE, 5)
    given_, told = {
        "none": ([], "no partial"),
        "times": ([one, later], "of the times"),
        "twice": ([one, one], "item 'i01' is in two partials"),
    }[case]
    with pytest.raises(PartialsError, match=told):
        merge(given_, 5, 1.0)


def test_the_order_of_all_is_not_that_of_a_segment():
    batch = [Event("i01", 1, 1.0, NOW, None, None)] * 9
    batch += [Event("i02", 2, 1.0, NOW, None, None)] * 2
    merged = merge(partials_of(batch, 2, 5), 2, 1.0)
    assert listed(merged, EVERYBODY) == listed(merged, 1) == ["i01", "i02"]
    assert listed(merged, 2) == ["i02", "i01"]
    assert np.isfinite(merged.tops[2].scores).all()
