"""What an audit found, for a person and for an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum

from consumer.contract.errors import UsageError

# What is kept and shown. A broken topic breaks millions of chains in the same way: the count tells
# how much is broken, the first ones tell what.
MAX_KEPT = 1000

_SHOWN_CHARS = 120


class VerifyError(UsageError):
    """The audit cannot be made at all; the sentence says why and what to do."""


class ViolationKind(StrEnum):
    """What can be wrong, one name for each promise that can be broken."""

    MALFORMED = "malformed"
    """A record or a line that cannot be read as its contract."""
    WRONG_KEY = "wrong_key"
    """A record under another key than its user; compaction would mix users up."""
    ENVELOPE = "envelope"
    """A CloudEvents attribute that says something else than the change in it."""
    FORGED_ID = "forged_id"
    """A change id that does not follow from what caused the change."""
    REPEATED_ID = "repeated_id"
    """A change that was published twice."""
    SEQUENCE = "sequence"
    """A user's sequence numbers do not grow by one: a change is missing or out of order."""
    CHAIN = "chain"
    """A change whose previous segment is not the segment of the change before."""
    STATUS = "status"
    """A status that does not fit the two segments."""
    MEMBERSHIP_MISSING = "membership_missing"
    """A user with changes and no membership."""
    MEMBERSHIP_UNFOUNDED = "membership_unfounded"
    """A membership of a user without changes."""
    MEMBERSHIP_DIFFERS = "membership_differs"
    """A membership that is not the user's last change."""
    PROFILE_MISSING = "profile_missing"
    """A user with changes and no profile."""
    PROFILE_DIFFERS = "profile_differs"
    """A profile whose segment or sequence is not that of the membership."""
    REPEATED_USER = "repeated_user"
    """A user with two lines in a file that holds one line a user."""
    REPEATED_DEAD_LETTER = "repeated_dead_letter"
    """A record that was refused twice."""
    MIXED_EMBEDDING = "mixed_embedding"
    """Records made by another embedding model than the others."""
    UNKNOWN_SEGMENT = "unknown_segment"
    """A user in a segment that the model which decided does not have."""
    LABEL = "label"
    """A predicted label that does not go on from the change before, or is not the profile's."""
    LIFECYCLE = "lifecycle"
    """A lifecycle event that contradicts another one or the segment model."""
    VERSION = "version"
    """A kept version of the segments that contradicts another one or the segment model, or a change
    whose reason its version does not give, or one under an earlier version than the user's last."""
    BALANCE = "balance"
    """Input is not accepted + repeated + refused: an event was lost or counted twice."""
    SUMMARY_DIFFERS = "summary_differs"
    """A count in summary.json that the files beside it do not bear out."""
    SPLIT_USERS = "split_users"
    """Users whose events, and so whose profiles, are in several partitions."""
    INTAKE_LOST = "intake_lost"
    """A record of the foreign input that intake is done with and that is nowhere."""
    INTAKE_REPEATED = "intake_repeated"
    """A record of the foreign input that came more than once."""
    ITEM_LOST = "item_lost"
    """An event that names an item and is not told of, or not counted for its item."""
    ITEM_REPEATED = "item_repeated"
    """An event that was told of twice, or counted for its item more than once."""
    RECOMMENDATION_DIFFERS = "recommendation_differs"
    """What is given away or published of a segment's items is not what is known of them, or what is
    published for a user is not what the user's profile says."""
    RULE_STATE_DIFFERS = "rule_state_differs"
    """A user's state under rules is not what the changes, the events or the rules come to."""
    RULE_EVENT_LOST = "rule_event_lost"
    """An event that counts for rules and that the user's state does not hold."""
    OFFSET_WENT_BACK = "offset_went_back"
    """The group's committed offset became smaller: it reads records again."""
    HANGING_TRANSACTION = "hanging_transaction"
    """A transaction that stays open, so that readers of committed records wait behind it."""


Finding = tuple[ViolationKind, str]
"""What is wrong: the promise that is broken, and a sentence."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise.

    `subject` is a user id, or the topic or file where there is no user to name. `detail` is one
    sentence that quotes no text of a user.
    """

    kind: ViolationKind
    subject: str
    detail: str

    def render(self) -> str:
        """Give one line that is safe to print."""
        return f"{self.kind}  {escape(self.subject, _SHOWN_CHARS)}: {escape(self.detail)}"


