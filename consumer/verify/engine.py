"""The audit: takes records one at a time, in whatever order topics are read, and applies the rules.

The topics are read side by side or one after another, so at any moment one of them may be ahead of
another. What lies between topics is therefore judged late. Of a whole (a replay's folder, or topics
up to a cut), when all was fed: `finish`. Of topics without an end a user whose change, membership
and profile do not agree is waited for, and reported when everything that was committed
`settle_seconds` after the disagreement was first seen has been read and they still do not agree.

What stays in memory of topics without an end: a row of numbers for each user (`ledger`), the name
of each user who is waited for, the ids of the latest changes and the places of the latest dead
letters. Of a whole: the same with all names, ids and places.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from consumer.verify import rules
from consumer.verify.dead_letters import DeadLetters
from consumer.verify.decode import Told, canonical
from consumer.verify.embeddings import EmbeddingTally
from consumer.verify.later import LaterKinds
from consumer.verify.ledger import (
    ABSENT,
    NO_PARTITION,
    NOWHERE,
    RECENT,
    UNREADABLE,
    UNTOLD,
    Column,
    Ledger,
    MembershipFacts,
    ProfileFacts,
    Recent,
    Standing,
    digest_of,
)
from consumer.verify.report import MAX_KEPT, Finding, Violations
from consumer.verify.split import split_at_once
from schemas.changes import ChangeReason, SegmentChange


@dataclass(slots=True)
class _Waiting:
    """A user whose records do not agree yet.

    `since` is when that was seen, `target` the highest sequence number at that time.
    """

    user: str
    since: float
    target: int


class Sums(NamedTuple):
    """What all profiles together say; of those that cannot be read it is not known."""

    users: int
    members: int
    accepted: int
    repeated: int
    unreadable: int


class Engine:
    """Follows every user's chain and holds memberships, profiles and dead letters against it.

    All times are seconds of one clock that never goes back; of a whole they do not matter.

    Parameters
    ----------
    violations
        Where findings go that are of one topic alone.
    between
        Where findings go that lie between topics, None for `violations`.
    settle_seconds
        How long the records of one transaction may be apart, longer than any transaction lasts;
        None for a whole, which is judged when it is finished.
    beginning_lost
        Whether the first changes are not there or not read. Memberships and profiles without a
        change are fine then; a user's chain is taken up at the first change that is seen.
    recent
        How many change ids and dead letters are remembered of topics without an end.
    input_topic
        What the group reads.
    tell
        Takes a sentence for a person.
    """

    def __init__(
        self,
        violations: Violations,
        *,
        between: Violations | None = None,
        settle_seconds: float | None = None,
        beginning_lost: bool = False,
        recent: int = RECENT,
        input_topic: str = "user-events",
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._violations = violations
        self._between = violations if between is None else between
        self._violations.ignored = self._between.ignored = self.is_split
        self._settle_seconds = settle_seconds
        self._whole = settle_seconds is None
        self._recent = None if self._whole else recent
        self._input_topic = input_topic
        self._split_told = self._whole
        self._tell = tell
        self.beginning_lost = beginning_lost
        self.changes = 0
        self.memberships = 0
        self.profiles = 0
        self.dead_letters = DeadLetters(self._recent)
        self.users = 0
        """Users with a change."""
        self.let_go = False
        """Whether a change tells of a user who was let go, having fallen silent."""
        # Whether sequence numbers may come again: a change or a tombstone may have ended a life.
        self._lives_end = False
        self.cut_off = 0
        """Of these, users whose first changes are not there."""
        self.begun_anew: Collection[int] = frozenset()
        """Partitions of the input of which an offset may name two records: it was made anew."""
        self.later = LaterKinds()
        self.embeddings = EmbeddingTally()
        self._forget()

    def _forget(self) -> None:
        self.ledger = Ledger(self._recent)
        self.dead_letters.forget()
        self._ids = Recent(self._recent)
        # Rows of users in several partitions: nothing of them fits, for one cause.
        self.split: set[int] = set()
        # In the order of `since`.
        self._waiting: dict[int, _Waiting] = {}
        # Of a whole, for each row: a membership that differs from the last change, and that one.
        self.differing: dict[int, bytes] = {}
        self._documents: dict[int, bytes] = {}

    def restart(self) -> None:
        """Begin anew in the middle, after records were missed; the counts go on."""
        self._forget()
        self.users = 0
        self.beginning_lost = True

    @property
    def unsettled(self) -> int:
        """Users whose records do not agree yet."""
        return len(self._waiting)

    @property
    def settled(self) -> bool:
        """Whether there is nothing that later records, or a time without any, would still judge."""
        return not self._waiting and self.dead_letters.settled

    # --- one record -------------------------------------------------------------------------

    def change(
        self,
        told: Told[SegmentChange],
        value: bytes,
        now: float = 0.0,
        *,
        partition: int | None = None,
        beginning_lost: bool = False,
    ) -> None:
        """Take a change.

        Parameters
        ----------
        told
            The change, and how it was found.
        value
            Bytes that a membership repeats.
        now
            The present time.
        partition
            That of the input which it says it comes from, where that is to be looked at.
        beginning_lost
            Whether earlier changes of the same user may be gone.
        """
        change, user = told.event, told.event.user_id
        self.changes += 1
        self.embeddings.add_change(change)
        if self.later.add(change) and (untold := self.later.untold()):
            self._tell(f"not checked: {untold}")
        ledger = self.ledger
        row = ledger.row(user)
        split = self._is_split(row, partition)
        report = self._violations.add_all
        if told.faults:
            report(user, rules.envelope(told.place, "change", told.faults))
        report(user, rules.change_id(change, told.recorded_id, told.due_id))
        # In another life of the user the same may be caused again, by an event that was edited.
        life = ledger.lives[row]
        new = self._ids.add(digest_of(f"{life} {told.recorded_id}" if life else told.recorded_id))
        if not new:
            report(user, rules.published_once(change, told.recorded_id))
        if split or not new:
            return
        before = ledger.changes.at(row)
        if before is None:
            self.users += 1
        if before is None and beginning_lost and change.sequence > 1:
            self.cut_off += 1
            sound = True
        else:
            sound = not report(user, rules.link(before or NOWHERE, change))
        report(user, rules.status(change))
        model = ledger.decided(row, change.model.version, change.model.embedding)
        report(user, rules.embedding_link(model, change))
        report(user, rules.version_link(model, change))
        self._follow_label(row, change, beginning_lost=beginning_lost)
        if sound and before is not None:
            self._check_before_it_goes(row, user)
        ledger.broken[row] = not sound
        if change.reason is ChangeReason.INACTIVE:
            # All of the user is let go: what comes next is a first change.
            self.users -= 1
            self.let_go = self._lives_end = True
            ledger.forget(row)
        else:
            ledger.changes.put(row, Standing.after(change, value))
        self._compare(row, user, now)

    def membership(self, user: str, membership: MembershipFacts | None, now: float = 0.0) -> None:
        """Take a membership, None for a tombstone."""
        self.memberships += 1
        row = self.ledger.row(user)
        if row in self.split:
            return
        self._lives_end |= membership is None
        standing = None if membership is None else membership.standing
        self._replace(self.ledger.memberships, row, user, standing)
        if self._whole:
            self.differing.pop(row, None)
            change = self.ledger.changes.at(row)
            differs = membership and change and not membership.standing.equals(change)
            # Of more than are listed no fields are told.
            if membership and differs and len(self.differing) < MAX_KEPT:
                self.differing[row] = membership.document
        self._compare(row, user, now)

    def profile(
        self,
        user: str,
        profile: ProfileFacts | None,
        now: float = 0.0,
        partition: int | None = None,
    ) -> None:
        """Take a profile, None for a tombstone, of a partition of the changelog."""
        self.profiles += 1
        self._lives_end |= profile is None
        ledger = self.ledger
        row = ledger.find(user)
        if row is None:
            if profile is None or (profile.standing.agrees(NOWHERE) and not self._whole):
                # Most users of a young stream: nothing to remember.
                return
            row = ledger.row(user)
        split = self._is_split(row, None if profile is None else partition)
        if self._whole:
            ledger.count(row, profile)
            if profile is not None and profile.embedding is not None:
                self.embeddings.add_vector(profile.embedding, profile.numbers, user)
        elif split:
            return
        self._replace(ledger.profiles, row, user, None if profile is None else profile.standing)
        if profile is not None:
            ledger.texts.keep(profile.standing.document, profile.label)
        self._compare(row, user, now)

    def _follow_label(self, row: int, change: SegmentChange, *, beginning_lost: bool) -> None:
        """Follow the labels that changes tell.

        A change tells none while its worker has no label model; the label stays then, untold.
        """
        if change.label is None:
            return
        ledger, name, previous = self.ledger, change.label.name, change.label.previous
        before = ledger.labels[row]
        if before == UNTOLD and not beginning_lost:
            before = hash(None)
        if before not in (UNTOLD, hash(previous)):
            known = ledger.texts.of(before)
            self._violations.add_all(change.user_id, rules.label_link(change, previous, known))
        ledger.labels[row] = ledger.texts.keep(hash(name), name)

    # --- users in several partitions --------------------------------------------------------

    def is_split(self, user: str) -> bool:
        """Whether a user is in several partitions: what is wrong with it has that cause."""
        return bool(self.split) and self.ledger.find(user) in self.split

    @property
    def placed(self) -> int:
        """Users of whom a partition is known."""
        return sum(partition != NO_PARTITION for partition in self.ledger.partitions)

    def _is_split(self, row: int, partition: int | None) -> bool:
        """Tell whether a user is in several partitions; of no whole the first one is reported."""
        known = self.ledger.partitions[row]
        if partition is not None and known not in (NO_PARTITION, partition):
            self.split.add(row)
            self._waiting.pop(row, None)
            if not self._split_told:
                self._split_told = True
                self._violations.add_all(self._input_topic, split_at_once(known, partition))
        elif partition is not None:
            self.ledger.partitions[row] = partition
        return row in self.split

    # --- between the topics -----------------------------------------------------------------

    def settle(self, caught_up: float, now: float) -> None:
        """Report the users who do not agree though they should by now.

        Parameters
        ----------
        caught_up
            All that was committed before this time has been read.
        now
            The present time.
        """
        patience = self._settle_seconds or 0.0
        self.embeddings.report(self._between)
        self.dead_letters.settle(caught_up - patience, self.begun_anew, self._between)
        while self._waiting:
            row, entry = next(iter(self._waiting.items()))
            if entry.since + patience > caught_up:
                return
            del self._waiting[row]
            lowest, highest = self._bounds(row)
            if entry.target <= lowest and entry.target < highest:
                # It agreed on what was waited for, and a later change is under way.
                self._waiting[row] = _Waiting(entry.user, now, highest)
            else:
                self.ledger.reported[row] = True
                self._between.add_all(entry.user, self._disagreements(row))

    def finish(self) -> Sums:
        """Judge a whole, of which all records were given; give what its profiles say."""
        ledger = self.ledger
        users = members = unreadable = 0
        for user, row in ledger.named():
            self._between.add_all(user, self._disagreements(row))
            if (profile := ledger.profiles.at(row)) is None:
                continue
            users += 1
            members += profile.segment is not None
            unreadable += profile is UNREADABLE
            if (identity := ledger.embedding(row)) is not None:
                self.embeddings.add_profile(identity, user)
        self.dead_letters.settle(float("inf"), self.begun_anew, self._between)
        self.embeddings.report(self._between)
        self.embeddings.report_vectors(self._between)
        return Sums(users, members, sum(ledger.events), sum(ledger.repeats), unreadable)

    def recall(self, change: SegmentChange) -> None:
        """Look at a whole's changes once more, where a membership differs from the last one.

        So their fields can be told, and no change has to stay in memory until then.
        """
        row = self.ledger.find(change.user_id)
        if row in self.differing:
            document, last = canonical(change), self.ledger.changes.at(row)
            if last is not None and last.document == hash(document):
                self._documents[row] = document

    def _compare(self, row: int, user: str, now: float) -> None:
        if self._whole:
            return
        if self._agrees(row):
            self._waiting.pop(row, None)
            self.ledger.reported[row] = False
        elif row not in self._waiting and not self.ledger.reported[row]:
            self._waiting[row] = _Waiting(user, now, self._bounds(row)[1])

    def _agrees(self, row: int) -> bool:
        change, membership, profile = self.ledger.sequences(row)
        # Mostly a topic is ahead of another, and the numbers alone tell it.
        if change >= 0 and ABSENT in (membership, profile):
            return False
        return next(self._disagreements(row), None) is None

    def _disagreements(self, row: int) -> Iterator[Finding]:
        """Tell in what a user's last change, membership and profile do not agree."""
        ledger, lost = self.ledger, self.beginning_lost
        change, membership, profile = ledger.sides(row)
        if change is None and lost and not self._whole and (membership is None or profile is None):
            return
        yield from rules.membership(change, membership, self._fields(row), lost=lost)
        expected = change or membership
        if expected is None or expected is UNREADABLE:
            expected = NOWHERE
        yield from rules.profile(expected, profile)
        told = ledger.labels[row]
        if profile is None or profile is UNREADABLE or told in (UNTOLD, profile.document):
            return
        yield from rules.profile_label(ledger.texts.of(told), ledger.texts.of(profile.document))

    def _fields(self, row: int) -> Iterator[str]:
        """Name the fields in which a whole's membership differs from the last change."""
        if document := self._documents.get(row):
            left, right = json.loads(self.differing[row]), json.loads(document)
            yield from (name for name in left | right if left.get(name) != right.get(name))

    def _bounds(self, row: int) -> tuple[int, int]:
        """Give the lowest and the highest sequence number of what must agree."""
        numbers = self.ledger.sequences(row)
        there = numbers[1:] if numbers[0] == ABSENT and self.beginning_lost else numbers
        known = [max(number, 0) for number in there if number >= ABSENT]
        return min(known, default=0), max(known, default=0)

    def _replace(self, column: Column, row: int, user: str, standing: Standing | None) -> None:
        if standing and standing.sequence > column.sequence(row) >= 0:
            self._check_before_it_goes(row, user)
        column.put(row, standing)

    def _check_before_it_goes(self, row: int, user: str) -> None:
        """Report two records of one sequence number that differ, before one of them is replaced.

        Not of a whole: which former records a compacted topic still holds is left to chance. Nor
        where numbers come again: two records of one number may be of two lives of the user.
        """
        ledger = self.ledger
        if self._whole or self._lives_end or ledger.broken[row] or ledger.reported[row]:
            return
        change, membership, profile = ledger.sides(row)
        if change is None:
            return
        findings: list[Finding] = []
        if membership and membership.sequence == change.sequence:
            findings += rules.membership(change, membership, (), lost=False)
        if profile and profile.sequence == change.sequence:
            findings += rules.profile(change, profile)
        if self._between.add_all(user, findings):
            ledger.reported[row] = True
