"""Puts an explanation together: exact shares of a margin, what would move the user, the timeline.

Nothing of it is estimated. Vectors of the events whose places are kept are computed anew, as the
worker computed them; the rest of the profile is one term. The rules that would move a user are
those by which workers move users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from consumer.explain.case import Case
from consumer.explain.facts import Change, Event, Explanation, Near, Part, Pushed, Pushes, Segment
from consumer.explain.former import NotRebuiltError, profile_at
from consumer.explain.known import Known, Load, known_events
from consumer.explain.moves import counterfactuals
from consumer.explain.occlusion import Parts, taken_apart
from consumer.explain.sources import Evidence, ExplainError, check_known
from consumer.settings import Settings
from models.distances import Ints, distances_to_all
from models.profiles.rows import unit_rows
from models.segments.model import SegmentModel
from models.text import mask
from schemas.arrays import decode_array
from schemas.changes import MarginShares, SegmentChange, SegmentRef
from schemas.profiles import ProfileRecord

NEAREST = 5
"""Segments that are told."""


def explain(
    evidence: Evidence,
    user: str,
    settings: Settings,
    load: Load,
    *,
    at: datetime | None = None,
    texts: bool = True,
) -> Explanation:
    """Explain where a user stands, and why.

    Parameters
    ----------
    evidence
        What is known of the user.
    user
        The user's id.
    settings
        Those of the workers: how events are read, how profiles fade, when users move.
    load
        Gives the embedding model, asked for only where texts are to be embedded.
    at
        What was known then: the changes that had been published, and the profile as it was, as far
        as the input still has what came since.
    texts
        Whether texts, and parts of them, are told.

    Raises
    ------
    ProfileNotFoundError, ExplainError
        If there is nothing to explain, or it does not fit the settings.
    EmbeddingError
        If the model cannot be loaded.
    """
    check_known(evidence, user, now=at is None)
    notes: list[str] = []
    if at is not None:
        changes = _by_then(evidence, user, at)
        try:
            former, told = profile_at(evidence, at, settings, load)
        except NotRebuiltError as error:
            told = f"the profile of then is not told: {error}"
            return _as_of(evidence, user, at, changes, [told, *_gaps(changes)])
        evidence = replace(evidence, profile=former, changes=changes)
        notes += [told, *_gaps(changes)]
        if evidence.model is None:
            # Between which segments is not known, and so no margin that an event has a share of.
            known = known_events(evidence, settings, former, load, notes)
            found = _as_of(evidence, user, at, changes, notes)
            return found.model_copy(
                update={
                    "events": former.events,
                    "weight": former.weight,
                    "updated_at": former.reference_time,
                    "known": _events(known, {}, {}, texts=texts),
                }
            )
    profile, model = evidence.profile, evidence.model
    if profile is None or model is None:
        raise ExplainError(f"nothing is known of the user {user!r}")
    if profile.embedding != model.embedding:
        raise ExplainError(
            f"the profile was made with the embedding model {profile.embedding[:12]}, the segments "
            f"with {model.embedding[:12]}: is a migration under way?"
        )
    total = decode_array(profile.vector, "<f4").astype(np.float64)
    distances = distances_to_all(unit_rows(total[None]), model.centres)[0]
    order: Ints = np.argsort(distances, kind="stable")
    own = _own_row(profile, model, notes)
    known = known_events(evidence, settings, profile, load, notes)
    since = _since(evidence.changes, profile)
    if since is None and profile.sequence:
        notes.append("the change that brought the user here is not kept")
    nearer = int(order[0]) if own is None else own
    others = [row for row in order.tolist() if row != nearer]
    case = Case.of(profile, total, model, (nearer, others[0]), known) if others else None
    if case is None:
        notes.append("there is one segment alone: there is no margin, and nothing moves the user")
    parts: dict[int, Parts] = {}
    if texts and case is not None and case.vectors.places:
        parts = taken_apart(case, load())
    reach = float(distances[nearer])
    return Explanation(
        user_id=user,
        source=evidence.place,
        at=at,
        segment=None
        if profile.segment is None
        else Segment(id=profile.segment, label=profile.segment_label or ""),
        since=None if since is None else _told(since),
        events=profile.events,
        weight=profile.weight,
        updated_at=profile.reference_time,
        version=model.version,
        decided_under=profile.model_version or None,
        nearest=[
            Near(
                segment=Segment(id=int(model.ids[row]), label=model.labels[row]),
                distance=float(distances[row]),
                farther=float(distances[row]) - reach,
            )
            for row in order[:NEAREST].tolist()
        ],
        margin=None if case is None else case.margin(),
        known=_events(known, {} if case is None else case.share_of, parts, texts=texts),
        counterfactuals=None if case is None else counterfactuals(case, settings.assignment, since),
        changes=[_told(change) for change in evidence.changes],
        notes=notes,
    )


def _own_row(profile: ProfileRecord, model: SegmentModel, notes: list[str]) -> int | None:
    """Give the row of the user's segment, None where there is none."""
    if profile.segment is None:
        notes.append("the user is in no segment: shares are those of the nearest one")
        return None
    row = int(model.rows_of(np.array([profile.segment]))[0])
    if row < 0:
        notes.append(
            f"segment {profile.segment} is not in version {model.version}, under which the user "
            "was not looked at yet"
        )
        return None
    if profile.model_version < model.version:
        notes.append(
            f"the latest decision was under version {profile.model_version}, and nothing was "
            f"written of the user under version {model.version}, by which distances are told"
        )
    return row


