"""The stage of `segmenter rules run`: from user events to who fulfils which rule.

It is a group of its own beside the workers', and reads the same input: rules want no embedding, and
count events that have no text, too. What the profiles tell of a user (learned segment, label,
words) it reads from the workers' changelog, whose partition n belongs to partition n of the input;
so a null there, which says that a user was let go, is heard as well.

Time is that of events: the latest that the partition has reached (`models.rules.course`). Events
that are refused are the workers' to make dead letters of; here they are counted, and read over.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, product
from math import nan
from typing import NamedTuple

import numpy as np
from pydantic_core import to_json

from consumer.contract.clock import Clock, wall_clock
from consumer.contract.figures import Figures
from consumer.contract.records import Output, Record, RecordColumns
from consumer.contract.stage import Changelog, StageError, Upto
from consumer.settings import Settings
from consumer.stages.shared.unexpected import Faults
from models.profiles.rows import from_microseconds, hash_event_id, to_microseconds
from models.rules.course import Course
from models.rules.history import CODES, MOST_RATING
from models.rules.rule_set import RuleSet
from models.rules.standing import Standing, Step, Turned
from models.rules.table import RuleTable, standing_of
from schemas.binary import RecordError, is_binary
from schemas.intake import RefusedError
from schemas.profiles import ProfileRecord
from schemas.rule_changes import (
    RuleReason,
    RuleStatus,
    membership_key,
    rule_cause,
    rule_change_id,
    rule_headers,
)
from schemas.rule_states import RuleState
from schemas.states import UserState, read_profile, read_state

logger = logging.getLogger(__name__)

# Users of whom time, or other rules, may have made something else, and the events that are laid out
# to look at them: in one transaction.
_USERS, _USERS_IDLE = 300, 3_000
_WORK, _WORK_IDLE = 300_000, 3_000_000


class ProfileTold(NamedTuple):
    """What a profile says that rules may ask for, how many events it has, and when the last was."""

    segment: int
    label: str | None
    words: frozenset[str]
    events: int
    last: int

    @classmethod
    def of(cls, state: UserState) -> ProfileTold:
        """Take it from a worker's record."""
        rest = state.rest
        words = frozenset(rest.terms)
        return cls(state.segment, rest.predicted, words, state.events, state.reference)

    @classmethod
    def of_record(cls, record: ProfileRecord) -> ProfileTold:
        """Take it from a record in JSON."""
        label = record.labels.predicted if record.labels else None
        segment = -1 if record.segment is None else record.segment
        last = to_microseconds(record.reference_time)
        return cls(segment, label, frozenset(record.terms), record.events, last)


def told_by(key: bytes, value: bytes) -> ProfileTold:
    """Read what a worker's record of either form tells; raises RecordError."""
    if is_binary(value):
        return ProfileTold.of(read_state(key, value))
    return ProfileTold.of_record(read_profile(key, value))


@dataclass(slots=True)
class Heard:
    """What a record says: an event, what a profile tells, or that a user was let go.

    Attributes
    ----------
    record
        Where it stands.
    user
        Of whom.
    event
        As `models.rules.history.EVENT` has it.
    event_id, attributes
        The event's.
    profile
        What a profile tells.
    former_events
        Of the user's profile before it.
    """

    record: Record
    user: str
    event: tuple[int, int, float, int] | None = None
    event_id: str = ""
    attributes: dict[str, str] | None = None
    profile: ProfileTold | None = None
    former_events: int = 0


@dataclass(slots=True)
class RuleStats:
    """Totals since the start, of committed work only."""

    events: Counter[str] = field(default_factory=Counter)
    """By what became of them: counted, refused."""
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: RuleStats) -> None:
        """Add another's totals."""
        self.events.update(other.events)
        self.changes.update(other.changes)


