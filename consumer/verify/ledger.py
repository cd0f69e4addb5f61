"""What the engine keeps of each user: numbers in columns, about 250 bytes a user.

An audit without an end keeps of an id or a text a digest of one size, however long it is, and the
text of the first labels for its sentences. An audit of a whole keeps users by name and what their
profiles count besides, since it is asked for both in the end.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Hashable, Iterator
from typing import NamedTuple, Self

from schemas.changes import SegmentChange
from schemas.profiles import ProfileRecord
from schemas.segment_model import NO_SEGMENT
from schemas.states import UserState

RECENT = 100_000
"""How many change ids, dead letters and texts an audit without an end remembers. A change that
repeats an older one is found as well, as a sequence that does not grow."""

NO_PARTITION = -1
UNTOLD = -1
"""Of a label that no change has told. No digest: Python's hash is never -1."""

ABSENT = -1
_UNREADABLE = -2
_MAX_INT64 = 2**63 - 1


class Standing(NamedTuple):
    """Where a user stands: what last change, membership and profile must agree on.

    Attributes
    ----------
    sequence
        Changes published.
    segment
        Where the user is.
    place
        Digest of segment and label; equal places give equal digests within one process.
    document
        Digest of the record, 0 where it is not kept; of a profile, of the label predicted last.
    label
        The segment's, for a sentence; None where it is not kept.
    """

    sequence: int
    segment: int | None
    place: int
    document: int = 0
    label: str | None = None

    @classmethod
    def of(
        cls, sequence: int, segment: int | None, label: str | None, document: bytes | None = None
    ) -> Self:
        """Reduce what a record says, and the record itself where it is given.

        Numbers beyond 64 bits, which no worker writes, are cut down to fit.
        """
        return cls(
            min(sequence, _MAX_INT64),
            None if segment is None else min(segment, _MAX_INT64),
            hash((segment, label)),
            0 if document is None else hash(document),
            label,
        )

    @classmethod
    def after(cls, change: SegmentChange, document: bytes) -> Self:
        """Give where a change leaves the user."""
        segment = change.segment
        number, label = (segment.id, segment.label) if segment else (None, None)
        return cls.of(change.sequence, number, label, document)

    def agrees(self, other: Standing) -> bool:
        """Whether both show the same sequence number and place."""
        return self[:3] == other[:3]

    def equals(self, other: Standing) -> bool:
        """Whether both are of one record."""
        return self[:4] == other[:4]

    def __str__(self) -> str:
        return f"sequence {self.sequence} in {place_of(self.segment, self.label)}"


def place_of(segment: int | None, label: str | None) -> str:
    """Name a segment in a sentence."""
    if segment is None:
        return "no segment"
    return f"segment {segment}" if label is None else f"segment {segment} ({label!r})"


NOWHERE = Standing.of(0, None, None)
"""Of a user who was never in a segment."""

UNREADABLE = Standing(_UNREADABLE, None, 0)
"""Of a record that is there and cannot be read: that is told, and nothing is held against it."""


class MembershipFacts(NamedTuple):
    """A membership: where it shows the user, and what is compared with the change."""

    standing: Standing
    document: bytes = b""

    @classmethod
    def of(cls, change: SegmentChange, document: bytes) -> Self:
        """Reduce a change in this form."""
        return cls(Standing.after(change, document), document)


def _bytes_in(base64: str) -> int:
    """Count the bytes of padded base64 without reading it."""
    return len(base64) // 4 * 3 - base64.count("=", -2)