def _since(changes: Sequence[SegmentChange], profile: ProfileRecord) -> SegmentChange | None:
    """Give the change that brought the user into the present segment, where it is kept."""
    for change in reversed(changes):
        after, before = (
            None if each is None else each.id for each in (change.segment, change.previous_segment)
        )
        if after != before:
            return change if after == profile.segment else None
    return None


def _events(
    known: Sequence[Known], shares: dict[int, float], parts: dict[int, Parts], *, texts: bool
) -> list[Event]:
    """Tell of the events, the greatest share first, those without one last."""
    ranked = sorted(range(len(known)), key=lambda n: (n not in shares, -shares.get(n, 0.0)))
    told = []
    for n in ranked:
        event = known[n]
        sentences, words = parts.get(n, ([], []))
        shown = None if event.text is None else mask(event.text)
        told.append(
            Event(
                offset=event.offset,
                event_id=event.event_id,
                type=event.type,
                occurred_at=event.reference.occurred_at,
                weight=event.weight,
                found=event.found,
                share=shares.get(n),
                text=shown if texts else None,
                sentences=_masked(sentences, shown),
                words=_masked(words, shown),
            )
        )
    return told


def _masked(parts: Sequence[Part], shown: str | None) -> list[Part]:
    """Mask parts of a text as the whole is: of a phone's number each group may be a word."""
    told = []
    for part in parts:
        text = part.text
        if shown is None or text not in shown:
            text = mask(text) if mask(text) != text else "[masked]"
        told.append(part.model_copy(update={"text": text}))
    return told


# --- what was known at a time ---------------------------------------------------------------------


def _by_then(evidence: Evidence, user: str, at: datetime) -> list[SegmentChange]:
    """Give the changes that had been published by a time."""
    changes = [change for change in evidence.changes if change.changed_at <= at]
    if not changes:
        first = min((each.changed_at for each in evidence.changes), default=None)
        when = "" if first is None else f"; the first change that is kept is of {first.isoformat()}"
        raise ExplainError(f"nothing was published of the user {user!r} by {at.isoformat()}{when}")
    return changes


def _gaps(changes: Sequence[SegmentChange]) -> list[str]:
    if changes[0].sequence > 1:
        return [f"the changes before number {changes[0].sequence} are not kept"]
    return []


def _as_of(
    evidence: Evidence,
    user: str,
    at: datetime,
    changes: list[SegmentChange],
    notes: Sequence[str],
) -> Explanation:
    """Tell what was known at a time by what had been published alone."""
    last, model = changes[-1], evidence.model
    notes = [*notes, "distances are those that the latest change of then told"]
    if model is None:
        notes.append("the version of the segments that was in force then is not kept")
    brought = [each for each in changes if each.segment and _moved(each)]
    return Explanation(
        user_id=user,
        source=evidence.place,
        at=at,
        segment=None if last.segment is None else _ref(last.segment),
        since=_told(brought[-1]) if brought and last.segment else None,
        events=last.profile.events,
        weight=last.profile.weight,
        updated_at=last.profile.updated_at,
        version=last.model.version if model is None else model.version,
        decided_under=last.model.version,
        nearest=list(_published(last)),
        margin=None,
        known=[],
        counterfactuals=None,
        changes=[_told(change) for change in changes],
        notes=notes,
    )


def _moved(change: SegmentChange) -> bool:
    former = change.previous_segment
    return former is None or change.segment is None or former.id != change.segment.id


def _published(change: SegmentChange) -> list[Near]:
    """Give the distances that a change told."""
    if change.segment is None or change.distance is None:
        return []
    near = [Near(segment=_ref(change.segment), distance=change.distance, farther=0.0)]
    if change.previous_segment is not None and change.previous_distance is not None:
        near.append(
            Near(
                segment=_ref(change.previous_segment),
                distance=change.previous_distance,
                farther=change.previous_distance - change.distance,
            )
        )
    return near


# --- how it is told -------------------------------------------------------------------------------


def _told(change: SegmentChange) -> Change:
    return Change(
        sequence=change.sequence,
        status=str(change.status),
        reason=str(change.reason),
        cause=None if change.cause is None else str(change.cause),
        previous=None if change.previous_segment is None else _ref(change.previous_segment),
        segment=None if change.segment is None else _ref(change.segment),
        changed_at=change.changed_at,
        occurred_at=change.occurred_at,
        events=change.profile.events,
        distance=change.distance,
        margin=change.margin,
        confidence=change.confidence,
        version=change.model.version,
        event_id=None if change.source is None else change.source.event_id,
        shares=None if change.shares is None else _pushes(change.shares),
    )


def _pushes(shares: MarginShares) -> Pushes:
    return Pushes(
        against=_ref(shares.against),
        events=[
            Pushed(event_id=each.event_id, offset=each.offset, share=each.share)
            for each in shares.events
        ],
        others=shares.others,
        centres=shares.centres,
    )


def _ref(segment: SegmentRef) -> Segment:
    return Segment(id=segment.id, label=segment.label)
