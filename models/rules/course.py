"""What becomes of users, by rule, from one moment to the next: by events, by profiles and by time.

The moments of a user are its steps, each at the time that the partition had reached then, and
before a step the times at which something left a window since the last one. All moments of all
users are looked at together. So what is told of a user does not hang on how its steps are cut into
batches, nor on when somebody looks for users of whom time has made something else: that finds only
what is found at the next step, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from models.rules.history import (
    EVENT,
    I64,
    NO_EVENTS,
    NOTHING,
    Events,
    Known,
    Moments,
    boundaries,
    leaving,
    pruned,
)
from models.rules.rule_set import RuleSet, Turn
from schemas.rule_changes import RuleReason

MOST_ATTRIBUTES = 32
"""Of a user; those that were told of longest ago are forgotten."""

_NEVER = np.iinfo(np.int64).max // 2


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
        A time, microseconds since 1970.
    outdated
        Whether that was by other rules than those in force.
    """

    user: str
    events: Events = field(default_factory=NO_EVENTS.copy)
    known: Known = NOTHING
    first: int | None = None
    last: int | None = None
    members: tuple[str, ...] = ()
    evaluated: int = 0
    outdated: bool = False


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
    """

    now: int
    event: tuple[int, int, float, int] | None
    attributes: dict[str, str] | None = None
    segment: int = -1
    label: str | None = None
    words: frozenset[str] = frozenset()
    source: Any = None


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
        What the rule read; empty where it is gone.
    source
        That of the step that caused it, None where none did.
    """

    place: int
    rule: str
    entered: bool
    reason: RuleReason
    at: int
    facts: dict[str, Any]
    source: Any


@dataclass(slots=True)
class _Laid:
    """Moments as they are found, as lists of the columns that they become."""

    places: list[int] = field(default_factory=list)
    first_of_user: list[bool] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    now: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    reasons: list[RuleReason] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """Follows users under rules.

    Attributes
    ----------
    rules
        Those in force.
    kept, longest
        Events of a type that are held of a user, and for how long, microseconds.
    """

    rules: RuleSet
    kept: int
    longest: int

    def follow(
        self,
        standings: Sequence[Standing],
        steps: Sequence[Sequence[Step]],
        until: int | None = None,
    ) -> list[Turned]:
        """Let users take their steps, or time pass.

        Parameters
        ----------
        standings
            Of different users; they are as of the last step afterwards.
        steps
            Of each, in their order.
        until
            Up to when time has passed for all, where nothing else happens; microseconds since 1970.

        Returns
        -------
        list of Turned
            User by user, in the order of their moments, of one moment by the names of the rules.
        """
        heard = [_without_repeats(each, own) for each, own in zip(standings, steps, strict=True)]
        for each, own in zip(standings, heard, strict=True):
            if not each.evaluated and own:
                each.evaluated = own[0].now  # nothing was, before the user was heard of
        ends = [
            max(each.evaluated, own[-1].now if own else (until or each.evaluated))
            for each, own in zip(standings, heard, strict=True)
        ]
        held, starts = _held(standings, heard)
        passing = self._passing(standings, heard, held, starts, ends)
        laid = _Laid()
        for place, (each, own) in enumerate(zip(standings, heard, strict=True)):
            self._lay(laid, place, each, own, passing[place])
        moments = Moments(
            held,
            starts[np.array(laid.places, np.int64)],
            np.array(laid.lengths, np.int64),
            np.array(laid.now, np.int64),
            np.array(laid.first, np.int64),
            laid.known,
            self.kept,
        )
        turned = self._turned(standings, laid, moments)
        for place, (each, own) in enumerate(zip(standings, heard, strict=True)):
            new = sum(step.event is not None for step in own)
            if new:
                mine = held[starts[place] : starts[place] + len(each.events) + new]
                each.events = pruned(mine, ends[place], self.kept, self.longest)
            each.evaluated, each.outdated = ends[place], False
        return turned

    def next_look(self, held: Events, owner: I64, first: I64, after: I64) -> I64:
        """Tell when something may be different next, for n users.

        Parameters
        ----------
        held, owner
            Their events, one user's behind the other's, and whose each is, (k,) both.
        first
            Times of their first events, int64 (n,); a time far ahead where there is none.
        after
            The times that they were last looked at for, int64 (n,).

        Returns
        -------
        array
            Microseconds since 1970, int64 (n,); a time far ahead where never.
        """
        nearest = np.full(len(first), _NEVER, np.int64)
        for which, leaves in leaving(held, self.rules.windows):
            whose = owner[which]
            later = leaves > after[whose]
            np.minimum.at(nearest, whose[later], leaves[later])
        for window in self.rules.known_windows:
            reached = np.minimum(first, _NEVER - window) + window
            nearest = np.where(reached > after, np.minimum(nearest, reached), nearest)
        return nearest

    def _passing(
        self,
        standings: Sequence[Standing],
        steps: Sequence[Sequence[Step]],
        held: Events,
        starts: I64,
        ends: Sequence[int],
    ) -> defaultdict[int, list[int]]:
        """Give the times at which something leaves a window of a user, by the user's place."""
        lengths = np.diff(np.append(starts, len(held)))
        owner = np.repeat(np.arange(len(standings)), lengths)
        after = np.array([each.evaluated for each in standings], np.int64)
        until = np.array(ends, np.int64)
        times, owners = [], []
        for which, leaves in leaving(held, self.rules.windows):
            times.append(leaves)
            owners.append(owner[which])
        if self.rules.known_windows:
            firsts = [
                (place, time)
                for place, (each, own) in enumerate(zip(standings, steps, strict=True))
                for time in {each.first, *(step.event[0] for step in own if step.event)} - {None}
            ]
            whose = np.array([place for place, _ in firsts], np.int64)
            begun = np.array([time for _, time in firsts], np.int64)
            for window in self.rules.known_windows:
                times.append(begun + window)
                owners.append(whose)
        passing: defaultdict[int, list[int]] = defaultdict(list)
        found = boundaries(times, owners, after, until)
        for place, time in zip(*(column.tolist() for column in found), strict=True):
            passing[place].append(time)
        return passing

    def _lay(
        self, laid: _Laid, place: int, each: Standing, steps: Sequence[Step], passing: list[int]
    ) -> None:
        """Lay one user's moments behind the others', and let the user take the steps."""
        length, begun, next_one = len(each.events), len(laid.places), 0

        def lay(now: int, reason: RuleReason, source: Any = None) -> None:
            laid.places.append(place)
            laid.first_of_user.append(len(laid.places) == begun + 1)
            laid.lengths.append(length)
            laid.now.append(now)
            laid.first.append(_NEVER if each.first is None else each.first)
            laid.known.append(each.known)
            laid.reasons.append(reason)
            laid.sources.append(source)

        if each.outdated:
            lay(each.evaluated, RuleReason.RULE_CHANGED)
        for step in steps:
            while next_one < len(passing) and passing[next_one] <= step.now:
                lay(passing[next_one], RuleReason.TIME_PASSED)
                next_one += 1
            if step.event is not None:
                length += 1
                _hear(each, step.event[0], step.attributes)
                lay(step.now, RuleReason.BEHAVIOUR, step.source)
            else:
                each.known = replace(
                    each.known, segment=step.segment, label=step.label, words=step.words
                )
                lay(step.now, RuleReason.PROFILE, step.source)
        for time in passing[next_one:]:
            lay(time, RuleReason.TIME_PASSED)

    def _turned(self, standings: Sequence[Standing], laid: _Laid, moments: Moments) -> list[Turned]:
        found: list[Turned] = []
        numbers = {name: number for number, name in enumerate(self.rules.names)}
        first = np.array(laid.first_of_user, bool)
        opening = np.flatnonzero(first)
        before = np.zeros((len(opening), len(numbers)), bool)
        for row, moment in enumerate(opening.tolist()):
            each = standings[laid.places[moment]]
            for name in each.members:
                if name in numbers:
                    before[row, numbers[name]] = True
                else:
                    # A rule that is gone makes a user outdated, so this is the first moment.
                    place, at = laid.places[moment], laid.now[moment]
                    reason = RuleReason.RULE_CHANGED
                    found.append(Turned(place, name, False, reason, at, {}, None))
        held = self.rules.belongs(moments)
        turns = self.rules.turns(held, first, before)
        for (moment, rule, entered), facts in zip(turns, self._why(turns, moments), strict=True):
            found.append(
                Turned(
                    laid.places[moment],
                    self.rules.names[rule],
                    entered,
                    laid.reasons[moment],
                    laid.now[moment],
                    facts,
                    laid.sources[moment],
                )
            )
        last = np.append(opening[1:], len(first)) - 1
        for moment in last.tolist() if len(first) else []:
            standings[laid.places[moment]].members = tuple(
                self.rules.names[rule] for rule in np.flatnonzero(held[moment]).tolist()
            )
        # Those of rules that are gone stand before the others of their user.
        return sorted(found, key=lambda turned: turned.place)

    def _why(self, turns: Sequence[Turn], moments: Moments) -> list[dict[str, Any]]:
        """Give what the rules of turns have read at their moments."""
        found: list[dict[str, Any]] = [{}] * len(turns)
        by_rule: defaultdict[int, list[int]] = defaultdict(list)
        for number, turn in enumerate(turns):
            by_rule[turn.rule].append(number)
        for rule, numbers in by_rule.items():
            chosen = np.array([turns[number].moment for number in numbers], np.int64)
            for number, facts in zip(
                numbers, self.rules.why(rule, moments.some(chosen)), strict=True
            ):
                found[number] = facts
        return found


