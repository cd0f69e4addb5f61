"""A user as rules see one, what is heard of it, and what comes of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from models.rules.history import NO_EVENTS, NOTHING, Events, Known
from schemas.rule_changes import RuleReason

MOST_ATTRIBUTES = 32
"""Of a user; those that were told of longest ago are forgotten."""


@dataclass(slots=True)
class Standing:
    """A user as far as rules go.

    Attributes
    ----------
    user
        Who.
    events
        What is held of the events, EVENT (n,).
    known
        What else is known.
    first, last
        Times of the first and the latest event, microseconds since 1970; None before any.
    members
        Names of the rules that held at `evaluated`.
    evaluated
        A time, microseconds since 1970; 0 where the user was not heard of yet.
    outdated
        Whether that was by other rules than those in force.
    lives
        How often the user was let go.
    quiet_until
        Before this time nothing turns by time alone, microseconds since 1970; 0 for not known.
    """

    user: str
    events: Events = field(default_factory=NO_EVENTS.copy)
    known: Known = NOTHING
    first: int | None = None
    last: int | None = None
    members: tuple[str, ...] = ()
    evaluated: int = 0
    outdated: bool = False
    lives: int = 0
    quiet_until: int = 0

    @property
    def is_known(self) -> bool:
        """Whether anything is known that could be let go."""
        return self.first is not None or self.known != NOTHING


class Step(NamedTuple):
    """Something that is heard of a user.

    Attributes
    ----------
    now
        The event time that the partition has reached with it, microseconds since 1970.
    event
        An event as `EVENT` has it; None where it is none.
    attributes
        The event's.
    segment, label, words
        What the profile says, where it is a profile.
    source
        Whatever tells where it came from.
    stale
        Whether the profile is of somebody who is to be let go, and is only still there.
    """

    now: int
    event: tuple[int, int, float, int] | None
    attributes: Mapping[str, str] | None = None
    segment: int = -1
    label: str | None = None
    words: frozenset[str] = frozenset()
    source: Any = None
    stale: bool = False


class Turned(NamedTuple):
    """A user came to fulfil a rule, or ceases to.

    Attributes
    ----------
    place
        Which of the users.
    rule, entered
        Of which rule, and whether it holds now.
    reason, at
        Why, and the time from which on it is so, microseconds since 1970.
    facts
        What the rule read; empty where it is gone, or the user.
    source
        That of the step that caused it, None where none did.
    life
        How often the user had been let go by then.
    """

    place: int
    rule: str
    entered: bool
    reason: RuleReason
    at: int
    facts: dict[str, Any]
    source: Any
    life: int


def hear(each: Standing, time: int, attributes: Mapping[str, str] | None) -> None:
    """Take in an event's time and attributes."""
    newest = each.last is None or time >= each.last
    each.first = time if each.first is None else min(each.first, time)
    each.last = time if newest else each.last
    if attributes and newest:
        old = {name: v for name, v in each.known.attributes.items() if name not in attributes}
        latest = [*old.items(), *attributes.items()][-MOST_ATTRIBUTES:]
        each.known = replace(each.known, attributes=dict(latest))
