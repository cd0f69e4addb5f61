"""Rolling profiles: the fading, the memory of event ids, and the way to the changelog and back."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.table import (
    ProfileMismatchError,
    ProfilePolicy,
    ProfileRows,
    ProfileTable,
    fade,
    from_microseconds,
    hash_event_id,
    to_microseconds,
    unit_rows,
)
from schemas.profiles import ProfileRecord
from schemas.segment_model import NO_SEGMENT

DIMENSIONS = 8
HOUR = 3_600_000_000
POLICY = ProfilePolicy(half_life_days=10, event_memory=4, terms=5)
HALF_LIFE_US = 10 * 24 * HOUR
IDENTITY = "a" * 64

Event = tuple[int, int, float]
"""Time in microseconds, seed of the embedding, weight."""

events = st.lists(
    st.tuples(
        st.integers(0, 365 * 24).map(lambda hours: 1_600_000_000_000_000 + hours * HOUR),
        st.integers(0, 1000),
        st.floats(0.1, 5),
    ),
    min_size=1,
    max_size=30,
)


def embedding(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=(1, DIMENSIONS))
    return unit_rows(vector).astype(np.float32)


def run(stream: list[Event]) -> ProfileRows:
    rows = ProfileRows.empty(["user"], DIMENSIONS, POLICY.event_memory)
    row = np.array([0])
    for i, (time, seed, weight) in enumerate(stream):
        rows.add(row, embedding(seed), np.array([weight]), np.array([time]), POLICY)
        rows.remember(row, np.array([hash_event_id(str(i))], np.uint64))
    return rows


def naive(stream: list[Event]) -> tuple[np.ndarray, float, int]:
    """S and W at the latest event time, straight from the definition, in float64."""
    latest = max(time for time, _, _ in stream)
    total, weight_sum = np.zeros(DIMENSIONS), 0.0
    for time, seed, weight in stream:
        kept = weight * 0.5 ** ((latest - time) / HALF_LIFE_US)
        total += kept * embedding(seed)[0]
        weight_sum += kept
    return total, weight_sum, latest


@given(events)
def test_the_profile_is_the_faded_sum_of_its_definition(stream: list[Event]) -> None:
    rows = run(stream)
    total, weight, latest = naive(stream)
    np.testing.assert_allclose(rows.sums[0], total, atol=1e-5 * max(weight, 1))
    assert rows.weights[0] == pytest.approx(weight)
    assert rows.reference[0] == latest


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(stream: list[Event], random) -> None:
    shuffled = list(stream)
    random.shuffle(shuffled)
    one, other = run(stream), run(shuffled)
    scale = max(one.weights[0], 1)
    np.testing.assert_allclose(one.sums, other.sums, atol=1e-5 * scale)
    np.testing.assert_allclose(one.weights, other.weights)
    assert one.reference[0] == other.reference[0]


def test_an_event_counts_half_after_the_half_life() -> None:
    start = 1_600_000_000_000_000
    rows = run([(start, 1, 1.0), (start + HALF_LIFE_US, 2, 1.0)])
    np.testing.assert_allclose(rows.sums[0], 0.5 * embedding(1)[0] + embedding(2)[0], atol=1e-6)
    assert rows.weights[0] == pytest.approx(1.5)


def test_a_late_event_is_faded_before_it_is_added() -> None:
    start = 1_600_000_000_000_000
    rows = run([(start + HALF_LIFE_US, 2, 1.0), (start, 1, 1.0)])
    np.testing.assert_allclose(rows.sums[0], 0.5 * embedding(1)[0] + embedding(2)[0], atol=1e-6)
    assert rows.reference[0] == start + HALF_LIFE_US


def test_an_event_of_long_ago_leaves_a_finite_profile() -> None:
    now = to_microseconds(datetime(2026, 1, 1, tzinfo=UTC))
    rows = run([(now, 1, 1.0), (0, 2, 1.0), (now + 400 * HALF_LIFE_US, 3, 1.0)])
    assert np.isfinite(rows.sums).all()
    np.testing.assert_allclose(rows.vectors()[0], embedding(3)[0], atol=1e-6)


@given(st.lists(st.integers(0, 10**17), min_size=1, max_size=50))
def test_a_weight_does_not_depend_on_its_neighbours_in_the_array(ages: list[int]) -> None:
    together = fade(np.array(ages, np.int64), POLICY.half_life)
    alone = [fade(np.array([age], np.int64), POLICY.half_life)[0] for age in ages]
    assert together.tolist() == alone


@given(st.lists(st.tuples(events, st.integers(0, 5)), min_size=1, max_size=6))
def test_users_side_by_side_get_the_same_bits_as_one_by_one(parts) -> None:
    streams = [stream for stream, _ in parts]
    together = ProfileRows.empty([str(i) for i in range(len(streams))], DIMENSIONS, 4)
    for turn in range(max(map(len, streams))):
        active = [i for i, stream in enumerate(streams) if turn < len(stream)]
        chosen = [streams[i][turn] for i in active]
        together.add(
            np.array(active),
            np.concatenate([embedding(seed) for _, seed, _ in chosen]),
            np.array([weight for _, _, weight in chosen]),
            np.array([time for time, _, _ in chosen]),
            POLICY,
        )
        together.events[active] += 1
    for i, stream in enumerate(streams):
        alone = run(stream)
        assert together.sums[i].tobytes() == alone.sums[0].tobytes()
        assert together.weights[i] == alone.weights[0]


def test_a_zero_row_stays_zero_when_it_is_scaled() -> None:
    assert unit_rows(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]


def test_an_event_id_is_known_within_the_memory_and_forgotten_beyond_it() -> None:
    rows = ProfileRows.empty(["user"], DIMENSIONS, 4)
    row = np.array([0])
    hashes = [np.array([hash_event_id(f"e{i}")], np.uint64) for i in range(6)]
    for value in hashes:
        rows.remember(row, value)
    assert [bool(rows.knows(row, value)[0]) for value in hashes] == [False] * 2 + [True] * 4


def test_typical_words_fade_and_only_the_heaviest_stay() -> None:
    rows = ProfileRows.empty(["user"], DIMENSIONS, 4)
    rows.note_terms(0, ["hops", "malt", "hops"], 1.0, 1.0, 2)
    assert rows.terms[0] == {"hops": 1.0, "malt": 1.0}
    rows.note_terms(0, ["hops", "yeast"], 0.5, 1.0, 2)
    assert rows.terms[0] == {"hops": 1.5, "yeast": 1.0}


@given(events)
def test_a_state_from_the_changelog_is_the_state_that_was_written(stream: list[Event]) -> None:
    rows = run(stream)
    rows.note_terms(0, ["hops"], 1.0, 1.0, 5)
    rows.segments[0], rows.labels[0], rows.sequence[0], rows.since[0] = 7, "hops", 3, 1
    written = rows.to_record(0, IDENTITY).model_dump_json()
    table = ProfileTable(DIMENSIONS, POLICY.event_memory)
    table.load(ProfileRecord.model_validate_json(written))
    restored = table.gather(["user"])
    for name, column in rows.arrays().items():
        assert restored.arrays()[name].tobytes() == column.tobytes(), name
    assert (restored.labels, restored.terms) == (rows.labels, rows.terms)


def test_a_state_written_with_a_larger_memory_keeps_the_latest_event_ids() -> None:
    rows = ProfileRows.empty(["user"], DIMENSIONS, 8)
    for i in range(11):
        rows.remember(np.array([0]), np.array([hash_event_id(f"e{i}")], np.uint64))
    rows.reference[0] = 1
    table = ProfileTable(DIMENSIONS, 3)
    table.load(rows.to_record(0, IDENTITY))
    restored = table.gather(["user"])
    known = [
        bool(restored.knows(np.array([0]), np.array([hash_event_id(f"e{i}")], np.uint64))[0])
        for i in range(11)
    ]
    assert known == [False] * 8 + [True] * 3


def test_a_vector_of_another_length_is_refused_with_both_lengths() -> None:
    rows = ProfileRows.empty(["user"], DIMENSIONS + 1, 4)
    with pytest.raises(ProfileMismatchError, match=r"'user' has 9 dimensions.* has 8"):
        ProfileTable(DIMENSIONS, 4).load(rows.to_record(0, IDENTITY))


def test_a_batch_works_on_copies_until_they_are_put_back() -> None:
    table = ProfileTable(DIMENSIONS, 4)
    states = table.gather(["a", "b"])
    states.events[:] = [1, 2]
    assert len(table) == 0
    table.put(states)
    again = table.gather(["b", "c", "a"])
    assert again.events.tolist() == [2, 0, 1]
    again.events[0] = 99
    assert table.gather(["b"]).events.tolist() == [2]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=40))
def test_a_table_with_removals_equals_a_dict(steps: list[tuple[str, bool]]) -> None:
    table, model = ProfileTable(DIMENSIONS, 4), {}
    for count, (user, keep) in enumerate(steps, 1):
        if keep:
            states = table.gather([user])
            states.events[0] = count
            table.put(states)
            model[user] = count
        else:
            table.remove(user)
            model.pop(user, None)
    assert sorted(table.users) == sorted(model)
    assert table.gather(sorted(model)).events.tolist() == [model[user] for user in sorted(model)]


def test_a_table_grows_without_losing_anyone() -> None:
    table = ProfileTable(DIMENSIONS, 4)
    for start in range(0, 1000, 100):
        states = table.gather([f"u{i}" for i in range(start, start + 100)])
        states.events[:] = np.arange(start, start + 100)
        table.put(states)
    assert table.gather([f"u{i}" for i in range(1000)]).events.tolist() == list(range(1000))
    assert table.segment_counts() == {NO_SEGMENT: 1000}


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)))  # noqa: DTZ001
def test_times_survive_the_way_to_microseconds_and_back(naive_time: datetime) -> None:
    time = naive_time.replace(tzinfo=UTC)
    assert from_microseconds(to_microseconds(time)) == time


def test_hashes_of_event_ids_are_stable() -> None:
    # A changed hash would make every restored memory forget; so the value itself is held here.
    assert hash_event_id("e1") == 292540415853092123


# --- who was looked at under a new model --------------------------------------------------------


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["put", "remove", "look"]), st.sampled_from("abcdefgh")),
            st.tuples(st.just("epoch"), st.just("")),
        )
    )
)
def test_who_is_left_in_an_epoch_is_who_was_not_looked_at_in_it(
    steps: list[tuple[str, str]],
) -> None:
    table, epoch = ProfileTable(2, 2), 1
    looked: dict[str, int] = {}
    for what, user in steps:
        if what == "epoch":
            epoch += 1
        elif what == "put":
            table.put(table.gather([user]))
            looked.setdefault(user, 0)
        elif what == "remove":
            table.remove(user)
            looked.pop(user, None)
        elif user in looked:
            table.mark_looked(table.find([user]), epoch)
            looked[user] = epoch
        left = {user for user, last in looked.items() if last < epoch}
        rows = table.unlooked(epoch, 100)
        assert set(table.states(rows).users) == left
        assert len(table.unlooked(epoch, 1)) == min(len(left), 1)
        known = [*looked]
        assert table.looked(table.find(known)).tolist() == [*looked.values()]


def test_a_standing_is_a_state_without_event_ids_and_words() -> None:
    table = ProfileTable(2, 2)
    states = table.gather(["u", "v"])
    states.sums[:] = [[1, 2], [3, 4]]
    states.segments[:], states.labels, states.predicted = [5, 6], ["a", "b"], ["c", None]
    states.remember(np.array([0, 1]), np.array([7, 8], np.uint64))
    states.note_terms(1, ["word"], 1.0, 1.0, 5)
    table.put(states)
    standing = table.standings(np.array([1]))
    whole = table.gather(["v"])
    assert (standing.recent.size, standing.terms) == (0, [{}])
    for name in ("users", "labels", "predicted"):
        assert getattr(standing, name) == getattr(whole, name)
    for name, column in standing.arrays().items():
        if name != "recent":
            assert (column == whole.arrays()[name]).all()
