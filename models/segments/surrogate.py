"""A surrogate that a person can read: a shallow decision tree that tells segments apart by words.

Workers decide by distances in a space that nobody can look into. A tree that sees words alone, and
never a vector, is asked to say in which segment each user is. Where it mostly says what was
decided, its rules are a fair account of the segments; how often it does, on users whom it has not
seen, is its fidelity (Craven and Shavlik, "Extracting Tree-Structured Representations of Trained
Networks", NIPS 1995). It is an account, not the cause: nobody is in a segment for these words.

What the tree asks for is the share of a user's words that are among those typical of one segment.
Single words make no shallow tree, since each user says few of them: it becomes a long list of
exceptions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from models.distances import Ints
from models.profiles.sample import ranks
from models.segments.naming import Vocabulary, word_weights

TYPICAL = 20
"""Words of a segment that count as typical of it. 10 to 40 gave much the same; 5 gave less."""

LEAST_USERS = 40
"""Users with words who are wanted: of fewer, what is held out would tell nothing."""

MOST_USERS = 5_000
"""Users who are looked at, those with the lowest hashes: more do not make the tree another one."""

_LEAST_LEAF = 3
_LEAVES_A_SEGMENT = 2
_MOST_LEAVES = 200
# Of ten users of a segment these are held out, in the order of their hashes.
_HELD_OUT = (1, 4, 7)
_Z = 1.959964  # of 95 %


@dataclass(frozen=True, slots=True)
class Condition:
    """What a rule asks of a user: how many of the words are among the typical ones of a segment.

    Attributes
    ----------
    segment
        Row of the segment whose words they are.
    least
        Percent of the user's words at least; 0 for any.
    below
        Percent that they stay below; None for any.
    """

    segment: int
    least: int = 0
    below: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A leaf of the tree.

    Attributes
    ----------
    segment
        Row of the segment that it says.
    conditions
        What is asked on the way to it, in that order, each segment's words once.
    users, right
        Of the users held out: to whom it applies, and of these who are in the segment.
    """

    segment: int
    conditions: tuple[Condition, ...]
    users: int
    right: int


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A tree and what it is worth.

    Attributes
    ----------
    words
        Typical words by row of segment, the most typical first, each in the form said most.
    rules
        The leaves, from left to right.
    depth
        Questions asked at most.
    learned, held_out
        Users whom it was learned from, and who were kept back to try it on.
    right
        Of those, who are where it says.
    largest
        Of those, who are in the segment that most of the others are in: what is right by saying
        always the same.
    members
        Of those, how many are in each segment, by row.
    """

    words: tuple[tuple[str, ...], ...]
    rules: tuple[Rule, ...]
    depth: int
    learned: int
    held_out: int
    right: int
    largest: int
    members: tuple[int, ...]

    @property
    def fidelity(self) -> float:
        """Share of the users held out who are where the tree says."""
        return self.right / self.held_out

    @property
    def baseline(self) -> float:
        """What `fidelity` would be of always saying the segment with the most users."""
        return self.largest / self.held_out

    @property
    def interval(self) -> tuple[float, float]:
        """The fidelity's 95 % interval, Wilson's."""
        n, share = self.held_out, self.fidelity
        middle = share + _Z * _Z / (2 * n)
        half = _Z * math.sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
        scale = 1 + _Z * _Z / n
        return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def fit_surrogate(
    users: Sequence[str],
    segments: Ints,
    terms: Sequence[Mapping[str, float]],
    count: int,
    *,
    people: Collection[str] = (),
) -> Surrogate | None:
    """Learn a tree from some users and try it on the others.

    The same users give the same tree, in whatever order. Words, their forms and what is typical
    are taken from the users who are learned from alone.

    Parameters
    ----------
    users
        Ids of n users.
    segments
        int64[n]. Row of each one's segment, 0 to `count` - 1.
    terms
        Their words with weights; users without any are passed over.
    count
        Number of segments.
    people
        Ids of users whose names are no words.

    Returns
    -------
    Surrogate or None
        None of fewer than `LEAST_USERS` users, or where they are all in one segment.
    """
    places = [place for place, own in enumerate(terms) if any(v > 0 for v in own.values())]
    order = np.array(places, np.int64)
    order = order[np.argsort(ranks([users[place] for place in places]), kind="stable")]
    order = order[:MOST_USERS]
    held = _held_out(segments[order])
    learned, tried = order[~held], order[held]
    if len(order) < LEAST_USERS or len(np.unique(segments[learned])) < 2:
        return None
    vocabulary = Vocabulary([terms[place] for place in learned], people, nouns=False)
    typical = _typical(vocabulary, segments[learned], [terms[place] for place in learned], count)
    of_learned, of_tried = (
        _percents([terms[place] for place in chosen], vocabulary, typical)
        for chosen in (learned, tried)
    )
    tree = DecisionTreeClassifier(
        max_leaf_nodes=min(_LEAVES_A_SEGMENT * count, _MOST_LEAVES),
        min_samples_leaf=_LEAST_LEAF,
        random_state=0,
    ).fit(of_learned, segments[learned])
    found, depth = _rules(tree, of_tried, segments[tried])
    most = int(np.bincount(segments[learned]).argmax())
    return Surrogate(
        words=tuple(tuple(vocabulary.shown(word) for word in words) for words in typical),
        rules=found,
        depth=depth,
        learned=len(learned),
        held_out=len(tried),
        right=sum(rule.right for rule in found),
        largest=int((segments[tried] == most).sum()),
        members=tuple(np.bincount(segments[tried], minlength=count).tolist()),
    )


def _held_out(segments: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell who is held out: of each segment the same share, so that small ones are tried too."""
    held = np.zeros(len(segments), np.bool_)
    for segment in np.unique(segments):
        own = np.flatnonzero(segments == segment)
        held[own[np.isin(np.arange(len(own)) % 10, _HELD_OUT)]] = True
    return held


