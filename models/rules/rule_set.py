"""The rules in force, and what they say of users from one moment to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from models.rules.history import Moments
from models.rules.language import Rule, RuleError, compile_rule


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
    """

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, sources: Mapping[str, str], longest: int) -> Self:
        """Make rules of what somebody has written.

        Parameters
        ----------
        sources
            Rules by the names of their segments.
        longest
            The longest window that one may have, microseconds.

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
        return cls(tuple(rules))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the rules."""
        return tuple(rule.name for rule in self.rules)

    @cached_property
    def digest(self) -> int:
        """Tells these rules from others: a hash of 64 bits over names and texts."""
        texts = (text for rule in self.rules for text in (rule.name, rule.source))
        return xxhash.xxh3_64_intdigest("\0".join(texts).encode())

    @cached_property
    def windows(self) -> frozenset[int]:
        """So long after an event something may change, microseconds."""
        return frozenset().union(*(rule.windows for rule in self.rules))

    @cached_property
    def known_windows(self) -> frozenset[int]:
        """So long after a first event likewise."""
        return frozenset().union(*(rule.known_windows for rule in self.rules))

    @property
    def asks_profile(self) -> bool:
        """Whether a rule asks for what only the profiles tell."""
        return any(rule.asks_profile for rule in self.rules)

    @property
    def asks_words(self) -> bool:
        """Whether a rule asks for words."""
        return any(rule.asks_words for rule in self.rules)

    def belongs(self, moments: Moments) -> NDArray[np.bool_]:
        """Tell which rules hold at m moments, bool (m, rules)."""
        held = np.zeros((len(moments), len(self.rules)), bool)
        for number, rule in enumerate(self.rules):
            held[:, number] = rule.evaluate(moments)
        return held

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

    def why(self, rule: int, moments: Moments, moment: int) -> dict[str, Any]:
        """Give what a rule reads of a user at a moment, by how it is written."""
        return dict(self._read(rule, moments.only(moment)))

    def _read(self, rule: int, one: Moments) -> Iterator[tuple[str, Any]]:
        for text, evaluate in self.rules[rule].told:
            value = np.asarray(evaluate(one)).tolist()
            value = value[0] if isinstance(value, list) else value
            yield text, None if isinstance(value, float) and np.isnan(value) else value