class RuleRestoration:
    """Reads one partition's states back, and what its profiles tell."""

    def __init__(self, settings: Settings, course: Course, partition: int) -> None:
        topics = settings.topics
        self.table = RuleTable(course)
        self.profiles: dict[str, ProfileTold] = {}
        self._states = topics.rule_states
        own = Changelog(topics.rule_states, partition, Upto.END, needs_offset=True)
        # Rules that are new may ask for what former ones did not.
        asked = course.rules.asks_profile
        told = [Changelog(topics.profiles, partition, Upto.COMMITTED)] if asked else []
        self.changelogs = (own, *told)

    def load(self, record: Record) -> None:
        """Take one record in; a null value is a tombstone."""
        self.load_many(RecordColumns.of(record))

    def load_many(self, records: RecordColumns) -> None:
        """Take records in, in their order.

        Raises
        ------
        StageError
            If one cannot be read.
        """
        if records.topic != self._states:
            self._load_profiles(records)
            return
        latest: dict[str, tuple[RuleState, bytes]] = {}
        for number, (key, value) in enumerate(zip(records.keys, records.values, strict=True)):
            try:
                user = (key or b"").decode()
                if value is None:
                    latest.pop(user, None)
                    self.table.remove(user)
                else:
                    latest[user] = (RuleState.decode(key or b"", value), value)
            except (RecordError, ValueError) as error:
                raise StageError(
                    f"the state in {records.place(number)} cannot be read: {error}"
                ) from None
        states = [state for state, _ in latest.values()]
        self.table.put([*latest], states, [record for _, record in latest.values()])

    def _load_profiles(self, records: RecordColumns) -> None:
        for number, (key, value) in enumerate(zip(records.keys, records.values, strict=True)):
            try:
                user = (key or b"").decode()
                if value is None:
                    self.profiles.pop(user, None)
                else:
                    self.profiles[user] = told_by(key or b"", value)
            except (RecordError, ValueError) as error:
                raise StageError(
                    f"the profile in {records.place(number)} cannot be read: {error}"
                ) from None


@dataclass(slots=True)
class _Working:
    """A user whose state a transaction makes: as it was read, and as it is followed.

    `gone` says that the user was let go; `written` that the state is to be written, and `record` as
    what.
    """

    state: RuleState
    standing: Standing
    gone: bool = False
    written: bool = False
    record: bytes = b""


def _for_work(table: RuleTable, users: list[str], most: int) -> list[str]:
    """Give as many users as have about so many events to be laid out; one at least."""
    done = np.cumsum([table.work(user) for user in users])
    return users[: max(int(np.searchsorted(done, most)), 1)]


