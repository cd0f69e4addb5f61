"""A user's profile as it was at a time: the present one, less the events that came since.

Profiles of former times are not kept. But a profile is a sum over events i,
S(t) = sum of w_i 2^-((t - t_i)/h) e_i, in which their order does not matter. So what it was follows
from what it is, where the input still has all that came since: that is embedded anew and taken out,
and the rest is as it was, but for a factor that changes no direction. What came before need not be
there.

Which events came since, the profile says itself: it has the ids of the latest ones that counted, in
their order. What was published by then and soon after says how many events and what weight there
were, and the result is held against it. Where it does not fit, or events are missing, nothing is
told in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Record
from consumer.explain.known import Load, prepared
from consumer.explain.sources import Came, Evidence
from consumer.report.wording import plural
from consumer.settings import Settings
from consumer.stages.segmentation.prepared import EVENT_TYPES
from models.distances import Floats, distances_to_all
from models.profiles.rows import from_microseconds, to_microseconds, unit_rows
from models.segments.model import SegmentModel
from schemas.arrays import decode_array, encode_array
from schemas.changes import ChangeReason, SegmentChange
from schemas.profiles import EventReference, ProfileRecord

_MICROSECOND = timedelta(microseconds=1)
_FITS = 1e-4
"""Weights, and distances, that differ by this share are of other events."""
_ROUGH = 0.02
"""What rounding may have added to a profile, as a share of it, for that to be told."""


class NotRebuiltError(Exception):
    """The profile of a time cannot be told; the message says why, for a note."""


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Events of a user that counted, in the order of their offsets.

    Attributes
    ----------
    offsets, times
        In the input, and event times in microseconds since 1970, int64 (n,).
    hashes
        Of their ids, uint64 (n,).
    weights, vectors
        At their own time, float64 (n,), and embeddings, float64 (n, d).
    ids
        Their ids.
    """

    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    weights: Floats
    vectors: Floats
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def last(self, count: int) -> Events:
        """Give the last so many of them."""
        start = len(self) - count
        return self.take(range(start, len(self)))

    def take(self, places: Iterable[int]) -> Events:
        """Give some of them."""
        at = np.array([*places], np.int64)
        return Events(
            self.offsets[at],
            self.times[at],
            self.hashes[at],
            self.weights[at],
            self.vectors[at],
            [self.ids[place] for place in at.tolist()],
        )


def profile_at(
    evidence: Evidence, at: datetime, settings: Settings, load: Load
) -> tuple[ProfileRecord, str]:
    """Give a user's profile as it was at a time, and a sentence on what that rests on.

    Parameters
    ----------
    evidence
        What is known now, all changes included; at least one had been published by then.
    at
        The time.
    settings
        How events are read and weighed, and how profiles fade.
    load
        Gives the embedding model.

    Raises
    ------
    NotRebuiltError
        If it cannot be told.
    """
    last = _latest(evidence.changes, at)
    profile = _going_on(evidence.profile, last, evidence.changes)
    embedder = load()
    if embedder.identity != profile.embedding:
        raise NotRebuiltError(
            f"the profile was made with another embedding model than {settings.embedding.model!r}"
        )
    following = _following(evidence.changes, at)
    since = _since(evidence, profile, at, settings, load)
    later = since.events
    made = _less(profile, later, settings)
    fits = _held_against(made, later, (last, following), evidence.model, settings)
    if not fits and not since.sure:
        raise NotRebuiltError("an event that came since may be missing in the input")
    before = [each for each in profile.references if _hash(each) not in set(later.hashes.tolist())]
    named = [each for each in evidence.changes if each.changed_at <= at]
    known = {
        each.event_hash: each for each in (*_of_changes(evidence, named, settings, load), *before)
    }
    brought = [each for each in named if _moved(each)]
    rebuilt = made.model_copy(
        update={
            "references": [*known.values()],
            "segment": None if last.segment is None else last.segment.id,
            "segment_label": None if last.segment is None else last.segment.label,
            "segment_since_event": brought[-1].profile.events if brought else 0,
            "sequence": last.sequence,
            "model_version": last.model.version,
        }
    )
    rebuilt = _at_its_latest(rebuilt, last, settings)
    less = f"less the {plural(len(later), 'event')} that came since"
    told = less if len(later) else "to which no event has come since"
    fits = fits or "; no change tells whether that is all"
    return rebuilt, f"the profile of then is that of now, {told}{since.said}{fits}"


