"""What must hold of predicted labels: each change goes on from the last, the profile shows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.verify.report import ViolationKind, Violations
from schemas.changes import SegmentChange


@dataclass(slots=True)
class LabelChain:
    """Follows the labels of all users whose changes tell one.

    A change tells none while its worker has no label model; the label stays then, untold.

    Attributes
    ----------
    latest
        Label of each user by the last change that tells one, None for none.
    """

    latest: dict[str, str | None] = field(default_factory=dict)

    def follow(
        self, change: SegmentChange, violations: Violations, *, beginning_lost: bool
    ) -> None:
        """Take a user's next change in, of whom retention may have removed earlier ones."""
        user, label = change.user_id, change.label
        if label is None:
            return
        known = user in self.latest or not beginning_lost
        before = self.latest.get(user)
        if known and label.previous != before:
            violations.add(
                ViolationKind.LABEL,
                user,
                f"change {change.sequence} gives {label.previous!r} as the previous label, it was "
                f"{before!r}",
            )
        self.latest[user] = label.name

    def compare(self, user: str, predicted: str | None, violations: Violations) -> None:
        """Hold the label in a user's profile against the last change."""
        if user in self.latest and self.latest[user] != predicted:
            violations.add(
                ViolationKind.LABEL,
                user,
                f"the profile shows the label {predicted!r}, the last change {self.latest[user]!r}",
            )
