"""What an explanation is worked out of: a profile between two segments, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consumer.explain.facts import Margin, Segment
from consumer.explain.known import Known, Vectors
from models.distances import Floats
from models.segments.model import SegmentModel
from models.segments.shares import Shares, is_whole, split_margin
from schemas.profiles import ProfileRecord


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A profile, between its own segment, or the nearest one, and the nearest of the others.

    Attributes
    ----------
    profile, total
        The user's state, and its sum S, float64[d].
    model
        The segments.
    nearer, farther
        Rows of the two.
    known
        The events whose places are kept.
    vectors
        Those of them that were read.
    shares
        How the margin between the two is made up.
    """

    profile: ProfileRecord
    total: Floats
    model: SegmentModel
    nearer: int
    farther: int
    known: Sequence[Known]
    vectors: Vectors
    shares: Shares

    @classmethod
    def of(
        cls,
        profile: ProfileRecord,
        total: Floats,
        model: SegmentModel,
        rows: tuple[int, int],
        known: Sequence[Known],
    ) -> Case:
        """Split the margin between two segments, which are given by their rows."""
        vectors = Vectors.of(known)
        whole = is_whole(
            vectors.weights,
            profile.weight,
            known=len(vectors.weights),
            events=profile.events,
        )
        nearer, farther = (model.centres[row] for row in rows)
        shares = split_margin(total, vectors.vectors, vectors.weights, nearer, farther, whole=whole)
        return cls(profile, total, model, *rows, known, vectors, shares)

    @property
    def share_of(self) -> dict[int, float]:
        """Shares of the events that were read, by their place among those known."""
        return dict(zip(self.vectors.places, self.shares.events.tolist(), strict=True))

    def pushes(self, vectors: ArrayLike, weight: float) -> NDArray[np.float64]:
        """Give the shares that events with other vectors and a weight would have, float64[k]."""
        vectors = np.asarray(vectors, np.float64)
        nearer, farther = self.model.centres[self.nearer], self.model.centres[self.farther]
        weights = np.full(len(vectors), weight)
        return split_margin(self.total, vectors, weights, nearer, farther, whole=False).events

    def segment(self, row: int) -> Segment:
        """Give a segment by its row."""
        return Segment(id=int(self.model.ids[row]), label=self.model.labels[row])

    def by_id(self, number: int | None) -> Segment | None:
        """Give a segment by its id."""
        if number is None:
            return None
        return Segment(id=number, label=self.model.label_of(number) or "")

    def margin(self) -> Margin:
        """Tell how the margin is made up."""
        shares = self.shares
        return Margin(
            nearer=self.segment(self.nearer),
            farther=self.segment(self.farther),
            margin=shares.margin,
            events=float(shares.events.sum()),
            centres=shares.centres,
            others=shares.others,
            others_weight=max(self.profile.weight - float(self.vectors.weights.sum()), 0.0),
            rounding=shares.rounding,
        )