@dataclass(frozen=True, slots=True, eq=False)
class _Since:
    """The events that have counted since a time, what is to be said of that, and if it is sure."""

    events: Events
    said: str
    sure: bool


def _since(
    evidence: Evidence, profile: ProfileRecord, at: datetime, settings: Settings, load: Load
) -> _Since:
    """Find the events that have counted since a time.

    Which came later the times of records tell. But workers may have been behind the input. Then the
    change that followed says that fewer events had counted, and what the one before counts is told.
    """
    read = evidence.later
    if read is None:
        raise NotRebuiltError(
            "the events since are not known: give the file that was replayed with --input"
        )
    last, following = _latest(evidence.changes, at), _following(evidence.changes, at)
    later, sure, whole = _read(read(at), profile, settings, load)
    known = profile.events - len(later)
    if following is not None and known > following.profile.events - (following.source is not None):
        named = [each.source for each in evidence.changes if each.changed_at <= at and each.source]
        if not named:
            raise NotRebuiltError("workers were behind the input, and no change tells how far")
        later, sure, _ = _read(read(named[-1].offset + 1), profile, settings, load)
        return _Since(_up_to(later, profile, last), f", as of change {last.sequence}", sure)
    if not whole and following is None:
        raise NotRebuiltError("the input has lost records of after that time")
    if known < last.profile.events:
        # What a change counts was known, whatever the times of records are.
        return _Since(_up_to(later, profile, last), "", sure)
    return _Since(later, "", sure)


def _read(
    came: Came, profile: ProfileRecord, settings: Settings, load: Load
) -> tuple[Events, bool, bool]:
    """Give what `counted` does, and whether the input has all of it.

    Raises
    ------
    NotRebuiltError
        If what is in the input is not what the references say.
    """
    later, sure = counted(profile, _events(came.records, profile.user_id, settings, load))
    weights = dict(zip(later.hashes.tolist(), later.weights.tolist(), strict=True))
    for each in profile.references:
        if each.offset < came.start:
            continue
        if not np.isclose(weights.get(_hash(each), 0.0), each.weight):
            raise NotRebuiltError(
                f"the input does not have at {each.offset:,} the event that was counted there"
            )
    return later, sure, came.whole


def _up_to(later: Events, profile: ProfileRecord, change: SegmentChange) -> Events:
    """Give those of some events that have counted since a change."""
    count = profile.events - change.profile.events
    if count > len(later):
        raise NotRebuiltError(f"the input lacks events since change {change.sequence}")
    return later.last(count)


def _latest(changes: Sequence[SegmentChange], at: datetime) -> SegmentChange:
    return [each for each in changes if each.changed_at <= at][-1]


def _following(changes: Sequence[SegmentChange], at: datetime) -> SegmentChange | None:
    return next((each for each in changes if each.changed_at > at), None)


def _moved(change: SegmentChange) -> bool:
    before, after = (
        None if each is None else each.id for each in (change.previous_segment, change.segment)
    )
    return before != after


def _hash(reference: EventReference) -> int:
    return int(reference.event_hash, 16)


def _going_on(
    profile: ProfileRecord | None, last: SegmentChange, changes: Sequence[SegmentChange]
) -> ProfileRecord:
    """Give the profile of now, if it goes on from that at the time of a change.

    Raises
    ------
    NotRebuiltError
        If it does not.
    """
    if last.reason is ChangeReason.INACTIVE:
        raise NotRebuiltError("the user had been let go by then: there was no profile")
    since = changes[changes.index(last) + 1 :]
    if profile is None or any(each.reason is ChangeReason.INACTIVE for each in since):
        raise NotRebuiltError("the user has been let go since, and the profile with him")
    if profile.embedding != last.model.embedding:
        raise NotRebuiltError("the profile is by now one of another embedding model")
    return profile