def _typical(
    vocabulary: Vocabulary, segments: Ints, terms: Sequence[Mapping[str, float]], count: int
) -> list[list[str]]:
    """Give the first forms of the words that are typical of each segment."""
    weights = word_weights(segments, [vocabulary.folded(own) for own in terms], count)
    ranked = [sorted(each.tell.items(), key=lambda item: (-item[1], item[0])) for each in weights]
    return [[word for word, _ in words[:TYPICAL]] for words in ranked]


def _percents(
    terms: Sequence[Mapping[str, float]], vocabulary: Vocabulary, typical: Sequence[Sequence[str]]
) -> Ints:
    """Give which part of each user's words is typical of each segment, in percent, int64 (n, K).

    Whole percents, so that a rule that is shown with two digits is the rule that was tried.
    """
    groups: dict[str, list[int]] = {}
    for row, words in enumerate(typical):
        for word in words:
            groups.setdefault(word, []).append(row)
    percents = np.zeros((len(terms), len(typical)), np.int64)
    for place, own in enumerate(terms):
        total = math.fsum(weight for weight in own.values() if weight > 0)
        sums = [0.0] * len(typical)
        for word, weight in vocabulary.folded(own).items():
            for row in groups.get(word, ()):
                sums[row] += weight
        percents[place] = [math.floor(100 * each / total + 1e-9) for each in sums]
    return percents


def _rules(
    fitted: DecisionTreeClassifier, percents: Ints, segments: Ints
) -> tuple[tuple[Rule, ...], int]:
    """Read the leaves of a tree, try them on users, and count its questions."""
    tree = fitted.tree_
    said = fitted.classes_[tree.value[:, 0, :].argmax(axis=1)]

    def only(node: int) -> int | None:
        """Give the segment that a node and all below it say, None where they differ."""
        if tree.children_left[node] < 0:
            return int(said[node])
        left, right = only(tree.children_left[node]), only(tree.children_right[node])
        return left if left == right else None

    rules: list[Rule] = []
    deepest = 0
    # A way down: node, its conditions by segment in the order in which they were first asked, the
    # users there, and how many questions it took.
    ways = [(0, dict[int, Condition](), np.arange(len(percents)), 0)]
    while ways:
        node, asked, there, depth = ways.pop()
        if (segment := only(node)) is not None:
            right = int((segments[there] == segment).sum())
            rules.append(Rule(segment, tuple(asked.values()), len(there), right))
            deepest = max(deepest, depth)
            continue
        row = int(tree.feature[node])
        bound = math.floor(float(tree.threshold[node])) + 1
        former = asked.get(row, Condition(row))
        more = percents[there, row] >= bound
        upper, lower = (
            Condition(row, bound, former.below),
            Condition(row, former.least, bound),
        )
        ways.append((tree.children_right[node], asked | {row: upper}, there[more], depth + 1))
        ways.append((tree.children_left[node], asked | {row: lower}, there[~more], depth + 1))
    return tuple(rules), deepest
