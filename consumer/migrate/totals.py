"""What the new segment model is made of, added up while partitions are migrated."""

from __future__ import annotations

import numpy as np

from consumer.migrate.recompute import chunks
from models.distances import Floats
from models.profiles.sample import UserSample, rank
from models.profiles.table import ProfileTable
from models.segments.carry_over import MemberSums, carry_over, in_own_segment
from models.segments.model import SegmentModel

# A fixed number: sums of floats depend on how they are grouped.
_ROWS_AT_ONCE = 4096


class Totals:
    """Sums over all users, and the sampled ones as the trainer will have them.

    Parameters
    ----------
    dimensions
        Length of the vectors.
    capacity, threshold
        Users in the trainer's sample, and the rank up to which a user is in it.
    """

    def __init__(self, dimensions: int, capacity: int, threshold: float) -> None:
        self._members = MemberSums(dimensions)
        self._sample = UserSample(capacity)
        self._threshold = threshold
        self._segments: dict[str, int] = {}

    def add(self, table: ProfileTable) -> None:
        """Add a partition's users; by name, so that the order is the same in every run."""
        for users in chunks(sorted(table.users), _ROWS_AT_ONCE):
            rows = table.gather(users)
            vectors = rows.vectors()
            self._members.add(vectors, rows.weights, rows.segments)
            for row, user in enumerate(users):
                if rows.weights[row] > 0 and rank(user) <= self._threshold:
                    # In float32, as it stands on the trainer's feed.
                    vector = vectors[row].astype(np.float32)
                    self._sample.put(user, vector, rows.terms[row], float(rows.weights[row]))
                    self._segments[user] = int(rows.segments[row])

    def carry_over(self, previous: SegmentModel, embedding: str) -> SegmentModel | None:
        """Give the next segment model; None where no profile is known."""
        return carry_over(previous, self._members, self._sample, embedding)

    def in_own_segment(self, model: SegmentModel) -> tuple[int, int]:
        """Count sampled users nearest to their own segment's centre, and those in a segment."""
        users = self._sample.users()
        vectors: Floats = self._sample.vectors()
        return in_own_segment(
            model, vectors, np.array([self._segments[u] for u in users], np.int64)
        )