class Violations:
    """Collects violations: all are counted, the first `MAX_KEPT` are kept."""

    def __init__(self) -> None:
        self.first: list[Violation] = []
        self.by_kind: Counter[ViolationKind] = Counter()
        self.ignored: Callable[[str], bool] = lambda _: False
        """Users of whom nothing is collected: what is wrong with them has a common cause."""

    def __len__(self) -> int:
        return self.by_kind.total()

    def add_all(self, subject: str, findings: Iterable[Finding]) -> bool:
        """Take what a rule found; give whether that was anything."""
        found = False
        for kind, detail in findings:
            found = True
            if not self.ignored(subject):
                self._add(Violation(kind, subject, detail))
        return found

    def add(self, kind: ViolationKind, subject: str, detail: str) -> None:
        """Take one more."""
        self.add_all(subject, [(kind, detail)])

    def _add(self, violation: Violation) -> None:
        self.by_kind[violation.kind] += 1
        if len(self.first) < MAX_KEPT:
            self.first.append(violation)

    def extend(self, other: Violations) -> None:
        """Take all of another collection, those that it only counted too."""
        self.by_kind.update(other.by_kind)
        self.first.extend(other.first[: MAX_KEPT - len(self.first)])


@dataclass(frozen=True, slots=True)
class Counts:
    """What there was; None is for what was not counted, zero is a count.

    Attributes
    ----------
    records
        Input records that the workers are done with.
    accepted, repeated
        Over all profiles: events counted, and events not counted since their id had been seen.
    refused
        Dead letters.
    changes
        Segment changes that could be read.
    users
        Users with a profile.
    members
        Users who are in a segment now.
    lag
        Records of the input that the group has still to commit.
    lost
        Records of the input that are known to be lost before the group read them.
    """

    records: int | None = None
    accepted: int | None = None
    repeated: int | None = None
    refused: int | None = None
    changes: int | None = None
    users: int | None = None
    members: int | None = None
    lag: int | None = None
    lost: int | None = None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The outcome of one audit.

    Attributes
    ----------
    source
        What was audited, for the first line of the report.
    counts
        What there was.
    violations
        The first of them, at most `MAX_KEPT`, in the order in which they were found.
    violations_by_kind
        All of them, counted.
    unchecked
        Promises that could not be checked, and why, a sentence each. They are not known to hold.
    notes
        What else a person should know, a sentence each.
    inconclusive
        Why the audit proves nothing, or None where it does.
    """

    source: str
    counts: Counts
    violations: tuple[Violation, ...] = ()
    violations_by_kind: dict[ViolationKind, int] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inconclusive: str | None = None

    @property
    def total_violations(self) -> int:
        """Violations found, those too that were only counted."""
        return sum(self.violations_by_kind.values())

    @property
    def ok(self) -> bool:
        """Whether all that was checked holds; `unchecked` names what was not."""
        return not self.total_violations and self.inconclusive is None

    @property
    def exit_code(self) -> int:
        """0 when all holds, 1 when something does not, 2 when it cannot be told.

        What is known to be broken comes first: an inconclusive audit may well have seen it.
        """
        if self.total_violations:
            return 1
        return 0 if self.inconclusive is None else 2

    def render(self) -> str:
        """Give the report as plain text that is safe to print: ids are escaped."""
        blocks = [[f"{self._verdict()}: {escape(self.source)}"], self._table()]
        if self.inconclusive is not None:
            blocks.append([f"inconclusive: {escape(self.inconclusive)}"])
        if self.total_violations:
            blocks.append(self._violation_lines())
        if self.unchecked:
            blocks.append([f"not checked: {escape(reason)}" for reason in self.unchecked])
        if self.notes:
            blocks.append([f"note: {escape(note)}" for note in self.notes])
        return "\n\n".join("\n".join(lines) for lines in blocks if lines)

    def _verdict(self) -> str:
        if self.total_violations:
            plural = "" if self.total_violations == 1 else "s"
            return f"{self.total_violations:,} violation{plural}"
        if self.inconclusive is not None:
            return "inconclusive"
        return "ok, with parts not checked" if self.unchecked else "ok"

    def _table(self) -> list[str]:
        rows = [
            (entry.name, value)
            for entry in fields(self.counts)
            if (value := getattr(self.counts, entry.name)) is not None
        ]
        return [f"  {name:<10}{value:>14,}" for name, value in rows]

    def _violation_lines(self) -> list[str]:
        width = max(len(kind) for kind in self.violations_by_kind)
        lines = [f"  {kind:<{width}}  {n:>10,}" for kind, n in self.violations_by_kind.items()]
        lines.append("")
        lines.extend(f"  {entry.render()}" for entry in self.violations)
        if hidden := self.total_violations - len(self.violations):
            lines.append(f"  … and {hidden:,} more")
        return lines


def escape(text: str, limit: int | None = None) -> str:
    """Make text from outside safe for a terminal and a log: no control character, one line."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