class RuleStage:
    """Follows the users of its partitions under the rules.

    Parameters
    ----------
    settings
        Topics, rules, and how events are read.
    rules
        The rules in force.
    clock
        Gives `changed_at`; the wall clock when not given.
    intake_clock
        What event times in the future are told by.
    """

    restore_after_abort = False
    fixed_partitions = True

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        clock: Clock = wall_clock,
        intake_clock: Clock = wall_clock,
    ) -> None:
        self.stats = RuleStats()
        self.rules = rules
        self._settings, self._topics = settings, settings.topics
        self.inputs = (settings.topics.events, settings.topics.profiles)
        silence = settings.profile.inactive_after
        self._course = Course(
            rules, None if silence is None else silence // timedelta(microseconds=1)
        )
        self._intake = settings.events.intake()
        self._source = settings.kafka.group_id
        self._clock, self._intake_clock = clock, intake_clock
        self._faults = Faults()
        self._tables: dict[int, RuleTable] = {}
        self._profiles: dict[int, dict[str, ProfileTold]] = {}
        self._pending = RuleStats()
        self._work: dict[int, dict[str, _Working]] = {}
        self._reached: dict[int, int] = {}
        # Of users who are not followed yet; None takes one out.
        self._told: dict[int, dict[str, ProfileTold | None]] = {}
        self._turn = 0

    # --- partitions -------------------------------------------------------------------------

    def restoration(self, partition: int) -> RuleRestoration:
        """Begin to read back a partition's states."""
        return RuleRestoration(self._settings, self._course, partition)

    def assigned(self, partition: int, restoration: RuleRestoration) -> None:
        """Take over a partition."""
        self._tables[partition] = restoration.table
        self._profiles[partition] = restoration.profiles

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""
        self._tables.pop(partition, None)
        self._profiles.pop(partition, None)

    def table(self, partition: int) -> RuleTable:
        """Give a partition's states; not to be written."""
        return self._tables[partition]

    def reached(self, partition: int) -> datetime | None:
        """Give the event time that a partition has reached, None before any."""
        time = self._time_of(partition)
        return from_microseconds(time) if time else None

    def figures(self) -> Figures:
        """Give them for the metrics."""
        events, changes = self.stats.events, self.stats.changes
        yield "rule_events", {fate: events[fate] for fate in ("counted", "refused")}
        yield "rule_changes", {each: changes[each] for each in product(RuleStatus, RuleReason)}
        members: Counter[str] = Counter(dict.fromkeys(self.rules.names, 0))
        tables = list(self._tables.values())
        for table in tables:
            members.update(dict(table.members))
        yield "rule_members", dict(members)
        yield "rule_users", sum(len(table) for table in tables)
        yield "rule_users_to_look_at", sum(table.left for table in tables)
        reached = [table.watermark for table in tables if table.watermark]
        yield "rule_watermark_timestamp_seconds", min(reached) / 1e6 if reached else None

    # --- the way of a record ----------------------------------------------------------------

    def prepare(self, records: Sequence[Record]) -> list[Heard | Record]:
        """Read events and profiles; what is neither comes back as it is."""
        now = self._intake_clock()
        return [self._read(record, now) for record in records]

    def _read(self, record: Record, now: datetime) -> Heard | Record:
        try:
            if record.topic == self._topics.profiles:
                return self._read_profile(record)
            event, _ = self._intake.sift(record.value, record.key, now)
        except RefusedError:
            return record
        except RecordError as error:
            raise StageError(f"the profile in {record.place} cannot be read: {error}") from None
        except Exception as error:
            self._faults.tell(error, "a record")
            return record
        return Heard(
            record,
            event.user_id,
            (
                event.microseconds,
                hash_event_id(event.event_id),
                nan if event.rating is None else min(max(event.rating, -MOST_RATING), MOST_RATING),
                CODES[event.type],
            ),
            event.event_id,
            event.attributes,
        )

    def _read_profile(self, record: Record) -> Heard:
        key = record.key or b""
        if record.value is None:
            return Heard(record, key.decode())
        told = told_by(key, record.value) if self.rules.asks_profile else None
        return Heard(record, key.decode(), profile=told)

    def apply(
        self, prepared: Sequence[Heard | Record], partitions: frozenset[int]
    ) -> Sequence[Output]:
        """Let users take their steps, in the order of the records."""
        runs: dict[int, dict[str, list[Step]]] = {}
        for heard in prepared:
            record = heard.record if isinstance(heard, Heard) else heard
            partition = record.partition
            if partition not in partitions:
                continue
            if not isinstance(heard, Heard):
                self._pending.events["refused"] += 1
                continue
            if heard.event is not None:
                self._pending.events["counted"] += 1
                self._reached[partition] = max(self._time_of(partition), heard.event[0])
            if (step := self._step(partition, heard)) is not None:
                runs.setdefault(partition, {}).setdefault(heard.user, []).append(step)
        now = self._clock()
        outputs: list[Output] = []
        for partition, run in runs.items():
            outputs += self._take(partition, run, now)
        return [*outputs, *self._states()]

    def _time_of(self, partition: int) -> int:
        return self._reached.get(partition, self._tables[partition].watermark)

    def _step(self, partition: int, heard: Heard) -> Step | None:
        """Give what a record means for its user; None where that is nothing yet."""
        now = self._time_of(partition)
        if heard.event is not None:
            return Step(now, heard.event, heard.attributes, source=heard)
        told = heard.profile
        if told is None and heard.record.value is not None:
            return None  # no rule asks for it
        if not now:
            # No event of the partition was heard yet, so there is no time to look at.
            self._told.setdefault(partition, {})[heard.user] = told
            return None
        user, work = heard.user, self._work.get(partition, {})
        stale = told is not None and self._is_silent(partition, told)
        if (told is None or stale) and user not in self._tables[partition] and user not in work:
            self._told.setdefault(partition, {})[user] = None
            return None
        state = self._working(partition, user).state
        heard.former_events, state.profile_events = state.profile_events, told.events if told else 0
        if told is None:
            return Step(now, None, source=heard)
        return Step(now, None, None, told.segment, told.label, told.words, heard, stale)

    def _take(self, partition: int, run: dict[str, list[Step]], now: datetime) -> list[Output]:
        # Whose windows have ended are looked at along: that costs little more than the others do.
        table, until = self._tables[partition], self._time_of(partition)
        due = [user for user in table.due(_USERS, until) if user not in run]
        due = _for_work(table, due, _WORK)
        users = [self._working(partition, user) for user in (*run, *due)]
        for each in users[: len(run)]:
            each.written = True
        return self._look_at(users, [*run.values(), *[()] * len(due)], until, now)

    def _look_at(
        self,
        users: Sequence[_Working],
        steps: Sequence[Sequence[Step]],
        until: int,
        now: datetime,
    ) -> list[Output]:
        """Let users take their steps, and time pass; what comes of it is written."""
        turned = self._course.follow([each.standing for each in users], steps, until)
        for each in users:
            each.written |= not each.standing.is_known
        for one in turned:
            users[one.place].written = True
        return self._tell(users, turned, now)

    def _working(self, partition: int, user: str) -> _Working:
        work = self._work.setdefault(partition, {})
        if user not in work:
            state = self._tables[partition].get(user) or RuleState()
            told = self._profile_of(partition, user)
            # A state under these rules has all that profiles told since, and no more.
            if told is not None and state.digest != self.rules.digest:
                state.segment, state.label = told.segment, told.label
                state.words, state.profile_events = tuple(sorted(told.words)), told.events
            quiet = self._tables[partition].quiet_until(user)
            standing = standing_of(user, state, self.rules.digest, quiet)
            work[user] = _Working(state, standing)
        return work[user]

    def _profile_of(self, partition: int, user: str) -> ProfileTold | None:
        pending = self._told.get(partition, {})
        told = pending[user] if user in pending else self._profiles[partition].get(user)
        return None if told is None or self._is_silent(partition, told) else told

    def _is_silent(self, partition: int, told: ProfileTold) -> bool:
        """Tell whether a profile is of somebody who is to be let go, and is only still there.

        Rules let go of users by all events, and may be ahead of the workers in it.
        """
        silence = self._course.silence
        return silence is not None and told.last + silence <= self._time_of(partition)

    def maintain(self, *, idle: bool) -> Sequence[Output] | None:
        """Look at users who were looked at under other rules, and whose windows have ended.

        And at those whose profile was read before there was a time to look at.
        """
        partitions = [*self._tables]
        for turn in range(len(partitions)):
            partition = partitions[(self._turn + turn) % len(partitions)]
            outputs = self._look(partition, idle=idle)
            if outputs is not None:
                self._turn += turn + 1
                return [*outputs, *self._states()]
        return None

    def _look(self, partition: int, *, idle: bool) -> list[Output] | None:
        table, now = self._tables[partition], self._clock()
        most, work = (_USERS_IDLE, _WORK_IDLE) if idle else (_USERS, _WORK)
        users = table.outdated(most) or table.due(most, table.watermark)
        if users:
            users = _for_work(table, users, work)
            found = [self._working(partition, user) for user in users]
            return self._look_at(found, [()] * len(found), table.watermark, now)
        if not (self.rules.asks_profile and table.watermark):
            return None
        told = self._profiles[partition]
        waiting = [*islice((user for user in told if user not in table), most)]
        silent = {user for user in waiting if self._is_silent(partition, told[user])}
        for user in silent:
            del told[user]
        waiting = [user for user in waiting if user not in silent]
        if not waiting:
            return None
        at, run = table.watermark, {}
        for user in waiting:
            own = told[user]
            run[user] = [Step(at, None, None, own.segment, own.label, own.words)]
        outputs = self._take(partition, run, now)
        self._told.setdefault(partition, {}).update(dict.fromkeys(waiting))
        return outputs

    # --- what is written --------------------------------------------------------------------

    def _tell(
        self,
        users: Sequence[_Working],
        turned: Sequence[Turned],
        now: datetime,
    ) -> list[Output]:
        """Give the records of changes."""
        outputs = []
        lives = [0] * len(users)
        for each in turned:
            state, user = users[each.place].state, users[each.place].standing.user
            if each.life > lives[each.place]:
                lives[each.place], state.sequence = each.life, 0
            state.sequence += 1
            heard = each.source if isinstance(each.source, Heard) else None
            told = heard.profile if heard else None
            cause = rule_cause(
                each.reason,
                by_event=heard is not None
                and told is not None
                and told.events > heard.former_events,
            )
            status = RuleStatus.ENTERED if each.entered else RuleStatus.EXITED
            at = from_microseconds(each.at)
            event = heard if heard and heard.event else None
            value = to_json(
                {
                    "user_id": user,
                    "sequence": state.sequence,
                    "rule": each.rule,
                    "status": status,
                    "reason": each.reason,
                    "cause": cause,
                    "changed_at": now,
                    "effective_at": at,
                    "occurred_at": event and event.event and from_microseconds(event.event[0]),
                    "facts": each.facts,
                    "source": event
                    and {
                        "topic": event.record.topic,
                        "partition": event.record.partition,
                        "offset": event.record.offset,
                        "event_id": event.event_id,
                    },
                }
            )
            identity = rule_change_id(user, each.rule, at, state.sequence)
            headers = tuple(rule_headers(identity, self._source, user, now, cause))
            outputs.append(Output(self._topics.rule_changes, user.encode(), value, headers))
            outputs.append(
                Output(
                    self._topics.rule_memberships,
                    membership_key(user, each.rule),
                    value if each.entered else None,
                    headers if each.entered else (),
                )
            )
            self._pending.changes[status, each.reason] += 1
        for life, user_at_work in zip(lives, users, strict=True):
            if user_at_work.standing.lives > life:
                user_at_work.state.sequence = 0
            user_at_work.standing.lives = 0
            user_at_work.gone = not user_at_work.standing.is_known
        return outputs

    def _states(self) -> list[Output]:
        """Give the records of the states that the transaction makes."""
        outputs = []
        for partition, work in self._work.items():
            table = self._tables[partition]
            for user, each in work.items():
                if not each.written or (each.gone and user not in table):
                    continue
                key, value = user.encode(), None
                if not each.gone:
                    value = each.record = self._state_of(each).encode(key)
                outputs.append(Output(self._topics.rule_states, key, value, (), partition))
        return outputs

    def _state_of(self, each: _Working) -> RuleState:
        state, standing = each.state, each.standing
        state.first, state.last = standing.first or 0, standing.last or 0
        state.evaluated, state.digest = standing.evaluated, self.rules.digest
        state.history = standing.events.tobytes()
        known = standing.known
        state.attributes, state.segment, state.label = known.attributes, known.segment, known.label
        state.words = tuple(sorted(known.words)) if self.rules.asks_words else ()
        state.members = standing.members
        return state

    # --- the end of a transaction -----------------------------------------------------------

    def committed(self) -> None:
        """Make what was computed the state."""
        for partition, work in self._work.items():
            table, profiles = self._tables[partition], self._profiles[partition]
            made = {user: each for user, each in work.items() if each.written and not each.gone}
            states = [each.state for each in made.values()]
            quiet = [each.standing.quiet_until for each in made.values()]
            table.put([*made], states, [each.record for each in made.values()], quiet)
            looked = {
                user: each for user, each in work.items() if not each.written and user in table
            }
            standings = [each.standing for each in looked.values()]
            table.looked(
                [*looked],
                [each.evaluated for each in standings],
                [each.quiet_until for each in standings],
            )
            for user, each in work.items():
                if each.written:
                    profiles.pop(user, None)
                if each.gone:
                    table.remove(user)
        for partition, told in self._told.items():
            for user, profile in told.items():
                if profile is None:
                    self._profiles[partition].pop(user, None)
                else:
                    self._profiles[partition][user] = profile
        for partition, time in self._reached.items():
            self._tables[partition].watermark = max(self._tables[partition].watermark, time)
        self.stats.add(self._pending)
        self._clear()

    def aborted(self) -> None:
        """Drop what was computed."""
        self._clear()

    def _clear(self) -> None:
        self._work, self._reached, self._told, self._pending = {}, {}, {}, RuleStats()