def _hear(each: Standing, time: int, attributes: dict[str, str] | None) -> None:
    each.first = time if each.first is None else min(each.first, time)
    each.last = time if each.last is None else max(each.last, time)
    if attributes:
        old = {name: v for name, v in each.known.attributes.items() if name not in attributes}
        latest = [*old.items(), *attributes.items()][-MOST_ATTRIBUTES:]
        each.known = replace(each.known, attributes=dict(latest))


def _without_repeats(each: Standing, steps: Sequence[Step]) -> list[Step]:
    """Leave out events that are held already."""
    if not steps:
        return []
    seen = set(each.events["event"].tolist())
    heard = []
    for step in steps:
        if step.event is not None:
            if step.event[1] in seen:
                continue
            seen.add(step.event[1])
        heard.append(step)
    return heard


def _held(standings: Sequence[Standing], steps: Sequence[Sequence[Step]]) -> tuple[Events, I64]:
    """Give all users' events, those of their steps among them, and where each user's begin."""
    # By their bytes: to join arrays of fields takes numpy longer than all else here.
    parts: list[bytes] = []
    counts = []
    new = np.array([s.event for own in steps for s in own if s.event is not None], EVENT)
    came, size, place = new.tobytes(), EVENT.itemsize, 0
    for each, own in zip(standings, steps, strict=True):
        count = sum(step.event is not None for step in own)
        parts.append(each.events.tobytes())
        parts.append(came[place * size : (place + count) * size])
        counts.append(len(each.events) + count)
        place += count
    held = np.frombuffer(b"".join(parts), EVENT)
    return held, np.cumsum([0, *counts[:-1]], dtype=np.int64) if counts else np.zeros(0, np.int64)
