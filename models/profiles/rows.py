"""Rolling user profiles: exponentially faded sums of embeddings, for many users at once.

With half-life h, event i at event time t_i with embedding e_i and gain w_i, a user's profile is

    S(t) = sum of w_i * 2^-((t - t_i) / h) * e_i        W(t) = sum of w_i * 2^-((t - t_i) / h)

kept as (S, W, t) with t the latest event time seen. A late event is faded before it is added, a new
one fades what is there; so the order of events does not matter, to rounding. (This is the forward
decay of Cormode et al., "Forward Decay: A Practical Time Decay Model for Streaming Systems", ICDE
2009, anchored at the latest event so that nothing overflows.)

S is rounded to float32 after every event, or to float16 by a setting (`models.profiles.float16`).
That is also what the changelog holds: a state restored from it equals the state that was lost, bit
for bit, and so do all later decisions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.profiles.digests import digests
from models.profiles.float16 import rounded
from models.profiles.items import fitted, item_digests, take_in, width_of
from models.profiles.items import held as items_held
from models.profiles.policy import ProfilePolicy
from models.profiles.references import REFERENCE, References, heaviest, held, of_events, refer
from schemas.arrays import decode_array, encode_array
from schemas.profiles import EventReference, ProfileItems, ProfileLabels, ProfileRecord
from schemas.segment_model import NO_SEGMENT

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


_ROWS_AT_ONCE = 64


class ProfileMismatchError(ValueError):
    """Recorded state that this worker cannot go on with: another embedding model, another size."""


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970 of a time with a zone; exact, unlike float seconds."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Turn what `to_microseconds` gave back into a time in UTC."""
    return _EPOCH + microseconds * _MICROSECOND


