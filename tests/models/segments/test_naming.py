from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.segments.naming import label, typical_words


def ranked(*users, count, **options):
    segments = np.array([segment for segment, _ in users], dtype=np.int64)
    return typical_words(segments, [terms for _, terms in users], count, **options)


def test_words_of_one_segment_come_before_words_that_all_use():
    assert ranked(
        (0, {"make": 2.0, "hops": 1.0}),
        (0, {"make": 2.0, "hops": 1.0}),
        (1, {"make": 2.0, "qubit": 1.5}),
        (1, {"make": 2.0, "qubit": 1.5}),
        count=2,
    )[1] == ("qubit", "make")


def test_a_heavy_user_counts_no_more_than_a_light_one():
    words = ranked(
        (0, {"spam": 1_000.0, "offer": 900.0}),
        (0, {"hops": 2.0}),
        (0, {"hops": 1.0}),
        (1, {"qubit": 1.0}),
        count=2,
    )
    assert words[0] == ("hops", "spam", "offer")


def test_equal_scores_are_in_alphabetical_order():
    assert ranked((0, {"b": 1.0, "c": 1.0, "a": 1.0}), count=1) == [("a", "b", "c")]


def test_a_segment_without_terms_has_no_words():
    assert ranked((0, {"a": 1.0}), (2, {}), (2, {"b": 0.0}), count=3) == [("a",), (), ()]


def test_no_segment_is_called_by_a_negation():
    assert ranked((0, {"not": 5.0, "hops": 1.0}), (1, {"不": 1.0}), count=2) == [("hops",), ()]


def test_no_users_give_no_words():
    assert ranked(count=2) == [(), ()]


def test_only_the_first_words_are_kept():
    terms = {f"w{i}": 9.0 - i for i in range(9)}
    assert ranked((0, terms), count=1, words=4) == [("w0", "w1", "w2", "w3")]


def naive_words(users, count):
    """The formula of BERTopic, word by word."""
    scaled = [
        (segment, {term: weight / sum(terms.values()) for term, weight in terms.items()})
        for segment, terms in users
        if sum(terms.values()) > 0
    ]
    vocabulary = sorted({term for _, terms in scaled for term in terms})

    def frequency(term, segment=None):
        return sum(
            terms.get(term, 0.0) for where, terms in scaled if segment is None or where == segment
        )

    average = len(scaled) / count
    return [
        {
            term: frequency(term, segment) * math.log(1 + average / frequency(term))
            for term in vocabulary
            if frequency(term, segment)
        }
        for segment in range(count)
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9).map(float), max_size=4),
        ),
        max_size=10,
    )
)
def test_words_are_ordered_as_by_the_naive_reference(users):
    scores = naive_words(users, 3)
    for words, score in zip(ranked(*users, count=3), scores, strict=True):
        assert set(words) == set(score)
        values = [score[word] for word in words]
        assert all(a >= b - 1e-12 for a, b in pairwise(values))


def test_a_label_is_the_first_three_words():
    assert label(7, ("hops", "brewing", "ale", "malt")) == "hops, brewing, ale"
    assert label(7, ("hops",)) == "hops"


def test_a_segment_without_words_is_called_by_its_id():
    assert label(7, ()) == "segment 7"
