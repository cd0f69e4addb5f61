"""Items and parts as records; what is certain of parts that are cut by segment and merged."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommendation.item_codec import decode_items, encode_items, made_of
from models.recommendation.moments import Moments
from models.recommendation.partials import EVERYBODY, Partial, merge, partial_of
from models.recommendation.parts import (
    candidates_that_fit,
    decode_part,
    encode_part,
    faded_to,
    part_key,
    parts_of,
    same_length,
)
from models.recommendation.rows import ItemEvents, ItemRows
from models.recommendation.table import ItemTable
from schemas.binary import RecordError

DAY = timedelta(days=1)
MICROSECONDS = 86_400_000_000
D = 4
IDENTITY = "ab" * 32


def a_table(seed: int, partition: int, partitions: int, *, items: int = 30, n: int = 300):
    """Items of a partition: its share of events that are the same for every number of them."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, items, n) ** 2 // items
    own = np.flatnonzero(which % partitions == partition)
    names = sorted({int(each) for each in which[own]})
    rows = ItemRows.empty([f"item-{name}" for name in names], D)
    place = {name: row for row, name in enumerate(names)}
    ratings = rng.integers(0, 6, n).astype(np.float64)
    ratings[ratings == 0] = np.nan
    vectors = rng.normal(size=(n, D)).astype(np.float32)
    times, segments = rng.integers(0, 20 * MICROSECONDS, n), rng.integers(-1, 4, n)
    events = ItemEvents(
        rows=np.array([place[int(each)] for each in which[own]], np.int64),
        segments=segments[own],
        gains=rng.uniform(0, 2, n)[own],
        times=times[own],
        ratings=ratings[own],
        vectors=vectors[own],
        texts=np.arange(len(own)),
    )
    rows.add(events, DAY)
    table = ItemTable(D)
    table.put(rows)
    return table, rows


def top_of(partials: list[Partial], segment: int, most: int = 5) -> list[tuple[str, float, float]]:
    """Give what certainly leads, with scores and weights."""
    merged = merge(partials, most, 20.0)
    found = merged.tops[segment]
    return [
        (merged.items[item], pytest.approx(score), pytest.approx(weight))
        for item, score, weight in zip(
            found.items.tolist(), found.scores.tolist(), found.weights.tolist(), strict=True
        )
    ][: found.exact]


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(5, 40))
@settings(max_examples=40, deadline=None)
def test_what_parts_of_a_segment_say_for_certain_is_what_leads(
    seed: int, partitions: int, candidates: int
) -> None:
    at = 21 * MICROSECONDS
    tables = [a_table(seed, number, partitions)[0] for number in range(partitions)]
    everything = [partial_of(table, at, DAY, 1000) for table in tables]
    cut = [parts_of(partial_of(table, at, DAY, candidates), candidates) for table in tables]
    for segment in sorted({each for parts in cut for each in parts}):
        sent = {
            number: decode_part(part_key(segment, number), encode_part(parts[segment], number))
            for number, parts in enumerate(cut)
            if segment in parts
        }
        assert [*sent] == [partition for _, partition in sent.values()]
        lacking = [parts[EVERYBODY] for parts in cut if segment not in parts]
        found = top_of([part for part, _ in sent.values()] + lacking, segment)
        assert found == top_of(everything, segment)[: len(found)]
        if candidates >= 30:  # as many as there are items
            assert len(found) == len(top_of(everything, segment))


def test_a_part_read_back_is_the_one_that_was_written_to_the_bit() -> None:
    whole = partial_of(a_table(1, 0, 1)[0], 21 * MICROSECONDS, DAY, 10)
    for segment, part in parts_of(whole, 10).items():
        value = encode_part(part, 3)
        again, partition = decode_part(part_key(segment, 3), value)
        assert partition == 3
        assert encode_part(again, 3) == value
        with pytest.raises(RecordError, match="another key"):
            decode_part(part_key(segment, 4), value)


