"""The rules in force, and what they say of users from one moment to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import Any, NamedTuple, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from models.rules.compiler import RuleError
from models.rules.history import I64, NO_EVENTS, NOTHING
from models.rules.language import Rule, Told, compile_rule
from models.rules.moments import Asked, Moments
from models.rules.parts import NEVER, Window

_EVALUATION = "1"
"""Another one wherever the same rule comes to mean something else."""

# Events that are laid out at once for all moments: some 50 MB.
_ROWS = 1_000_000


class RuleSetError(ValueError):
    """One of the rules is none: which, and why."""


class Turn(NamedTuple):
    """A user begins, or ceases, to fulfil a rule: at which moment, and which rule."""

    moment: int
    rule: int
    entered: bool


@dataclass(frozen=True)
class RuleSet:
    """Rules in the order of their names.

    Attributes
    ----------
    rules
        The rules.
    longest, kept
        The longest window that they may have, microseconds, and how far they count.
    """

    rules: tuple[Rule, ...]
    longest: int = 0
    kept: int = 0

    @classmethod
    def of(cls, sources: Mapping[str, str], longest: int, kept: int) -> Self:
        """Make rules of what somebody has written.

        Parameters
        ----------
        sources
            Rules by the names of their segments.
        longest
            The longest window that one may have, microseconds.
        kept
            Events of a type that count at most.

        Raises
        ------
        RuleSetError
            If one is no rule; the sentence names it and the place.
        """
        rules = []
        for name, source in sorted(sources.items()):
            try:
                rule = compile_rule(name, source)
                if rule.longest > longest:
                    days = longest / 86_400_000_000
                    detail = f"has a window longer than rules.longest_window_days, {days:g}"
                    raise RuleError(detail, 1, 1, source)
            except RuleError as error:
                raise RuleSetError(f"rules.segments.{name}: {error}") from None
            rules.append(rule)
        made = cls(tuple(rules), longest, kept)
        made.try_out()
        return made

    def try_out(self) -> None:
        """Evaluate each rule for nobody and for somebody of whom nothing is known."""
        for rows in (0, 1):
            nothing = np.zeros(rows, np.int64)
            known = [NOTHING] * rows
            moments = Moments(NO_EVENTS, nothing, nothing, nothing, nothing, known, self.kept)
            self.belongs(moments)
            self.turn_at(moments)
            for number in range(len(self.rules)):
                self.why(number, moments, nothing)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the rules."""
        return tuple(rule.name for rule in self.rules)

    @cached_property
    def digest(self) -> int:
        """Tells these rules from others: a hash of 64 bits over all that they rest on."""
        names = [text for rule in self.rules for text in (rule.name, rule.source)]
        texts = (*names, str(self.longest), str(self.kept), _EVALUATION)
        return xxhash.xxh3_64_intdigest("\0".join(texts).encode())

    @cached_property
    def windows(self) -> frozenset[Window]:
        """When one of these events leaves one of these windows, something may change."""
        return frozenset().union(*(rule.windows for rule in self.rules))

    @cached_property
    def known_windows(self) -> frozenset[int]:
        """So long after a first event likewise."""
        return frozenset().union(*(rule.known_windows for rule in self.rules))

    @cached_property
    def _asked(self) -> Asked:
        thresholds = frozenset().union(*(rule.thresholds for rule in self.rules))
        return Asked.of(thresholds)

    @cached_property
    def asks_profile(self) -> bool:
        """Whether a rule asks for what only the profiles tell."""
        return any(rule.asks_profile for rule in self.rules)

    @cached_property
    def asks_words(self) -> bool:
        """Whether a rule asks for words."""
        return any(rule.asks_words for rule in self.rules)

    def belongs(self, moments: Moments) -> NDArray[np.bool_]:
        """Tell which rules hold at m moments, bool (m, rules)."""
        held = np.zeros((len(self.rules), len(moments)), bool)
        for chosen, piece in _pieces(moments):
            piece.count_together(self._asked)
            for own, rule in zip(held, self.rules, strict=True):
                own[chosen] = rule.evaluate(piece)
        return np.ascontiguousarray(held.T)

    def turn_at(self, moments: Moments) -> I64:
        """Tell before when no rule turns at m moments if no event comes, int64 (m,)."""
        found = np.full(len(moments), NEVER, np.int64)
        turning = [rule.turns for rule in self.rules if rule.turns is not None]
        for chosen, piece in _pieces(moments):
            if turning:
                piece.turn_together(self._asked)
                found[chosen] = np.minimum.reduce([turns(piece) for turns in turning])
        return found

    def turns(
        self,
        held: NDArray[np.bool_],
        first: NDArray[np.bool_],
        before: NDArray[np.bool_],
    ) -> list[Turn]:
        """Give what changes from each moment to the next of the same user.

        Parameters
        ----------
        held
            What `belongs` gave for m moments, each user's in their order.
        first
            Whether a moment is the first of its user, bool (m,).
        before
            What held before, of each user in the order of the first moments, bool (users, rules).
        """
        if not len(held):
            return []
        former = np.concatenate((held[:1], held[:-1]))
        former[first] = before
        changed = np.argwhere(former != held)
        entered = held[changed[:, 0], changed[:, 1]]
        return [
            Turn(moment, rule, belongs)
            for (moment, rule), belongs in zip(changed.tolist(), entered.tolist(), strict=True)
        ]

    def why(self, rule: int, moments: Moments, chosen: I64) -> list[dict[str, Any]]:
        """Give what a rule reads of the users at some of m moments, by how it is written."""
        told = self.rules[rule].told
        if _are_few(moments):
            # What was computed of all of them is there already.
            return _read(told, moments, chosen)
        return [
            facts
            for _, piece in _pieces(moments.some(chosen))
            for facts in _read(told, piece, np.arange(len(piece)))
        ]


def _are_few(moments: Moments) -> bool:
    return int(moments.lengths.sum()) + len(moments) < _ROWS


def _pieces(moments: Moments) -> Iterator[tuple[I64, Moments]]:
    """Give moments in pieces, each with their numbers; all as they are where they are few."""
    if _are_few(moments):
        yield np.arange(len(moments)), moments
        return
    for chosen in moments.pieces(_ROWS):
        yield chosen, moments.some(chosen)


def _read(told: Sequence[Told], moments: Moments, rows: I64) -> list[dict[str, Any]]:
    if not told:
        return [{} for _ in range(len(rows))]
    columns = [_values(evaluate(moments), rows) for _, evaluate in told]
    names = [text for text, _ in told]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(found: Any, rows: I64) -> list[Any]:
    """Give some of a column as values that JSON has, None for a number that there is not."""
    if isinstance(found, np.ndarray):
        values = found[rows].tolist()
        return [None if isnan(v) else v for v in values] if found.dtype.kind == "f" else values
    if isinstance(found, list):
        return [found[row] for row in rows.tolist()]
    return [found] * len(rows)
