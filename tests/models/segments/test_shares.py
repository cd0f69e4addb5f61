"""Exact shares of a margin, beside sums of one number at a time, and on profiles of every kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.distances import VectorsError, distances_to
from models.profiles.codec import decode, encode
from models.profiles.policy import ProfilePolicy
from models.profiles.references import faded
from models.profiles.rows import ProfileRows, hash_event_id, unit_rows
from models.segments.shares import is_whole, split_margin, split_margins, without

DIMENSIONS = 6
IDENTITY = "ab" * 32
HALF_DAY = 43_200_000_000
ROW = np.zeros(1, np.int64)


@dataclass(frozen=True)
class Case:
    """A user's profile after a stream of events, and what went into it."""

    rows: ProfileRows
    policy: ProfilePolicy
    vectors: dict[int, np.ndarray]
    nearer: np.ndarray
    farther: np.ndarray


@st.composite
def cases(draw: Any) -> Case:
    """Profiles with events that are late, repeated, faded, and more than are kept."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    policy = ProfilePolicy(
        half_life_days=draw(st.sampled_from([0.5, 20])),
        event_memory=draw(st.sampled_from([2, 64])),
        references=draw(st.sampled_from([3, 30])),
        precision=draw(st.sampled_from(["float32", "float16"])),
    )
    rows = ProfileRows.empty(["u"], DIMENSIONS, policy.event_memory, policy.references)
    vectors = {}
    stream = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 8)), max_size=25))
    for offset, (name, half) in enumerate(stream):
        identity = np.array([hash_event_id(str(name))], np.uint64)
        if rows.knows(ROW, identity)[0]:
            continue
        vectors[offset] = unit_rows(rng.normal(size=(1, DIMENSIONS))).astype(np.float32)[0]
        time, gain = np.array([half * HALF_DAY]), np.array([rng.choice([0.3, 1.0])])
        rows.add(ROW, vectors[offset][None], gain, time, policy)
        rows.remember(ROW, identity)
        rows.refer(ROW, np.array([offset]), time, identity, gain, policy)
        if draw(st.integers(0, 9)) == 0:  # a worker starts again
            value = encode(rows, IDENTITY)
            rows = decode(
                [b"u"],
                value,
                IDENTITY,
                DIMENSIONS,
                policy.event_memory,
                references=policy.references,
            ).rows
    nearer, farther = rng.normal(scale=0.3, size=(2, DIMENSIONS))
    return Case(rows, policy, vectors, nearer, farther)


def naive(case: Case, offsets: list[int], weights: list[float]) -> dict[str, Any]:
    """The terms, number by number."""
    total = [float(each) for each in case.rows.sums[0]]
    length = math.sqrt(math.fsum(each * each for each in total))
    unit = [each / length if length else 0.0 for each in total]
    far, near = math.dist(unit, case.farther), math.dist(unit, case.nearer)
    events = [
        math.fsum(
            2 * weight / length * float(v) * (c - d) / (far + near)
            for v, c, d in zip(case.vectors[offset], case.nearer, case.farther, strict=True)
        )
        for offset, weight in zip(offsets, weights, strict=True)
    ]
    squares = [math.fsum(each * each for each in centre) for centre in (case.farther, case.nearer)]
    return {
        "margin": far - near,
        "events": events,
        "centres": (squares[0] - squares[1]) / (far + near),
    }


@given(cases())
def test_the_shares_add_up_to_the_margin_and_each_is_what_its_event_adds(case: Case) -> None:
    own = case.rows.references[0]
    own = own[own["hash"] != 0]
    offsets = own["offset"].tolist()
    weights = faded(own, int(case.rows.reference[0]), case.policy.half_life)
    vectors = np.array([case.vectors[offset] for offset in offsets]).reshape(-1, DIMENSIONS)
    events = int(case.rows.events[0])
    whole = is_whole(weights, float(case.rows.weights[0]), known=len(own), events=events)
    assert whole == (events <= case.policy.references)
    total = case.rows.sums[0]
    found = split_margin(total, vectors, weights, case.nearer, case.farther, whole=whole)
    unit = unit_rows(total[None])
    far, near = (distances_to(unit, centre)[0] for centre in (case.farther, case.nearer))
    assert found.margin == far - near
    assert found.total == pytest.approx(found.margin, abs=1e-12)
    if not events:
        return
    wanted = naive(case, offsets, weights.tolist())
    assert found.margin == pytest.approx(wanted["margin"], abs=1e-9)
    assert found.events.tolist() == pytest.approx(wanted["events"], abs=1e-9)
    assert found.centres == pytest.approx(wanted["centres"], abs=1e-9)
    # Numbers of the profile are rounded by a share of 2^-24 or 2^-11, after each event; what came
    # of one that has faded since has faded with it. A sum may be shorter than what went into it.
    length = float(np.linalg.norm(total))
    lost = 2.0**-11 if case.policy.precision == "float16" else 2.0**-22
    weight = float(case.rows.weights[0])
    if whole:
        assert found.others == 0
        assert abs(found.rounding) <= 6 * events * lost * weight / length
    else:
        assert abs(found.rounding) <= 1e-12
    published = round(found.margin, 6)
    told = split_margin(
        total, vectors, weights, case.nearer, case.farther, whole=whole, margin=published
    )
    assert told.total == pytest.approx(published, abs=1e-12)
    assert told.rounding - found.rounding == pytest.approx(published - found.margin, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_many_margins_are_split_as_each_by_itself(seed: int, counts: list[int]) -> None:
    """To the bit, a profile of nothing and a centre's namesake among them."""
    rng, k = np.random.default_rng(seed), len(counts)
    totals = rng.normal(size=(k, 384)).astype(np.float32)
    totals[rng.random(k) < 0.2] = 0
    nearer, farther = rng.normal(scale=0.3, size=(2, k, 384))
    alike = rng.random(k) < 0.2
    nearer[alike] = farther[alike] = unit_rows(totals[alike])
    owners = np.repeat(np.arange(k), counts)
    vectors = rng.normal(size=(len(owners), 384)).astype(np.float32)
    weights = rng.random(len(owners))
    sides = {
        name: (centres, distances_to(unit_rows(totals), centres))
        for name, centres in (("nearer", nearer), ("farther", farther))
    }
    events, centres = split_margins(totals, vectors, weights, owners, **sides)
    for row, centre in enumerate(centres.tolist()):
        own = owners == row
        alone = split_margin(
            totals[row], vectors[own], weights[own], nearer[row], farther[row], whole=False
        )
        assert (events[own].tolist(), centre) == (alone.events.tolist(), alone.centres)


