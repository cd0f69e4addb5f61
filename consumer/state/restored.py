"""What a restore gives, and how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from consumer.contract.stage import Restoration
from consumer.state.checkpoint_format import Owner
from consumer.state.positions import Position


@dataclass(slots=True)
class Restored:
    """A partition whose state is read back, and the offset where its input goes on."""

    partition: int
    restoration: Restoration
    position: Position
    seconds: float
    users: int = 0
    """Users that came from a checkpoint."""
    records: int = 0
    """Records that came from changelogs."""
    covered: int = 0
    """Offset of the changelog up to which the state is complete: the end that was read to."""
    owner: Owner | None = None
    """Whose state it is, where checkpoints of it are kept."""
    source: Literal["checkpoint", "changelog"] = "changelog"
    beside: dict[str, Position] = field(default_factory=dict)
    """Where the further inputs go on, by topic."""
    logs: list[tuple[str, int]] = field(default_factory=list)
    """Topic and partition of changelogs that tell of the inputs."""

    @property
    def offset(self) -> int:
        """Where the input goes on."""
        return self.position.offset


@dataclass(slots=True)
class RestoreTask:
    """One partition on its way."""

    partition: int
    unread: Mapping[str, int] = field(default_factory=dict)
    """Records that were known to wait when the partition was let go, by topic."""
    suspects: frozenset[str] = frozenset()
    """Topics of which the client has found the position to be gone."""
    records: int = 0
    share: float = 0.0
    started: float = field(default_factory=time.monotonic)
    held_since: float | None = None
    """Since when it is read back and the stage has not known what decided on it; None: not so."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[Restored] | None = None

    @property
    def place(self) -> str:
        """The partition's name in the log."""
        return f"partition {self.partition}"


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far the restores under way are, those included that they have waited for."""

    records: int = 0
    """Records read back so far."""
    share: float = 1.0
    """0 to 1, each partition counted alike."""
    eta_seconds: float | None = 0.0
    """None while nothing can be said."""

    def detail(self) -> dict[str, float | None]:
        """Give it as /readyz shows it."""
        eta = self.eta_seconds
        return {
            "restore_records": self.records,
            "restore_share": round(self.share, 3),
            "restore_eta_seconds": None if eta is None else round(eta, 1),
        }
