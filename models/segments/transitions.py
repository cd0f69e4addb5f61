"""What becomes of segments between two versions, and which segment a user's one turned into.

The table of the sampled users, old segment by new one, tells it, as in MONIC (Spiliopoulou et al.,
"MONIC: modeling and monitoring cluster transitions", KDD 2006). The users are the same before and
after, so that nothing but the segments themselves makes the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from models.distances import Ints
from models.segments.history import KEPT_RETIRED, History
from models.segments.identity import LEAST_PART, MAJORITY, Matching
from models.segments.model import SegmentModel
from schemas.lifecycle import Flow, RetiredSegment, SegmentTransition, TransitionType


class Fate(Enum):
    """What became of a segment; exactly one of these."""

    SURVIVED = auto()
    """It goes on under its id; others may have been merged into it."""
    SPLIT = auto()
    """It fell into parts. One of them goes on under its id, or, where none may, the id ends."""
    MERGED = auto()
    """Its id ends; most of its users are in one other segment."""
    RETIRED = auto()
    """Its id ends; its users went here and there, or it had none."""


@dataclass(frozen=True)
class Outcome:
    """What became of one segment.

    Attributes
    ----------
    fate
        Which of the four.
    children
        Of one that was split: its parts, ascending.
    successor
        Of one that was merged: the segment with most of its users.
    """

    fate: Fate
    children: tuple[int, ...] = ()
    successor: int | None = None


def outcomes(before: Sequence[int], after: Sequence[int], table: Ints) -> dict[int, Outcome]:
    """Tell what became of each segment of the version before.

    A part of a split segment is a new one that holds a tenth of its users or more (`LEAST_PART`)
    and more than half of whose own users are from it: so a segment is part of one other at most,
    and one that was made for users from everywhere is nobody's.

    Parameters
    ----------
    before, after
        Ids of the J old and the K new segments.
    table
        int64[J, K]. Sampled users by old and new segment.

    Returns
    -------
    dict
        By old id. It depends on the ids and the counts, not on their order.
    """
    sizes, arrived = table.sum(axis=1), table.sum(axis=0)
    known = set(before)
    born = [column for column, segment in enumerate(after) if segment not in known]
    found = {}
    for row, segment in enumerate(before):
        goes_on = segment in after
        parts = [
            after[column]
            for column in born
            if table[row, column] >= LEAST_PART * sizes[row]
            and table[row, column] > MAJORITY * arrived[column]
        ]
        if goes_on:
            parts.append(segment)
        if len(parts) > 1:
            found[segment] = Outcome(Fate.SPLIT, tuple(sorted(parts)))
        elif goes_on:
            found[segment] = Outcome(Fate.SURVIVED)
        elif (successor := successor_of(table[row], after)) is not None:
            found[segment] = Outcome(Fate.MERGED, (), successor)
        else:
            found[segment] = Outcome(Fate.RETIRED)
    return found


def successor_of(users: Ints, after: Sequence[int]) -> int | None:
    """Give the segment with most of the users, of equals the older one."""
    if not users.any():
        return None
    most, segment = min((-count, segment) for count, segment in zip(users, after, strict=True))
    return segment if -most >= MAJORITY * users.sum() else None


def chronicled(
    model: SegmentModel, previous: SegmentModel | None, matching: Matching
) -> SegmentModel:
    """Write down in a new version what it made of the segments of the one before.

    Parameters
    ----------
    model
        The new version, but for its history.
    previous
        The version before, None for the first.
    matching
        Ids of the new segments, and the table.

    Returns
    -------
    SegmentModel
        With its history. Transitions come by type, in the order of `TransitionType`, and by id.
    """
    before = [] if previous is None else previous.ids.tolist()
    after = model.ids.tolist()
    labels = dict(zip(after, model.labels, strict=True))
    sizes = dict(zip(after, model.sizes.tolist(), strict=True))
    # The columns in the order of ids, as the model has them.
    table = matching.table[:, np.argsort(matching.ids)]
    found = outcomes(before, after, table)
    parents = _parents(found, set(matching.born))
    flows = Flows(before, after, table)
    # Where the users cannot be compared, what the version before said of itself stands in.
    former_sizes = flows.sizes if previous is None or table.any() else previous.sizes
    sizes_before = dict(zip(before, former_sizes.tolist(), strict=True))
    former = History() if previous is None else previous.history
    since = {} if previous is None else dict(zip(before, previous.since, strict=True))
    old_labels = {} if previous is None else dict(zip(before, previous.labels, strict=True))

    def transition(
        kind: TransitionType,
        segment: int,
        *,
        parents: Sequence[int] = (),
        children: Sequence[int] = (),
        successor: int | None = None,
    ) -> SegmentTransition:
        leaves = kind in {TransitionType.SPLIT, TransitionType.RETIRED}
        return SegmentTransition(
            type=kind,
            segment=segment,
            label=old_labels[segment] if leaves else labels[segment],
            parents=list(parents),
            children=list(children),
            successor=successor,
            size_before=sizes_before.get(segment, 0),
            size=sizes.get(segment, 0),
            flows=flows.out_of(segment) if leaves else flows.into(segment),
        )

    def transitions() -> Iterator[SegmentTransition]:
        for segment in matching.born:
            yield transition(TransitionType.CREATED, segment, parents=parents.get(segment, ()))
        for segment in sorted(found):
            if found[segment].fate is Fate.SPLIT:
                yield transition(TransitionType.SPLIT, segment, children=found[segment].children)
        for segment, merged in sorted(_merged(found).items()):
            if len(merged) > 1:
                yield transition(TransitionType.MERGED, segment, parents=merged)
        for segment in matching.retired:
            yield transition(TransitionType.RETIRED, segment, successor=found[segment].successor)

    retired = tuple(
        RetiredSegment(
            id=segment,
            version=model.version,
            successor=found[segment].successor,
            since=since[segment],
            parents=list(former.parents.get(segment, ())),
        )
        for segment in matching.retired
    )
    going_on = set(before) & set(after)
    history = History(
        parents={
            segment: origin
            for segment, origin in {**former.parents, **parents}.items()
            if segment in after
        },
        survival={s: flow.of_parent for s in sorted(going_on) if (flow := flows.of(s, s))},
        overlap={s: flow.of_child for s in sorted(going_on) if (flow := flows.of(s, s))},
        transitions=tuple(transitions()),
        retired=(*former.retired, *retired)[-KEPT_RETIRED:],
    )
    return replace(model, history=history)


def _parents(found: Mapping[int, Outcome], born: set[int]) -> dict[int, tuple[int, ...]]:
    """Give the segments that each new one was made of: those it is a part of, and those merged."""
    made: dict[int, set[int]] = {}
    for segment, outcome in found.items():
        for child in (*outcome.children, outcome.successor):
            if child in born:
                made.setdefault(child, set()).add(segment)
    return {child: tuple(sorted(segments)) for child, segments in made.items()}


def _merged(found: Mapping[int, Outcome]) -> dict[int, tuple[int, ...]]:
    """Give all that went into each segment that took others over, itself included."""
    into: dict[int, set[int]] = {}
    for segment, outcome in found.items():
        if outcome.fate is Fate.MERGED and outcome.successor is not None:
            into.setdefault(outcome.successor, set()).add(segment)
    for child, segments in into.items():
        if child in found:
            segments.add(child)
        segments.update(segment for segment, outcome in found.items() if child in outcome.children)
    return {child: tuple(sorted(segments)) for child, segments in into.items()}


class Flows:
    """The table, by ids and with shares."""

    def __init__(self, before: Sequence[int], after: Sequence[int], table: Ints) -> None:
        self._before = {segment: row for row, segment in enumerate(before)}
        self._after = {segment: column for column, segment in enumerate(after)}
        self._table = table
        self.sizes, self._arrived = table.sum(axis=1), table.sum(axis=0)

    def of(self, parent: int, child: int) -> Flow | None:
        """Give the users of one who are in the other, None where there are none."""
        row, column = self._before[parent], self._after[child]
        users = int(self._table[row, column])
        if not users:
            return None
        return Flow(
            parent=parent,
            child=child,
            users=users,
            of_parent=users / int(self.sizes[row]),
            of_child=users / int(self._arrived[column]),
        )

    def out_of(self, parent: int) -> list[Flow]:
        """Give all flows out of an old segment, by child."""
        return [flow for child in sorted(self._after) if (flow := self.of(parent, child))]

    def into(self, child: int) -> list[Flow]:
        """Give all flows into a new segment, by parent."""
        return [flow for parent in sorted(self._before) if (flow := self.of(parent, child))]
