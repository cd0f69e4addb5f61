"""The users at the end of an evaluation, and how many of them a score needs."""

from __future__ import annotations

from dataclasses import dataclass

from models.distances import Floats, Ints

LEAST_SCORED_USERS = 20
"""Users without whom no score is given: over fewer it is an accident of a few of them."""


@dataclass(frozen=True, eq=False, slots=True)
class Users:
    """The users at the end: ids, unit vectors float64[n, d], segments int64[n], events int64[n]."""

    ids: list[str]
    vectors: Floats
    segments: Ints
    events: Ints
    labels: list[str | None]
