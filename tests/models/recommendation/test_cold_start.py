"""Which segments a user is believed to be of, from as much or as little as is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.recommendation.cold_start import (
    PRIOR_USERS,
    AttributeCounts,
    Used,
    believe,
    mixed_popularity,
)
from models.recommendation.policy import RecommendationPolicy
from schemas.segment_model import NO_SEGMENT

POLICY = RecommendationPolicy(evidence_events=4)
SEGMENTS = [0, 1, 2]
attributes = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"]))
users = st.lists(st.tuples(attributes, st.sampled_from([NO_SEGMENT, *SEGMENTS])), max_size=30)


def counted(known: list[tuple[dict[str, str], int]], most: int = 100) -> AttributeCounts:
    counts = AttributeCounts(most)
    for own, segment in known:
        counts.move(own, NO_SEGMENT, segment)
    return counts


@given(users, attributes)
def test_attributes_are_believed_as_naive_bayes_says(known, asked):
    found = counted(known).by_attributes(asked, SEGMENTS)
    total = Counter(segment for _, segment in known if segment != NO_SEGMENT)
    base = [total[s] / total.total() if total else 1 / 3 for s in SEGMENTS]
    likely = list(base)
    any_known = False
    for each in asked.items():
        own = Counter(s for had, s in known if each in had.items() and s != NO_SEGMENT)
        if own:
            any_known = True
            for s in SEGMENTS:
                share = (own[s] + PRIOR_USERS * base[s]) / (own.total() + PRIOR_USERS)
                likely[s] *= share / base[s] if base[s] else 0.0
    if not any_known:
        assert found is None
    else:
        assert found == pytest.approx([value / sum(likely) for value in likely])


@given(users)
def test_users_who_move_are_counted_where_they_are(known):
    moved = counted(known)
    for own, segment in known:
        moved.move(own, segment, 2)
    still = counted([(own, 2) for own, _ in known])
    assert moved.by_segment(SEGMENTS).tolist() == still.by_segment(SEGMENTS).tolist()


def test_attributes_are_bounded_and_the_one_met_least_recently_goes():
    counts = counted([({"a": str(number)}, 0) for number in range(5)], most=3)
    assert len(counts) == 3
    assert counts.by_attributes({"a": "1"}, SEGMENTS) is None
    assert counts.by_attributes({"a": "2"}, SEGMENTS) is not None


# Shares of which the sum is above 1 by rounding.
@example(
    [({}, 0), ({}, 0), ({}, 0), ({}, 1), *2 * [({"a": "x"}, 0)]], {"a": "x"}, [], NO_SEGMENT, 0
)
@given(
    users,
    attributes,
    st.lists(st.sampled_from([NO_SEGMENT, *SEGMENTS]), max_size=4),
    st.sampled_from([NO_SEGMENT, *SEGMENTS]),
    st.integers(0, 30),
)
def test_probabilities_are_one_in_all_and_the_answer_says_what_it_rests_on(
    known, asked, related, segment, events
):
    belief = believe(
        SEGMENTS,
        POLICY,
        segment=segment,
        events=events,
        counts=counted(known),
        attributes=asked,
        related=related,
    )
    total = belief.everybody + sum(belief.segments.values())
    assert total == pytest.approx(1)
    assert min([belief.everybody, *belief.segments.values()]) >= 0
    if segment == NO_SEGMENT or not events:
        assert belief.used in {Used.GLOBAL, Used.ATTRIBUTES, Used.RELATED}
    else:
        assert belief.used in {Used.FIRST_EVENT, Used.MIXTURE}


def test_nothing_known_is_as_everybody():
    belief = believe(SEGMENTS, POLICY)
    assert (belief.segments, belief.everybody, belief.used) == ({}, 1.0, Used.GLOBAL)


def test_the_first_event_alone_says_the_segment():
    belief = believe(SEGMENTS, POLICY, segment=1, events=1)
    assert (belief.segments, belief.everybody, belief.used) == ({1: 1.0}, 0.0, Used.FIRST_EVENT)


def test_related_users_are_believed_where_no_attribute_is_known():
    belief = believe(SEGMENTS, POLICY, related=[2, 2, NO_SEGMENT, 0])
    assert belief.used is Used.RELATED
    assert max(belief.segments, key=belief.segments.__getitem__) == 2
    counts = counted([({"a": "x"}, 0)] * 50)
    attributed = believe(SEGMENTS, POLICY, counts=counts, attributes={"a": "x"}, related=[2])
    assert attributed.used is Used.ATTRIBUTES
    assert attributed.segments[0] > 0.9


def test_evidence_moves_a_user_from_what_was_believed_before_to_the_own_segment():
    counts = counted([({"a": "x"}, 0)] * 50 + [({"a": "y"}, 1)] * 50)
    own = [
        believe(
            SEGMENTS, POLICY, segment=1, events=events, counts=counts, attributes={"a": "x"}
        ).segments[1]
        for events in (1, 2, 4, 16, 400)
    ]
    assert own == sorted(own)
    assert own[2] == pytest.approx(0.5, abs=0.1)
    assert own[-1] > 0.98


def test_popularity_is_mixed_by_what_is_believed():
    belief = believe(SEGMENTS, POLICY, segment=1, events=4)
    overall, own = np.array([0.8, 0.2]), np.array([0.2, 0.8])
    assert mixed_popularity(belief, {1: own}, overall).tolist() == pytest.approx([0.5, 0.5])
    # Of a segment without an event nothing is known but what all do.
    assert mixed_popularity(belief, {}, overall).tolist() == pytest.approx([0.8, 0.2])
