"""References of the events that weigh most, beside a list of all events that is sorted anew."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.policy import ProfilePolicy
from models.profiles.references import REFERENCE, faded, heaviest, of_events, refer
from models.profiles.rows import ProfileRows, hash_event_id

USERS = 3
HALF_LIFE = timedelta(days=1)
DAY = 86_400_000_000
WEIGHTS = [0.1, 0.25, 0.3, 0.5, 0.7, 1.0, 2.0, 3.0, 5.0]
# User, half a day of the event, weight.
EVENTS = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(-6, 6), st.sampled_from(WEIGHTS)),
    max_size=40,
)


def events_of(stream: list[tuple[int, int, float]]) -> np.ndarray:
    offsets = np.arange(len(stream))
    times = np.array([half * DAY // 2 for _, half, _ in stream], np.int64)
    hashes = np.array([hash_event_id(str(offset)) for offset in offsets], np.uint64)
    return of_events(offsets, times, hashes, np.array([weight for *_, weight in stream]))


def taken_in(stream: list[tuple[int, int, float]], most: int, size: int) -> np.ndarray:
    """Let a stream in, so many events at a time."""
    references, events = np.zeros((USERS, most), REFERENCE), events_of(stream)
    users = np.array([user for user, *_ in stream], np.int64)
    for start in range(0, len(stream), size):
        part = slice(start, start + size)
        refer(references, users[part], events[part], HALF_LIFE)
    return references


def naive(stream: list[tuple[int, int, float]], most: int) -> list[list[int]]:
    """Offsets of the heaviest events of each user, of all that there ever were."""
    ranked: dict[int, list[Any]] = defaultdict(list)
    for offset, (user, half, weight) in enumerate(stream):
        # 2^(half / 2) squared, so that it is exact.
        weighs = Fraction(float(np.float32(weight))) ** 2 * Fraction(2) ** half
        ranked[user].append((weighs, offset))
    return [
        [offset for _, offset in sorted(ranked[user], reverse=True)[:most]] for user in range(USERS)
    ]


@given(EVENTS, st.integers(1, 5))
def test_the_heaviest_events_stay_however_the_stream_is_cut(stream, most) -> None:
    one_by_one = taken_in(stream, most, 1)
    offsets = [[int(each["offset"]) for each in own if each["hash"]] for own in one_by_one]
    assert offsets == naive(stream, most)
    for size in (2, 7, 100):
        assert taken_in(stream, most, size).tobytes() == one_by_one.tobytes()


@given(EVENTS, st.integers(1, 5))
def test_under_another_half_life_they_are_put_in_its_order(stream, most) -> None:
    former, half_life = taken_in(stream, most, 7), timedelta(hours=3)
    new = events_of([*stream, *((user, 1, 0.7) for user in range(USERS))])[len(stream) :]
    references = former.copy()
    refer(references, np.arange(USERS), new, half_life)
    for user in range(USERS):
        known = [new[user], *former[user][former[user]["hash"] != 0]]
        # To the power of an eighth, what has faded by three hours has faded by a day.
        known.sort(key=lambda each: -(float(each["weight"]) ** 0.125) * 2.0 ** (each["time"] / DAY))
        offsets = [int(each["offset"]) for each in known[:most]]
        assert references[user]["offset"][: len(offsets)].tolist() == offsets
        assert not references[user]["hash"][len(offsets) :].any()


@given(EVENTS)
def test_faded_an_event_weighs_what_the_profile_adds_up(stream) -> None:
    policy = ProfilePolicy(half_life_days=1)
    rows = ProfileRows.empty([str(user) for user in range(USERS)], 2, 64, 64)
    events, types = events_of(stream), [weight for *_, weight in stream]
    for number, (user, *_) in enumerate(stream):
        one, event = np.array([user]), events[[number]]
        gains = np.array([types[number]])
        rows.add(one, np.ones((1, 2), np.float32), gains, event["time"], policy)
        rows.remember(one, event["hash"])
        rows.refer(one, event["offset"], event["time"], event["hash"], gains, policy)
    for user in range(USERS):
        own = rows.references[user]
        own = own[own["hash"] != 0]
        assert len(own) == rows.events[user]
        weights = faded(own, int(rows.reference[user]), policy.half_life)
        assert weights.sum() == pytest.approx(rows.weights[user], rel=1e-7)
        assert (np.diff(weights) <= 0).all()


def test_with_none_to_keep_nothing_is_kept():
    rows = ProfileRows.empty(["u"], 2, 4)
    here = np.zeros(1, np.int64)
    rows.refer(here, here, here, np.ones(1, np.uint64), np.ones(1), ProfilePolicy())
    assert rows.references.shape == (1, 0)
    assert rows.to_record(0, "a" * 64).references == []


@pytest.mark.parametrize(("most", "kept"), [(2, [1, 2]), (3, [1, 2, 3]), (5, [1, 2, 3, 0, 0])])
def test_a_group_whose_setting_has_changed_goes_on_with_what_there_is(most, kept):
    references = np.zeros((1, 3), REFERENCE)
    references["offset"] = references["hash"] = [1, 2, 3]
    assert heaviest(references, most)["offset"].tolist() == [kept]