def test_a_part_that_fades_is_the_part_of_the_later_time() -> None:
    table, _ = a_table(2, 0, 1)
    at = 21 * MICROSECONDS
    early, late = (partial_of(table, time, DAY, 50) for time in (at, at + 5 * MICROSECONDS))
    faded = faded_to(early, late.at, DAY)
    assert faded.items == late.items
    for name in ("weights", "totals", "floors", "pair_weights"):
        assert getattr(faded, name) == pytest.approx(getattr(late, name))
    assert faded.segment_ratings.m2 == pytest.approx(late.segment_ratings.m2)
    assert faded.segment_ratings.mean == pytest.approx(late.segment_ratings.mean)


def test_vectors_of_another_length_than_the_latest_part_s_are_left_out() -> None:
    whole = partial_of(a_table(3, 0, 1)[0], 21 * MICROSECONDS, DAY, 10)
    bare = partial_of(a_table(3, 0, 1)[0], 22 * MICROSECONDS, DAY, 10, vectors=False)
    first, second = same_length([whole, bare])
    assert first.vectors.shape == (len(whole.items), 0)
    assert second is bare


def test_items_read_back_are_those_that_were_written_to_the_bit() -> None:
    _, rows = a_table(4, 0, 1)
    keys = [item.encode() for item in rows.items]
    values = encode_items(rows, IDENTITY, DAY)
    assert made_of(keys[0], values[0]) == (IDENTITY, D)
    again = decode_items(keys, values, IDENTITY, D, DAY)
    assert again.items == rows.items
    assert again.numbers.tobytes() == rows.numbers.tobytes()
    assert again.sums.tobytes() == rows.sums.tobytes()
    assert encode_items(again, IDENTITY, DAY) == values
    other = decode_items(keys, values, "cd" * 32, 2, DAY)
    assert not other.sums.any()
    assert not other.numbers["texts"].any()
    assert other.numbers["weight"].tolist() == rows.numbers["weight"].tolist()


@pytest.mark.parametrize("length", [0, 10, 60])
def test_an_item_s_record_that_is_cut_off_is_refused(length: int) -> None:
    _, rows = a_table(5, 0, 1)
    with pytest.raises(RecordError):
        made_of(rows.items[0].encode(), encode_items(rows, IDENTITY, DAY)[0][:length])


def test_ratings_that_have_overflowed_in_a_record_begin_anew_and_the_rest_stays() -> None:
    _, rows = a_table(4, 0, 1)
    rows.numbers["second"][0] = np.inf
    rows.pairs["first"][1, 0] = np.nan
    rows.sums[2, 0] = np.inf
    keys = [item.encode() for item in rows.items]
    again = decode_items(keys, encode_items(rows, IDENTITY, DAY), IDENTITY, D, DAY)
    for row in (0, 1):
        assert again.numbers[row]["rated"] == again.numbers[row]["centre"] == 0
        assert not again.pairs["rated"][row].any()
        assert not again.pairs["first"][row].any()
    assert again.numbers["weight"].tolist() == rows.numbers["weight"].tolist()
    assert again.numbers["texts"][2] == 0
    assert not again.sums[2].any()
    assert again.numbers[3:].tobytes() == rows.numbers[3:].tobytes()


@pytest.mark.parametrize("dimensions", [0, 384, 1024])
def test_a_part_of_as_many_candidates_as_fit_is_a_record_of_less_than_16_mib(
    dimensions: int,
) -> None:
    fit = candidates_that_fit(10_000, dimensions)
    assert candidates_that_fit(200, dimensions) == 200
    n = 2 * fit
    # The longest ids there are, of the longest characters.
    names = tuple(f"{number:06}" + 250 * "\U0001f375" for number in range(n))
    none = np.zeros(n)
    part = Partial(
        at=0,
        items=names,
        weights=none + 1,
        vectors=np.zeros((n, dimensions), np.float16),
        ratings=Moments(none, none, none),
        segments=np.array([EVERYBODY]),
        totals=np.ones(1),
        segment_ratings=Moments(np.zeros(1), np.zeros(1), np.zeros(1)),
        floors=np.zeros(1),
        pair_items=np.zeros(0, np.int64),
        pair_segments=np.zeros(0, np.int64),
        pair_weights=np.zeros(0),
        pair_ratings=Moments(np.zeros(0), np.zeros(0), np.zeros(0)),
    )
    size = len(encode_part(part, 0))
    assert 14 * 2**20 < size < 16 * 2**20 - 10_000
