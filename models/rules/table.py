"""Users' states as `segmenter rules run` holds them: the records that it would read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.rules.course import Course
from models.rules.history import EVENT, NO_EVENTS, Events, Known
from models.rules.moments import Moments
from models.rules.parts import NEVER
from models.rules.standing import Standing
from schemas.rule_states import RuleState

_FIRST_ROOM = 1024


def standing_of(user: str, state: RuleState, digest: int, quiet_until: int = 0) -> Standing:
    """Give a state as what rules are followed with.

    Parameters
    ----------
    user, state
        Whose it is, and what it is.
    digest
        Of the rules in force.
    quiet_until
        Before this time nothing turns by time alone, if the state is under these rules.
    """
    outdated = bool(state.evaluated) and state.digest != digest
    return Standing(
        user,
        events_of(state),
        known_of(state),
        state.first or None,
        state.last or None,
        state.members,
        state.evaluated,
        outdated=outdated,
        quiet_until=0 if outdated else quiet_until,
    )


def known_of(state: RuleState) -> Known:
    """Give what a state knows beside events."""
    return Known(state.attributes, state.segment, state.label, frozenset(state.words))


def events_of(state: RuleState) -> Events:
    """Give the events that a state holds, EVENT (n,)."""
    return np.frombuffer(state.history, EVENT) if state.history else NO_EVENTS


class RuleTable:
    """The states of one partition's users.

    Parameters
    ----------
    course
        Tells when something may be different next.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._rows: dict[str, int] = {}
        self._records: list[bytes] = []
        self._free: list[int] = []
        self._next = np.full(_FIRST_ROOM, NEVER, np.int64)
        self._digests = np.zeros(_FIRST_ROOM, np.uint64)
        # Up to when users were looked at since their records were written, 0 where never.
        self._looked = np.zeros(_FIRST_ROOM, np.int64)
        # Up to when they were looked at at all.
        self._after = np.zeros(_FIRST_ROOM, np.int64)
        self._users: list[str] = []
        self._members: list[tuple[str, ...]] = []
        self._known_members: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.members: Counter[str] = Counter()
        """Members by rule."""
        self.watermark = 0
        """The event time that the partition has reached, microseconds since 1970."""

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, user: str) -> bool:
        return user in self._rows

    def get(self, user: str) -> RuleState | None:
        """Give a user's state; None where nothing is known."""
        row = self._rows.get(user)
        if row is None:
            return None
        state = RuleState.of_own(self._records[row])
        if self._looked[row]:
            # Nothing was different, or it would have been written.
            state.evaluated = int(self._looked[row])
            state.digest = int(self._digests[row])
        return state

    def quiet_until(self, user: str) -> int:
        """Give the time before which nothing of a user turns by time alone; 0 for not known."""
        row = self._rows.get(user)
        return 0 if row is None else int(self._next[row])

    def work(self, user: str) -> int:
        """Give about how many events are laid out to look at a user.

        All that is held leaves each window in the longest of them, and so much less in less time.
        """
        row = self._rows[user]
        events = len(self._records[row]) // EVENT.itemsize
        lengths = [window.length for window in self._course.rules.windows]
        since = max(int(self._after[row]), min(int(self._next[row]), self.watermark))
        passed = min((self.watermark - since) / max(lengths, default=1), 1)
        return int(events * (1 + events * len(lengths) * passed))

    def put(
        self,
        users: Sequence[str],
        states: Sequence[RuleState],
        records: Sequence[bytes],
        quiet_until: Sequence[int] | None = None,
    ) -> None:
        """Set users' states.

        Parameters
        ----------
        users, states, records
            Whose, what they are, and what they are written as.
        quiet_until
            Before these times nothing turns by time alone; found out where it is not given.
        """
        if not users:
            return
        rows = []
        for user, state, record in zip(users, states, records, strict=True):
            row = self._rows.get(user)
            if row is None:
                row = self._room(user)
            if state.members != self._members[row]:
                self.members.subtract(self._members[row])
                self.members.update(state.members)
                # Many users have the same.
                self._members[row] = self._known_members.setdefault(state.members, state.members)
            self._records[row] = record
            rows.append(row)
        at = np.array(rows, np.int64)
        self._digests[at] = np.array([state.digest for state in states], np.uint64)
        self._looked[at] = 0
        self._after[at] = np.array([state.evaluated for state in states], np.int64)
        if quiet_until is None:
            quiet = np.zeros(len(states), np.int64)
            own = np.flatnonzero(self._digests[at] == np.uint64(self._course.rules.digest))
            quiet[own] = self._quiet([states[number] for number in own.tolist()])
        else:
            quiet = np.array(quiet_until, np.int64)
        self._next[at] = quiet
        self.watermark = max(self.watermark, *(state.evaluated for state in states))

    def remove(self, user: str) -> None:
        """Forget a user."""
        row = self._rows.pop(user, None)
        if row is not None:
            self.members.subtract(self._members[row])
            self._records[row], self._members[row] = b"", ()
            self._next[row], self._digests[row] = NEVER, self._course.rules.digest
            self._looked[row] = 0
            self._free.append(row)

    def due(self, most: int, now: int) -> list[str]:
        """Give users of whom something may be different by a time, so many at most.

        None of those who were looked at under other rules.
        """
        rows = np.flatnonzero(self._next[: len(self._users)] <= now)
        rows = rows[self._digests[rows] == np.uint64(self._course.rules.digest)]
        return [self._users[row] for row in rows[:most].tolist()]

    def looked(
        self, users: Sequence[str], evaluated: Sequence[int], quiet_until: Sequence[int]
    ) -> None:
        """Note that users were looked at up to now, and that nothing is different.

        Their records stay as they are: whoever reads them looks again, and finds the same.
        """
        if not users:
            return
        at = np.array([self._rows[user] for user in users], np.int64)
        self._digests[at] = self._course.rules.digest
        self._looked[at] = self._after[at] = evaluated
        self._next[at] = quiet_until

    def outdated(self, most: int) -> list[str]:
        """Give users who were looked at under other rules, so many at most."""
        return [self._users[row] for row in np.flatnonzero(self._outdated())[:most].tolist()]

    @property
    def left(self) -> int:
        """Users who were looked at under other rules."""
        return int(self._outdated().sum())

    def _outdated(self) -> NDArray[np.bool_]:
        digests = self._digests[: len(self._users)]
        different: NDArray[np.bool_] = digests != np.uint64(self._course.rules.digest)
        return different

    def _quiet(self, states: Sequence[RuleState]) -> NDArray[np.int64]:
        counts = [len(state.history) // EVENT.itemsize for state in states]
        lengths = np.array(counts, np.int64)
        events = np.frombuffer(b"".join(state.history for state in states), EVENT)
        first, last = (
            np.array([time or NEVER for time in times], np.int64)
            for times in ([s.first for s in states], [s.last for s in states])
        )
        after = np.array([state.evaluated for state in states], np.int64)
        known = [known_of(state) for state in states]
        starts = np.cumsum(lengths) - lengths
        kept = self._course.rules.kept
        moments = Moments(events, starts, lengths, after, first, known, kept)
        return self._course.quiet_until(moments, last)

    def _room(self, user: str) -> int:
        if self._free:
            row = self._free.pop()
            self._users[row] = user
        else:
            row = len(self._users)
            self._users.append(user)
            self._records.append(b"")
            self._members.append(())
            if row == len(self._next):
                self._next = np.concatenate((self._next, np.full(row, NEVER, np.int64)))
                self._digests = np.concatenate((self._digests, np.zeros(row, np.uint64)))
                self._looked = np.concatenate((self._looked, np.zeros(row, np.int64)))
                self._after = np.concatenate((self._after, np.zeros(row, np.int64)))
        self._rows[user] = row
        return row
