"""What a new model does to users without an event of theirs: each is looked at once under it.

A model is taken up beside batches. Adopting it begins an epoch, and each table knows in which one
each user was looked at last. Users follow piece by piece, each piece bounded in time and in users,
in the transactions of batches or between them. Until it is their turn, events of those who were
looked at in the epoch before go on being decided under the models of that one: to look at each of
them first would double what an event costs, just when everybody moves. So each user sees what a
worker of its own would have seen to whom the model came at the moment of the look, and nobody's
events wait for anybody.

Users of a batch who were not looked at in the epoch before either (the process has begun, or models
follow each other fast) are looked at before their events, in the batch's transaction. So are those
whose event may lead into a segment that the new model has not got any more, and all of them where
that is a rollback: what an operator takes back must not decide any further. A newer model that
comes meanwhile begins another epoch: who was not looked at under the former one goes straight to
it, as in a worker that skips versions. So each user's changes are in the order of the versions.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from consumer.contract.clock import Timer
from consumer.contract.records import Output
from consumer.stages.segmentation.changes import Cause
from consumer.stages.segmentation.decisions import Decided, Decisions, count_changes
from consumer.stages.segmentation.model_source import InForce
from consumer.stages.segmentation.standings import Standings
from consumer.stages.shared.unexpected import Faults
from models.profiles.table import ProfileRows, ProfileTable
from models.segments.decision import nearest_beyond_doubt

I64 = NDArray[np.int64]
T = TypeVar("T")

# Users judged at once: enough to hide the cost of a call, in a few milliseconds.
_JUDGED = 512
# Users written down from one look at the clock to the next.
_WRITTEN = 64
_NO_ROWS = np.zeros(0, np.int64)


@dataclass(slots=True)
class Look:
    """What looking at users has come to; nothing of it is state yet.

    Attributes
    ----------
    looked
        Rows of those looked at, by partition.
    moved
        States of those who change, by partition; of a batch they are in its rows.
    changes
        Their records.
    counts
        Changes by status and reason.
    passed_over
        How many the program has failed on.
    left
        Of a batch, places of users who are left to pieces: `Reassignment.former` decides on them.
    """

    looked: list[tuple[int, I64]] = field(default_factory=list)
    moved: list[tuple[int, ProfileRows]] = field(default_factory=list)
    changes: list[Output] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    passed_over: int = 0
    left: I64 = field(default_factory=lambda: _NO_ROWS)

    def note(self, decided: Decided) -> None:
        """Take in the changes of some users."""
        self.changes += [output for row in sorted(decided) for output in decided[row][1]]
        self.counts += count_changes(decided)


class Reassignment:
    """Looks at users under a new model in pieces, and at some of those of a batch.

    Parameters
    ----------
    decisions
        Decides on users.
    faults
        Tells of users on whom the program fails. They are found by halving and stay as they are,
        until an event of theirs or the next model.
    most_users
        Looked at in one piece.
    timer
        What time it is.
    """

    def __init__(
        self,
        decisions: Decisions,
        faults: Faults,
        *,
        most_users: int,
        timer: Timer = time,
    ) -> None:
        self._decisions = decisions
        self._faults = faults
        self._most_users = most_users
        self._now = timer.monotonic
        self.epoch = 0
        self.former: InForce | None = None
        """What decides on users until they are looked at, where they were looked at under it."""
        # Users of a table who may change and were not decided on when a piece was over.
        self._kept: dict[int, tuple[ProfileTable, I64]] = {}
        self.settled = True
        """Whether everybody was looked at under the latest model."""

    def begin(self, former: InForce | None = None) -> None:
        """Look at everybody again, under another model.

        `former` is what was in force until now, where it may go on deciding on users meanwhile.
        """
        self.epoch += 1
        self.former = former
        self.settled = False
        self._kept.clear()

    def partition_came(self) -> None:
        """Look at the users of a table that was read back: a crash may have come amid a take-up."""
        self.settled = False

    def partition_went(self, partition: int) -> None:
        """Forget a table."""
        self._kept.pop(partition, None)

    def left(self, tables: Iterable[ProfileTable]) -> int:
        """Count the users who are to be looked at; another thread may ask."""
        if self.settled:
            return 0
        return sum(table.unlooked_count(self.epoch) for table in tables)

    def of_batch(
        self, table: ProfileTable, rows: ProfileRows, own: I64, cause: Cause, under: InForce
    ) -> Look:
        """Look at the first users of a batch as far as no former model goes on deciding on them.

        `own` are their rows in the table, negative where they are new. Those in `rows` are set to
        what the look comes to.
        """
        look = Look()
        if self.settled:
            return look
        known = np.flatnonzero(own >= 0)
        epochs = table.looked(own[known])
        left, epochs = known[epochs < self.epoch], epochs[epochs < self.epoch]
        to_judge = rows.weights[left] > 0  # else there is nothing to judge by, as in `_unsure`
        left, epochs = left[to_judge], epochs[to_judge]
        if self.former is not None:
            before = epochs == self.epoch - 1
            look.left, left = left[before], left[~before]
        asked = self._apart(left, lambda some: self._decisions.may_move(rows, some, under), look)
        left = np.concatenate([_NO_ROWS, *asked])
        for places, states, decided in self._written(rows, left, cause, under, look):
            moved = sorted(decided)
            rows.overwrite(places[moved].tolist(), states.take(moved))
            look.note(decided)
        return look

    def of_leaving(  # noqa: PLR0917 - what a look works with
        self,
        table: ProfileTable,
        rows: ProfileRows,
        places: I64,
        own: I64,
        cause: Cause,
        under: InForce,
    ) -> Look:
        """Look at users of a batch as they were before their events, which were applied already.

        `places` are theirs in `rows`, where they will stand as the look leaves them; their profiles
        stay moved. `own` are their rows in the table, which knows how they were.
        """
        look, states = Look(), table.states(own)
        for some, looked, decided in self._written(states, np.arange(len(own)), cause, under, look):
            moved = sorted(decided)
            rows.stand_as(places[some[moved]].tolist(), looked.take(moved))
            look.note(decided)
        return look

    def leaving(self, after: Standings, entries: I64, under: InForce) -> I64:
        """Give the places of users whom a former model may put into a segment that is no more.

        Who is in one and stays there is among them. They are few, and whoever keeps a list of the
        segments does not expect anybody to go there.
        """
        if self.former is None or not len(entries):
            return _NO_ROWS
        gone = under.segments.rows_of(self.former.segments.ids) < 0
        if not gone.any():
            return _NO_ROWS
        nearest = nearest_beyond_doubt(after.sums[entries], self.former.segments)
        return np.unique(after.places[entries[(nearest < 0) | gone[nearest]]])

    def piece(
        self,
        tables: Mapping[int, ProfileTable],
        cause: Cause,
        under: InForce,
        *,
        seconds: float,
        beside: Mapping[int, I64] | None = None,
    ) -> Look | None:
        """Look at the next users of all tables; None where nobody is left.

        Parameters
        ----------
        tables
            By partition.
        cause, under
            What is looked at them for.
        seconds
            After which it ends. Where it has begun to decide on users that is a few of them later.
        beside
            Rows of those whom a batch in the same transaction has touched, by partition. They are
            left alone: whatever the tables say of them is not true any more.
        """
        if self.settled:
            return None
        look, room, ends, waiting = Look(), self._most_users, self._now() + seconds, 0
        for partition, table in tables.items():
            others = _NO_ROWS if beside is None else beside.get(partition, _NO_ROWS)
            movers = self._movers_left(partition, table)
            movers = movers[~np.isin(movers, others)]
            if len(movers):
                # Who is looked at in this piece is marked when it is committed: only then the table
                # can tell who is left besides.
                written = self._write(partition, table, movers[:room], cause, under, look, ends)
                self._keep(partition, table, movers[written:])
                return look
            left = table.unlooked(self.epoch, room + len(others))
            waiting += len(left)
            left = left[~np.isin(left, others)][:room]
            room -= len(left)
            for first in range(0, len(left), _JUDGED):
                judged = left[first : first + _JUDGED]
                movers = self._unsure(table, judged, under, look)
                look.looked.append((partition, np.setdiff1d(judged, movers, assume_unique=True)))
                written = self._write(partition, table, movers, cause, under, look, ends)
                self._keep(partition, table, movers[written:])
                if self._now() >= ends:
                    return look
            if not room:
                return look
        if not waiting:
            self.settled, self.former = True, None
        return look if look.looked else None

    def _movers_left(self, partition: int, table: ProfileTable) -> I64:
        """Give the rows of users who may change and were not decided on yet.

        An event may have changed one meanwhile, so that there is nothing to change any more: to
        decide on one for nothing does no harm. Who was found to stay was looked at.
        """
        of, movers = self._kept.pop(partition, (table, _NO_ROWS))
        if of is not table:
            return _NO_ROWS
        return movers[table.looked(movers) < self.epoch]

    def _keep(self, partition: int, table: ProfileTable, movers: I64) -> None:
        if len(movers):
            self._kept[partition] = table, movers

    def _write(  # noqa: PLR0917 - what a piece works with
        self,
        partition: int,
        table: ProfileTable,
        movers: I64,
        cause: Cause,
        under: InForce,
        look: Look,
        ends: float,
    ) -> int:
        """Decide on users, and give on how many when time was up."""
        done = 0
        while done < len(movers):
            some = movers[done : done + _WRITTEN]
            states = table.states(some)
            everyone = np.arange(len(states))
            for _, moved, decided in self._written(states, everyone, cause, under, look):
                some_stay = len(decided) < len(moved)
                changed = moved.take(sorted(decided)) if some_stay else moved
                look.moved.append((partition, changed))
                look.note(decided)
            look.looked.append((partition, some))
            done += len(some)
            if self._now() >= ends:
                break
        return done

    def _unsure(self, table: ProfileTable, rows: I64, under: InForce, look: Look) -> I64:
        """Give the rows of those users who may change, in order."""

        def ask(some: I64) -> I64:
            states = table.standings(some)
            # Of a user whose events were gone when the group was migrated to another embedding
            # model only the standing is known, until the next event: nothing to judge by.
            known = np.flatnonzero(states.weights > 0)
            return some[self._decisions.may_move(states, known, under)]

        return np.concatenate([_NO_ROWS, *self._apart(rows, ask, look)])

    def _written(
        self, rows: ProfileRows, places: I64, cause: Cause, under: InForce, look: Look
    ) -> Iterator[tuple[I64, ProfileRows, Decided]]:
        """Decide on users at some places; give the places, copies of their states, and changes."""

        def write(some: I64) -> tuple[I64, ProfileRows, Decided]:
            states = rows.take(some.tolist())
            return some, states, self._decisions.by_model(states, cause, under)

        return self._apart(places, write, look)

    def _apart(self, users: I64, work: Callable[[I64], T], look: Look) -> Iterator[T]:
        """Work on users; those on whom that fails are found by halving, and left out."""
        if not len(users):
            return
        try:
            done = work(users)
        except Exception as error:
            self._faults.tell(error, "a user under a new model")
            if len(users) == 1:
                look.passed_over += 1
                return
            middle = len(users) // 2
            yield from self._apart(users[:middle], work, look)
            yield from self._apart(users[middle:], work, look)
            return
        yield done
