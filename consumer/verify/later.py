"""Changes of a later version: read as far as this version knows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemas.changes import SegmentChange


@dataclass(slots=True)
class LaterKinds:
    """Counts changes whose status or reason this version does not know.

    Their chain is followed as any. What caused them is not known, so neither is their id.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, change: SegmentChange) -> bool:
        """Take a change, and give whether it is the first of such a kind."""
        if change.is_known:
            return False
        kind = change.status.value, change.reason.value
        self.counts[kind] += 1
        return self.counts[kind] == 1

    def untold(self) -> str | None:
        """Say what was not checked, None where everything was."""
        if not self.counts:
            return None
        kinds = ", ".join(
            f"{count:,} {status} by {reason}"
            for (status, reason), count in sorted(self.counts.items())
        )
        return (
            f"the ids of changes of kinds that this version of segmenter does not know ({kinds}): "
            "verify with the version that writes them"
        )
