"""Profiles at the moments at which their users are decided on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.profiles.table import ProfileRows

Rows = NDArray[np.int64]


class Moment(NamedTuple):
    """How much a decision rests on: a profile's events, its weight and its reference time."""

    events: int
    weight: float
    reference: int


@dataclass(frozen=True, slots=True, eq=False)
class Standings:
    """Profiles as they stood at k moments at which their users are to be decided on.

    Attributes
    ----------
    places
        Row of the user, int64 (k,).
    nth
        Which of the user's moments it is, from 0, int64 (k,). They come in their order.
    sums, weights, reference, events
        As in `ProfileRows`, at that moment.
    """

    places: Rows
    nth: Rows
    sums: NDArray[np.float32]
    weights: NDArray[np.float64]
    reference: Rows
    events: Rows

    def moments(self, entries: Rows) -> list[Moment]:
        """Give the figures of some moments."""
        own = (self.events, self.weights, self.reference)
        return list(map(Moment, *(column[entries].tolist() for column in own)))

    @classmethod
    def of(cls, rows: ProfileRows) -> Standings:
        """Give the present standing of each row; it goes on being the rows' own memory."""
        n = len(rows)
        places, nth = np.arange(n), np.zeros(n, np.int64)
        return cls(places, nth, rows.sums, rows.weights, rows.reference, rows.events)

    def take(self, entries: Rows) -> Standings:
        """Copy some moments."""
        return Standings(*(getattr(self, each.name)[entries] for each in fields(self)))
