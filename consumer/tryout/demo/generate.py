"""A made-up stream of user events whose truth is known: who is interested in what, and when.

Every user has an interest and writes about it, with some noise: now and then about something else,
or about the parcel. Half-way through, a set share of the users take up another interest. Some
records are bad and some come twice, and the number of each is known, so that the demo can check its
counts exactly and say how well the segments agree with the interests.

The same settings give the same bytes, in every process and version of Python.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Annotated, Any, NamedTuple

from pydantic import AwareDatetime, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from consumer.tryout.demo import phrases
from consumer.tryout.demo.flaws import FLAWS
from consumer.tryout.demo.noise import roughen
from consumer.tryout.demo.phrases import Language
from schemas.dead_letters import RefusalReason
from schemas.events import EventType

_KINDS = (
    (EventType.REVIEW, 0.40),
    (EventType.COMMENT, 0.16),
    (EventType.QUESTION, 0.12),
    (EventType.ANSWER, 0.06),
    (EventType.RATING, 0.08),
    (EventType.PURCHASE, 0.07),
    (EventType.VIEW, 0.08),
    (EventType.CLICK, 0.03),
)
_WITH_TEXT = {EventType.REVIEW, EventType.COMMENT, EventType.QUESTION, EventType.ANSWER}

# Interests are not equally popular. The least popular still has half of the users of the first.
_POPULARITY = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
# Events about another interest than the user's.
_OTHER_INTEREST = 0.08
# Reviews that are about the parcel only.
_CHATTER = 0.12
# A repeat comes soon after its original, as after a producer's retry, well within the memory for
# event ids.
_REPEAT_WITHIN = 20


_Share = Annotated[float, Field(ge=0, le=1)]


@checked_dataclass(frozen=True, slots=True)
class StreamSettings:
    """What the stream looks like.

    Parameters
    ----------
    users
        Number of users.
    events_per_user
        On average; a user has from 0.7 to 1.3 times as many.
    interests
        Number of interests, 2 to `phrases.INTERESTS`.
    shifted
        Share of the users who take up another interest half-way.
    chinese
        Share of the users who write Chinese. Few, since the default embedding model only reads
        English: it puts all of them in one place, whatever they write about. With one user in
        eight, k-means spends a segment on the language and the V-measure falls from 0.98 to 0.76.
        With one in fifty it is 0.94, and still 0.98 among those who write English.
    bad, repeated
        Records that must be refused, and exact repeats, as shares of the good ones.
    seed
        Another seed, another stream.
    start, days
        Time of the first event, and how long the stream lasts.

    Raises
    ------
    pydantic.ValidationError
        Where a value is out of bounds.
    """

    users: Annotated[int, Field(ge=1, le=10_000_000)] = 400
    events_per_user: Annotated[int, Field(ge=2, le=100_000)] = 20
    interests: Annotated[int, Field(ge=2, le=phrases.INTERESTS)] = phrases.INTERESTS
    shifted: _Share = 0.3
    chinese: _Share = 0.02
    bad: _Share = 0.005
    repeated: _Share = 0.01
    seed: int = 7
    start: AwareDatetime = datetime(2024, 3, 4, tzinfo=UTC)
    days: Annotated[int, Field(ge=1, le=36_500)] = 360


class StreamRecord(NamedTuple):
    """A record as a producer sends it; the timestamp is in milliseconds since 1970."""

    key: bytes | None
    value: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a stream.

    Attributes
    ----------
    first, final
        Interest of each user at the beginning and at the end, by user id.
    shifted_at
        Time of the first event with the new interest, of each user who took one up.
    languages
        What each user writes.
    good
        Records that are accepted.
    repeated
        Records that are exact repeats of accepted ones.
    refused
        Records that are refused, by reason.
    """

    first: Mapping[str, str]
    final: Mapping[str, str]
    shifted_at: Mapping[str, datetime]
    languages: Mapping[str, Language]
    good: int
    repeated: int
    refused: Mapping[RefusalReason, int]

    @property
    def bad(self) -> int:
        """Number of records that are refused."""
        return sum(self.refused.values())

    @property
    def records(self) -> int:
        """Number of all records."""
        return self.good + self.repeated + self.bad


@dataclass(frozen=True, slots=True)
class _User:
    """The life of one user: where `turn` events are past, the interest is `after`."""

    number: int
    language: Language
    before: int
    after: int
    times: tuple[datetime, ...]
    turn: int

    @property
    def id(self) -> str:
        return f"u-{self.number:04d}"


def generate_events(settings: StreamSettings | None = None) -> Iterator[dict[str, Any]]:
    """Generate the good events in the order of their time.

    Each is a user event, ready for JSON, and says in the extra field `label` what its user is
    interested in at that time, whatever this one event is about.
    """
    settings = settings or StreamSettings()
    users = _plan(settings)
    dice = [_dice(settings, f"words/{user.number}") for user in users]
    order = sorted(
        (time, row, event)
        for row, user in enumerate(users)
        for event, time in enumerate(user.times)
    )
    for time, row, event in order:
        yield _event(settings, users[row], event, time, dice[row])


