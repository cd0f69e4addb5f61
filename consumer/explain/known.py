"""The events that weigh most in a profile, read from the input again and embedded anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.contract.clock import wall_clock
from consumer.contract.records import Record
from consumer.explain.facts import Found
from consumer.explain.sources import Evidence, ExplainError
from consumer.settings import Settings
from consumer.stages.segmentation.preparation import Preparation
from consumer.stages.segmentation.prepared import EVENT_TYPES, PreparedBatch
from consumer.stages.shared.unexpected import Faults
from models.distances import Floats
from models.embedding.runner_types import Embedder
from models.profiles.references import REFERENCE, faded
from models.profiles.rows import to_microseconds
from schemas.profiles import EventReference, ProfileRecord

Load = Callable[[], Embedder]
"""Gives the embedding model."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """One of the events of which the place is kept.

    Attributes
    ----------
    reference
        The place.
    weight
        Of the event in the profile, faded.
    found
        What became of it. Where it was read, there is the rest.
    """

    reference: EventReference
    weight: float
    found: Found
    event_id: str | None = None
    type: str | None = None
    text: str | None = None
    vector: NDArray[np.float32] | None = None

    @property
    def offset(self) -> int:
        """Its offset in the input."""
        return self.reference.offset


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """The k events that were read.

    Attributes
    ----------
    places
        Theirs among all whose places are kept.
    vectors, weights
        float64[k, d], float64[k].
    """

    places: list[int]
    vectors: Floats
    weights: Floats

    @classmethod
    def of(cls, known: Sequence[Known]) -> Vectors:
        """Take those of which there is a vector."""
        places = [n for n, each in enumerate(known) if each.vector is not None]
        vectors = [each.vector for each in known if each.vector is not None]
        weights = [known[n].weight for n in places]
        return cls(places, np.array(vectors, np.float64), np.array(weights, np.float64))


def known_events(
    evidence: Evidence, settings: Settings, profile: ProfileRecord, load: Load, notes: list[str]
) -> list[Known]:
    """Read the texts of the events that weigh most, and embed them anew.

    Parameters
    ----------
    evidence, settings, profile
        As for `explain`.
    load
        Gives the embedding model; asked where there is a text.
    notes
        Gets what could not be read.

    Raises
    ------
    ExplainError
        If the embedding model is another one than that of the profile.
    """
    if not profile.references:
        notes.append(
            "no places of events are kept of this user (profile.references): no shares can be told"
        )
        return []
    weights = _weights(profile, settings)
    if evidence.read is None:
        notes.append("the texts are not known: give the file that was replayed with --input")
        return _none(profile, weights, Found.NOT_ASKED)
    records = evidence.read([each.offset for each in profile.references])
    if not records:
        notes.append(
            "the input has none of the events any more that are known to weigh most: no shares can "
            "be told"
        )
        return _none(profile, weights, Found.GONE)
    embedder = load()
    if embedder.identity != profile.embedding:
        raise ExplainError(
            f"the profile was made with the embedding model {profile.embedding[:12]}, and "
            f"{settings.embedding.model!r} is {embedder.identity[:12]} here: give the workers' "
            "settings of embedding"
        )
    known = _embedded(settings, profile, weights, records, embedder)
    if missing := sum(each.found is not Found.READ for each in known):
        notes.append(f"{missing} of the {len(known)} events whose places are kept cannot be read")
    return known


def prepared(records: Sequence[Record], settings: Settings, embedder: Embedder) -> PreparedBatch:
    """Let records, one or more, through what a worker lets them through."""
    prepare = Preparation(
        settings.events.intake(),
        embedder,
        wall_clock,
        Faults(),
        len(records),
        language_share=settings.events.language_share,
    )
    return prepare(records)


def _weights(profile: ProfileRecord, settings: Settings) -> list[float]:
    references = np.array(
        [
            (each.offset, to_microseconds(each.occurred_at), 1, each.weight)
            for each in profile.references
        ],
        REFERENCE,
    )
    at = to_microseconds(profile.reference_time)
    weights: list[float] = faded(references, at, settings.profile.half_life).tolist()
    return weights


def _none(profile: ProfileRecord, weights: list[float], found: Found) -> list[Known]:
    both = zip(profile.references, weights, strict=True)
    return [Known(each, weight, found) for each, weight in both]


def _embedded(
    settings: Settings,
    profile: ProfileRecord,
    weights: list[float],
    records: Mapping[int, Record],
    embedder: Embedder,
) -> list[Known]:
    offsets = sorted(records)
    batch = prepared([records[offset] for offset in offsets], settings, embedder)
    events = batch.events
    rows = {offsets[number]: row for row, number in enumerate(events.numbers.tolist())}
    known = []
    for reference, weight in zip(profile.references, weights, strict=True):
        row = rows.get(reference.offset)
        if row is None:
            found = Found.REFUSED if reference.offset in records else Found.GONE
            known.append(Known(reference, weight, found))
            continue
        same = f"{int(events.hashes[row]):016x}" == reference.event_hash
        if not same or events.users[row] != profile.user_id:
            known.append(Known(reference, weight, Found.OTHER))
            continue
        known.append(
            Known(
                reference,
                weight,
                Found.READ,
                events.event_ids[row],
                EVENT_TYPES[events.types[row]].value,
                events.texts[row],
                batch.embeddings[row],
            )
        )
    return known
