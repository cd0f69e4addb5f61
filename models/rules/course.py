"""What becomes of users, by rule, from one moment to the next: by events, by profiles and by time.

A user who has done nothing for `silence` is let go at that moment, and begins anew with the next
event.

The moments of a user are its steps, each at the time that the partition had reached then, and
before a step the times at which something left a window since the last one. All moments of all
users are looked at together. So what is told of a user does not hang on how its steps are cut into
batches, nor on when somebody looks for users of whom time has made something else: that finds only
what is found at the next step, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from models.rules.history import (
    EVENT,
    I64,
    NEVER,
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


class _Heard(NamedTuple):
    """A step as it is taken: a repeat only lets time pass, and a user who is silent is let go.

    `gone` says that it is no step, but that the user is let go.
    """

    now: int
    step: Step | None
    gone: bool = False


@dataclass(slots=True)
class _Laid:
    """Moments as they are found, as lists of the columns that they become."""

    places: list[int] = field(default_factory=list)
    first_of_user: list[bool] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    now: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    reasons: list[RuleReason] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    lives: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """Follows users under rules.

    Attributes
    ----------
    rules
        Those in force.
    silence
        Without an event for so long a user is let go, microseconds; None for never.
    """

    rules: RuleSet
    silence: int | None = None

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
        heard = [self._heard(each, own, until) for each, own in zip(standings, steps, strict=True)]
        for each, own in zip(standings, heard, strict=True):
            if not each.evaluated and own:
                each.evaluated = own[0].now  # nothing was, before the user was heard of
        ends = [
            max(each.evaluated, own[-1].now if own else 0, until or 0) if each.evaluated else 0
            for each, own in zip(standings, heard, strict=True)
        ]
        held, starts = _held(standings, heard)
        passing = self._passing(standings, heard, held, starts, ends)
        laid = _Laid()
        begun = starts.tolist()
        left = [
            self._lay(laid, place, each, own, passing[place], begun[place])
            for place, (each, own) in enumerate(zip(standings, heard, strict=True))
        ]
        moments = Moments(
            held,
            np.array(laid.starts, np.int64),
            np.array(laid.lengths, np.int64),
            np.array(laid.now, np.int64),
            np.array(laid.first, np.int64),
            laid.known,
            self.rules.kept,
        )
        turned = self._turned(standings, laid, moments)
        for place, (each, (start, length)) in enumerate(zip(standings, left, strict=True)):
            if heard[place]:
                each.events = pruned(
                    held[start : start + length], ends[place], self.rules.kept, self.rules.longest
                )
            each.evaluated, each.outdated = ends[place], False
        return turned

    def next_look(self, moments: Moments, last: I64) -> I64:
        """Tell when something may be different next, for n users as they are.

        Only windows are looked at of rules whose truth time alone may change: one that asks for
        more events than there are cannot come to be fulfilled by waiting.

        Parameters
        ----------
        moments
            One a user, at the time that the user was last looked at for.
        last
            Times of their latest events, int64 (n,); a time far ahead where there is none.

        Returns
        -------
        array
            Microseconds since 1970, int64 (n,); a time far ahead where never.
        """
        after = moments.now
        nearest = np.full(len(moments), NEVER, np.int64)
        owner, held = moments.laid
        may_turn = self.rules.may_turn(moments)
        for window, rules in self.rules.by_window.items():
            turning = np.logical_or.reduce(may_turn[:, rules], axis=1)
            if not turning.any():
                continue
            for which, leaves in leaving(held, [window]):
                whose = owner[which]
                later = (leaves > after[whose]) & turning[whose]
                np.minimum.at(nearest, whose[later], leaves[later])
        for length, rules in self.rules.by_known_window.items():
            turning = np.logical_or.reduce(may_turn[:, rules], axis=1)
            reached = np.minimum(moments.first, NEVER - length) + length
            later = (reached > after) & turning
            nearest = np.where(later, np.minimum(nearest, reached), nearest)
        if self.silence is not None:
            nearest = np.minimum(nearest, np.minimum(last, NEVER - self.silence) + self.silence)
        return nearest

    def _heard(self, each: Standing, steps: Sequence[Step], until: int | None) -> list[_Heard]:
        """Give the steps as they are taken.

        What is held of the events decides on an event alone, so that it is all one in which batch
        it comes: one that would be let go at once is none.
        """
        heard: list[_Heard] = []
        seen: set[int] | None = None
        times: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        known, last = each.is_known, each.last
        looked = each.evaluated
        for step in steps:
            if self._is_silent(last, step.now):
                heard.append(_Heard(self._end(last, looked), None, gone=True))
                known, last, seen = False, None, set()
                times.clear()
            if step.event is None:
                if step.stale and not known:
                    continue
                tells = step.segment >= 0 or step.label is not None or bool(step.words)
                if tells or last is not None:
                    heard.append(_Heard(step.now, step))
                elif known:  # and by a profile alone, which is gone
                    heard.append(_Heard(step.now, None, gone=True))
                known = tells or last is not None
                looked = step.now if heard else looked
                continue
            time, identity, _, kind = step.event
            if seen is None:
                seen = set(each.events["event"].tolist())
                for held_time, held_event, _, held_kind in each.events.tolist():
                    times[held_kind].append((held_time, held_event))
            older = sum(other > (time, identity) for other in times[kind]) >= self.rules.kept
            too_old = time <= step.now - self.rules.longest or (
                not known and self._is_silent(time, step.now)
            )
            if identity in seen or older or too_old:
                if known:
                    heard.append(_Heard(step.now, None))
                    looked = step.now
                continue
            seen.add(identity)
            times[kind].append((time, identity))
            heard.append(_Heard(step.now, step))
            looked = step.now
            known, last = True, time if last is None else max(last, time)
        if until is not None and self._is_silent(last, until):
            heard.append(_Heard(self._end(last, looked), None, gone=True))
        return heard

    def _end(self, last: int | None, looked: int) -> int:
        """Give the time at which a user with such a latest event is let go: not before a look."""
        return max(int(last or 0) + int(self.silence or 0), looked)

    def _is_silent(self, last: int | None, now: int) -> bool:
        return self.silence is not None and last is not None and last + self.silence <= now

    def _passing(
        self,
        standings: Sequence[Standing],
        heard: Sequence[Sequence[_Heard]],
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
                for place, (each, own) in enumerate(zip(standings, heard, strict=True))
                for time in {each.first, *(h.step.event[0] for h in own if h.step and h.step.event)}
                if time is not None
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

    def _lay(  # noqa: PLR0917 - what one user's moments rest on
        self,
        laid: _Laid,
        place: int,
        each: Standing,
        heard: Sequence[_Heard],
        passing: list[int],
        start: int,
    ) -> tuple[int, int]:
        """Lay one user's moments behind the others', and let the user take the steps.

        Gives which events the user has in the end: where they begin, and how many they are.
        """
        length, begun, next_one = len(each.events), len(laid.places), 0

        def lay(now: int, reason: RuleReason, source: Any = None) -> None:
            laid.places.append(place)
            laid.first_of_user.append(len(laid.places) == begun + 1)
            laid.starts.append(start)
            laid.lengths.append(length)
            laid.now.append(now)
            laid.first.append(NEVER if each.first is None else each.first)
            laid.known.append(each.known)
            laid.reasons.append(reason)
            laid.sources.append(source)
            laid.lives.append(each.lives)

        if each.outdated:
            lay(each.evaluated, RuleReason.RULE_CHANGED)
        for now, step, gone in heard:
            while next_one < len(passing) and passing[next_one] <= now:
                if each.is_known and not (gone and passing[next_one] == now):
                    lay(passing[next_one], RuleReason.TIME_PASSED)
                next_one += 1
            if gone:
                start, length = start + length, 0
                each.known, each.first, each.last = NOTHING, None, None
                lay(now, RuleReason.INACTIVE)
                each.lives += 1
            elif step is not None and step.event is not None:
                length += 1
                _hear(each, step.event[0], step.attributes)
                lay(now, RuleReason.BEHAVIOUR, step.source)
            elif step is not None:
                each.known = replace(
                    each.known, segment=step.segment, label=step.label, words=step.words
                )
                lay(now, RuleReason.PROFILE, step.source)
        for time in passing[next_one:]:
            if each.is_known:
                lay(time, RuleReason.TIME_PASSED)
        return start, length

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
                    reason, life = RuleReason.RULE_CHANGED, laid.lives[moment]
                    found.append(Turned(place, name, False, reason, at, {}, None, life))
        held = self.rules.belongs(moments)
        gone = np.array([reason is RuleReason.INACTIVE for reason in laid.reasons], bool)
        held[gone] = False
        turns = self.rules.turns(held, first, before)
        for (moment, rule, entered), facts in zip(turns, self._why(turns, moments), strict=True):
            found.append(
                Turned(
                    laid.places[moment],
                    self.rules.names[rule],
                    entered,
                    laid.reasons[moment],
                    laid.now[moment],
                    {} if gone[moment] else facts,
                    laid.sources[moment],
                    laid.lives[moment],
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


def _hear(each: Standing, time: int, attributes: Mapping[str, str] | None) -> None:
    newest = each.last is None or time >= each.last
    each.first = time if each.first is None else min(each.first, time)
    each.last = time if newest else each.last
    if attributes and newest:
        old = {name: v for name, v in each.known.attributes.items() if name not in attributes}
        latest = [*old.items(), *attributes.items()][-MOST_ATTRIBUTES:]
        each.known = replace(each.known, attributes=dict(latest))


def _held(standings: Sequence[Standing], heard: Sequence[Sequence[_Heard]]) -> tuple[Events, I64]:
    """Give all users' events, those that are heard among them, and where each user's begin."""
    # By their bytes: to join arrays of fields takes numpy longer than all else here.
    parts: list[bytes] = []
    counts = []
    came = [[h.step.event for h in own if h.step and h.step.event] for own in heard]
    new = np.array([event for own in came for event in own], EVENT).tobytes()
    size, place = EVENT.itemsize, 0
    for each, own in zip(standings, came, strict=True):
        parts.append(each.events.tobytes())
        parts.append(new[place * size : (place + len(own)) * size])
        counts.append(len(each.events) + len(own))
        place += len(own)
    held = np.frombuffer(b"".join(parts), EVENT)
    return held, np.cumsum([0, *counts[:-1]], dtype=np.int64) if counts else np.zeros(0, np.int64)
