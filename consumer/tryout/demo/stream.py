"""What the demo sends, a file of events or a made-up stream, and what is known of it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from confluent_kafka import Producer

from consumer.kafka.clients import sender_config
from consumer.offline.files import event_file, read_records
from consumer.offline.produce import SendError
from consumer.settings import Settings
from consumer.tryout.demo.generate import StreamRecord, StreamSettings, generate_records, truth_of
from consumer.tryout.demo.phrases import Language
from schemas.intake import Intake

logger = logging.getLogger(__name__)

# Agreement is told for users with enough events to be judged by.
_ENOUGH_EVENTS = 10


class Stream(Protocol):
    """Where the demo's events come from."""

    @property
    def source(self) -> str:
        """Name it in a few words."""
        ...

    @property
    def against(self) -> str:
        """Say what the labels are."""
        ...

    def records(self) -> Iterator[StreamRecord]:
        """Give all records in order, the same at each call."""
        ...

    def labels(self) -> dict[str, Hashable]:
        """Give the true group of each user of whom it is known."""
        ...


@dataclass(frozen=True, slots=True)
class MadeUpStream:
    """The project's own stream."""

    settings: StreamSettings

    @property
    def source(self) -> str:
        """Name it."""
        return f"a made-up stream of {self.settings.users} users"

    @property
    def against(self) -> str:
        """Say what the labels are."""
        return "the interest that each English-speaking user has at the end"

    def records(self) -> Iterator[StreamRecord]:
        """Make the records."""
        return generate_records(self.settings)

    def labels(self) -> dict[str, Hashable]:
        """Give each user's interest at the end.

        The default embedding model knows English only; the few Chinese users are left out.
        """
        truth = truth_of(self.settings)
        return {
            user: interest
            for user, interest in truth.final.items()
            if truth.languages[user] is Language.ENGLISH
        }


@dataclass(frozen=True, slots=True)
class FileStream:
    """Real events from a file that can be read again: not from a pipe."""

    path: Path
    intake: Intake
    name: str = ""
    """What it is called in sentences; its path by default."""

    @property
    def source(self) -> str:
        """Name it."""
        return self.path.name

    @property
    def against(self) -> str:
        """Say what the labels are."""
        return f"the label column, users with {_ENOUGH_EVENTS} events or more"

    def records(self) -> Iterator[StreamRecord]:
        """Read the records; the key of each is its user."""
        for record in read_records(event_file(self.path, self.intake, self.name), "", self.intake):
            yield StreamRecord(record.key, record.value or b"", 0)

    def labels(self) -> dict[str, Hashable]:
        """Give each user's commonest label, where the file has a column of that name."""
        labels: dict[str, Counter[str]] = {}
        events: Counter[str] = Counter()
        for _, value, _ in self.records():
            if (user := self.intake.user_id(value)) is None:
                continue
            events[user] += 1
            label = json.loads(value).get("label")
            if isinstance(label, str) and label:
                labels.setdefault(user, Counter())[label] += 1
        return {
            user: counts.most_common(1)[0][0]
            for user, counts in labels.items()
            if events[user] >= _ENOUGH_EVENTS
        }


class Feeder(threading.Thread):
    """Sends the records to the input topic, as fast as the broker takes them.

    Attributes
    ----------
    sent
        Records that the broker has acknowledged.
    started
        When the first one was sent, by the monotonic clock; None before.
    finished
        All are acknowledged.
    error
        What went wrong, if anything did.
    """

    def __init__(self, settings: Settings, records: Iterable[StreamRecord]) -> None:
        super().__init__(name="feeder", daemon=True)
        self._topic = settings.topics.events
        self._records = records
        self._producer = Producer(sender_config(settings.kafka))
        self.sent = 0
        self.started: float | None = None
        self.finished = False
        self.error: Exception | None = None

    def run(self) -> None:
        """Send everything."""
        try:
            # Sent as of now: a record stamped with an event's time may be too old to be retained.
            for key, value, _ in self._records:
                if self.started is None:
                    self.started = time.monotonic()
                self._send(key, value)
            self._producer.flush()
            self.finished = self.error is None
        except Exception as error:
            self.error = error

    def _send(self, key: bytes | None, value: bytes) -> None:
        def delivered(error: object, _message: object) -> None:
            if error is None:
                self.sent += 1
            else:
                told = f"cannot send the stream to {self._topic}: {error}"
                self.error = self.error or SendError(told)

        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.1)
                continue
            self._producer.poll(0)
            return
