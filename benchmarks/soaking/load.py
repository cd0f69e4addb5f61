"""The load of a soak, known event by event, and the account of what became of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from benchmarks.interests.texts import interests, write
from benchmarks.pipeline.live import Pair
from consumer.kafka.cluster import read_topic
from consumer.settings import Settings
from schemas.profiles import ProfileRecord
from schemas.states import read_profile

NOBODY = b"nobody"
"""Key of the records that are no events."""
_INTERESTS = 6
_FOCUS = 0.8
"""Share of the texts on the user's own interest."""
_MOVES, _REPEATS, _REFUSED = 0.01, 0.01, 0.002
"""Of events: before which the user takes another interest, that come twice, or are none."""


class Stream:
    """Events of a set of users without an end, the time of each being that at which it is taken.

    So what a worker keeps of users does not grow once all have been seen. Texts are written anew
    each time. Now and then a user's interest changes, an event comes twice, and a record is none.
    """

    def __init__(self, users: int, seed: int = 0) -> None:
        self.events: Counter[str] = Counter()
        """By user, events that were given; a repeat is none."""
        self.repeats: Counter[str] = Counter()
        self.refused = 0
        self._random = np.random.default_rng(seed)
        self._own = self._random.integers(_INTERESTS, size=users)
        self._number = 0

    @property
    def records(self) -> int:
        """All that was given."""
        return self.events.total() + self.repeats.total() + self.refused

    def each_user(self, times: int) -> Iterator[Pair]:
        """Give so many events of every user, by turns."""
        for _ in range(times):
            for user in range(len(self._own)):
                yield self._event(user)

    def __iter__(self) -> Iterator[Pair]:
        draw = self._random
        while True:
            if draw.random() < _REFUSED:
                self.refused += 1
                yield NOBODY, b'{"text": 1}'
            user = int(draw.integers(len(self._own)))
            if draw.random() < _MOVES:
                self._own[user] = draw.integers(_INTERESTS)
            pair = self._event(user)
            yield pair
            if draw.random() < _REPEATS:
                self.repeats[pair[0].decode()] += 1
                yield pair

    def _event(self, user: int) -> Pair:
        draw, name = self._random, f"user-{user}"
        about = int(self._own[user]) if draw.random() < _FOCUS else int(draw.integers(_INTERESTS))
        self._number += 1
        self.events[name] += 1
        event = {
            "event_id": f"event-{self._number}",
            "user_id": name,
            "type": "comment",
            "text": write(interests()[about], draw),
            "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        return name.encode(), json.dumps(event).encode()


@dataclass(frozen=True)
class Account:
    """What is missing of what was produced, and what is there beyond it."""

    lost: int
    doubled: int


def account(stream: Stream, profiles: Mapping[str, tuple[int, int]], letters: int) -> Account:
    """Hold users' final profiles and the dead letters against what was produced.

    Parameters
    ----------
    profiles
        By user, events that were counted, and repeats that were not.
    letters
        Dead letters.
    """
    users = stream.events.keys() | profiles.keys()
    differences = [stream.refused - letters]
    for user in users:
        events, repeats = profiles.get(user, (0, 0))
        differences += [stream.events[user] - events, stream.repeats[user] - repeats]
    return Account(
        lost=sum(max(0, each) for each in differences),
        doubled=sum(max(0, -each) for each in differences),
    )


def counted(settings: Settings) -> tuple[dict[str, tuple[int, int]], int]:
    """Read what `account` needs from the topics."""
    latest: dict[bytes, bytes | None] = {
        record.key or b"": record.value for record in read_topic(settings, settings.topics.profiles)
    }
    found: dict[str, tuple[int, int]] = {}
    for key, value in latest.items():
        if value is not None:
            profile: ProfileRecord = read_profile(key, value)
            found[profile.user_id] = profile.events, profile.repeats
    letters = sum(1 for _ in read_topic(settings, settings.topics.dead_letters))
    return found, letters
