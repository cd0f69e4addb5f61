"""Where the stage gets its segment model from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from models.labels.model import LabelModel
from models.segments.model import SegmentModel


class InForce(NamedTuple):
    """What users are decided on under at one time: the segments, and the labels where they are."""

    segments: SegmentModel
    labels: LabelModel | None = None


class ModelSource(Protocol):
    """Where a worker gets the segment model from: a file, a topic, or the trainer next door."""

    def latest(self) -> SegmentModel | None:
        """Give the newest model known, without waiting."""
        ...


@dataclass(slots=True)
class FixedModel:
    """A segment model that stays as it is."""

    model: SegmentModel | None = None
    published_at: None = None
    age_seconds: None = None
    """Neither is there: it was not published."""

    @property
    def version(self) -> int:
        """The model's version; 0 without one."""
        return self.model.version if self.model else 0

    def latest(self) -> SegmentModel | None:
        """Give the model."""
        return self.model