def test_what_is_kept_of_an_evicted_event_is_in_the_others():
    """Of two alike, the one that is not known has the same share as the one that is."""
    vector, centres = np.array([0.6, 0.8]), np.array([[1.0, 0.0], [0.0, 1.0]])
    found = split_margin(2 * vector, [vector], [1.0], *centres, whole=False)
    assert found.events[0] == pytest.approx(found.others)
    assert found.centres == 0
    assert found.margin < 0


@pytest.mark.parametrize("total", [[0.0, 0.0], [1.0, 0.0]])
def test_where_nothing_can_be_split_the_centres_have_it_all(total):
    same = np.array([1.0, 0.0])
    found = split_margin(total, [[1.0, 0.0]], [1.0], same, same, whole=True)
    assert (found.total, found.margin) == (0, 0)
    far = split_margin([0.0, 0.0], [], [], [0.5, 0.0], [0.0, 2.0], whole=True)
    assert (far.centres, far.total) == (1.5, 1.5)


def test_without_an_event_its_weight_is_gone():
    found = without([3.0, 1.0], [[1.0, 0.0], [0.0, 1.0]], [2.0, 0.5])
    assert found.tolist() == [[1.0, 1.0], [3.0, 0.5]]


def test_as_many_weights_as_vectors_are_asked_for():
    with pytest.raises(VectorsError, match="for 1 vectors: give one each"):
        split_margin([1.0, 0.0], [[1.0, 0.0]], [1.0, 2.0], [1.0, 0.0], [0.0, 1.0], whole=False)
