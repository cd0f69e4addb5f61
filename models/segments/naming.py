"""Typical words of each segment, and the short name that people see and that lasts.

Class-based weights, after c-TF-IDF of BERTopic (Grootendorst, arXiv:2203.05794): a word is typical
of a segment where the users say it often and those of the other segments do not. There a word that
all say is still worth something, and the fillers of a language stay. Here its weight is what it
tells of the segment, a part of the Kullback-Leibler divergence from the others: that is nothing.

A name stays as long as none of its words has become another segment's and they still tell much of
what the best ones would.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from models.distances import Ints
from models.text import alike, forms, is_negation, is_personal_word, names_or_describes

WORDS = 10
"""Typical words kept of a segment."""

LABEL_WORDS = 3
"""Words that make the label: enough to tell segments apart, few enough for a chart's legend."""

LEAST_LIFT = 3.0
"""A word tells of a segment that says it so many times as often as the others do on average."""

LEAST_OF_MOST = 0.5
"""A word is another segment's where it is said less than so many times as often as there."""

HELD_OF_MOST = 0.2
"""The same for a word of the name that the segment has: less, so that it does not come and go."""

MOST_SPEAKERS_NEEDED = 3
"""Users of a segment who must have said a word, or a tenth of them where those are fewer: ids of
messages and names of people are said by hardly anybody."""

KEPT_SHARE = 1 / 3
"""A name stays while its words weigh this share of what the best ones do, or more."""

# Added to both shares of a word: what is rare everywhere tells little, however uneven it is.
_RARE = 1e-3

_SEPARATOR = ", "
_GAPS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Names:
    """What the segments of one version are called; one entry a segment.

    Attributes
    ----------
    labels
        Short names, no two the same.
    words
        Typical words, the most typical first, one form of each.
    """

    labels: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]


def name_segments(
    segments: Ints,
    terms: Sequence[Mapping[str, float]],
    ids: Sequence[int],
    *,
    users: Collection[str] = (),
    previous: Mapping[int, str] | None = None,
    nouns: bool = False,
) -> Names:
    """Name segments by what their users say, and as before where that still holds.

    Parameters
    ----------
    segments
        int64[n]. Row of each user's segment, 0 to `len(ids)` - 1.
    terms
        Terms with weights of each of the n users.
    ids
        The segments' ids, by row.
    users
        Ids of users: no segment is called by a person.
    previous
        Labels of the version before, by id.
    nouns
        Whether words are left out that are neither nouns nor adjectives, where that can be told.

    Returns
    -------
    Names
        A segment of which no word tells is called by its id.
    """
    vocabulary = Vocabulary(terms, users, nouns=nouns)
    weights = word_weights(segments, [vocabulary.folded(own) for own in terms], len(ids))
    ranked = [
        sorted(
            ((word, weight) for word, weight in each.tell.items() if vocabulary.shown(word)),
            key=lambda item: (-item[1], item[0]),
        )
        for each in weights
    ]
    labels = _labels(ids, weights, ranked, vocabulary, previous or {})
    shown = tuple(tuple(vocabulary.shown(word) for word, _ in scores[:WORDS]) for scores in ranked)
    return Names(tuple(labels), shown)


@dataclass(frozen=True)
class WordWeights:
    """What words weigh in a segment.

    Attributes
    ----------
    tell
        Those that tell the segment from the others, all above 0.
    hold
        All that are not another's: they do not make a name, but what they weigh may keep one.
    """

    tell: dict[str, float]
    hold: dict[str, float]


def word_weights(
    segments: Ints, terms: Sequence[Mapping[str, float]], count: int
) -> list[WordWeights]:
    """Weigh the words that tell each segment from the others.

    A word's share in a segment is the mean over its users of the share that it has of a user's
    words: so the words are the segment's and not those of its busiest user. It is compared with the
    mean of its shares in the other segments, p and q: its weight is p log((p + e) / (q + e)), for a
    small e. A word tells where p is `LEAST_LIFT` q or more, no other segment says it much more
    (`LEAST_OF_MOST`), and enough users say it (`MOST_SPEAKERS_NEEDED`). It holds where none says it
    very much more (`HELD_OF_MOST`).

    Parameters
    ----------
    segments
        int64[n]. Row of each user's segment, 0 to `count` - 1.
    terms
        Terms of each of the n users; weights of 0 or less do not count.
    count
        Number of segments.

    Returns
    -------
    list of WordWeights
        One a segment.
    """
    sums: list[defaultdict[str, float]] = [defaultdict(float) for _ in range(count)]
    speakers: list[defaultdict[str, int]] = [defaultdict(int) for _ in range(count)]
    users = [0] * count
    for row, own in zip(segments.tolist(), terms, strict=True):
        total = math.fsum(weight for weight in own.values() if weight > 0)
        if not total:
            continue
        users[row] += 1
        for term, weight in own.items():
            if weight > 0:
                sums[row][term] += weight / total
                speakers[row][term] += 1
    shares = [
        {term: weight / users[row] for term, weight in own.items()} for row, own in enumerate(sums)
    ]
    everywhere: defaultdict[str, float] = defaultdict(float)
    most: defaultdict[str, float] = defaultdict(float)
    for own in shares:
        for term, share in own.items():
            everywhere[term] += share
            most[term] = max(most[term], share)
    found = []
    for row, own in enumerate(shares):
        needed = min(MOST_SPEAKERS_NEEDED, math.ceil(users[row] / 10))
        weights = WordWeights({}, {})
        for term, share in own.items():
            others = max(0.0, everywhere[term] - share) / max(1, count - 1)
            if share < HELD_OF_MOST * most[term]:
                continue
            weight = max(0.0, share * math.log((share + _RARE) / (others + _RARE)))
            weights.hold[term] = weight
            told = share >= LEAST_LIFT * others and share >= LEAST_OF_MOST * most[term]
            if told and speakers[row][term] >= needed:
                weights.tell[term] = weight
        found.append(weights)
    return found


