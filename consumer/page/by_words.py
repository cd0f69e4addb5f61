"""Which words tell the segments apart: the surrogate tree, ready to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consumer.page.gathered import Users
from consumer.page.places import Places
from consumer.report.wording import plural
from models.segments.surrogate import LEAST_USERS, Condition, Rule, Surrogate, fit_surrogate

_RULES = 4
"""Rules of a segment that are shown, those that apply to most users."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a rule asks: how many of a user's words are typical of a segment.

    `word` is the most typical one, `much` how many, in words.
    """

    segment: int
    word: str
    much: str


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A way to a segment; users are those held out to whom it applies, right those of them in it.

    What a user must say much of stands first.
    """

    asked: Sequence[Asked]
    users: int
    right: int


@dataclass(frozen=True, slots=True)
class ByWords:
    """What the tree says of a segment.

    Attributes
    ----------
    segment
        Its id.
    words
        Typical ones, the most typical first.
    rules
        The ways to it, those that apply to most users first.
    more
        How many further rules there are.
    members, told, right
        Of the users held out: who is in it, of whom the tree says so, and who is both.
    """

    segment: int
    words: Sequence[str]
    rules: Sequence[ShownRule]
    more: int
    members: int
    told: int
    right: int


@dataclass(frozen=True, slots=True)
class WordsFound:
    """The tree, or why there is none.

    Attributes
    ----------
    tree
        None where there is none.
    segments
        In the order that was asked for.
    without
        The sentence that stands in its place; empty where there is one.
    """

    tree: Surrogate | None
    segments: Sequence[ByWords]
    without: str = ""


def by_words(users: Users, where: Places, order: Sequence[int]) -> WordsFound:
    """Have a tree tell segments apart by words.

    Parameters
    ----------
    users
        Everybody.
    where
        Their segments.
    order
        Ids of segments, as they are to be shown.
    """
    inside = np.flatnonzero(where.rows >= 0).tolist()
    spoken = [place for place in inside if users.terms[place]]
    tree = fit_surrogate(
        [users.ids[place] for place in spoken],
        where.rows[spoken],
        [users.terms[place] for place in spoken],
        len(where.ids),
        people=users.ids,
    )
    if tree is None:
        return WordsFound(None, [], _why_not(len(spoken)))
    row_of = {int(segment): row for row, segment in enumerate(where.ids)}
    return WordsFound(
        tree, [_of_segment(tree, row_of[segment], where) for segment in order if segment in row_of]
    )


def _why_not(users: int) -> str:
    if not users:
        return (
            "No words of users in a segment are kept: profile.terms is 0, or the language of their "
            "texts could not be cut into words."
        )
    if users < LEAST_USERS:
        few = plural(users, "user")
        return f"Words are kept of {few} in a segment: fewer than {LEAST_USERS} tell nothing."
    return "All users whose words are kept are in one segment: there is nothing to tell apart."


def _of_segment(tree: Surrogate, row: int, where: Places) -> ByWords:
    own = [rule for rule in tree.rules if rule.segment == row]
    ranked = sorted(own, key=lambda rule: -rule.users)
    return ByWords(
        int(where.ids[row]),
        tree.words[row],
        [_shown(rule, tree, where) for rule in ranked[:_RULES]],
        max(len(own) - _RULES, 0),
        tree.members[row],
        sum(rule.users for rule in own),
        sum(rule.right for rule in own),
    )


def _shown(rule: Rule, tree: Surrogate, where: Places) -> ShownRule:
    # "Much of these" before "little of those", and the rule's own segment ahead of all.
    order = sorted(rule.conditions, key=lambda c: (c.segment != rule.segment, c.least == 0))
    asked = [
        Asked(int(where.ids[each.segment]), tree.words[each.segment][0], how_much(each))
        for each in order
    ]
    return ShownRule(asked, rule.users, rule.right)


def how_much(condition: Condition) -> str:
    """Say how many of a user's words a condition asks for."""
    least, below = condition.least, condition.below
    if below is None:
        return f"{least} % or more"
    if least == 0:
        return f"less than {below} %"
    return f"{least} % to {below - 1} %" if below - 1 > least else f"{least} %"
