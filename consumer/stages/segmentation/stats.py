"""What a worker has done, as its metrics and a replay tell it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemas.dead_letters import RefusalReason


@dataclass(slots=True)
class SegmentationStats:
    """Totals since the start, of committed work only."""

    accepted: Counter[str] = field(default_factory=Counter)
    """Events by type."""
    languages: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    edited: int = 0
    """Of the repeated ones, those of a later time than all that was known of the user."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Values left out of events, by field."""
    refused: Counter[str] = field(default_factory=Counter)
    """Dead letters by reason."""
    refused_again: Counter[str] = field(default_factory=Counter)
    """Of these, those that `segmenter dead-letters redrive` had brought back."""
    labels: int = 0
    """Records of `segment-labels` that were read."""
    labels_refused: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Changes by status and reason."""
    let_go: Counter[str] = field(default_factory=Counter)
    """Users who fell silent, and what was counted of them: `users`, `accepted`, `repeated`."""
    recommended: int = 0
    """Records of items for users."""
    passed_over: int = 0
    """Users on whom the program failed when they were looked at under a new model."""

    @property
    def used(self) -> int:
        """Events that were not refused."""
        return self.accepted.total() + self.repeated

    @property
    def all_refused(self) -> Counter[str]:
        """What the limits look at: refused events, and labels on which the program failed.

        Events that settings exclude are no sign of anything wrong. Nor are those that an operator
        has brought back, however many of them fail again: the workers would stop at them for good.
        """
        reason = RefusalReason.UNEXPECTED
        refused = Counter(self.refused)
        del refused[RefusalReason.EXCLUDED]
        return refused - self.refused_again + Counter({reason: self.labels_refused[reason]})

    def add(self, other: SegmentationStats) -> None:
        """Add another's totals."""
        self.accepted.update(other.accepted)
        self.languages.update(other.languages)
        self.repeated += other.repeated
        self.edited += other.edited
        self.left_out.update(other.left_out)
        self.refused.update(other.refused)
        self.refused_again.update(other.refused_again)
        self.let_go.update(other.let_go)
        self.labels += other.labels
        self.labels_refused.update(other.labels_refused)
        self.changes.update(other.changes)
        self.recommended += other.recommended
        self.passed_over += other.passed_over