class ProfileFacts(NamedTuple):
    """A profile, reduced to what is asked of it; without the vector above all.

    Attributes
    ----------
    standing
        Where it shows the user.
    label
        The label published last.
    events, repeats
        Counted and not counted; 0 where nobody asks.
    embedding
        The embedding model that it is of, None where nobody asks.
    numbers
        How many its vector has; 0 where nobody asks.
    """

    standing: Standing
    label: str | None = None
    events: int = 0
    repeats: int = 0
    embedding: str | None = None
    numbers: int = 0

    @classmethod
    def showing(
        cls, sequence: int, segment: int | None, place: str | None, label: str | None
    ) -> Self:
        """Give what a profile shows: standing and predicted label."""
        standing = Standing.of(sequence, segment, place)._replace(document=hash(label))
        return cls(standing, label)

    @classmethod
    def of_state(cls, state: UserState) -> Self:
        """Reduce a state."""
        segment = None if state.segment == NO_SEGMENT else state.segment
        shown = cls.showing(state.sequence, segment, state.rest.label, state.rest.predicted)
        events, repeats = state.events, state.repeats
        return shown._replace(
            events=events,
            repeats=repeats,
            embedding=state.embedding,
            numbers=len(state.vector),
        )

    @classmethod
    def of(cls, profile: ProfileRecord) -> Self:
        """Reduce a profile."""
        label = profile.labels.predicted if profile.labels else None
        shown = cls.showing(profile.sequence, profile.segment, profile.segment_label, label)
        events, repeats = profile.events, profile.repeats
        return shown._replace(
            events=events,
            repeats=repeats,
            embedding=profile.embedding,
            numbers=-(-_bytes_in(profile.vector) // 4),  # a part of one is one too many
        )


UNREADABLE_MEMBERSHIP = MembershipFacts(UNREADABLE)
UNREADABLE_PROFILE = ProfileFacts(UNREADABLE)


class Column:
    """One standing for each row, or none."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._sequences = array("q")
        self._segments = array("q")
        self._places = array("q")
        self._documents = array("q")

    def grow(self) -> None:
        """Add a row without a standing."""
        self._sequences.append(ABSENT)
        for values in (self._segments, self._places, self._documents):
            values.append(0)

    def sequence(self, row: int) -> int:
        """Give a row's sequence number; below zero where there is none."""
        return self._sequences[row]

    def at(self, row: int) -> Standing | None:
        """Give a row's standing."""
        sequence = self._sequences[row]
        if sequence < 0:
            return UNREADABLE if sequence == _UNREADABLE else None
        segment, place = self._segments[row], self._places[row]
        return Standing(
            sequence,
            None if segment == ABSENT else segment,
            place,
            self._documents[row],
            self._texts.of(place),
        )

    def put(self, row: int, standing: Standing | None) -> None:
        """Set a row's standing, None to remove it."""
        if standing is None:
            self._sequences[row] = ABSENT
            return
        self._sequences[row] = standing.sequence
        self._segments[row] = ABSENT if standing.segment is None else standing.segment
        self._places[row] = standing.place
        self._documents[row] = standing.document
        self._texts.keep(standing.place, standing.label)


Sides = tuple[Standing | None, Standing | None, Standing | None]
"""What a user's last change, membership and profile show."""


class Ledger:
    """The last change, membership and profile of every user.

    Parameters
    ----------
    recent
        How many texts are remembered, None for all; users are then kept by name.

    Attributes
    ----------
    changes, memberships, profiles
        A column each.
    labels
        For each row, digest of the predicted label by the last change that tells one, or UNTOLD.
    texts
        What the digests stand for.
    events, repeats
        For each row of a whole, what the profile counts.
    partitions
        For each row, the first partition of the input that it is known to be of.
    reported
        For each row, whether its disagreement was reported and lasts.
    broken
        For each row, whether the latest change did not go on from the one before.
    lives
        For each row, how often the user was let go.
    """

    def __init__(self, recent: int | None) -> None:
        self._by_name = recent is None
        self._rows: dict[str | bytes, int] = {}
        self.texts = Texts(recent)
        self.changes = Column(self.texts)
        self.memberships = Column(self.texts)
        self.profiles = Column(self.texts)
        self.labels = array("q")
        self._models = array("i")
        self._known_models: dict[tuple[int, str], int] = {}
        self._model_names: list[tuple[int, str]] = []
        self.events = array("q")
        self.repeats = array("q")
        self._embeddings = array("i")
        self._known_embeddings: dict[str, int] = {}
        self.partitions = array("i")
        self.reported = bytearray()
        self.broken = bytearray()
        self.lives = array("i")

    def __len__(self) -> int:
        return len(self._rows)

    def named(self) -> Iterator[tuple[str, int]]:
        """Give users and their rows, where they are kept by name."""
        return ((user, row) for user, row in self._rows.items() if isinstance(user, str))

    def find(self, user: str) -> int | None:
        """Give a user's row, None where there is none."""
        return self._rows.get(self._key(user))

    def row(self, user: str) -> int:
        """Give a user's row; a new one where there is none."""
        row = self._rows.setdefault(self._key(user), len(self._rows))
        if row == len(self.broken):
            for column in (self.changes, self.memberships, self.profiles):
                column.grow()
            self.labels.append(UNTOLD)
            self._models.append(ABSENT)
            if self._by_name:
                self.events.append(0)
                self.repeats.append(0)
                self._embeddings.append(ABSENT)
            self.partitions.append(NO_PARTITION)
            self.reported.append(0)
            self.broken.append(0)
            self.lives.append(0)
        return row

    def forget(self, row: int) -> None:
        """Forget what a row's changes have told."""
        self.lives[row] += 1
        self.changes.put(row, None)
        self.labels[row] = UNTOLD
        self._models[row] = ABSENT

    def sides(self, row: int) -> Sides:
        """Give a row of all three columns."""
        return self.changes.at(row), self.memberships.at(row), self.profiles.at(row)

    def sequences(self, row: int) -> tuple[int, int, int]:
        """Give the sequence numbers of these; below zero where there is none."""
        changes, memberships, profiles = self.changes, self.memberships, self.profiles
        return changes.sequence(row), memberships.sequence(row), profiles.sequence(row)

    def count(self, row: int, profile: ProfileFacts | None) -> None:
        """Note what a row's profile counts, and the embedding model that it is of."""
        known, identity = self._known_embeddings, profile.embedding if profile else None
        self.events[row] = profile.events if profile else 0
        self.repeats[row] = profile.repeats if profile else 0
        self._embeddings[row] = (
            ABSENT if identity is None else known.setdefault(identity, len(known))
        )

    def embedding(self, row: int) -> str | None:
        """Give the embedding model of a row's profile."""
        place = self._embeddings[row]
        return None if place == ABSENT else [*self._known_embeddings][place]

    def version(self, row: int) -> int:
        """Give the version of the segment model that decided a row's latest change."""
        return self._model_names[self._models[row]][0]

    def decided(self, row: int, version: int, embedding: str) -> tuple[int, str] | None:
        """Note which segment model decided a row's latest change, and give that of the one before.

        It is named by its version and the embedding model that it is of.
        """
        name, names, before = (version, embedding), self._model_names, self._models[row]
        self._models[row] = place = self._known_models.setdefault(name, len(names))
        if place == len(names):
            names.append(name)
        return None if before in (ABSENT, place) else names[before]

    def _key(self, user: str) -> str | bytes:
        return user if self._by_name else digest_of(user)


def digest_of(text: str) -> bytes:
    """Give 15 bytes that stand for an id of any form: with its head an object of 48.

    Two of 4 billion have one digest with a probability of 2^-57.
    """
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=15).digest()


class Recent:
    """Remembers the latest items: a fixed number of them, or all."""

    def __init__(self, capacity: int | None) -> None:
        self._items: set[Hashable] = set()
        self._order: deque[Hashable] = deque()
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Hashable) -> bool:
        """Take an item; give whether it is new."""
        if item in self._items:
            return False
        self._items.add(item)
        if self._capacity is not None:
            self._order.append(item)
            if len(self._order) > self._capacity:
                self._items.discard(self._order.popleft())
        return True


class Texts:
    """Texts by their digest, for sentences: the first `capacity` of them, or all."""

    def __init__(self, capacity: int | None) -> None:
        self._texts: dict[int, str] = {}
        self._capacity = capacity

    def keep(self, digest: int, text: str | None) -> int:
        """Remember a text; give its digest."""
        if text is not None and (self._capacity is None or len(self._texts) < self._capacity):
            self._texts.setdefault(digest, text)
        return digest

    def of(self, digest: int) -> str | None:
        """Give a text, None where it is not kept."""
        return self._texts.get(digest)
