"""Segments that go on under another embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.distances import distances_to
from models.profiles.sample import UserSample
from models.profiles.table import unit_rows
from models.segments.carry_over import MemberSums, carry_over, in_own_segment
from models.segments.history import History
from models.segments.model import SegmentModel
from schemas.lifecycle import RetiredSegment
from schemas.segment_model import NO_SEGMENT, SegmentModelRecord
from tests.models.synthetic import EMBEDDING

NEW = "f" * 64
D = 6


def former(ids: Sequence[int] = (1, 4, 7)) -> SegmentModel:
    n = len(ids)
    return SegmentModel(
        version=5,
        embedding=EMBEDDING,
        ids=np.array(ids),
        centres=np.eye(n, 9),
        radii=np.ones(n),
        sizes=np.ones(n, np.int64),
        labels=tuple(f"label {segment}" for segment in ids),
        words=tuple((f"word{segment}",) for segment in ids),
        since=(2,) * n,
        next_id=9,
        sample_threshold=0.5,
        samples=123,
        seed=3,
    )


@st.composite
def members(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors, weights and segments of some users, those without a profile among them."""
    n = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    vectors = unit_rows(generator.normal(size=(n, D)))
    weights = generator.uniform(0.1, 9, n)
    unknown = generator.random(n) < 0.2
    vectors[unknown], weights[unknown] = 0, 0
    return vectors, weights, generator.choice([NO_SEGMENT, 1, 4, 7], n)


def sample_of(vectors: np.ndarray, weights: np.ndarray) -> UserSample:
    sample = UserSample(100)
    for row in np.flatnonzero(weights > 0).tolist():
        sample.put(f"u{row}", vectors[row], {f"term{row % 3}": 1.0}, float(weights[row]))
    return sample


def sums_of(vectors: np.ndarray, weights: np.ndarray, segments: np.ndarray) -> MemberSums:
    sums = MemberSums(D)
    sums.add(vectors, weights, segments)
    return sums


@given(members())
def test_a_centre_is_the_weighted_mean_of_the_members_one_by_one(
    users: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    vectors, weights, segments = users
    sums = sums_of(*users)
    for segment in (1, 4, 7):
        total, weight = np.zeros(D), 0.0
        for vector, own, place in zip(vectors, weights, segments, strict=True):
            if place == segment:
                total, weight = total + own * vector, weight + own
        mean = sums.mean(segment)
        if weight == 0:
            assert mean is None
        else:
            assert mean is not None
            np.testing.assert_allclose(mean, total / weight, rtol=1e-12, atol=1e-14)


@given(members(), st.integers(1, 39))
def test_users_may_be_added_in_parts(
    users: tuple[np.ndarray, np.ndarray, np.ndarray], cut: int
) -> None:
    whole, parts = sums_of(*users), MemberSums(D)
    parts.add(*(column[:cut] for column in users))
    parts.add(*(column[cut:] for column in users))
    for segment in (1, 4, 7):
        one, other = whole.mean(segment), parts.mean(segment)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@given(members())
def test_ids_never_come_back_and_what_goes_on_keeps_its_name(
    users: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    vectors, weights, segments = users
    previous = former()
    model = carry_over(previous, sums_of(*users), sample_of(vectors, weights), NEW)
    populated = sorted(set(segments[weights > 0].tolist()) - {NO_SEGMENT})
    if model is None:
        assert not (weights > 0).any()
        return
    assert (model.version, model.embedding, model.dimension) == (6, NEW, D)
    assert (model.sample_threshold, model.samples, model.seed) == (0.5, 123, 3)
    if populated:
        assert model.ids.tolist() == populated
        assert model.labels == tuple(f"label {segment}" for segment in populated)
        assert model.words == tuple((f"word{segment}",) for segment in populated)
        assert set(model.since) == {2}
        assert model.next_id == previous.next_id
    else:
        assert (model.ids.tolist(), model.next_id, model.since) == ([9], 10, (6,))


@given(members())
def test_radii_and_sizes_are_those_of_the_sampled_users_by_their_nearest_centre(
    users: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    vectors, weights, _ = users
    sample = sample_of(vectors, weights)
    model = carry_over(former(), sums_of(*users), sample, NEW)
    if model is None:
        return
    found: dict[int, list[float]] = {row: [] for row in range(len(model.ids))}
    for vector in sample.vectors():
        distances = [float(distances_to(vector[None], centre)[0]) for centre in model.centres]
        row = int(np.argmin(distances))
        found[row].append(distances[row])
    assert model.sizes.tolist() == [len(own) for own in found.values()]
    for row, own in found.items():
        assert model.radii[row] == pytest.approx(np.sqrt(np.mean(np.square(own))) if own else 0)


def test_where_nobody_is_in_a_segment_one_new_segment_holds_everybody() -> None:
    vectors, weights = np.eye(2, D), np.array([1.0, 3.0])
    nowhere = np.full(2, NO_SEGMENT)
    model = carry_over(
        former(), sums_of(vectors, weights, nowhere), sample_of(vectors, weights), NEW
    )
    assert model is not None
    np.testing.assert_allclose(model.centres, [[0.25, 0.75, 0, 0, 0, 0]])
    assert [(each.type, each.segment) for each in model.history.transitions] == [
        ("created", 9),
        ("retired", 1),
        ("retired", 4),
        ("retired", 7),
    ]
    assert (model.labels, model.sizes.tolist()) == (("term0, term1",), [2])


def test_a_segment_that_is_dropped_is_retired_and_what_was_known_of_others_stays() -> None:
    before = RetiredSegment(id=3, version=4, successor=1, since=2, parents=[])
    previous = replace(former(), history=History(parents={4: (1,), 7: (1,)}, retired=(before,)))
    vectors, weights = np.eye(2, D), np.ones(2)
    sums = sums_of(vectors, weights, np.array([1, 4]))
    model = carry_over(previous, sums, sample_of(vectors, weights), NEW)
    assert model is not None
    (retired,) = model.history.transitions
    assert (retired.type, retired.segment, retired.successor) == ("retired", 7, None)
    assert (retired.label, retired.size_before, retired.flows) == ("label 7", 1, [])
    assert [(gone.id, gone.version, gone.parents) for gone in model.history.retired] == [
        (3, 4, []),
        (7, 6, [1]),
    ]
    assert model.history.parents == {4: (1,)}
    assert SegmentModelRecord.model_validate_json(model.to_record().model_dump_json())


def test_users_at_their_own_centre_are_counted() -> None:
    vectors, weights = np.eye(3, D), np.ones(3)
    model = carry_over(
        former(), sums_of(vectors, weights, np.array([1, 4, 7])), sample_of(vectors, weights), NEW
    )
    assert model is not None
    assert in_own_segment(model, vectors, np.array([1, 7, 7])) == (2, 3)
    assert in_own_segment(model, vectors, np.array([1, NO_SEGMENT, 99])) == (1, 1)
    assert in_own_segment(model, vectors, np.full(3, NO_SEGMENT)) == (0, 0)