def _events(records: Sequence[Record], user: str, settings: Settings, load: Load) -> Events:
    """Let records through what a worker lets them through; of each id the first one counts."""
    weights = settings.events.weights
    if not records:
        nothing = np.zeros(0)
        none = nothing.astype(np.int64)
        return Events(none, none, none.astype(np.uint64), nothing, nothing.reshape(0, 0), [])
    batch = prepared(records, settings, load())
    events = batch.events
    first: dict[int, int] = {}
    for row, (name, identity) in enumerate(zip(events.users, events.hashes.tolist(), strict=True)):
        if name == user:
            first.setdefault(identity, row)
    rows = [*first.values()]
    return Events(
        np.array([batch.record_of(row).offset for row in rows], np.int64),
        events.times[rows],
        events.hashes[rows],
        np.array([weights[EVENT_TYPES[events.types[row]]] for row in rows], np.float64),
        np.asarray(batch.embeddings[rows], np.float64),
        [events.event_ids[row] for row in rows],
    )


def counted(profile: ProfileRecord, events: Events) -> tuple[Events, bool]:
    """Give those of some events, the latest of the input, that are in a profile.

    A worker may not have come to the last ones, and one that seems new may repeat an event of
    before. The profile has the ids of the latest events that counted, oldest first: those found
    there, from the end, one behind the other, are in it. Beyond that memory each is.

    Returns
    -------
    tuple
        The events, and whether they are all that counted of these. That is not sure where one ahead
        of them has counted at some time, too: it may have come again, or another one may be missing
        in between.
    """
    recent = decode_array(profile.recent_events, "<u8").tolist()
    place_of = {identity: place for place, identity in enumerate(events.hashes.tolist())}
    found: list[int] = []
    for identity in reversed(recent):
        place = place_of.get(identity)
        if place is None or (found and place >= found[-1]):
            ahead = events.hashes[: found[-1] if found else None]
            return events.take(reversed(found)), not np.isin(ahead, np.array(recent)).any()
        found.append(place)
    older = range(found[-1]) if found and profile.events > len(recent) else range(0)
    return events.take([*older, *reversed(found)]), True


def _less(profile: ProfileRecord, later: Events, settings: Settings) -> ProfileRecord:
    """Take events out of a profile, at its own time.

    Raises
    ------
    NotRebuiltError
        If so little is left that it would be rounding alone, or more is taken out than there is.
    """
    total = decode_array(profile.vector, "<f4").astype(np.float64)
    faded = later.weights * _fade(profile.reference_time, later.times, settings)
    left = total - (later.vectors * faded[:, None]).sum(axis=0) if len(later) else total
    weight = profile.weight - float(faded.sum())
    events = profile.events - len(later)
    half = bool((total == total.astype(np.float16)).all())
    step = np.finfo(np.float16 if half else np.float32).eps
    length, whole = float(np.linalg.norm(left)), float(np.linalg.norm(total))
    error = float(step) * np.sqrt(profile.events) * max(whole, profile.weight)
    if events < 1 or weight <= 0 or length == 0:
        raise NotRebuiltError("by what the input has, the user had no event by then")
    if error > _ROUGH * length:
        raise NotRebuiltError("so little is left of what was known then that it is rounding alone")
    if length > weight * (1 + _FITS) + error:
        raise NotRebuiltError("the events that the input has are not those that were counted")
    return profile.model_copy(
        update={"vector": encode_array(left, "<f4"), "weight": weight, "events": events}
    )


