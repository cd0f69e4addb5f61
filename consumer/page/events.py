"""What the events themselves add: ratings, labels, types and lengths, and the texts of a few.

A profile holds none of it. So the events are read once more, from the file or from the input topic;
no text is embedded for that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from consumer.offline.evaluate.tracks import label_of
from consumer.offline.observed import LENGTHS
from consumer.offline.texts import KeyedValue
from consumer.page.gathered import Users
from consumer.settings import Settings
from consumer.stages.segmentation.cleaning import words_of
from models.text import prepare_text, verbatim
from schemas.events import EventType
from schemas.intake import RefusedError
from schemas.sifting import SiftedEvent

Progress = Callable[[int], None]

EventName = tuple[str, str]
"""A user and the id of one of the user's events."""

_TOLD_EVERY = 2_000


@dataclass(slots=True)
class EventsSeen:
    """What one reading of the events has found; an event that came again counts once.

    Attributes
    ----------
    ratings
        By segment of the users as they are now, every rating that they gave.
    labels
        Each user's commonest label, where a field of labels was named.
    types, lengths
        Of events whose users have a profile: by type, and by class of length (`LENGTHS`).
    texts
        Of the events that were asked for, as they were written but for markup.
    recent
        By user who was asked for, the texts in their order.
    languages
        Of as many texts as were to be looked at.
    """

    ratings: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[str, Hashable] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    texts: dict[EventName, str] = field(default_factory=dict)
    recent: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    languages: Counter[str] = field(default_factory=Counter)


def read_events(
    records: Iterable[KeyedValue],
    settings: Settings,
    users: Users,
    *,
    label: str | None = None,
    wanted: Container[EventName] = (),
    writers: Container[str] = (),
    languages: int = 0,
    progress: Progress = lambda _: None,
    now: datetime | None = None,
) -> EventsSeen:
    """Read events once.

    Parameters
    ----------
    records
        Of the file or of the topic. Those that are refused, and those of users without a profile,
        are passed over.
    settings
        How they are read.
    users
        Who they may be of.
    label
        Dotted path of the true label in the records, as for `segmenter evaluate`.
    wanted
        Events whose texts are kept.
    writers
        Users whose latest texts are kept, whichever they are.
    languages
        How many texts are looked at for their language: to tell it takes longer than all the rest.
    progress
        Told the number of records read.
    now
        Against which event times in the future are told; the clock by default.
    """
    intake, now = settings.events.intake(), now or datetime.now(UTC)
    segment_of = dict(zip(users.ids, users.segments.tolist(), strict=True))
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    known: set[int] = set()
    seen = EventsSeen()
    for number, record in enumerate(records, 1):
        if number % _TOLD_EVERY == 0:
            progress(number)
        try:
            event, _ = intake.sift(record.value, record.key, now)
        except RefusedError:
            continue
        # Of 64 bits: the ids themselves would be most of the memory.
        identity = hash((event.user_id, event.event_id))
        if event.user_id not in segment_of or identity in known:
            continue
        known.add(identity)
        seen.types[event.type] += 1
        seen.lengths[length_class(event.text or event.item_title or "")] += 1
        if event.rating is not None:
            seen.ratings[segment_of[event.user_id]].append(event.rating)
        if label is not None and (told := label_of(record.value, label)) is not None:
            labels[event.user_id][told] += 1
        if seen.languages.total() < languages:
            prepared = prepare_text(event.text or event.item_title or "", event.language)
            seen.languages[prepared.language] += bool(prepared.text)
        name = (event.user_id, event.event_id)
        if name in wanted or event.user_id in writers:
            _keep(seen, event, recent=event.user_id in writers)
    seen.labels = {user: counts.most_common(1)[0][0] for user, counts in labels.items()}
    return seen


def _keep(seen: EventsSeen, event: SiftedEvent, *, recent: bool) -> None:
    """Keep an event's text, and as one of its user's latest where it was written, not looked at."""
    try:
        raw, _ = words_of(event.text, event.item_title)
    except RefusedError:
        return
    text = verbatim(raw)
    seen.texts[event.user_id, event.event_id] = text
    if recent and event.type not in (EventType.VIEW, EventType.CLICK):
        seen.recent[event.user_id].append(text)


def length_class(text: str) -> int:
    """Give the place in `LENGTHS` of a text's length in characters."""
    return bisect_right(LENGTHS, len(text)) - 1


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings of a segment's users.

    Attributes
    ----------
    count, mean, variance
        Of all of them; the variance with n - 1, 0 of a single one.
    bars
        The histogram: what each bar is called, and how many ratings it stands for.
    """

    count: int
    mean: float
    variance: float
    bars: tuple[tuple[str, int], ...]


_MOST_VALUES = 11
_BINS = 8


def rated(ratings: Mapping[int, list[float]]) -> dict[int, Ratings]:
    """Describe the ratings of each segment, all on one scale of bars.

    Where there are few values, as with stars, each has a bar; else bars are of equal width, but for
    the first and the last, which hold the outermost hundredth on either side too.
    """
    every = np.array([value for each in ratings.values() for value in each], np.float64)
    if not len(every):
        return {}
    names, edges = _bars(every)
    found = {}
    for segment, given in ratings.items():
        own = np.array(given, np.float64)
        if edges is None:
            counts = [int((own == value).sum()) for value in np.unique(every).tolist()]
        else:
            counts = np.histogram(own, edges)[0].tolist()
        found[segment] = Ratings(
            len(own),
            float(own.mean()),
            float(own.var(ddof=1)) if len(own) > 1 else 0.0,
            tuple(zip(names, counts, strict=True)),
        )
    return found


def _bars(every: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64] | None]:
    """Name the bars; give their edges where they stand for ranges."""
    values = np.unique(every)
    if len(values) <= _MOST_VALUES:
        return [f"{value:g}" for value in values.tolist()], None
    low, high = np.quantile(every, [0.01, 0.99]).tolist()
    if low == high:
        low, high = values[0], values[-1]
    edges = np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = values[0], values[-1]
    return [
        f"{low:.3g} to {high:.3g}"
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ], edges
