"""What an evaluation remembers of one user: labels, segments and changes, in order."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from pydantic_core import from_json

from schemas.picking import value_at

STEADY_EVENTS = 3
"""Events of one label in a row, before and after a change of label, for it to count as known."""


def label_of(value: bytes | None, path: str) -> str | None:
    """Read the label out of a record; None where there is none, or it is a list or an object.

    Parameters
    ----------
    value
        The record, JSON.
    path
        Dotted path in the source's object, before any mapping.
    """
    try:
        found = value_at(from_json(value or b""), path)
    except ValueError:
        return None
    if isinstance(found, bool | int | float | str):
        return str(found).strip() or None
    return None


@dataclass(slots=True)
class Run:
    """Events of one label in a row: the number of the first among the user's events, from 1."""

    label: str
    first: int
    events: int = 1


@dataclass(slots=True)
class Track:
    """One user's way through a stream.

    Attributes
    ----------
    events
        Events so far.
    segment
        Segment at the moment, None for none.
    runs
        Labelled events, run by run.
    places
        (number of the event, segment) of each change; 0 for one before the first event seen.
    changes
        Changes by status and reason.
    causes
        Changes by status and by whose doing they are.
    """

    events: int = 0
    segment: int | None = None
    labels: Counter[str] = field(default_factory=Counter)
    runs: list[Run] = field(default_factory=list)
    places: list[tuple[int, int | None]] = field(default_factory=list)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def label(self) -> str | None:
        """The label of most of the user's events, of equals the first; None without any."""
        return self.labels.most_common(1)[0][0] if self.labels else None

    def see(self, label: str | None) -> None:
        """Take in one more event, before the change that it causes."""
        self.events += 1
        if label is None:
            return
        self.labels[label] += 1
        if self.runs and self.runs[-1].label == label:
            self.runs[-1].events += 1
        else:
            self.runs.append(Run(label, self.events))

    def move(self, segment: int | None, status: str, reason: str, cause: str) -> None:
        """Take in a change of segment."""
        self.segment = segment
        self.places.append((self.events, segment))
        self.changes[status, reason] += 1
        self.causes[status, cause] += 1

    def lags(self, meaning: Mapping[Hashable, Hashable]) -> list[int | None]:
        """Give how long the segment took to follow each known change of the label.

        Known is a change between two runs of `STEADY_EVENTS` events or more.

        Parameters
        ----------
        meaning
            The label that each segment stands for.

        Returns
        -------
        list
            Events with the new label up to the first after which the user was in a segment that
            stands for it, 1 at least; None where that did not come about before the next label.
        """
        ends = [run.first for run in self.runs[1:]] + [self.events + 1]
        return [
            self._lag(after, end, meaning)
            for before, after, end in zip(self.runs, self.runs[1:], ends[1:], strict=False)
            if min(before.events, after.events) >= STEADY_EVENTS
        ]

    def _lag(self, run: Run, end: int, meaning: Mapping[Hashable, Hashable]) -> int | None:
        # Where the user was at the run's first event, and all that came before its end.
        later = bisect_right(self.places, run.first, key=itemgetter(0))
        for number, segment in self.places[max(later - 1, 0) :]:
            if number >= end:
                return None
            if segment is not None and meaning.get(segment) == run.label:
                return max(number - run.first, 0) + 1
        return None