def generate_records(settings: StreamSettings | None = None) -> Iterator[StreamRecord]:
    """Generate all records, good, bad and repeated, in the order in which they are sent."""
    settings = settings or StreamSettings()
    truth = truth_of(settings)
    spoil = _some(settings, "bad", truth.good, truth.bad)
    repeat = _some(settings, "repeated", truth.good, truth.repeated)
    delay = _dice(settings, "delay")
    due: dict[int, list[StreamRecord]] = {}
    flawed = 0
    for index, event in enumerate(generate_events(settings)):
        time = datetime.fromisoformat(event["occurred_at"])
        record = StreamRecord(
            key=event["user_id"].encode(),
            value=json.dumps(event, ensure_ascii=False).encode(),
            timestamp=int(time.timestamp() * 1000),
        )
        yield record
        if index in repeat:
            # What would come after the end comes with the last event.
            wait = 1 + int(delay.random() * _REPEAT_WITHIN)
            due.setdefault(min(index + wait, truth.good - 1), []).append(record)
        if index in spoil:
            flaw = FLAWS[flawed % len(FLAWS)]
            key, value = flaw.make({**event, "event_id": f"bad-{flawed:04d}"})
            flawed += 1
            yield StreamRecord(key, value, record.timestamp)
        for late in due.pop(index, ()):
            yield late._replace(timestamp=record.timestamp)


def truth_of(settings: StreamSettings | None = None) -> Truth:
    """Say what is true of the stream that the settings make, without making it."""
    settings = settings or StreamSettings()
    users = _plan(settings)
    names = [interest.name for interest in phrases.interests()]
    good = sum(len(user.times) for user in users)
    bad = round(settings.bad * good)
    return Truth(
        first={user.id: names[user.before] for user in users},
        final={user.id: names[user.after] for user in users},
        shifted_at={user.id: user.times[user.turn] for user in users if user.before != user.after},
        languages={user.id: user.language for user in users},
        good=good,
        repeated=round(settings.repeated * good),
        refused=Counter(FLAWS[number % len(FLAWS)].reason for number in range(bad)),
    )


@lru_cache(maxsize=1)
def _plan(settings: StreamSettings) -> tuple[_User, ...]:
    """Draw the lives of all users; events, records and truth of one stream share the plan."""
    shifting = _some(settings, "shifted", settings.users, round(settings.shifted * settings.users))
    chinese = _some(settings, "chinese", settings.users, round(settings.chinese * settings.users))
    weights = _POPULARITY[: settings.interests]
    span = timedelta(days=settings.days)
    users = []
    for number in range(settings.users):
        # Dice of his own, so that a user's life does not depend on how many others there are.
        random = _dice(settings, f"life/{number}")
        before = after = _weighted(random, weights)
        count = max(2, round(settings.events_per_user * (0.7 + 0.6 * random.random())))
        # One event in each of `count` equal stretches: a user comes back every few days.
        times = tuple(
            settings.start + span * ((event + random.random()) / count) for event in range(count)
        )
        turn = max(1, round(count * (0.4 + 0.1 * random.random())))
        if number in shifting:
            after = (before + 1 + int(random.random() * (len(weights) - 1))) % len(weights)
        language = Language.CHINESE if number in chinese else Language.ENGLISH
        users.append(_User(number, language, before, after, times, turn))
    return tuple(users)


def _event(
    settings: StreamSettings, user: _User, number: int, time: datetime, random: Random
) -> dict[str, Any]:
    """Write one event; what it is about is mostly, not always, the user's interest."""
    topic = own = user.before if number < user.turn else user.after
    if random.random() < _OTHER_INTEREST:
        topic = (own + 1 + int(random.random() * (settings.interests - 1))) % settings.interests
    kind = _KINDS[_weighted(random, [weight for _, weight in _KINDS])][0]
    written = phrases.compose(random, phrases.interests()[topic], user.language, kind)
    event: dict[str, Any] = {
        "event_id": f"{user.id}-{number:03d}",
        "user_id": user.id,
        "type": kind.value,
        "occurred_at": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "label": phrases.interests()[own].name,
    }
    if kind in _WITH_TEXT:
        is_chatter = kind is EventType.REVIEW and random.random() < _CHATTER
        text = phrases.chatter(random, user.language) if is_chatter else written.text
        event["text"] = roughen(random, text, user.language)
        if random.random() < 0.5:
            event["language"] = user.language.value
    if kind not in _WITH_TEXT or random.random() < 0.3:
        event["item_title"] = written.title
    if kind in {EventType.REVIEW, EventType.RATING}:
        event["rating"] = written.stars
    return event


def _dice(settings: StreamSettings, purpose: str) -> Random:
    """Dice for one purpose; a text as seed goes through SHA-512, so no two are alike."""
    return Random(f"{settings.seed}/{purpose}")  # noqa: S311


def _some(settings: StreamSettings, purpose: str, population: int, count: int) -> set[int]:
    """Draw `count` different numbers below `population`."""
    random = _dice(settings, purpose)
    return set(sorted(range(population), key=lambda _: random.random())[:count])


def _weighted(random: Random, weights: Sequence[float]) -> int:
    """Draw a number below `len(weights)`, each as likely as its weight says."""
    rest = random.random() * math.fsum(weights)
    for index, weight in enumerate(weights[:-1]):
        rest -= weight
        if rest < 0:
            return index
    return len(weights) - 1