def hash_event_id(event_id: str) -> int:
    """BLAKE2b-64 of an event id, never 0 (which marks an empty place in the memory)."""
    digest = hashlib.blake2b(event_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def hash_event_ids(event_ids: Sequence[str]) -> U64:
    """Give `hash_event_id` of each, uint64 (n,)."""
    hashes = np.frombuffer(digests(map(str.encode, event_ids)), "<u8").astype(np.uint64)
    return np.maximum(hashes, np.uint64(1))


def fade(age: I64, half_life: timedelta) -> F64:
    """Weights 2^-(age / half_life) of ages in microseconds, both of shape (n,).

    Computed one by one with the C library's pow: numpy's vectorised exp2 may round a value
    differently by its place in the array, and a user's state must not depend on the batch.
    """
    scale = -1.0 / (half_life // _MICROSECOND)
    weights = np.ones(len(age))
    faded = np.flatnonzero(age)  # hardly an event is late, and a new one has no age
    weights[faded] = [2.0 ** (scale * value) for value in age[faded].tolist()]
    return weights


def unit_rows(rows: NDArray[np.floating]) -> F64:
    """Rows scaled to length 1, as float64; a zero row stays zero. Each row by itself."""
    units = rows.astype(np.float64)
    # A part at a time: what is in between stays in the processor's cache.
    for start in range(0, len(units), _ROWS_AT_ONCE):
        wide = units[start : start + _ROWS_AT_ONCE]
        norms = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        zero = ~(norms[:, 0] > 0)
        if zero.any():
            wide[zero], norms[zero] = 0.0, 1.0
        wide /= norms
    return units


def _first_of_run(rows: I64) -> int | None:
    """Give the first of rows that follow one another, None of those that do not."""
    if not len(rows):
        return None
    first = int(rows[0])
    return first if np.array_equal(rows, np.arange(first, first + len(rows))) else None


@dataclass(slots=True)
class ProfileRows:
    """States of n users, as arrays with one row a user.

    Attributes
    ----------
    sums
        S, float32 (n, d).
    weights
        W, float64 (n,).
    reference
        Time t of S and W, microseconds since 1970, int64 (n,).
    events, repeats
        Events counted, and events not counted since their id was known, int64 (n,).
    recent
        Hashes of the latest event ids, uint64 (n, m), a ring with the next place at events % m;
        0 is an empty place.
    references
        Of the events that weigh most (`models.profiles.references`), REFERENCE (n, k).
    items
        What was recommended last, and the items that the user has (`models.profiles.items`), uint32
        (n, 1 + k); (n, 0) where nothing is recommended to users.
    segments, since, sequence
        Segment id (NO_SEGMENT where none), `events` at its latest change, number of changes.
    versions
        Version of the segment model of the latest decision, 0 before the first, int64 (n,).
    labels, terms
        The label that the segment was published with, and the user's typical words.
    given, predicted
        The label that was given for the user (`segment-labels`), and the one published.
    label_since, label_versions
        `events` at the latest change of the published label, and version of the label model of the
        latest decision, 0 before the first, int64 (n,).
    extra
        Sections of a user's record that this version does not know, as they stood there.
    """

    users: list[str]
    sums: F32
    weights: F64
    reference: I64
    events: I64
    repeats: I64
    recent: U64
    references: References
    items: NDArray[np.uint32]
    segments: I64
    since: I64
    sequence: I64
    versions: I64
    labels: list[str | None]
    terms: list[dict[str, float]]
    given: list[str | None]
    predicted: list[str | None]
    label_since: I64
    label_versions: I64
    extra: list[bytes]

    @classmethod
    def empty(
        cls,
        users: Sequence[str],
        dimensions: int,
        memory: int,
        references: int = 0,
        items: int | None = None,
    ) -> Self:
        """Make the states of users of whom nothing is known.

        Parameters
        ----------
        users
            Their names.
        dimensions, memory, references
            Length of the embeddings, and how many event ids and references are kept.
        items
            How many items of a user are kept; None where nothing is recommended to users.
        """
        n = len(users)
        return cls(
            users=list(users),
            sums=np.zeros((n, dimensions), np.float32),
            weights=np.zeros(n),
            reference=np.zeros(n, np.int64),
            events=np.zeros(n, np.int64),
            repeats=np.zeros(n, np.int64),
            recent=np.zeros((n, memory), np.uint64),
            references=np.zeros((n, references), REFERENCE),
            items=np.zeros((n, width_of(items)), np.uint32),
            segments=np.full(n, NO_SEGMENT, np.int64),
            since=np.zeros(n, np.int64),
            sequence=np.zeros(n, np.int64),
            versions=np.zeros(n, np.int64),
            labels=[None] * n,
            terms=[{} for _ in range(n)],
            given=[None] * n,
            predicted=[None] * n,
            label_since=np.zeros(n, np.int64),
            label_versions=np.zeros(n, np.int64),
            extra=[b""] * n,
        )

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: Sequence[int]) -> ProfileRows:
        """Copy some rows."""
        columns: dict[str, Any] = {
            **{name: [own[row] for row in rows] for name, own in self.lists().items()},
            **{name: column[list(rows)] for name, column in self.arrays().items()},
        }
        return ProfileRows(**columns)

    def overwrite(self, rows: Sequence[int], states: ProfileRows) -> None:
        """Set some rows to states of the same users."""
        self._set(rows, states, [*_ARRAY_COLUMNS, *_LIST_COLUMNS])

    def stand_as(self, rows: Sequence[int], states: ProfileRows) -> None:
        """Set where some rows' users stand to what states of theirs say; their profiles stay."""
        self._set(rows, states, _STANDING)

    def under_another_model(self, made: ProfileRows) -> ProfileRows:
        """Give the same users with the profiles that another embedding model makes of them.

        What does not rest on vectors stays: counts, event ids, words, and where the users stand. Of
        which events a sum is made comes with the sum.
        Who has no event in `made` has a zero vector and a weight of 0: nothing is known but the
        standing, at the time that it was known for.

        Parameters
        ----------
        made
            The same users, in the same order; their vectors may have another length.
        """
        return replace(
            self,
            sums=made.sums,
            weights=made.weights,
            references=made.references,
            reference=np.where(made.events > 0, made.reference, self.reference),
        )

    def _set(self, rows: Sequence[int], states: ProfileRows, columns: Iterable[str]) -> None:
        at = list(rows)
        for name in columns:
            own, values = getattr(self, name), getattr(states, name)
            if name not in _LIST_COLUMNS:
                own[at] = values
                continue
            for row, value in zip(at, values, strict=True):
                own[row] = value

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All columns that are arrays, by name."""
        return {name: getattr(self, name) for name in _ARRAY_COLUMNS}

    def lists(self) -> dict[str, list[Any]]:
        """All columns that are lists, by name."""
        return {name: getattr(self, name) for name in _LIST_COLUMNS}

    def vectors(self, rows: I64 | slice = slice(None)) -> F64:
        """Profile vectors S/|S| of some rows, float64 (k, d)."""
        return unit_rows(self.sums[rows])

    def add(
        self, rows: I64, embeddings: F32, gains: F64, times: I64, policy: ProfilePolicy
    ) -> tuple[F64, F64]:
        """Move the profiles of k different users by one event each.

        Parameters
        ----------
        rows
            Which users, int64 (k,), no row twice.
        embeddings, gains, times
            Unit vectors float32 (k, d), weights > 0 (k,), event times in microseconds (k,).
        policy
            Gives the half-life.

        Returns
        -------
        tuple
            By what each old sum was faded and with what each event was added, float64 (k,) both.
        """
        # A user's first event sets the reference time; there is nothing yet to fade.
        reference = np.where(self.events[rows] == 0, times, self.reference[rows])
        step = times - reference
        keep = fade(np.maximum(step, 0), policy.half_life)
        gains = gains * fade(np.maximum(-step, 0), policy.half_life)
        weights = self.weights[rows] * keep + gains
        # A part at a time: what is in between stays in the processor's cache. Single numbers are
        # made double first, since NumPy takes longer for a product of the two.
        first = _first_of_run(rows)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            at: I64 | slice = rows[part]
            if first is not None:
                at = slice(first + start, first + start + len(rows[part]))
            sums = self.sums[at].astype(np.float64)
            sums *= keep[part, None]
            added = embeddings[part].astype(np.float64)
            added *= gains[part, None]
            sums += added
            if policy.float16_limit is None:
                self.sums[at] = sums
            else:
                self.sums[at] = rounded(
                    sums.astype(np.float32), weights[part], policy.float16_limit
                )
        self.weights[rows] = weights
        self.reference[rows] = np.maximum(reference, times)
        return keep, gains

    def remember(self, rows: I64, event_hashes: U64) -> None:
        """Count one event for each of k different users and keep its id."""
        memory = self.recent.shape[1]
        self.recent[rows, self.events[rows] % memory] = event_hashes
        self.events[rows] += 1

    def refer(  # noqa: PLR0917 - one array after the other
        self, rows: I64, offsets: I64, times: I64, hashes: U64, gains: F64, policy: ProfilePolicy
    ) -> None:
        """Keep references of those of m events that weigh most in their users' profiles.

        Parameters
        ----------
        rows
            Which users, int64 (m,), in the order of the events.
        offsets, times, hashes, gains
            Of the events, which counted, (m,) each; `gains` are weights at the events' own time.
        policy
            Gives the half-life.
        """
        if self.references.shape[1]:
            events = of_events(offsets, times, hashes, gains)
            refer(self.references, rows, events, policy.half_life)

    def name_items(self, rows: I64, items: Iterable[str]) -> None:
        """Keep which items m events name, of users in some rows, int64 (m,), in their order."""
        take_in(self.items, rows, item_digests(items))

    def knows(self, rows: I64, event_hashes: U64) -> NDArray[np.bool_]:
        """Tell which of k users have had the event, within the memory."""
        # A ring is filled from its beginning, and what is behind that is no event's.
        held = self.recent[:, : int(self.events[rows].max(initial=0))]
        known: NDArray[np.bool_] = (held[rows] == event_hashes[:, None]).any(axis=1)
        return known

    def note_terms(
        self, row: int, tokens: Iterable[str], keep: float, gain: float, limit: int
    ) -> None:
        """Fade a user's typical words by `keep` and count each word of a new text once.

        Only the `limit` heaviest are kept, so the memory is bounded; a word that comes up rarely
        may be forgotten in between (the usual price of a bounded counter).
        """
        terms = {term: weight * keep for term, weight in self.terms[row].items()}
        for token in set(tokens):
            terms[token] = terms.get(token, 0.0) + gain
        heaviest = sorted([(-weight, term) for term, weight in terms.items()])[:limit]
        self.terms[row] = {term: -weight for weight, term in heaviest}

    def to_record(self, row: int, embedding: str) -> ProfileRecord:
        """Give one user's state as it stands in the changelog."""
        events, memory = int(self.events[row]), self.recent.shape[1]
        ring = self.recent[row]
        oldest_first = np.roll(ring, -(events % memory)) if events > memory else ring[:events]
        segment = int(self.segments[row])
        return ProfileRecord(
            user_id=self.users[row],
            embedding=embedding,
            vector=encode_array(self.sums[row], "<f4"),
            weight=float(self.weights[row]),
            reference_time=from_microseconds(int(self.reference[row])),
            events=events,
            repeats=int(self.repeats[row]),
            recent_events=encode_array(oldest_first, "<u8"),
            terms=self.terms[row],
            segment=None if segment == NO_SEGMENT else segment,
            segment_label=self.labels[row],
            segment_since_event=int(self.since[row]),
            sequence=int(self.sequence[row]),
            model_version=int(self.versions[row]),
            labels=self._labels_of(row),
            references=self._references_of(row),
            items=self._items_of(row),
        )

    def _items_of(self, row: int) -> ProfileItems | None:
        own = self.items[row]
        if not (count := int(items_held(own[None])[0])):
            return None
        return ProfileItems(shown=int(own[0]), had=encode_array(own[1:count], "<u4"))

    def _references_of(self, row: int) -> list[EventReference]:
        own = self.references[row]
        return [
            EventReference(
                offset=offset,
                occurred_at=from_microseconds(time),
                event_hash=f"{identity:016x}",
                weight=weight,
            )
            for offset, time, identity, weight in own[: int(held(own[None])[0])].tolist()
        ]

    def _labels_of(self, row: int) -> ProfileLabels | None:
        """Give what is known of a user's labels, None where that is nothing."""
        given, predicted = self.given[row], self.predicted[row]
        since, version = int(self.label_since[row]), int(self.label_versions[row])
        if given is None and predicted is None and not (since or version):
            return None
        return ProfileLabels(
            given=given, predicted=predicted, since_event=since, model_version=version
        )

    def load_record(self, row: int, record: ProfileRecord) -> None:
        """Set one row to a state read from the changelog.

        Raises
        ------
        ProfileMismatchError
            If the vector has another number of dimensions.
        """
        vector = decode_array(record.vector, "<f4")
        dimensions = self.sums.shape[1]
        if vector.shape != (dimensions,):
            raise ProfileMismatchError(
                f"the recorded profile of user {record.user_id!r} has {vector.size} dimensions, "
                f"this worker's embedding model has {dimensions}"
            )
        memory = self.recent.shape[1]
        recent = decode_array(record.recent_events, "<u8")[-memory:]
        places = (record.events - len(recent) + np.arange(len(recent))) % memory
        self.users[row] = record.user_id
        self.sums[row] = vector
        self.weights[row] = record.weight
        self.reference[row] = to_microseconds(record.reference_time)
        self.events[row] = record.events
        self.repeats[row] = record.repeats
        self.recent[row] = 0
        self.recent[row, places] = recent
        own = np.array(
            [
                (
                    each.offset,
                    to_microseconds(each.occurred_at),
                    int(each.event_hash, 16),
                    each.weight,
                )
                for each in record.references
            ],
            REFERENCE,
        )
        self.references[row] = heaviest(own[None], self.references.shape[1])[0]
        self.items[row] = 0
        if record.items is not None:
            had = decode_array(record.items.had, "<u4")
            whole = np.concatenate([np.array([record.items.shown], np.uint32), had])
            self.items[row] = fitted(whole[None], self.items.shape[1])[0]
        self.segments[row] = NO_SEGMENT if record.segment is None else record.segment
        self.since[row] = record.segment_since_event
        self.sequence[row] = record.sequence
        self.versions[row] = record.model_version
        self.labels[row] = record.segment_label
        self.terms[row] = dict(record.terms)
        labels = record.labels or _NO_LABELS
        self.given[row] = labels.given
        self.predicted[row] = labels.predicted
        self.label_since[row] = labels.since_event
        self.label_versions[row] = labels.model_version
        self.extra[row] = b""


_NO_LABELS = ProfileLabels()
_LIST_COLUMNS = ("users", "labels", "terms", "given", "predicted", "extra")
_ARRAY_COLUMNS = tuple(each.name for each in fields(ProfileRows) if each.name not in _LIST_COLUMNS)
# What decisions set.
_STANDING = (
    *("segments", "since", "sequence", "versions", "labels"),
    *("predicted", "label_since", "label_versions"),
)
