"""Audits what rules know of users: events that count are held, and members fulfil the rules.

A user's events are followed once more, one after the other, as the pages say it: of each type the
newest are held, for so long, and a user who is silent for long begins anew. What a state holds is
compared with that, and then the rules are asked of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from consumer.contract.records import Record
from consumer.settings import Settings
from consumer.verify.report import ViolationKind, Violations
from models.profiles.rows import hash_event_id
from models.rules.history import CODES
from models.rules.moments import Moments
from models.rules.parts import NEVER
from models.rules.rule_set import RuleSet
from models.rules.table import events_of, known_of
from schemas.binary import RecordError
from schemas.intake import RefusedError
from schemas.rule_states import RuleState

_MICROSECOND = timedelta(microseconds=1)

Event = tuple[int, int]
"""Time, microseconds since 1970, and hash of the id: by these events of a type are in order."""


@dataclass(slots=True)
class _Life:
    """A user's events since the user was let go last.

    Attributes
    ----------
    held
        By type, those that count.
    doubtful
        Ids of events of which it is not known whether they count.
    all
        Ids of all that there were.
    last
        The latest time.
    """

    held: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))
    doubtful: set[int] = field(default_factory=set)
    all: set[int] = field(default_factory=set)
    last: int | None = None


class RuleStateAudit:
    """Takes the events that are done with and the states, then judges.

    Parameters
    ----------
    settings
        How events are read, and what is held of them.
    rules
        The rules in force.
    violations
        Where findings go.
    """

    def __init__(self, settings: Settings, rules: RuleSet, violations: Violations) -> None:
        self._topics, self._rules, self._violations = settings.topics, rules, violations
        self._intake, self._now = settings.events.intake(), datetime.now(UTC)
        silence = settings.profile.inactive_after
        self._silence = None if silence is None else silence // _MICROSECOND
        self._skew = timedelta(seconds=settings.events.max_future_skew_seconds) // _MICROSECOND
        self._lives: dict[str, _Life] = {}
        self._reached: dict[int, int] = defaultdict(int)
        self._partitions: dict[str, int] = {}
        self._states: dict[str, tuple[RuleState, int]] = {}
        self._ahead = 0
        self.unchecked: list[str] = []

    # --- records ----------------------------------------------------------------------------

    def event(self, record: Record) -> None:
        """Take a record of the input that the processes of rules are done with."""
        try:
            event, _ = self._intake.sift(record.value, record.key, self._now)
        except RefusedError:
            return
        time, kind = event.microseconds, CODES[event.type]
        identity = hash_event_id(event.event_id)
        life = self._lives.setdefault(event.user_id, _Life())
        life.all.add(identity)
        if 0 < record.timestamp * 1000 < time - self._skew:
            # Ahead of its time when it was written; whether when it was read, nobody knows.
            self._ahead += 1
            life.doubtful.add(identity)
            return
        now = self._reached[record.partition] = max(self._reached[record.partition], time)
        self._partitions[event.user_id] = record.partition
        if self._is_silent(life.last, now):
            life.held.clear()
            life.doubtful.clear()
            life.last = None
        if life.last is None and self._is_silent(time, now):
            life.doubtful.add(identity)  # it counts where a profile was known
            return
        own = life.held[kind]
        older = sum(other > (time, identity) for other in own) >= self._rules.kept
        known = any(identity == other for events in life.held.values() for _, other in events)
        if known or older or time <= now - self._rules.longest:
            return
        own.append((time, identity))
        if len(own) > 2 * self._rules.kept:
            life.held[kind] = sorted(own)[-self._rules.kept :]
        life.last = time if life.last is None else max(life.last, time)

    def state(self, record: Record) -> None:
        """Take a record of the states; that it can be read is another's to say."""
        user = (record.key or b"").decode(errors="replace")
        self._states.pop(user, None)
        if record.value is not None:
            try:
                state = RuleState.decode(record.key or b"", record.value)
            except (RecordError, ValueError):
                return
            self._states[user] = state, record.partition

    def _is_silent(self, last: int | None, now: int) -> bool:
        return self._silence is not None and last is not None and last + self._silence <= now

    # --- what must hold ---------------------------------------------------------------------

    def all_held(self) -> None:
        """Find events that count and are not held, and states that hold others."""
        maybe = 0
        for user, life in self._lives.items():
            due = self._due(user, life)
            found = self._states.get(user)
            held = _by_type(found[0]) if found else {}
            lost = 0
            for kind, events in due.items():
                own = held.get(kind, set())
                missing = events - own
                # What has to go goes from the oldest on, so something older cannot be there still.
                raised = {each for each in missing if all(each < other for other in own)}
                if found is not None and missing == raised:
                    maybe += len(missing)
                else:
                    lost += len(missing)
            if lost:
                self._violations.add(
                    ViolationKind.RULE_EVENT_LOST,
                    user,
                    f"{self._topics.rule_states} does not hold {lost:,} of "
                    f"{sum(map(len, due.values())):,} events",
                )
        for user, (state, _) in self._states.items():
            known = self._lives.get(user, _Life()).all
            strange = sum(
                event not in known for own in _by_type(state).values() for _, event in own
            )
            if strange:
                self._violations.add(
                    ViolationKind.RULE_STATE_DIFFERS,
                    user,
                    f"the state holds {strange:,} events that are not on {self._topics.events}",
                )
        if self._ahead:
            self.unchecked.append(
                f"whether {self._ahead:,} events count for rules: their times are more than "
                "events.max_future_skew_seconds ahead of those at which they were written"
            )
        if maybe:
            self.unchecked.append(
                f"that no event was lost for rules: {maybe:,} that would be held are not, each "
                "older than what is; rules.kept_events or rules.longest_window_days was raised, or "
                "they were lost"
            )

    def _due(self, user: str, life: _Life) -> Mapping[int, set[Event]]:
        """Give by type the events that a user's state has to hold."""
        state, _ = self._states.get(user, (None, 0))
        now = state.evaluated if state else 0
        reached = self._reached[self._partitions.get(user, 0)]
        # Who was let go since, and came back by a profile alone, has a state without these events.
        if self._is_silent(life.last, now if state else reached):
            return {}
        found = {}
        for kind, events in life.held.items():
            newest = sorted(events)[-self._rules.kept :]
            found[kind] = {
                each
                for each in newest
                if each[0] > now - self._rules.longest and each[1] not in life.doubtful
            }
        return found

    def all_belong(self) -> None:
        """Find users who are told to fulfil what they do not, at the time they were looked at."""
        states = [state for state, _ in self._states.values()]
        for user, state, members in zip(self._states, states, self._asked(states), strict=True):
            # One by other rules stays as it is where those of now come to the same.
            if state.digest == self._rules.digest and members != state.members:
                differing = ", ".join(sorted({*members} ^ {*state.members}))
                self._violations.add(
                    ViolationKind.RULE_STATE_DIFFERS,
                    user,
                    f"by its own state the user is told wrong of {differing}",
                )
        now = [max(self._reached[n], state.evaluated) for state, n in self._states.values()]
        behind = sum(
            members != state.members or self._is_silent(state.last or None, time)
            for state, members, time in zip(states, self._asked(states, now), now, strict=True)
        )
        if behind:
            self.unchecked.append(
                f"whether {behind:,} users fulfil rules: they are still to be looked at, since "
                "windows have ended or the rules are others"
            )

    def _asked(
        self, states: list[RuleState], now: list[int] | None = None
    ) -> Iterator[tuple[str, ...]]:
        """Give which rules users fulfil by their states, when they were looked at or later."""
        own = [events_of(state) for state in states]
        lengths = np.array([len(each) for each in own], np.int64)
        times = [state.evaluated for state in states] if now is None else now
        moments = Moments(
            np.concatenate(own) if own else events_of(RuleState()),
            np.cumsum(lengths) - lengths,
            lengths,
            np.array(times, np.int64),
            np.array([state.first or NEVER for state in states], np.int64),
            [known_of(state) for state in states],
            self._rules.kept,
        )
        names = self._rules.names
        for row in self._rules.belongs(moments):
            yield tuple(names[number] for number in np.flatnonzero(row).tolist())


def _by_type(state: RuleState) -> dict[int, set[Event]]:
    found: dict[int, set[Event]] = defaultdict(set)
    for time, event, _, kind in events_of(state).tolist():
        found[kind].add((time, event))
    return found
