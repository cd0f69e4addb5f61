"""Items counted by arrays, against the sums over all their events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommendation.gains import gains_of, weight_at
from models.recommendation.moments import Moments, merged, of_sums
from models.recommendation.policy import RecommendationPolicy
from models.recommendation.rows import ItemRows
from models.recommendation.table import ItemTable
from schemas.events import EventType
from schemas.segment_model import NO_SEGMENT
from tests.models.recommendation.naive import (
    DIMENSIONS,
    HALF_LIFE,
    MICROSECONDS,
    START,
    Event,
    Naive,
    columns,
    counted,
    streams,
)

NOW = START + 305 * MICROSECONDS


def rows_of(batch: list[Event]) -> ItemRows:
    return counted(batch, ItemTable(DIMENSIONS))


def bits(rows: ItemRows) -> dict[str, list[object]]:
    numbers, pairs = rows.numbers, rows.pairs
    return {
        item: [numbers[row].tobytes(), pairs[row][:count].tobytes(), rows.sums[row].tobytes()]
        for row, (item, count) in enumerate(zip(rows.items, rows.counts().tolist(), strict=True))
    }


@given(streams)
def test_weights_ratings_and_vectors_are_the_faded_sums_over_all_events(batch):
    rows, naive = rows_of(batch), Naive(batch)
    weights = weight_at(rows.numbers["weight"], rows.numbers["epoch"], NOW, HALF_LIFE)
    vectors = rows.vectors()
    for row, item in enumerate(rows.items):
        assert weights[row] == pytest.approx(naive.weight(item, None, NOW), rel=1e-12)
        assert rows.numbers["events"][row] == len(naive.of(item, None))
        assert rows.numbers["latest"][row] == max(each.time for each in naive.of(item, None))
        assert vectors[row] == pytest.approx(naive.vector(item, NOW), abs=1e-3)
        pairs = rows.pairs[row]
        assert pairs["segment"][: rows.counts()[row]].tolist() == list(
            dict.fromkeys(
                each.segment for each in naive.of(item, None) if each.segment != NO_SEGMENT
            )
        )
        for pair in pairs[: rows.counts()[row]]:
            weight = weight_at(
                pair[["weight"]]["weight"], rows.numbers["epoch"][row], NOW, HALF_LIFE
            )
            expected = naive.weight(item, int(pair["segment"]), NOW)
            assert weight == pytest.approx(expected, rel=1e-12)


@given(streams)
def test_mean_and_variance_of_ratings_are_those_of_the_weighted_ratings(batch):
    rows, naive = rows_of(batch), Naive(batch)
    numbers = rows.numbers
    found = of_sums(numbers["rated"], numbers["first"], numbers["second"], numbers["centre"])
    weights = weight_at(found.weight, numbers["epoch"], NOW, HALF_LIFE)
    for row, item in enumerate(rows.items):
        weight, mean, variance = naive.moments(item, None, NOW)
        assert weights[row] == pytest.approx(weight, rel=1e-9)
        assert found.mean[row] == pytest.approx(mean, rel=1e-9, abs=1e-9)
        assert found.variance()[row] == pytest.approx(variance, rel=1e-6, abs=1e-6)


@given(streams, st.lists(st.integers(1, 7), min_size=40, max_size=40))
def test_the_same_bits_come_out_however_events_are_cut_into_batches(batch, sizes):
    whole, table, start = ItemTable(DIMENSIONS), ItemTable(DIMENSIONS), 0
    counted(batch, whole)
    for size in sizes:
        counted(batch[start : start + size], table)
        start += size
    items = Naive(batch).items()
    assert bits(table.gather(items)) == bits(whole.gather(items))


@given(streams, st.randoms(use_true_random=False))
def test_the_order_of_events_matters_to_rounding_alone(batch, random):
    shuffled = random.sample(batch, len(batch))
    items = Naive(batch).items()
    table, other = ItemTable(DIMENSIONS), ItemTable(DIMENSIONS)
    counted(batch, table)
    counted(shuffled, other)
    one, two = table.gather(items), other.gather(items)
    assert one.numbers["weight"] == pytest.approx(two.numbers["weight"], rel=1e-12)
    assert one.numbers["epoch"].tolist() == two.numbers["epoch"].tolist()


def test_an_event_counts_half_after_the_half_life_and_a_late_one_as_if_it_had_come_in_time():
    first = Event("a", 1, 1.0, START, None, None)
    late = Event("a", 1, 1.0, START - 10 * MICROSECONDS, None, None)
    rows = rows_of([first, late])
    now = weight_at(rows.numbers["weight"], rows.numbers["epoch"], START, HALF_LIFE)
    assert now.tolist() == pytest.approx([1.5])


def test_what_has_no_gain_is_counted_as_an_event_and_its_rating_is_kept():
    rows = rows_of([Event("a", 1, 0.0, START, 1.0, None)])
    assert rows.numbers["weight"].tolist() == [0.0]
    assert rows.numbers["events"].tolist() == [1]
    assert rows.pairs["rated"].tolist() == [[pytest.approx(rows.numbers["rated"][0])]]
    assert rows.numbers["centre"].tolist() == [1.0]


def test_segments_that_have_faded_lose_their_pairs_and_the_others_keep_their_order():
    batch = [
        Event("a", each, gain, START, None, None) for each, gain in ((5, 1), (1, 1e-7), (3, 2))
    ]
    rows = rows_of([*batch, Event("b", 1, 1e-7, START, None, None)])
    rows.drop_faint(1e-6, 4)
    assert rows.pairs["segment"].tolist() == [[5, 3], [NO_SEGMENT, NO_SEGMENT]]
    assert rows.pairs["weight"][1].tolist() == [0.0, 0.0]
    rows.drop_faint(0.0, 1)
    assert rows.pairs["segment"].tolist() == [[3], [NO_SEGMENT]]


def test_what_events_count_follows_from_type_and_rating():
    policy = RecommendationPolicy()
    types = [EventType.PURCHASE, EventType.VIEW, EventType.REVIEW, EventType.REVIEW, EventType.VIEW]
    ratings = np.array([np.nan, np.nan, 1.0, 3.0, 99.0])
    assert gains_of(types, ratings, policy).tolist() == [1.0, 0.1, 0.0, 1.0, 0.2]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rating_low": 5}, "rating_low 5.0 is not below rating_high 5.0"),
        ({"candidates": 49}, "candidates 49 are fewer than top 50"),
        ({"type_weights": {"view": -1}}, "type_weights must be 0, or from .*: view has -1"),
        ({"type_weights": {"view": 1e308}}, "type_weights must be 0, or from .*: view has 1e.308"),
        ({"half_life_days": 1e-12}, "greater than or equal to 0.001"),
        ({"rating_low": -1e308, "rating_high": 1e308}, "rating_low"),
        ({"rating_low": 5, "rating_high": 5 + 1e-9}, "is less than 1e-06 above rating_low 5.0"),
        ({"rating_high": float("inf")}, "rating_high"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_its_values(changes, told):
    with pytest.raises(ValueError, match=told):
        RecommendationPolicy(**changes)


numbers = st.lists(st.tuples(st.integers(0, 3), st.floats(-100, 100), st.floats(0.01, 10)))


@given(numbers)
def test_moments_merged_are_those_of_all_together(parts):
    groups = np.array([each[0] for each in parts], np.int64)
    values = np.array([each[1] for each in parts])
    weights = np.array([each[2] for each in parts])
    found = merged(Moments(weights, values, np.zeros(len(parts))), groups, 4)
    for group in range(4):
        own = groups == group
        if not own.any():
            assert found.weight[group] == found.mean[group] == found.variance()[group] == 0
            continue
        mean = np.average(values[own], weights=weights[own])
        variance = np.average(np.square(values[own] - mean), weights=weights[own])
        assert found.weight[group] == pytest.approx(weights[own].sum())
        assert found.mean[group] == pytest.approx(mean, abs=1e-9)
        assert found.variance()[group] == pytest.approx(variance, rel=1e-9, abs=1e-9)


def test_no_event_moves_nothing():
    rows = ItemRows.empty(["a"], DIMENSIONS)
    rows.add(columns([], ["a"]), HALF_LIFE)
    assert rows.numbers["events"].tolist() == [0]
