"""The checks of `invariants`, one record at a time and without an end.

The topics are read side by side, so at any moment one of them may be ahead of another. What lies
between topics is therefore judged late: a user whose change, membership and profile do not agree is
waited for, and reported when everything that was committed `settle_seconds` after the disagreement
was first seen has been read and they still do not agree.

What stays in memory: a row of numbers for each user (`ledger`), the name of each user who is waited
for, the ids of the latest changes and the places of the latest dead letters (`RECENT` of each).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from consumer.verify import invariants
from consumer.verify.facts import NOWHERE, Footprint, SeenChange
from consumer.verify.ledger import NO_PARTITION, Ledger, Recent
from consumer.verify.report import ViolationKind, Violations
from schemas.changes import SegmentChange

RECENT = 100_000
"""How many changes and dead letters back a repeated one is told by its id or place. A change that
repeats an older one is found as well, as a sequence that does not grow."""

_NOWHERE = Footprint.of(0, None, None)


@dataclass(slots=True)
class _Waiting:
    """A user whose records do not agree yet.

    `since` is when that was seen, `target` the highest sequence number at that time.
    """

    user: str
    since: float
    target: int


class IncrementalChecker:
    """Follows every user's chain and holds memberships, profiles and dead letters against it.

    All times are seconds of one clock that never goes back.

    Parameters
    ----------
    violations
        Where the findings go.
    settle_seconds
        How long the records of one transaction may be apart; longer than any transaction lasts.
    beginning_lost
        Whether the first records of the topics are not there or not read. A user's chain is then
        taken up at the first change that is seen.
    recent
        How many change ids and dead letters are remembered.
    input_topic
        What the group reads.
    """

    def __init__(
        self,
        violations: Violations,
        *,
        settle_seconds: float,
        beginning_lost: bool = False,
        recent: int = RECENT,
        input_topic: str = "user-events",
    ) -> None:
        self._violations = violations
        self._settle_seconds = settle_seconds
        self._recent = recent
        self._input_topic = input_topic
        self._split_told = False
        self.beginning_lost = beginning_lost
        self.changes = 0
        self.memberships = 0
        self.profiles = 0
        self.dead_letters = 0
        self.users = 0
        """Users with a change."""
        self.begun_anew: frozenset[int] = frozenset()
        """Partitions of the input of which an offset may name two records: it was made anew."""
        # By version of the segment model: the embedding model that it is of.
        self._embeddings: dict[int, str] = {}
        self._forget()

    def _forget(self) -> None:
        self._ledger = Ledger()
        self._ids = Recent(self._recent)
        self._letters = Recent(self._recent)
        # Topic and partition of refused records, and partition of their dead letters: the last.
        self._letter_offsets: dict[tuple[str, int, int], int] = {}
        # Rows of users in several partitions: nothing of them fits, for one cause.
        self._split: set[int] = set()
        # Refused twice as it seems: when that was seen, and of which record and topic it is.
        self._doubtful: deque[tuple[float, tuple[str, int, int], str]] = deque()
        # In the order of `since`.
        self._waiting: dict[int, _Waiting] = {}

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
        return not self._waiting and not self._doubtful

    # --- one record -------------------------------------------------------------------------

    def change(self, seen: SeenChange, value: bytes, now: float) -> None:
        """Take a change; `value` are the record's bytes, which the membership repeats."""
        change, violations = seen.change, self._violations
        self.changes += 1
        self._check_embedding(change)
        invariants.check_id(seen, violations)
        if not self._ids.add(invariants.id_digest(seen.recorded_id)):
            invariants.report_repeated_id(seen, violations)
            return
        ledger = self._ledger
        row = ledger.row(change.user_id)
        if change.source is not None and self._is_split(row, change.source.partition):
            return
        before = ledger.changes.at(row)
        if before is None:
            self.users += 1
        if before is None and seen.beginning_lost and change.sequence > 1:
            sound = True
        else:
            sound = invariants.check_link(before or NOWHERE, change, violations)
        invariants.check_status(change, violations)
        if sound:
            self._check_before_it_goes(row, change.user_id)
        ledger.broken[row] = not sound
        segment = change.segment
        footprint = Footprint.of(
            change.sequence,
            segment.id if segment else None,
            segment.label if segment else None,
            value,
        )
        ledger.changes.put(row, footprint)
        self._compare(row, change.user_id, now)

    def membership(self, user: str, membership: Footprint | None, now: float) -> None:
        """Take a membership, None for a tombstone."""
        self.memberships += 1
        row = self._ledger.row(user)
        if row in self._split:
            return
        before = self._ledger.memberships.at(row)
        if before and membership and membership.sequence > before.sequence:
            self._check_before_it_goes(row, user)
        self._ledger.memberships.put(row, membership)
        self._compare(row, user, now)

    def profile(
        self, user: str, profile: Footprint | None, now: float, partition: int | None = None
    ) -> None:
        """Take a profile, None for a tombstone, of a partition of the changelog."""
        self.profiles += 1
        ledger = self._ledger
        row = ledger.find(user)
        if row is None:
            if profile is None or profile.agrees(_NOWHERE):
                # Most users of a young stream: nothing to remember.
                return
            row = ledger.row(user)
        if self._is_split(row, None if profile is None else partition):
            return
        before = ledger.profiles.at(row)
        if before and profile and profile.sequence > before.sequence:
            self._check_before_it_goes(row, user)
        ledger.profiles.put(row, profile)
        self._compare(row, user, now)

    def dead_letter(
        self, source: tuple[str, int, int], partition: int, subject: str, now: float
    ) -> None:
        """Take a dead letter.

        Parameters
        ----------
        source
            Topic, partition and offset of the refused record.
        partition
            The dead letter's own. Within it the offsets of each source partition grow, since one
            worker after another refuses records in their order. So a single number finds the
            repeats there; the latest dead letters are remembered besides, since a record without a
            key is written to any partition.
        subject
            The topic of the dead letters.
        now
            The present time.
        """
        self.dead_letters += 1
        topic, source_partition, offset = source
        place = (topic, source_partition, partition)
        last = self._letter_offsets.get(place, -1)
        if not self._letters.add(source) or offset <= last:
            # Of a topic that was made anew it is another record; the group's offset tells of that,
            # and is asked for less often than dead letters come.
            self._doubtful.append((now, source, subject))
        self._letter_offsets[place] = max(last, offset)

    def _is_split(self, row: int, partition: int | None) -> bool:
        """Tell whether a user is in several partitions; report it of the first one."""
        known = self._ledger.partitions[row]
        if partition is not None and known not in (NO_PARTITION, partition):
            self._split.add(row)
            self._waiting.pop(row, None)
            if not self._split_told:
                self._split_told = True
                self._violations.add(
                    ViolationKind.SPLIT_USERS,
                    self._input_topic,
                    f"events of one user are in several partitions, {known} and {partition}, and "
                    "so is the profile: producers with different partitioners write to it, or to "
                    "partitions of their choice; 'segmenter verify' counts such users and the "
                    "records of each partitioner, 'segmenter intake' re-keys such an input. What "
                    "else is wrong with these users, and others like them, is not listed",
                )
        elif partition is not None:
            self._ledger.partitions[row] = partition
        return row in self._split

    def _settle_dead_letters(self, caught_up: float) -> None:
        while self._doubtful and self._doubtful[0][0] + self._settle_seconds <= caught_up:
            _, (topic, partition, offset), subject = self._doubtful.popleft()
            if partition not in self.begun_anew:
                self._violations.add(
                    ViolationKind.REPEATED_DEAD_LETTER,
                    subject,
                    f"the record {topic}[{partition}]@{offset} was refused twice",
                )

    def _check_embedding(self, change: SegmentChange) -> None:
        """Check that a version of the segment model is of one embedding model.

        A group may be migrated while it is followed; then a later version is of another one.
        """
        model = change.model
        known = self._embeddings.setdefault(model.version, model.embedding)
        if known != model.embedding:
            self._violations.add(
                ViolationKind.MIXED_EMBEDDING,
                change.user_id,
                f"change {change.sequence} was decided by segment model {model.version} of "
                f"embedding model {model.embedding[:12]}, others by the same version of "
                f"{known[:12]}",
            )

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
        self._settle_dead_letters(caught_up)
        while self._waiting:
            row, entry = next(iter(self._waiting.items()))
            if entry.since + self._settle_seconds > caught_up:
                return
            del self._waiting[row]
            lowest, highest = self._bounds(row)
            if entry.target <= lowest and entry.target < highest:
                # It agreed on what was waited for, and a later change is under way.
                self._waiting[row] = _Waiting(entry.user, now, highest)
            else:
                self._ledger.reported[row] = True
                self._report(row, entry.user)

    def _compare(self, row: int, user: str, now: float) -> None:
        if self._agrees(row):
            self._waiting.pop(row, None)
            self._ledger.reported[row] = False
        elif row not in self._waiting and not self._ledger.reported[row]:
            self._waiting[row] = _Waiting(user, now, self._bounds(row)[1])

    def _agrees(self, row: int) -> bool:
        ledger = self._ledger
        change = ledger.changes.at(row)
        membership = ledger.memberships.at(row)
        profile = ledger.profiles.at(row)
        if change is not None:
            return membership == change and profile is not None and profile.agrees(change)
        if self.beginning_lost:
            return membership is None or profile is None or profile.agrees(membership)
        return membership is None and (profile is None or profile.agrees(_NOWHERE))

    def _bounds(self, row: int) -> tuple[int, int]:
        """Give the lowest and the highest sequence number of what must agree."""
        ledger = self._ledger
        sides = [ledger.changes.at(row), ledger.memberships.at(row), ledger.profiles.at(row)]
        if sides[0] is None and self.beginning_lost:
            del sides[0]
        sequences = [side.sequence if side else 0 for side in sides]
        return min(sequences), max(sequences)

    def _report(self, row: int, user: str) -> None:
        """Say what does not agree; the same as `compare_memberships` and `compare_profiles` do."""
        ledger, add = self._ledger, self._violations.add
        change = ledger.changes.at(row)
        membership = ledger.memberships.at(row)
        profile = ledger.profiles.at(row)
        if change is not None:
            if membership is None:
                add(
                    ViolationKind.MEMBERSHIP_MISSING,
                    user,
                    f"has no membership, though the last change shows {change}",
                )
            elif membership != change:
                self._membership_differs(user, membership, change)
        elif membership is not None and not self.beginning_lost:
            add(
                ViolationKind.MEMBERSHIP_UNFOUNDED,
                user,
                f"has a membership, {membership}, and no change",
            )
        expected = change or membership or _NOWHERE
        if profile is None:
            if change or (membership and not self.beginning_lost):
                add(
                    ViolationKind.PROFILE_MISSING,
                    user,
                    f"has no profile, though the last change shows {expected}",
                )
        elif not profile.agrees(expected):
            self._profile_differs(user, profile, expected)

    def _check_before_it_goes(self, row: int, user: str) -> None:
        """Report two records of one sequence number that differ, before one of them is replaced."""
        ledger = self._ledger
        change = ledger.changes.at(row)
        if change is None or ledger.broken[row] or ledger.reported[row]:
            return
        membership = ledger.memberships.at(row)
        if membership and membership.sequence == change.sequence and membership != change:
            self._membership_differs(user, membership, change)
            ledger.reported[row] = True
        profile = ledger.profiles.at(row)
        if profile and profile.sequence == change.sequence and not profile.agrees(change):
            self._profile_differs(user, profile, change)
            ledger.reported[row] = True

    def _membership_differs(self, user: str, membership: Footprint, change: Footprint) -> None:
        both = ", with other fields" if membership.agrees(change) else ""
        self._violations.add(
            ViolationKind.MEMBERSHIP_DIFFERS,
            user,
            f"the membership shows {membership}, the last change {change}{both}",
        )

    def _profile_differs(self, user: str, profile: Footprint, expected: Footprint) -> None:
        self._violations.add(
            ViolationKind.PROFILE_DIFFERS,
            user,
            f"the profile shows {profile}, "
            + (f"the last change {expected}" if expected.sequence else "there is no change"),
        )
