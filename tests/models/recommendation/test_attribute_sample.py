"""Users by attribute are counted once each, whatever became of them, and the sample is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.sample import rank
from models.recommendation.attribute_sample import AttributeSample
from models.recommendation.cold_start import AttributeCounts, Used, believe
from models.recommendation.policy import RecommendationPolicy
from schemas.attribute_table import AttributeTable

ATTRIBUTES = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.one_of(
            st.tuples(st.just("segment"), st.integers(-1, 2)),
            st.tuples(st.just("attributes"), ATTRIBUTES),
            st.tuples(st.just("gone"), st.none()),
        ),
    ),
    max_size=40,
)


def put(sample: AttributeSample, steps: list) -> None:
    for user, (what, value) in steps:
        own = rank(f"u{user}")
        if what == "gone":
            for each in ("segment", "attributes"):
                sample.drop(own, each)
        else:
            sample.put(own, **{what: value})


def naive(steps: list, keep: int = 10, upto: float = 1.0) -> dict:
    """Count by going through everybody: segments, and attributes by segment."""
    known: dict[int, dict] = {}
    for user, (what, value) in steps:
        if what == "gone":
            known.pop(user, None)
        else:
            known.setdefault(user, {})[what] = value
    kept = sorted((user for user in known if rank(f"u{user}") <= upto), key=lambda n: rank(f"u{n}"))
    counts: dict = {}
    for user in kept[:keep]:
        segment = known[user].get("segment", -1)
        if segment >= 0:
            for key in (None, *known[user].get("attributes", {}).items()):
                own = counts.setdefault(key, {})
                own[segment] = own.get(segment, 0) + 1
    return counts


def told(table: AttributeTable) -> dict:
    counts = {
        (each.name, each.value): {one.segment: one.users for one in each.segments}
        for each in table.attributes
    }
    everybody = {each.segment: each.users for each in table.segments}
    return counts | ({None: everybody} if everybody else {})


@given(STEPS, st.integers(1, 10), st.floats(0.01, 1))
def test_a_user_counts_once_in_the_segment_and_with_the_attributes_of_now(steps, most, upto):
    sample = AttributeSample(most)
    put(sample, steps)
    sample.upto = upto
    table = sample.table(parts_end=7)
    assert told(table) == naive(steps, most, upto)
    assert table.parts_end == 7
    # Who leaves was not counted.
    for own, what in sample.leaving():
        sample.drop(own, what)
    assert len(sample) <= most
    assert not sample.leaving()
    assert told(sample.table()) == told(table)


@given(STEPS, st.randoms())
def test_the_order_among_users_does_not_matter(steps, random):
    one, other = AttributeSample(), AttributeSample()
    put(one, steps)
    by_user: dict[int, list] = {}
    for step in steps:
        by_user.setdefault(step[0], []).append(step)
    users = list(by_user)
    random.shuffle(users)
    put(other, [step for user in users for step in by_user[user]])
    assert one.table() == other.table()


def test_attributes_that_fewest_have_are_left_out_and_counted():
    sample = AttributeSample()
    steps = [(n, ("segment", 0)) for n in range(9)]
    steps += [(n, ("attributes", {"a": "x" if n < 6 else "y", "b": str(n)})) for n in range(9)]
    put(sample, steps)
    table = sample.table(most=3)
    assert [(each.name, each.value, each.users) for each in table.attributes] == [
        ("a", "x", 6),
        ("a", "y", 3),
        ("b", "0", 1),
    ]
    assert (table.left_out, table.users, table.sampled) == (8, 9, 1.0)


def test_shares_of_a_sample_are_as_near_as_is_said():
    """Of 20,000 users a tenth is kept; one in five has the attribute, three of ten of them in 1."""
    random = np.random.default_rng(0)
    sample, true = AttributeSample(2_000), [0, 0]
    for user in range(20_000):
        own, has = rank(f"user-{user}"), random.random() < 0.2
        segment = int(random.random() < 0.3)
        true[segment] += has
        sample.put(own, segment=segment, attributes={"country": "DE"} if has else {"x": "y"})
        for each, what in sample.leaving():
            sample.drop(each, what)
    table = sample.table()
    [found] = [each for each in table.attributes if each.name == "country"]
    share = found.segments[1].users / found.users
    error = 1 / (2 * found.users**0.5)
    assert abs(share - true[1] / sum(true)) < 3 * error
    assert found.users / table.sampled == pytest.approx(sum(true), rel=0.15)
    assert table.sampled == pytest.approx(0.1, rel=0.15)


@given(STEPS)
def test_what_is_published_says_of_segments_what_counting_says(steps):
    sample, counts = AttributeSample(), AttributeCounts()
    put(sample, steps)
    known: dict[int, dict] = {}
    for user, (what, value) in steps:
        if what == "gone":
            known.pop(user, None)
        else:
            known.setdefault(user, {})[what] = value
    for each in known.values():
        counts.move(each.get("attributes", {}), -1, each.get("segment", -1))
    read = AttributeCounts.of(AttributeTable.model_validate_json(sample.table().model_dump_json()))
    for asked in ({"a": "x"}, {"a": "y", "b": "z"}, {"d": "x"}):
        one, other = (
            believe([0, 1, 2], RecommendationPolicy(), counts=each, attributes=asked)
            for each in (read, counts)
        )
        assert one == other
        assert one.used in {Used.ATTRIBUTES, Used.GLOBAL}