class Vocabulary:
    """The words of the users that may name a segment, each by one of its forms."""

    def __init__(
        self, terms: Sequence[Mapping[str, float]], users: Collection[str], *, nouns: bool
    ) -> None:
        said: dict[str, float] = defaultdict(float)
        people = _people(users)
        for own in terms:
            for word, weight in own.items():
                if weight > 0:
                    said[word] += weight
        # Tokens keep "not", since it changes what a text says; but no group is about "not".
        for word in [word for word in said if word in people or is_negation(word)]:
            del said[word]
        self._said, self._nouns = said, nouns
        self._forms = forms(said)
        self._of_first: dict[str, list[str]] = defaultdict(list)
        for word, first in self._forms.items():
            self._of_first[first].append(word)
        self._shown: dict[str, str] = {}

    def folded(self, terms: Mapping[str, float]) -> dict[str, float]:
        """Add up the weights of a user's words by their first form."""
        found: dict[str, float] = {}
        for word, weight in terms.items():
            if weight > 0 and (first := self._forms.get(word)) is not None:
                found[first] = found.get(first, 0.0) + weight
        return found

    def shown(self, first: str) -> str:
        """Give the form that is said most of those that may name a segment; none, an empty one.

        Of a word with several forms one will do: "brewing" for what most call "brewed". They are
        looked up here, of the few words that tell of a segment, since that takes time.
        """
        if (known := self._shown.get(first)) is None:
            may = [form for form in self._of_first[first] if self._may_name(form)]
            known = min(may, key=lambda form: (-self._said[form], len(form), form), default="")
            self._shown[first] = known
        return known

    def _may_name(self, word: str) -> bool:
        return not is_personal_word(word) and (not self._nouns or names_or_describes(word))

    def may_call(self, label: str) -> bool:
        """Tell whether a segment may go on under a label, whatever it tells."""
        return all(map(self._may_name, label.split(_SEPARATOR)))

    def first_forms(self, label: str) -> list[str]:
        """Give the words of a label by their first forms."""
        return [self._forms.get(word, word) for word in label.split(_SEPARATOR)]


def _people(users: Collection[str]) -> frozenset[str]:
    """Give what people are called: their ids, and where these are names of several words, those."""
    folded = [user.casefold() for user in users]
    parts = {part for user in folded if " " in user for part in _GAPS.split(user)}
    return frozenset((*folded, *parts))


def _labels(
    ids: Sequence[int],
    weights: Sequence[WordWeights],
    ranked: Sequence[Sequence[tuple[str, float]]],
    vocabulary: Vocabulary,
    previous: Mapping[int, str],
) -> list[str]:
    """Give the label of each segment: the former ones first, the elder of two that are alike."""
    labels: dict[int, str] = {}
    taken: set[frozenset[str]] = set()
    rows = sorted(range(len(ids)), key=lambda row: ids[row])
    for row in rows:
        if (former := previous.get(ids[row])) is None or not vocabulary.may_call(former):
            continue
        words = vocabulary.first_forms(former)
        if frozenset(words) not in taken and _still_tells(words, weights[row].hold, ranked[row]):
            labels[row] = former
            taken.add(frozenset(words))
    for row in rows:
        if row not in labels:
            words = [word for word, _ in ranked[row]]
            # A word of one character is mostly one of grammar: 太, 都, 喔.
            best = _free([word for word in words if len(word) > 1] or words, taken)
            taken.add(frozenset(best))
            shown = [vocabulary.shown(word) for word in best]
            labels[row] = _SEPARATOR.join(shown) or f"segment {ids[row]}"
    return [labels[row] for row in range(len(ids))]


def _still_tells(
    words: Sequence[str], weights: Mapping[str, float], ranked: Sequence[tuple[str, float]]
) -> bool:
    """Tell whether words all hold, and weigh enough of what as many of the best ones do."""
    if not all(word in weights for word in words) or _any_alike(words):
        return False
    best = math.fsum(weight for _, weight in ranked[: len(words)])
    own = math.fsum(weights[word] for word in words)
    return own > 0 and own >= KEPT_SHARE * best


def _free(words: Sequence[str], taken: Collection[frozenset[str]]) -> Sequence[str]:
    """Give the first words of a segment that no other is called by; none where all are taken.

    With each of the other names they share one word at most.
    """
    chosen: list[str] = []
    for word in words:
        several = chosen and any(word in name and not name.isdisjoint(chosen) for name in taken)
        if several or any(alike(word, other) for other in chosen):
            continue
        chosen.append(word)
        if len(chosen) == LABEL_WORDS:
            break
    return [] if frozenset(chosen) in taken else chosen


def _any_alike(words: Sequence[str]) -> bool:
    return any(alike(one, other) for one, other in combinations(words, 2))
