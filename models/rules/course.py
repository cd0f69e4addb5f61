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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from models.rules.history import (
    EVENT,
    I64,
    NOTHING,
    Events,
    Known,
    boundaries,
    leaving,
    pruned,
)
from models.rules.moments import Moments
from models.rules.parts import NEVER
from models.rules.rule_set import RuleSet, Turn
from models.rules.standing import Standing, Step, Turned, hear
from schemas.rule_changes import RuleReason


class _Heard(NamedTuple):
    """A step as it is taken: a repeat only lets time pass, and a user who is silent is let go.

    `gone` says that it is no step, but that the user is let go.
    """

    now: int
    step: Step | None
    gone: bool = False


class _Laid(NamedTuple):
    """A moment as it is found: of which user, which events had come, and what it is of."""

    place: int
    start: int
    length: int
    now: int
    first: int
    known: Known
    reason: RuleReason
    source: Any
    life: int


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
        if outdated := [place for place, each in enumerate(standings) if each.outdated]:
            # As they were left first: it tells how long nothing turns, which is for most all.
            first = [
                turned._replace(place=outdated[turned.place])
                for turned in self._follow(
                    [standings[place] for place in outdated], [()] * len(outdated), None
                )
            ]
            then = self._follow(standings, steps, until)
            return sorted([*first, *then], key=lambda turned: turned.place)
        return self._follow(standings, steps, until)

    def _follow(
        self,
        standings: Sequence[Standing],
        steps: Sequence[Sequence[Step]],
        until: int | None,
    ) -> list[Turned]:
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
        laid: list[_Laid] = []
        begun = starts.tolist()
        left = [
            self._lay(laid, place, each, own, passing[place], begun[place])
            for place, (each, own) in enumerate(zip(standings, heard, strict=True))
        ]
        numbers = np.array([moment[1:5] for moment in laid], np.int64).reshape(-1, 4)
        begins, lengths, now, first = np.ascontiguousarray(numbers.T)
        known = [moment.known for moment in laid]
        moments = Moments(held, begins, lengths, now, first, known, self.rules.kept)
        turned = self._turned(standings, laid, moments)
        for place, (each, (start, length)) in enumerate(zip(standings, left, strict=True)):
            if heard[place]:
                each.events = pruned(
                    held[start : start + length], ends[place], self.rules.kept, self.rules.longest
                )
            each.evaluated, each.outdated = ends[place], False
        return turned

    def quiet_until(self, moments: Moments, last: I64, chosen: I64 | None = None) -> I64:
        """Tell before when nothing is different if no event comes, for n users as they are.

        Parameters
        ----------
        moments
            One a user, at the time that the user was last looked at for.
        last
            Times of their latest events, int64 (n,); a time far ahead where there is none.
        chosen
            Which moments these are, int64 (n,); all of them where it is not given.

        Returns
        -------
        array
            Microseconds since 1970, int64 (n,); a time far ahead where never.
        """
        found = self.rules.turn_at(moments)
        found = found if chosen is None else found[chosen]
        if self.silence is None:
            return found
        ends: I64 = np.minimum(last, NEVER - self.silence) + self.silence
        return np.minimum(found, ends)

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
            own = times[kind]
            older = len(own) >= self.rules.kept and (
                sum(other > (time, identity) for other in own) >= self.rules.kept
            )
            too_old = time <= step.now - self.rules.longest or (
                not known and self._is_silent(time, step.now)
            )
            if identity in seen or older or too_old:
                if known:
                    heard.append(_Heard(step.now, None))
                    looked = step.now
                continue
            seen.add(identity)
            own.append((time, identity))
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
        # Nothing turns before a time that is known, or else before something is heard.
        quiet = np.array([each.quiet_until for each in standings], np.int64)
        came = [next((h.now for h in own if h.step), NEVER) for own in heard]
        loud = np.minimum(quiet - 1, np.array(came, np.int64))
        if not (until > np.maximum(after, loud)).any():
            return defaultdict(list)
        after = np.maximum(after, loud)
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
        laid: list[_Laid],
        place: int,
        each: Standing,
        heard: Sequence[_Heard],
        passing: list[int],
        start: int,
    ) -> tuple[int, int]:
        """Lay one user's moments behind the others', and let the user take the steps.

        Gives which events the user has in the end: where they begin, and how many they are.
        """
        length, next_one = len(each.events), 0

        def lay(now: int, reason: RuleReason, source: Any = None) -> None:
            first = NEVER if each.first is None else each.first
            laid.append(
                _Laid(place, start, length, now, first, each.known, reason, source, each.lives)
            )

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
                hear(each, step.event[0], step.attributes)
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

    def _turned(
        self, standings: Sequence[Standing], laid: Sequence[_Laid], moments: Moments
    ) -> list[Turned]:
        found: list[Turned] = []
        names = self.rules.names
        numbers = {name: number for number, name in enumerate(names)}
        places = np.array([moment.place for moment in laid], np.int64)
        first = np.concatenate(([True], places[1:] != places[:-1]))[: len(places)]
        opening = np.flatnonzero(first)
        before = np.zeros((len(opening), len(numbers)), bool)
        users = [standings[place] for place in places[opening].tolist()]
        for row, (each, opens) in enumerate(zip(users, opening.tolist(), strict=True)):
            for name in each.members:
                if name in numbers:
                    before[row, numbers[name]] = True
                else:
                    # A rule that is gone makes a user outdated, so this is the first moment.
                    moment, reason = laid[opens], RuleReason.RULE_CHANGED
                    found.append(
                        Turned(moment.place, name, False, reason, moment.now, {}, None, moment.life)
                    )
        held = self.rules.belongs(moments)
        gone = np.array([moment.reason is RuleReason.INACTIVE for moment in laid], bool)
        held[gone] = False
        turns = self.rules.turns(held, first, before)
        for (row, rule, entered), facts in zip(turns, self._why(turns, moments), strict=True):
            moment = laid[row]
            told = {} if gone[row] else facts
            found.append(
                Turned(
                    moment.place,
                    names[rule],
                    entered,
                    moment.reason,
                    moment.now,
                    told,
                    moment.source,
                    moment.life,
                )
            )
        last = np.append(opening[1:], len(first))[: len(opening)] - 1
        for row in {*np.flatnonzero((held[last] != before).any(axis=1)).tolist()} | {
            row for row, each in enumerate(users) if each.outdated
        }:
            holds = np.flatnonzero(held[last[row]]).tolist()
            users[row].members = tuple(names[rule] for rule in holds)
        times = np.array([NEVER if each.last is None else each.last for each in users], np.int64)
        # What was laid of all is there already.
        most = len(last) * 2 > len(laid)
        if most:
            quiet = self.quiet_until(moments, times, last)
        else:
            quiet = self.quiet_until(moments.some(last), times)
        for each, time in zip(users, quiet.tolist(), strict=True):
            each.quiet_until = time
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
            for number, facts in zip(numbers, self.rules.why(rule, moments, chosen), strict=True):
                found[number] = facts
        return found


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
