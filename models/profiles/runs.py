"""Several events of one user, one after the other: what arrays of one row would do slowly."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from models.profiles.float16 import rounded
from models.profiles.policy import ProfilePolicy
from models.profiles.table import ProfileRows

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Run:
    """What k events of a user did, one entry each; of a repeat, all but `fresh` says nothing.

    Attributes
    ----------
    fresh
        Whether the event counted.
    keeps, gains
        By what the sum was faded and with what the event was added.
    sums
        The sum after it, float32 (k, d).
    weights, reference, events
        Likewise.
    edited
        Repeats of a later time than all that was known.
    """

    sums: F32
    fresh: list[bool] = field(default_factory=list)
    keeps: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    reference: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    edited: int = 0


def follow(  # noqa: PLR0917 - one array after the other
    rows: ProfileRows,
    row: int,
    embeddings: F32,
    gains: F64,
    times: I64,
    hashes: U64,
    policy: ProfilePolicy,
) -> Run:
    """Move one user's profile by k events; to the bit what `knows`, `add` and `remember` do.

    Parameters
    ----------
    rows, row
        The user; moved in place.
    embeddings, gains, times, hashes
        Of the events, in their order: float32 (k, d), and (k,) each.
    policy
        How profiles fade.
    """
    run = Run(np.empty_like(embeddings))
    memory = rows.recent.shape[1]
    ring = rows.recent[row].tolist()
    known = set(ring)
    scale = -1.0 / (policy.half_life // _MICROSECOND)
    events, reference = int(rows.events[row]), int(rows.reference[row])
    weight, repeats = float(rows.weights[row]), 0
    total, added = rows.sums[row].astype(np.float64), np.empty(embeddings.shape[1])
    for i, (gain, time, identity) in enumerate(
        zip(gains.tolist(), times.tolist(), hashes.tolist(), strict=True)
    ):
        keep = 1.0
        if fresh := identity not in known:
            if events == 0:
                reference = time
            keep = 2.0 ** (scale * max(time - reference, 0))
            gain *= 2.0 ** (scale * max(reference - time, 0))  # noqa: PLW2901
            np.multiply(total, keep, out=total)
            np.multiply(embeddings[i], gain, out=added, dtype=np.float64)
            np.add(total, added, out=total)
            weight = weight * keep + gain
            run.sums[i] = total
            if (limit := policy.float16_limit) is not None:
                run.sums[[i]] = rounded(run.sums[[i]], np.array([weight]), limit)
            total[:] = run.sums[i]
            reference = max(reference, time)
            place = events % memory
            known.discard(ring[place])
            known.add(identity)
            ring[place] = identity
            events += 1
        else:
            repeats += 1
            run.edited += time > reference
        run.fresh.append(fresh)
        run.keeps.append(keep)
        run.gains.append(gain)
        run.weights.append(weight)
        run.reference.append(reference)
        run.events.append(events)
    rows.sums[row] = total
    rows.weights[row], rows.reference[row] = weight, reference
    rows.events[row] = events
    rows.repeats[row] += repeats
    rows.recent[row] = ring
    return run
