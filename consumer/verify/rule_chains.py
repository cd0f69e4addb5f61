"""Audits what processes of rules wrote: changes, memberships and states, whole or as they come.

Each user's changes are a chain: one sequence over all rules, and each of them leads into a rule's
segment or out of it. What the chain comes to is what memberships and the user's state have to say.
As in `engine`, topics are read side by side, so what lies between them is judged late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from consumer.contract.records import Record
from consumer.settings import TopicSettings
from consumer.verify import rules
from consumer.verify.decode import MalformedError, Told, attempt, event_in, read
from consumer.verify.ledger import Recent, digest_of
from consumer.verify.report import Finding, ViolationKind, Violations
from schemas.binary import RecordError
from schemas.cloudevents import EventHeaders
from schemas.rule_changes import (
    RuleChange,
    RuleReason,
    RuleStatus,
    membership_key,
    rule_headers,
)
from schemas.rule_states import RuleState


@dataclass(slots=True)
class _User:
    """What the topics say of a user.

    Attributes
    ----------
    sequence
        That of the last change, 0 before any.
    members
        By rule that the user fulfils, digest of the change by which that is so.
    left
        Rules that a change has told to be left, where not all changes are known.
    whole
        Whether all changes of the user's present life are known.
    memberships
        By rule, digest of the membership.
    state
        Sequence and members by the state, None where there is none.
    reported
        Whether a disagreement was reported and lasts.
    """

    sequence: int = 0
    members: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    whole: bool = True
    memberships: dict[str, int] = field(default_factory=dict)
    state: tuple[int, tuple[str, ...]] | None = None
    reported: bool = False


class RuleChains:
    """Takes records of the topics of rules, one at a time.

    Parameters
    ----------
    topics
        Their names.
    violations
        Where findings go that are of one topic alone.
    between
        Where findings go that lie between topics; None for `violations`.
    settle_seconds
        How long the records of one transaction may be apart; None for a whole, which is judged when
        it is finished.
    recent
        How many ids are remembered, None for all.
    """

    def __init__(
        self,
        topics: TopicSettings,
        violations: Violations,
        *,
        between: Violations | None = None,
        settle_seconds: float | None = None,
        recent: int | None = None,
    ) -> None:
        self._topics, self._violations = topics, violations
        self._between = violations if between is None else between
        self._settle_seconds, self._recent = settle_seconds, recent
        self.changes = 0
        self.later: Counter[tuple[str, str]] = Counter()
        """Changes of kinds that this version does not know."""
        self.forget()

    def forget(self) -> None:
        """Begin anew, after records were missed; the counts go on."""
        self._users: dict[str, _User] = {}
        self._ids = Recent(self._recent)
        # Since when a user's records do not agree, and the highest sequence number at that time.
        self._waiting: dict[str, tuple[float, int]] = {}

    @property
    def unsettled(self) -> int:
        """Users whose records do not agree yet."""
        return len(self._waiting)

    @property
    def members(self) -> int:
        """Memberships that the changes come to."""
        return sum(len(each.members) for each in self._users.values())

    # --- one record -------------------------------------------------------------------------

    def take(self, record: Record, now: float = 0.0, *, beginning_lost: bool = False) -> None:
        """Take a record of one of the topics.

        Parameters
        ----------
        record
            The record.
        now
            The present time, seconds of a clock that never goes back; of a whole it does not
            matter.
        beginning_lost
            Whether earlier changes may be gone, or are not read.
        """
        if record.topic == self._topics.rule_changes:
            user = self._change(record, beginning_lost=beginning_lost)
        elif record.topic == self._topics.rule_memberships:
            user = self._membership(record, beginning_lost=beginning_lost)
        else:
            user = self._state(record, beginning_lost=beginning_lost)
        if user is not None and self._settle_seconds is not None:
            self._compare(user, now)

    def _user(self, user: str, *, beginning_lost: bool) -> _User:
        return self._users.setdefault(user, _User(whole=not beginning_lost))

    def _change(self, record: Record, *, beginning_lost: bool) -> str | None:
        place = record.place
        told = attempt(
            lambda: event_in(record, RuleChange, _headers), place, record.topic, self._violations
        )
        if told is None:
            return None
        self.changes += 1
        change, user, report = told.event, told.event.user_id, self._violations.add_all
        if record.key != user.encode():
            report(user, [(ViolationKind.WRONG_KEY, f"{place} has another key than its user")])
        if told.faults:
            report(user, rules.envelope(place, "change", told.faults))
        if not change.is_known:
            self.later[change.status.value, change.reason.value] += 1
        elif told.recorded_id != change.id:
            report(user, rules.rule_change_id(change, told.recorded_id))
        if not self._ids.add(digest_of(told.recorded_id)):
            report(user, rules.rule_published_once(change))
            return None
        own = self._user(user, beginning_lost=beginning_lost)
        report(user, self._link(own, told))
        self._follow(own, change, hash(record.value or b""))
        return user

    def _link(self, own: _User, told: Told[RuleChange]) -> Iterator[Finding]:
        """Tell in what a change does not go on from where its user stood."""
        change = told.event
        first_known = own.sequence == 0 and not own.whole
        # Of who is let go all memberships end, and what comes next is a first change.
        begins = change.sequence == 1 and not own.members
        if not (first_known or begins) and change.sequence != own.sequence + 1:
            yield from rules.rule_sequence(change, own.sequence, own.members)
        elif change.is_known:
            yield from rules.rule_status(
                change, own.members, known=own.whole or change.rule in own.left
            )

    def _follow(self, own: _User, change: RuleChange, document: int) -> None:
        if change.sequence == 1:
            own.whole, own.members, own.left = True, {}, set()
        own.sequence = change.sequence
        if change.status is RuleStatus.ENTERED:
            own.members[change.rule] = document
            own.left.discard(change.rule)
        elif change.status is RuleStatus.EXITED:
            own.members.pop(change.rule, None)
            if not own.whole:
                own.left.add(change.rule)
        else:
            own.whole = False
        if change.reason is RuleReason.INACTIVE and not own.whole:
            # Whoever is let go leaves all, one after the other.
            own.left.add(change.rule)

    def _membership(self, record: Record, *, beginning_lost: bool) -> str | None:
        user, bar, rule = (record.key or b"").decode(errors="replace").rpartition("|")
        if not bar:
            detail = f"{record.place} has a key that is no user and rule"
            self._violations.add(ViolationKind.WRONG_KEY, record.topic, detail)
            return None
        own = self._user(user, beginning_lost=beginning_lost)
        own.memberships.pop(rule, None)
        if record.value is None:
            return user
        own.memberships[rule] = hash(record.value)
        try:
            found = read(RuleChange, record.value)
        except MalformedError as error:
            detail = f"{record.place} cannot be read: {error}"
            self._violations.add(ViolationKind.MALFORMED, record.topic, detail)
            return user
        if membership_key(found.user_id, found.rule) != record.key:
            detail = f"{record.place} has another key than its user and rule"
            self._violations.add(ViolationKind.WRONG_KEY, user, detail)
        return user

    def _state(self, record: Record, *, beginning_lost: bool) -> str | None:
        user = (record.key or b"").decode(errors="replace")
        if record.value is None:
            if (known := self._users.get(user)) is None:
                return None
            known.state = None
            return user
        try:
            state = RuleState.decode(record.key or b"", record.value)
        except (RecordError, ValueError) as error:
            detail = f"{record.place} cannot be read: {error}"
            self._violations.add(ViolationKind.MALFORMED, record.topic, detail)
            return None
        if user not in self._users and not (state.sequence or state.members):
            return None  # most users: nothing to remember
        self._user(user, beginning_lost=beginning_lost).state = state.sequence, state.members
        return user

    # --- between the topics -----------------------------------------------------------------

    def _disagreements(self, own: _User) -> Iterator[Finding]:
        if not own.whole and not own.sequence:
            return  # nothing is known of its changes
        yield from rules.rule_memberships(own.members, own.memberships, own.left, whole=own.whole)
        yield from rules.rule_state(own.sequence, own.members, own.left, own.state, whole=own.whole)

    def _compare(self, user: str, now: float) -> None:
        own = self._users[user]
        if next(self._disagreements(own), None) is None:
            self._waiting.pop(user, None)
            own.reported = False
        elif user not in self._waiting and not own.reported:
            self._waiting[user] = now, self._highest(own)

    @staticmethod
    def _highest(own: _User) -> int:
        return max(own.sequence, own.state[0] if own.state else 0)

    def settle(self, caught_up: float, now: float) -> None:
        """Report users whose records do not agree though they should by now.

        Parameters
        ----------
        caught_up
            All that was committed before this time has been read.
        now
            The present time.
        """
        while self._waiting:
            user, (since, target) = next(iter(self._waiting.items()))
            if since + (self._settle_seconds or 0.0) > caught_up:
                return
            del self._waiting[user]
            own = self._users[user]
            lowest = min(own.sequence, own.state[0] if own.state else 0)
            if target <= lowest < self._highest(own):
                # It agreed on what was waited for, and a later change is under way.
                self._waiting[user] = now, self._highest(own)
            else:
                own.reported = True
                self._between.add_all(user, self._disagreements(own))

    def finish(self) -> None:
        """Judge a whole, of which all records were given."""
        for user, own in self._users.items():
            self._between.add_all(user, self._disagreements(own))

    def untold(self) -> str | None:
        """Say what was not checked, None where everything was."""
        if not self.later:
            return None
        kinds = ", ".join(f"{n:,} {s} by {r}" for (s, r), n in sorted(self.later.items()))
        return f"changes of rules of kinds that this version does not know: {kinds}"


def _headers(change: RuleChange, source: str) -> EventHeaders:
    user, time = change.user_id, change.changed_at
    return rule_headers(change.id, source, user, time, change.cause)
