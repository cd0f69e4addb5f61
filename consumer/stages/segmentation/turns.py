"""How the events of a batch move profiles: side by side those of different users, in turns.

A turn holds at most one event a user, so its events are applied as arrays. Where few users have
events left, each user's are followed one by one instead: a user with 500 events in a batch would
cost 500 turns. Either way every event meets the profile that those before it have left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumer.stages.segmentation.changes import Pushes
from consumer.stages.segmentation.prepared import EVENT_TYPES, PreparedBatch
from consumer.stages.segmentation.standings import Standings
from consumer.stages.segmentation.stats import SegmentationStats
from models.profiles.policy import ProfilePolicy
from models.profiles.runs import follow
from models.profiles.table import ProfileRows, fade
from models.text import cut_words

Rows = NDArray[np.int64]

LEAST_IN_A_TURN = 8
"""Users from which on a turn is applied as arrays."""


class _Figures(NamedTuple):
    """What `Standings` has beside sums, as each event of a batch left it."""

    weights: NDArray[np.float64]
    reference: Rows
    events: Rows


@dataclass(slots=True, eq=False)
class Moves:
    """Moves profiles by the events of a batch, all of one partition.

    Parameters
    ----------
    rows
        The users; moved in place.
    own
        Row of each event's user, int64 (n,).
    chosen
        The events, by their rows in the batch, int64 (n,).
    batch
        What they say.
    weights
        By the code of an event's type.
    policy
        How profiles fade.
    worded
        By row, whether the user's words are kept.
    stats
        Counts what is accepted and what is repeated.
    """

    rows: ProfileRows
    own: Rows
    chosen: Rows
    batch: PreparedBatch
    weights: NDArray[np.float64]
    policy: ProfilePolicy
    worded: NDArray[np.bool_]
    stats: SegmentationStats

    def apply(self) -> tuple[Rows, Standings]:
        """Move the profiles, but for events that were seen before.

        Returns
        -------
        tuple
            The events that count, by their rows in the batch, int64 (k,), ascending, and how each
            left its user's profile.
        """
        nth = _occurrences(self.own)
        if nth.any():
            fresh, after = self._several(nth)
        else:
            everyone = np.arange(len(self.own))
            fresh = self._turn(everyone)
            after = Standings.of(self.rows)
            if not (fresh.all() and len(self.rows) == len(self.own)):
                after = after.take(self.own[fresh])
        counted = self.chosen[fresh]
        events = self.batch.events
        self._refer(self.own[fresh], counted)
        self._name_items(self.own[fresh], counted)
        types = np.bincount(events.types[counted], minlength=len(EVENT_TYPES))
        self.stats.accepted.update(
            {kind: count for kind, count in zip(EVENT_TYPES, types.tolist(), strict=True) if count}
        )
        languages = events.languages
        if len(counted) < len(languages):
            languages = [languages[row] for row in counted.tolist()]
        self.stats.languages.update(languages)
        return counted, after

    def pushes(self, counted: Rows, after: Standings, entries: Rows) -> Pushes:
        """Give what made users' profiles at some of the moments that `apply` gave.

        Parameters
        ----------
        counted, after
            What `apply` gave.
        entries
            The moments.
        """
        events, records = self.batch.events, self.batch.records
        order = np.argsort(after.places, kind="stable")
        at = np.empty_like(order)
        at[order] = np.arange(len(order))
        # Of each moment the user's events up to then.
        first = np.searchsorted(after.places[order], after.places[entries])
        counts = at[entries] - first + 1
        owners = np.repeat(np.arange(len(entries)), counts)
        nth = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = counted[order[first[owners] + nth]]
        # Each as the sum has it at that moment, however many came after it.
        ages = after.reference[entries][owners] - events.times[rows]
        numbers = events.numbers[rows].tolist()
        return Pushes(
            after.sums[entries],
            self.batch.embeddings[rows],
            self.weights[events.types[rows]] * fade(ages, self.policy.half_life),
            owners,
            [events.event_ids[row] for row in rows.tolist()],
            [records[number].offset for number in numbers],
        )

    def _refer(self, places: Rows, counted: Rows) -> None:
        """Keep references of events that count, where they weigh enough."""
        events, records = self.batch.events, self.batch.records
        if not self.policy.references:
            return
        numbers = events.numbers[counted].tolist()
        self.rows.refer(
            places,
            np.array([records[number].offset for number in numbers], np.int64),
            events.times[counted],
            events.hashes[counted],
            self.weights[events.types[counted]],
            self.policy,
        )

    def _name_items(self, places: Rows, counted: Rows) -> None:
        """Keep which items the events that count name, where users' items are kept."""
        if self.rows.items.shape[1] < 2:
            return
        items = self.batch.events.items
        named = [(place, row) for place, row in enumerate(counted.tolist()) if items[row]]
        self.rows.name_items(
            places[[place for place, _ in named]], [items[row] or "" for _, row in named]
        )

    def _several(self, nth: Rows) -> tuple[NDArray[np.bool_], Standings]:
        """Apply events of which some are of one user."""
        n = len(self.own)
        fresh = np.zeros(n, np.bool_)
        after = _Figures(np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64))
        # How sums stood where another event of the user's follows; the last ones are in the rows.
        passed: list[tuple[Rows, NDArray[np.float32]]] = []
        counts = np.bincount(self.own)
        sizes = np.bincount(nth)
        small = np.flatnonzero(sizes < LEAST_IN_A_TURN)
        turns = int(small[0]) if len(small) else len(sizes)
        for turn in range(turns):
            entries = np.flatnonzero(nth == turn)
            places = self.own[entries]
            fresh[entries] = self._turn(entries)
            after.weights[entries] = self.rows.weights[places]
            after.reference[entries] = self.rows.reference[places]
            after.events[entries] = self.rows.events[places]
            followed = counts[places] > turn + 1
            passed.append((entries[followed], self.rows.sums[places[followed]]))
        left: dict[int, list[int]] = {}
        for entry in np.flatnonzero(nth >= turns).tolist():
            left.setdefault(int(self.own[entry]), []).append(entry)
        for place, its in left.items():
            entries = np.array(its, np.int64)
            passed.append((entries, self._follow(place, entries, fresh, after)))
        chosen = slice(None) if fresh.all() else fresh
        own = self.own[chosen]
        sums, entry_at = self.rows.sums[own], np.cumsum(fresh) - 1
        for entries, before in passed:
            counted = fresh[entries]
            sums[entry_at[entries[counted]]] = before[counted]
        return fresh, Standings(
            own,
            nth[chosen],
            sums,
            after.weights[chosen],
            after.reference[chosen],
            after.events[chosen],
        )

    def _turn(self, entries: Rows) -> NDArray[np.bool_]:
        """Apply events of different users as arrays; tell which of them count."""
        rows, chosen, places = self.rows, self.chosen[entries], self.own[entries]
        events = self.batch.events
        hashes, times = events.hashes[chosen], events.times[chosen]
        known = rows.knows(places, hashes)
        fresh = ~known
        if known.any():
            rows.repeats[places[known]] += 1
            self.stats.repeated += int(known.sum())
            # Of what counted only the id is kept, but nothing that counted is later than this: so
            # the record is no copy of the first one. An edit that keeps its time cannot be told.
            self.stats.edited += int((known & (times > rows.reference[places])).sum())
            chosen, places = chosen[fresh], places[fresh]
            hashes, times = hashes[fresh], times[fresh]
        if len(places):
            keeps, gains = rows.add(
                places,
                self.batch.embeddings[chosen],
                self.weights[events.types[chosen]],
                times,
                self.policy,
            )
            rows.remember(places, hashes)
            for i in np.flatnonzero(self.worded[places]).tolist():
                self._note(int(places[i]), int(chosen[i]), float(keeps[i]), float(gains[i]))
        return fresh

    def _follow(
        self, place: int, entries: Rows, fresh: NDArray[np.bool_], after: _Figures
    ) -> NDArray[np.float32]:
        """Apply events of one user, one after the other; give the sums that each of them left."""
        chosen, events = self.chosen[entries], self.batch.events
        run = follow(
            self.rows,
            place,
            self.batch.embeddings[chosen],
            self.weights[events.types[chosen]],
            events.times[chosen],
            events.hashes[chosen],
            self.policy,
        )
        fresh[entries] = run.fresh
        after.weights[entries], after.reference[entries] = run.weights, run.reference
        after.events[entries] = run.events
        self.stats.repeated += len(entries) - sum(run.fresh)
        self.stats.edited += run.edited
        if self.worded[place]:
            for i in np.flatnonzero(run.fresh).tolist():
                self._note(place, int(chosen[i]), run.keeps[i], run.gains[i])
        return run.sums

    def _note(self, place: int, event: int, keep: float, gain: float) -> None:
        """Note an event's words, cut here where that was not known to be asked for."""
        events = self.batch.events
        words = events.words[event]
        if words is None:
            words = cut_words(events.texts[event], events.languages[event])
        self.rows.note_terms(place, words, keep, gain, self.policy.terms)


def _occurrences(own: Rows) -> Rows:
    """Give of each event how many of its user's are before it, int64 (n,)."""
    order = np.argsort(own, kind="stable")
    ordered, places = own[order], np.arange(len(own))
    same = np.zeros(len(own), np.bool_)
    np.equal(ordered[1:], ordered[:-1], out=same[1:])
    nth = np.empty_like(own)
    nth[order] = places - np.maximum.accumulate(np.where(same, 0, places))
    return nth