def _fade(at: datetime, times: NDArray[np.int64], settings: Settings) -> Floats:
    """Give what is left at a time of events of other times, float64 (n,)."""
    ages = times - to_microseconds(at)
    faded: Floats = 2.0 ** (ages / (settings.profile.half_life // _MICROSECOND))
    return faded


def _held_against(
    made: ProfileRecord,
    later: Events,
    changes: tuple[SegmentChange, SegmentChange | None],
    model: SegmentModel | None,
    settings: Settings,
) -> str:
    """Hold a profile against the changes before and after it; say which ones it fits, if any.

    Raises
    ------
    NotRebuiltError
        If it does not fit one.
    """
    last, following = changes
    fitting: list[int] = []
    if made.events == last.profile.events:
        _check_weight(made.weight, made, last, settings)
        if (
            model is not None
            and model.version == last.model.version
            and last.segment is not None
            and last.distance is not None
            and (row := int(model.rows_of(np.array([last.segment.id]))[0])) >= 0
        ):
            total = decode_array(made.vector, "<f4").astype(np.float64)
            found = float(distances_to_all(unit_rows(total[None]), model.centres)[0, row])
            if abs(found - last.distance) > _ROUGH:
                raise NotRebuiltError(f"it would not lie where change {last.sequence} says it lay")
        fitting.append(last.sequence)
    if following is not None and (more := following.profile.events - made.events) >= 0:
        if more > len(later):
            raise NotRebuiltError(f"the input lacks events that change {following.sequence} counts")
        between = later.take(range(more))
        gained = float(
            (between.weights * _fade(made.reference_time, between.times, settings)).sum()
        )
        _check_weight(made.weight + gained, made, following, settings)
        fitting.append(following.sequence)
    if not fitting:
        return ""
    if len(fitting) == 1:
        return f"; it has the weight that change {fitting[0]} tells of"
    return f"; it has the weights that changes {fitting[0]} and {fitting[1]} tell of"


def _check_weight(
    weight: float, made: ProfileRecord, change: SegmentChange, settings: Settings
) -> None:
    updated = np.array([to_microseconds(change.profile.updated_at)])
    told = change.profile.weight * float(_fade(made.reference_time, updated, settings)[0])
    if abs(weight - told) > _FITS * told:
        raise NotRebuiltError(
            f"it would weigh {weight / told:.2f} of what change {change.sequence} says"
        )


def _of_changes(
    evidence: Evidence, changes: Sequence[SegmentChange], settings: Settings, load: Load
) -> list[EventReference]:
    """Give references of the events that changes name: they were in the profile, too."""
    named: dict[int, str] = {}
    for change in changes:
        if change.source is not None:
            named[change.source.offset] = change.source.event_id
        for each in () if change.shares is None else change.shares.events:
            named[each.offset] = each.event_id
    if evidence.read is None or not named:
        return []
    records: Mapping[int, Record] = evidence.read([*named])
    user = changes[-1].user_id
    found = _events([records[offset] for offset in sorted(records)], user, settings, load)
    return [
        EventReference(
            offset=offset,
            occurred_at=from_microseconds(time),
            event_hash=f"{identity:016x}",
            weight=weight,
        )
        for offset, time, identity, weight, name in zip(
            found.offsets.tolist(),
            found.times.tolist(),
            found.hashes.tolist(),
            found.weights.tolist(),
            found.ids,
            strict=True,
        )
        if named.get(offset) == name
    ]


def _at_its_latest(
    profile: ProfileRecord, last: SegmentChange, settings: Settings
) -> ProfileRecord:
    """Tell a profile by the time of the latest event that is known to be in it."""
    times = [each.occurred_at for each in profile.references] + [last.profile.updated_at]
    latest = max(times)
    now = np.array([to_microseconds(profile.reference_time)])
    scale = float(_fade(latest, now, settings)[0])
    total = decode_array(profile.vector, "<f4").astype(np.float64) * scale
    return profile.model_copy(
        update={
            "vector": encode_array(total, "<f4"),
            "weight": profile.weight * scale,
            "reference_time": latest,
        }
    )
