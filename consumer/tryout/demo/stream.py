"""What the demo sends, a file of events or a made-up stream, and what is known of it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, Self

from confluent_kafka import Producer

from consumer.kafka.clients import made, sender_config
from consumer.offline.evaluate.tracks import Track, label_of
from consumer.offline.files import event_file, read_records
from consumer.offline.produce import Sending
from consumer.settings import Settings
from consumer.tryout.demo.generate import StreamRecord, StreamSettings, generate_records, truth_of
from consumer.tryout.demo.phrases import Language
from schemas.intake import Intake

# Agreement is told for users with enough events to be judged by.
_ENOUGH_EVENTS = 10
_SPEAKING = {Language.ENGLISH: "English", Language.CHINESE: "Chinese"}


class Stream(Protocol):
    """Where the demo's events come from."""

    source: str
    """What it is called, in a few words."""
    against: str
    """What the labels are."""

    def records(self) -> Iterator[StreamRecord]:
        """Give all records in order, the same at each call."""
        ...

    def labels(self) -> dict[str, Hashable]:
        """Give the true group of each user of whom it is known."""
        ...


class MadeUpStream:
    """The project's own stream."""

    def __init__(self, settings: StreamSettings, language: Language = Language.ENGLISH) -> None:
        self.settings = settings
        self.source = f"a made-up stream of {settings.users} users"
        self.against = f"the interest that each {_SPEAKING[language]}-speaking user has at the end"
        self._language = language

    @classmethod
    def of(cls, language: Language, users: int) -> Self:
        """Give the stream of a language: of English with a few users who write Chinese."""
        if language is Language.ENGLISH:
            return cls(StreamSettings(users=users))
        return cls(StreamSettings(users=users, chinese=1.0), language)

    def records(self) -> Iterator[StreamRecord]:
        """Make the records."""
        return generate_records(self.settings)

    def labels(self) -> dict[str, Hashable]:
        """Give each user's interest at the end.

        The default embedding model knows English only; the few who write Chinese beside English
        are left out.
        """
        truth = truth_of(self.settings)
        return {
            user: interest
            for user, interest in truth.final.items()
            if truth.languages[user] is self._language
        }


class FileStream:
    """Real events from a file that can be read again: not from a pipe.

    Parameters
    ----------
    path, intake
        The file, and how its events are read.
    name
        What it is called in sentences; its path by default.
    """

    against = f"the label column, users with {_ENOUGH_EVENTS} events or more"

    def __init__(self, path: Path, intake: Intake, name: str = "") -> None:
        self.intake = intake
        self.source = path.name
        self._file = event_file(path, intake, name)

    def records(self) -> Iterator[StreamRecord]:
        """Read the records; the key of each is its user."""
        for record in read_records(self._file, "", self.intake):
            yield StreamRecord(record.key, record.value or b"", 0)

    def labels(self) -> dict[str, Hashable]:
        """Give each user's commonest label, where the file has a column of that name."""
        tracks: dict[str, Track] = defaultdict(Track)
        for _, value, _ in self.records():
            if (user := self.intake.user_id(value)) is not None:
                tracks[user].see(label_of(value, "label"))
        return {
            user: track.label
            for user, track in tracks.items()
            if track.events >= _ENOUGH_EVENTS and track.label is not None
        }


class Feeder(threading.Thread):
    """Sends the records to the input topic, as fast as the broker takes them.

    Attributes
    ----------
    result
        What became of them so far.
    started
        When the first one was sent, by the monotonic clock; None before.
    finished
        All are acknowledged.
    error
        What went wrong, if anything did.
    """

    def __init__(self, settings: Settings, records: Iterable[StreamRecord]) -> None:
        super().__init__(name="feeder", daemon=True)
        self._records = records
        self._sending = Sending(
            made(Producer, sender_config(settings.kafka)), settings.topics.events
        )
        self.result = self._sending.result
        self.started: float | None = None
        self.finished = False
        self.error: Exception | None = None

    def run(self) -> None:
        """Send everything."""
        try:
            # Sent as of now: a record stamped with an event's time may be too old to be retained.
            for record in self._records:
                self.started = self.started or time.monotonic()
                self._sending.put(record.key, record.value)
            self._sending.finish()
            self._sending.check()
            self.finished = True
        except Exception as error:
            self.error = error
