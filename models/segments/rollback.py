"""An earlier version of the segments, put in force again as the version after the present one.

Nothing is undone: versions and ids go on counting, and what the versions in between made of
segments stays told. Centres, names and words are those of the earlier version to the bit, so users
are where they would be under it. Ids that were retired since come back, and those that came since
are retired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from models.distances import Floats
from models.segments.history import KEPT_RETIRED, History
from models.segments.identity import contingency
from models.segments.members import members_of
from models.segments.model import SegmentModel
from models.segments.transitions import Flows, successor_of
from schemas.lifecycle import RetiredSegment, SegmentTransition, TransitionType


class RollbackError(ValueError):
    """A version that cannot be put in force again; the sentence says why."""


@dataclass(frozen=True)
class Rollback:
    """What a rollback makes.

    Attributes
    ----------
    model
        The version that it publishes.
    restored, retired
        Ids that come back, and that go away; ascending.
    moved, users
        Sampled users whose nearest segment is another one then, and all of them.
    """

    model: SegmentModel
    restored: tuple[int, ...]
    retired: tuple[int, ...]
    moved: int
    users: int


def rolled_back(
    old: SegmentModel, current: SegmentModel, vectors: Floats, sample_threshold: float
) -> Rollback:
    """Make the version after the present one of an earlier version.

    Parameters
    ----------
    old
        The earlier version.
    current
        The version in force.
    vectors
        float64[n, d]. Profiles of the sampled users; of any shape without users.
    sample_threshold
        Of the sample as it is now: the earlier version's may be that of a sample half full.

    Raises
    ------
    RollbackError
        If it is no earlier version, is in force by its centres already, or is of another embedding
        model.
    """
    if old.version == current.version:
        raise RollbackError(f"version {old.version} is the one in force")
    if old.version > current.version:
        raise RollbackError(
            f"version {old.version} is later than version {current.version}, which is in force"
        )
    if current.rollback_of == old.version:
        raise RollbackError(
            f"version {current.version}, which is in force, is the rollback to version "
            f"{old.version} already"
        )
    if old.embedding != current.embedding:
        raise RollbackError(
            f"version {old.version} is of the embedding model {old.embedding[:12]} and the group "
            f"of {current.embedding[:12]}: centres of one mean nothing to the other"
        )
    table = contingency(vectors, current.centres, old.centres)
    before, after = current.ids.tolist(), old.ids.tolist()
    version = current.version + 1
    users = int(table.sum())
    model = replace(
        old,
        version=version,
        sizes=members_of(vectors, old.centres).sizes if users else old.sizes,
        next_id=current.next_id,
        sample_threshold=sample_threshold,
        samples=current.samples,
        rollback_of=old.version,
        migrated_from=None,
    )
    restored = tuple(sorted({*after} - {*before}))
    retired = tuple(sorted({*before} - {*after}))
    stayed = sum(
        int(table[row, after.index(segment)])
        for row, segment in enumerate(before)
        if segment in after
    )
    flows = Flows(before, after, table)
    successors = {
        segment: successor_of(table[row], after)
        for row, segment in enumerate(before)
        if segment in retired
    }
    going_on = sorted({*before} & {*after})
    history = History(
        parents=old.history.parents,
        survival={s: flow.of_parent for s in going_on if (flow := flows.of(s, s))},
        overlap={s: flow.of_child for s in going_on if (flow := flows.of(s, s))},
        transitions=tuple(_transitions(model, current, restored, successors, flows)),
        retired=(
            *(gone for gone in current.history.retired if gone.id not in restored),
            *(
                RetiredSegment(
                    id=segment,
                    version=version,
                    successor=successor,
                    since=current.since[before.index(segment)],
                    parents=list(current.history.parents.get(segment, ())),
                )
                for segment, successor in successors.items()
            ),
        )[-KEPT_RETIRED:],
    )
    return Rollback(replace(model, history=history), restored, retired, users - stayed, users)


def _transitions(
    model: SegmentModel,
    current: SegmentModel,
    restored: tuple[int, ...],
    successors: dict[int, int | None],
    flows: Flows,
) -> Iterator[SegmentTransition]:
    """Tell which segments come back and which go away: an operator's doing, no split or merger."""
    sizes = dict(zip(model.ids.tolist(), model.sizes.tolist(), strict=True))
    # Where the users cannot be compared, what the version before said of itself stands in.
    former = flows.sizes if flows.sizes.any() else current.sizes
    sizes_before = dict(zip(current.ids.tolist(), former.tolist(), strict=True))
    for segment in restored:
        yield SegmentTransition(
            type=TransitionType.RESTORED,
            segment=segment,
            label=model.label_of(segment) or "",
            parents=[],
            children=[],
            successor=None,
            size_before=0,
            size=sizes[segment],
            flows=flows.into(segment),
        )
    for segment, successor in successors.items():
        yield SegmentTransition(
            type=TransitionType.RETIRED,
            segment=segment,
            label=current.label_of(segment) or "",
            parents=[],
            children=[],
            successor=successor,
            size_before=sizes_before[segment],
            size=0,
            flows=flows.out_of(segment),
        )
