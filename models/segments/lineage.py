"""Which segment a user's one has turned into since a worker last decided on the user.

A worker takes the newest version over, whichever one it had before. So what became of a segment in
the versions in between is composed here from what the newest one remembers.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.segments.model import SegmentModel
from schemas.changes import ChangeReason


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    """Users of one segment came to be in another one, in one version."""

    version: int
    reason: ChangeReason
    parent: int
    child: int


class Lineage:
    """Where the users of former segments are under one version.

    Parameters
    ----------
    model
        The version, with its history.
    """

    def __init__(self, model: SegmentModel) -> None:
        self.version = model.version
        self._rolled_back = model.rollback_of is not None
        self._steps = sorted(_steps(model))
        self._heirs: dict[tuple[int, int], dict[int, ChangeReason]] = {}

    def reason(self, before: int, now: int, decided: int) -> ChangeReason:
        """Say why a new version has moved a user.

        Parameters
        ----------
        before, now
            Ids of the two segments; `models.segments.model.NO_SEGMENT` for none.
        decided
            The version under which the user was put, or left, in the first one; 0 when not known.

        Returns
        -------
        ChangeReason
            SEGMENT_MERGED or SEGMENT_SPLIT where the segment became the other one, or a part of it
            did, in the versions since; after several such steps the last one counts. Else
            MODEL_UPDATE. Under a rolled-back version always ROLLBACK: whatever was learned since
            was taken back by somebody.
        """
        if self._rolled_back:
            return ChangeReason.ROLLBACK
        key = (before, decided)
        if key not in self._heirs:
            self._heirs[key] = self._follow(before, decided)
        return self._heirs[key].get(now, ChangeReason.MODEL_UPDATE)

    def _follow(self, segment: int, decided: int) -> dict[int, ChangeReason]:
        """Give all that a segment became after a version, and by which kind of step."""
        reached = {segment: decided}
        heirs: dict[int, ChangeReason] = {}
        for step in self._steps:
            # Strictly later: whoever came to be in a segment in the version in which it was split
            # was in none of its parts before.
            if reached.get(step.parent, step.version) >= step.version:
                continue
            if step.child not in reached:
                reached[step.child] = step.version
                heirs[step.child] = step.reason
        return heirs


def _steps(model: SegmentModel) -> set[_Step]:
    """Give all steps between segments that a version knows of."""
    births = [
        (segment, since, model.history.parents.get(segment, ()))
        for segment, since in zip(model.ids.tolist(), model.since, strict=True)
    ]
    births += [(gone.id, gone.since, tuple(gone.parents)) for gone in model.history.retired]
    merged = {
        (gone.version, gone.id, gone.successor)
        for gone in model.history.retired
        if gone.successor is not None
    }
    steps = {
        _Step(version, ChangeReason.SEGMENT_MERGED, parent, child)
        for version, parent, child in merged
    }
    for segment, since, parents in births:
        for parent in parents:
            if (since, parent, segment) not in merged:
                steps.add(_Step(since, ChangeReason.SEGMENT_SPLIT, parent, segment))
    return steps
