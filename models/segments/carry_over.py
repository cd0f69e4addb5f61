"""The same segments under another embedding model.

Vectors of two embedding models cannot be compared, so neither can centres. What goes on is who
belongs to a segment: its new centre is where its members are under the new model. So a segment
keeps its id and its label, and hardly anybody has to move.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from models.distances import Floats, Ints, nearest
from models.profiles.sample import UserSample
from models.segments.identity import Matching
from models.segments.members import members_of
from models.segments.model import SegmentModel
from models.segments.naming import name_segments
from models.segments.transitions import chronicled
from schemas.segment_model import NO_SEGMENT


class MemberSums:
    """Adds up the profiles of each segment's members.

    A profile counts by its weight, as in the trainer's looks at the sample
    (`models.clustering.reseed`): so the first look after a migration finds the centres about where
    it would put them.

    Sums of floats depend on their order. For the same centres, to the bit, add the same users in
    the same order and the same groups.

    Parameters
    ----------
    dimensions
        Length d of the vectors.
    """

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._sums: dict[int, Floats] = {}
        self._weights: dict[int, float] = {}

    def add(self, vectors: Floats, weights: Floats, segments: Ints) -> None:
        """Add n users.

        Parameters
        ----------
        vectors
            float64[n, d], of unit length; a zero row where nothing is known of the user.
        weights
            float64[n], the W of each profile; users with 0 do not count.
        segments
            int64[n], `NO_SEGMENT` for none.
        """
        ids, places = np.unique(segments, return_inverse=True)
        sums = np.zeros((len(ids), self._dimensions))
        np.add.at(sums, places, weights[:, None] * vectors)
        totals = np.zeros(len(ids))
        np.add.at(totals, places, weights)
        for segment, row, total in zip(ids.tolist(), sums, totals.tolist(), strict=True):
            if total > 0:
                self._sums[segment] = self._sums.get(segment, 0.0) + row
                self._weights[segment] = self._weights.get(segment, 0.0) + total

    def mean(self, segment: int) -> Floats | None:
        """Give the weighted mean of a segment's members, float64[d]; None where it has none."""
        if segment not in self._sums:
            return None
        return self._sums[segment] / self._weights[segment]

    def mean_of_all(self) -> Floats | None:
        """Give the weighted mean of everybody, float64[d]; None where nobody was added."""
        if not self._sums:
            return None
        ids = sorted(self._sums)
        total = np.add.reduce([self._sums[segment] for segment in ids], axis=0)
        mean: Floats = total / sum(self._weights[segment] for segment in ids)
        return mean


def carry_over(
    previous: SegmentModel, members: MemberSums, sample: UserSample, embedding: str
) -> SegmentModel | None:
    """Give the version after `previous`, with its segments in the space of another embedding model.

    Ids, labels, words, births and the threshold stay. Centres are the means of the members, radii
    and sizes are those of the sample, as in every version of the trainer's. A segment without a
    member is dropped; its id is not used again. Where that leaves none (nobody was in a segment
    yet), one new segment holds everybody until the trainer looks at the sample.

    Parameters
    ----------
    previous
        The latest version, of whatever embedding model.
    members
        Sums over the users by the segments that they are in.
    sample
        Sampled users under the new embedding model.
    embedding
        Its identity.

    Returns
    -------
    SegmentModel or None
        None where no profile is known at all: there is nothing to put a centre to.
    """
    means = [members.mean(segment) for segment in previous.ids.tolist()]
    kept = [row for row, mean in enumerate(means) if mean is not None]
    version = previous.version + 1
    if kept:
        centres = np.stack([mean for mean in means if mean is not None])
        own: dict[str, Any] = {
            "ids": previous.ids[kept],
            "labels": tuple(previous.labels[row] for row in kept),
            "words": tuple(previous.words[row] for row in kept),
            "since": tuple(previous.since[row] for row in kept),
        }
    elif (everybody := members.mean_of_all()) is not None:
        centres = everybody[None]
        names = name_segments(
            np.zeros(len(sample), np.int64),
            sample.terms(),
            [previous.next_id],
            users=sample.users(),
        )
        own = {
            "ids": np.array([previous.next_id]),
            "labels": names.labels,
            "words": names.words,
            "since": (version,),
            "next_id": previous.next_id + 1,
        }
    else:
        return None
    # Radii and sizes are by the sampled users, each with the nearest centre.
    near = members_of(sample.vectors(), centres)
    model = replace(
        previous,
        version=version,
        embedding=embedding,
        centres=centres,
        radii=near.radii,
        sizes=near.sizes,
        learner=None,
        rollback_of=None,
        migrated_from=previous.embedding,
        **own,
    )
    before, after = set(previous.ids.tolist()), set(model.ids.tolist())
    matching = Matching(
        ids=model.ids,
        next_id=model.next_id,
        born=tuple(sorted(after - before)),
        retired=tuple(sorted(before - after)),
        # Users under two embedding models cannot be compared.
        table=np.zeros((len(before), len(after)), np.int64),
        moved=0.0,
    )
    return chronicled(model, previous, matching)


def in_own_segment(model: SegmentModel, vectors: Floats, segments: Ints) -> tuple[int, int]:
    """Count users nearest to the centre of the segment that they are in.

    Returns
    -------
    tuple
        Those, and all who are in a segment of the model.
    """
    rows = model.rows_of(segments)
    known = (segments != NO_SEGMENT) & (rows >= 0)
    if not known.any():
        return 0, 0
    closest, _ = nearest(vectors[known], model.centres)
    return int((closest == rows[known]).sum()), int(known.sum())
