"""Names of segments: of words that tell them apart, each their own, and lasting."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.segments import naming
from models.segments.naming import LEAST_LIFT, name_segments, word_weights

Said = tuple[int, Mapping[str, float]]


def named(
    *users: Said,
    count: int,
    previous: Mapping[int, str] | None = None,
    names=(),
    nouns: bool = False,
):
    rows = np.array([segment for segment, _ in users], dtype=np.int64)
    terms = [terms for _, terms in users]
    return name_segments(rows, terms, range(count), users=names, previous=previous, nouns=nouns)


def scored(*users: Said, count: int) -> list[dict[str, float]]:
    rows = np.array([segment for segment, _ in users], dtype=np.int64)
    return [each.tell for each in word_weights(rows, [terms for _, terms in users], count)]


BREWERS = {"beer": 3.0, "hops": 2.0, "answer": 2.0}
PHYSICISTS = {"qubit": 3.0, "gate": 2.0, "answer": 2.0}


def test_a_segment_is_named_by_what_its_users_say_and_the_others_do_not() -> None:
    names = named((0, BREWERS), (0, BREWERS), (1, PHYSICISTS), count=2)
    assert names.labels == ("beer, hops", "qubit, gate")
    assert names.words == (("beer", "hops"), ("qubit", "gate"))


def test_what_is_said_everywhere_names_nobody_without_a_list_of_such_words() -> None:
    users = [(row, {f"topic{row}": 1.0, "yeah": 5.0, "answer": 3.0}) for row in range(6)]
    assert named(*users, count=6).labels == tuple(f"topic{row}" for row in range(6))


def test_a_heavy_user_counts_no_more_than_a_light_one() -> None:
    names = named(
        (0, {"spam": 1_000.0, "offer": 900.0}),
        (0, {"hops": 2.0}),
        (0, {"hops": 1.0}),
        (1, {"qubit": 1.0}),
        count=2,
    )
    assert names.words[0] == ("hops", "spam", "offer")


def test_words_of_equal_weight_are_in_alphabetical_order() -> None:
    assert named((0, {"hb": 1.0, "hc": 1.0, "ha": 1.0}), count=1).words == (("ha", "hb", "hc"),)


def test_a_segment_of_which_no_word_tells_is_called_by_its_id() -> None:
    names = named((0, {"aa": 1.0}), (2, {}), (2, {"bb": 0.0}), count=3)
    assert names.labels == ("aa", "segment 1", "segment 2")
    assert named(count=1).labels == ("segment 0",)


def test_no_segment_is_called_by_a_negation() -> None:
    names = named((0, {"not": 5.0, "hops": 1.0}), (1, {"不": 1.0, "沒有": 1.0}), count=2)
    assert names.words == (("hops",), ())


def test_with_nouns_alone_no_segment_is_called_by_a_chinese_verb() -> None:
    users = [(0, {"喜歡": 5.0, "咖啡": 2.0, "brewing": 1.0}), (1, {"跑": 3.0, "跑鞋": 1.0})]
    assert named(*users, count=2).words == (("喜歡", "咖啡", "brewing"), ("跑", "跑鞋"))
    names = named(*users, count=2, previous={0: "喜歡, 咖啡", 1: "跑鞋"}, nouns=True)
    assert names.words == (("咖啡", "brewing"), ("跑鞋",))
    # A former name with a verb in it goes, one of nouns stays.
    assert names.labels == ("咖啡, brewing", "跑鞋")


def test_with_nouns_alone_an_english_word_is_shown_by_a_form_that_is_none_of_a_verb() -> None:
    stems = ("brew", "plant", "roast", "print", "train", "learn")
    users = [
        (0, {"brewed": 4.0, "brewing": 2.0, "enjoy": 3.0, "quickly": 1.0}),
        # What shows that -ed and -ing are endings.
        (1, {stem + ending: 1.0 for stem in stems[1:] for ending in ("ed", "ing")}),
    ]
    assert named(*users, count=2).words[0] == ("brewed", "enjoy", "quickly")
    names = named(*users, count=2, previous={0: "brewed, enjoy"}, nouns=True)
    assert (names.words[0], names.labels[0]) == (("brewing",), "brewing")
    # A name that is none of a verb stays.
    assert named(*users, count=2, previous={0: "brewing"}, nouns=True).labels[0] == "brewing"


def test_only_the_first_words_are_kept() -> None:
    terms = {f"w{letter}w": 99.0 - ord(letter) / 2 for letter in "abcdefghijklm"}
    assert named((0, terms), count=1).words == (tuple(f"w{c}w" for c in "abcdefghij"),)


def test_two_forms_of_a_word_are_one_and_the_commoner_is_shown() -> None:
    users = [
        (0, {"beer": 1.0, "beers": 3.0, "hops": 3.5}),
        (1, {"qubit": 2.0, "qubits": 1.0}),
    ]
    assert named(*users, count=2).labels == ("beers, hops", "qubit")


@pytest.mark.parametrize(
    ("users", "names"),
    [
        (["peter"], ("hops", "qubit")),
        (["PETER"], ("hops", "qubit")),
        (["Peter Schneider"], ("hops", "qubit")),
        (["peter-7"], ("peter, hops", "qubit")),
    ],
)
def test_no_segment_is_called_by_a_person(users, names) -> None:
    said = [(0, {"peter": 3.0, "hops": 2.0}), (1, {"qubit": 1.0})]
    assert named(*said, count=2, names=users).labels == names


def test_what_hardly_anybody_says_names_nobody() -> None:
    crowd = [(0, {"hops": 1.0, "malt": 0.5}) for _ in range(30)]
    crowd[0] = (0, {"m8f2k1": 1e6})
    crowd[1] = (0, {"m8f2k1": 1e6})
    assert named(*crowd, (1, {"qubit": 1.0}), count=2).words[0] == ("hops", "malt")


def test_a_name_stays_while_its_words_still_tell_the_segment() -> None:
    later = [
        (0, {"ale": 3.0, "malt": 2.9, "beer": 2.5, "hops": 2.4}),
        (1, {"qubit": 3.0, "circuit": 2.0, "gate": 1.0}),
    ]
    before = {0: "beer, hops", 1: "gate, qubit"}
    assert named(*later, count=2, previous=before).labels == ("beer, hops", "gate, qubit")
    assert named(*later, count=2).labels == ("ale, malt, beer", "qubit, circuit, gate")


def test_a_name_goes_when_others_tell_more_than_three_times_as_much() -> None:
    later = [(0, {"coffee": 5.0, "espresso": 4.0, "beer": 1.0}), (1, {"qubit": 1.0})]
    before = {0: "beer, hops", 1: "qubit"}
    assert named(*later, count=2, previous=before).labels == ("coffee, espresso, beer", "qubit")


def test_a_name_goes_when_its_words_are_everybodys() -> None:
    later = [(0, {"beer": 1.0, "ale": 1.0}), (1, {"beer": 1.0, "wine": 1.0})]
    names = named(*later, count=2, previous={0: "beer", 1: "wine"})
    assert names.labels == ("ale", "wine")


def test_a_form_of_its_word_keeps_a_name() -> None:
    later = [(0, {"beers": 3.0, "beer": 1.0}), (1, {"qubit": 1.0})]
    assert named(*later, count=2, previous={0: "beer"}).labels[0] == "beer"


def test_living_segments_have_names_that_differ_by_more_than_the_order() -> None:
    said = {"beer": 4.0, "hops": 3.0, "ale": 2.0, "malt": 1.0}
    users = [(0, said), (1, said), *((row, {"qubit": 1.0}) for row in range(2, 8))]
    labels = named(*users, count=8).labels
    assert labels[:2] == ("beer, hops, ale", "beer, malt")
    labels = named(*users, count=8, previous={0: "hops, ale, beer", 1: "beer, hops, ale"}).labels
    assert labels[:2] == ("hops, ale, beer", "beer, malt")
    assert len(set(labels)) == 8


WORDS = st.dictionaries(
    st.sampled_from(["ax", "bx", "cx", "dx", "ex", "fx"]), st.integers(1, 9).map(float), max_size=4
)
USERS = st.lists(st.tuples(st.integers(0, 2), WORDS), max_size=12)


def naive_scores(users: list[Said], count: int) -> list[dict[str, float]]:
    """The formula of the docstring, word by word."""
    scaled = [
        (segment, {term: weight / sum(terms.values()) for term, weight in terms.items()})
        for segment, terms in users
        if terms
    ]
    vocabulary = sorted({term for _, terms in scaled for term in terms})

    def share(term: str, segment: int) -> float:
        own = [terms.get(term, 0.0) for where, terms in scaled if where == segment]
        return sum(own) / len(own) if own else 0.0

    found = []
    for segment in range(count):
        own = {}
        for term in vocabulary:
            p = share(term, segment)
            q = sum(share(term, other) for other in range(count) if other != segment)
            q /= max(1, count - 1)
            speakers = sum(term in terms for where, terms in scaled if where == segment)
            users_here = sum(where == segment for where, _ in scaled)
            most = max(share(term, other) for other in range(count))
            told = p >= LEAST_LIFT * q and p >= most / 2
            if told and speakers and speakers >= min(3, users_here / 10):
                own[term] = p * math.log((p + 1e-3) / (q + 1e-3))
        found.append(own)
    return found


@given(USERS)
def test_words_weigh_what_the_naive_reference_says(users: list[Said]) -> None:
    for own, naive in zip(scored(*users, count=3), naive_scores(users, 3), strict=True):
        near = {term: weight for term, weight in naive.items() if weight > 1e-9}
        # On the edge of the least lift the last bit decides.
        assert all(own.get(term, weight) == pytest.approx(weight) for term, weight in near.items())
        assert set(own) <= set(naive) or set(naive) <= set(own)


@given(USERS, st.dictionaries(st.integers(0, 2), st.sampled_from(["ax", "ax, bx", "bx, ax", "c"])))
def test_names_differ_and_a_second_look_at_the_same_users_renames_nobody(users, previous) -> None:
    names = named(*users, count=3, previous=previous)
    assert len({frozenset(label.split(", ")) for label in names.labels}) == 3
    again = named(*users, count=3, previous=dict(enumerate(names.labels)))
    assert again == names


def test_a_third_of_what_the_best_words_weigh_keeps_a_name() -> None:
    weights = {"ax": 1.0, "bx": 0.34, "cx": 0.33}
    ranked = list(weights.items())
    assert naming._still_tells(["bx"], weights, ranked)
    assert not naming._still_tells(["cx"], weights, ranked)
    assert not naming._still_tells(["ax", "gone"], weights, ranked)


def test_a_name_goes_when_one_of_its_words_is_another_segments_now() -> None:
    users = [
        (0, {"ai": 1.0, "qubit": 9.0}),
        (1, {"ai": 3.0}),
        *((r, {"x": 1.0}) for r in range(2, 9)),
    ]
    assert named(*users, count=9, previous={0: "ai, qubit"}).labels[:2] == ("qubit", "ai")


def test_a_name_whose_words_are_forms_of_one_is_made_anew() -> None:
    users = [(0, {"beer": 2.0, "beers": 1.5, "hops": 1.0}), (1, {"qubit": 1.0})]
    assert named(*users, count=2, previous={0: "beer, beers, hops"}).labels[0] == "beer, hops"


def test_a_name_is_of_words_longer_than_a_character_where_there_are_some() -> None:
    users = [(0, {"太": 3.0, "啤酒": 2.0}), (1, {"茶": 1.0})]
    assert named(*users, count=2).labels == ("啤酒", "茶")


def test_a_name_has_no_two_words_that_begin_alike() -> None:
    users = [(0, {"computing": 3.0, "computers": 2.5, "qubit": 2.0}), (1, {"math": 1.0})]
    assert named(*users, count=2).labels[0] == "computing, qubit"
