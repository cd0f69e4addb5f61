"""What a running audit has to say: findings and warnings as they come, and where it stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from consumer.contract.figures import Figures
from consumer.verify.report import Violation, ViolationKind, Violations, escape

_KEPT_LINES = 100

Line = Violation | str
"""A finding, or a warning in one sentence."""


class News(Violations):
    """Violations and warnings in the order in which they came, until they are taken.

    All violations are counted. A fault that breaks everything would flood whoever reads: between
    two takings the first 100 lines are kept, of the others the number.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []
        self._left_out = 0

    def _add(self, violation: Violation) -> None:
        super()._add(violation)
        self._keep(violation)

    def tell(self, sentence: str) -> None:
        """Take a warning."""
        self._keep(sentence)

    def _keep(self, line: Line) -> None:
        if len(self._lines) < _KEPT_LINES:
            self._lines.append(line)
        else:
            self._left_out += 1

    def take(self) -> list[Line]:
        """Give the lines since the last time."""
        lines = self._lines
        if self._left_out:
            lines.append(f"… and {self._left_out:,} more lines that are only counted")
        self._lines, self._left_out = [], 0
        return lines


@dataclass(frozen=True, slots=True)
class FollowReport:
    """Where a running audit stands.

    Attributes
    ----------
    seconds
        Since it began.
    changes, memberships, profiles, dead_letters
        Records read.
    rate
        Changes a second since the report before, or since it began.
    users
        Users with a change.
    unsettled
        Users whose change, membership and profile do not agree yet.
    violations
        Found so far, by kind.
    lag
        Offsets of the input that the group has still to commit, and where there may be a record.
    behind
        Offsets of the outputs that are still to be read.
    read_up
        Whether the audit has once read everything that there was when it began.
    stalled
        Partitions of the input that stand still.
    hanging
        Partitions of the outputs with a transaction that stays open.
    blocked
        Such partitions of the inputs: they cannot be read on.
    trouble
        Why the cluster cannot be asked at present, or None.
    lost
        Records of the input known to be lost before the group read them.
    rule_changes, item_events
        Changes by rules and events of items read; None where these are not in use.
    """

    seconds: float
    changes: int
    memberships: int
    profiles: int
    dead_letters: int
    rate: float
    users: int
    unsettled: int
    violations: dict[ViolationKind, int]
    lag: int
    behind: int
    read_up: bool
    stalled: tuple[str, ...] = ()
    hanging: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    trouble: str | None = None
    lost: int = 0
    rule_changes: int | None = None
    item_events: int | None = None

    @property
    def total_violations(self) -> int:
        """Violations of all kinds."""
        return sum(self.violations.values())

    @property
    def exit_code(self) -> int:
        """1 when something was violated, else 0."""
        return 1 if self.total_violations else 0

    def render(self) -> str:
        """Give one line that is safe to print."""
        parts = [
            f"changes {self.changes:,} ({self.rate:,.1f}/s)",
            f"users {self.users:,}",
            f"unsettled {self.unsettled:,}",
            f"violations {self.total_violations:,}",
            f"lag {self.lag:,}",
        ]
        if self.rule_changes is not None:
            parts.append(f"by rules {self.rule_changes:,}")
        if self.item_events is not None:
            parts.append(f"of items {self.item_events:,}")
        if self.lost:
            parts.append(f"lost {self.lost:,}")
        if not self.read_up or self.behind:
            parts.append(f"to read {self.behind:,}")
        if self.stalled:
            parts.append(f"stalled {len(self.stalled)}: {', '.join(self.stalled)}")
        if self.hanging:
            parts.append(f"hanging {len(self.hanging)}: {', '.join(self.hanging)}")
        if self.blocked:
            parts.append(f"blocked {len(self.blocked)}: {', '.join(self.blocked)}")
        if self.trouble is not None:
            parts.append(f"no answer: {self.trouble}")
        return escape("  ".join(parts))

    def as_json(self) -> dict[str, Any]:
        """Give it for a machine."""
        return asdict(self)

    def figures(self) -> Figures:
        """Give it for the metrics."""
        yield "verify_changes", self.changes
        yield "verify_violations", {kind: self.violations.get(kind, 0) for kind in ViolationKind}
        yield "verify_users", self.users
        yield "verify_unsettled_users", self.unsettled
        yield "verify_stalled_partitions", len(self.stalled)
        yield "verify_hanging_partitions", len(self.hanging)
        yield "verify_blocked_partitions", len(self.blocked)
        yield "verify_lag_records", self.lag
        yield "verify_lost_records", self.lost
        yield "verify_behind_records", self.behind
