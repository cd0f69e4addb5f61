"""`segmenter produce`: the events of a file, sent to the input topic."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import FrameType
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from consumer.contract.errors import ExpectedError, UsageError
from consumer.contract.records import Record
from consumer.kafka.clients import made, sender_config
from consumer.kafka.topics import TopicError, partition_counts
from consumer.offline.files import EventFileError
from consumer.offline.refusals import hint_for
from consumer.report.wording import plural
from consumer.settings import EventSettings, Settings
from schemas.intake import Intake, RefusedError

# Between two looks at the clock while a rate holds the next event back.
_POLL_SECONDS = 0.05
_FLUSH_SECONDS = 0.5
# After a signal or an error, what is under way may take so long.
_END_SECONDS = 15
# So many events without a user at the beginning are taken for a file of another format.
_WITHOUT_USER = 100
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SendError(ExpectedError):
    """The broker did not take a record, or the brokers went away."""


class NoUsersError(UsageError):
    """The events at the beginning of a file have no user: it is of another format."""


class Sender(Protocol):
    """What is used of a producer."""

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, *, on_delivery: Any
    ) -> None:
        """Take a record to send."""
        ...

    def poll(self, timeout: float) -> int:
        """Serve delivery reports."""
        ...

    def flush(self, timeout: float) -> int:
        """Wait for what is under way; give how many records still are."""
        ...


@dataclass(slots=True)
class Sent:
    """What became of the events of a file."""

    sent: int = 0
    """Acknowledged by all in-sync replicas."""
    without_user: int = 0
    """Of the events that were read, those whose user could not be read: they went without a key."""
    too_large: int = 0
    first_too_large: int = 0
    """Number of the first event that was too large, from 1."""
    under_way: int = 0
    """Given to the producer and never acknowledged."""
    stopped: bool = False
    """A signal ended it before the file did."""

    def sentences(self, topic: str) -> list[str]:
        """Tell it, a sentence each."""
        told = [f"{plural(self.sent, 'event')} sent to {topic}"]
        if self.without_user:
            told.append(
                f"{self.without_user:,} had no user id that can be read: sent without a key, for "
                "the dead letters"
            )
        if self.too_large:
            told.append(
                f"{self.too_large:,} were not sent, being larger than the client takes: the first "
                f"is event {self.first_too_large:,}"
            )
        if self.under_way:
            told.append(f"{self.under_way:,} were not acknowledged: they may be there or not")
        if self.stopped:
            told.append("stopped by a signal before the end of the file")
        return told


def check_input(settings: Settings) -> None:
    """Check that the input topic is there, so that no broker makes it as it likes.

    Raises
    ------
    TopicError
        If it is not, or no broker answers.
    """
    topic = settings.topics.events
    if topic not in partition_counts(settings, [topic]):
        raise TopicError(
            f"topic {topic} is missing at {settings.kafka.bootstrap_servers}: run 'segmenter "
            "topics create', or name the input with topics.events"
        )


def with_users(records: Iterable[Record], events: EventSettings, name: str) -> Iterator[Record]:
    """Give the records, unless those at the beginning are without a key all of them.

    Records are held back only until the first with a key, so that a slow pipe is read as it comes.

    Parameters
    ----------
    records
        Of a file, keyed by user.
    events
        How they were read.
    name
        What the file is called in sentences.

    Raises
    ------
    NoUsersError
        If the first hundred have no key, or the whole file has none.
    """
    rest = iter(records)
    held: list[Record] = []
    for record in rest:
        held.append(record)
        if record.key is not None:
            yield from chain(held, rest)
            return
        if len(held) == _WITHOUT_USER:
            break
    if not held:
        raise NoUsersError(f"{name}: there are no events to send")
    hint = _why_no_user(held[0].value, events.intake())
    raise NoUsersError(
        f"{name}: none of the first {plural(len(held), 'event')} has a user id that can be read, "
        f"with events.preset = {events.preset}: set events.preset or events.mapping to the file's "
        "format; nothing was sent" + (f"\nHint: {hint} (docs/events.md)." if hint else "")
    )


def _why_no_user(value: bytes | None, intake: Intake) -> str | None:
    """Say what may help where a record's user cannot be read; None where nothing is known."""
    try:
        intake.user_finder()(value)
    except RefusedError as error:
        return hint_for(error.refusal, value, intake)
    return None


def producer(settings: Settings) -> Producer:
    """Make the producer: idempotent, acknowledged by all, partitions as workers expect them."""
    config = sender_config(settings.kafka)
    if settings.events.partitioner == "crc32":
        config = {**config, "partitioner": "consistent_random"}
    return made(Producer, config)


def send(
    records: Iterable[Record],
    producer: Sender,
    topic: str,
    *,
    rate: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Sent:
    """Send records until they end, or SIGINT or SIGTERM comes; call it from the main thread.

    Parameters
    ----------
    records
        In order; keys and values are sent as they are.
    producer
        Where they go.
    topic
        The topic.
    rate
        Records a second at most; as fast as it goes where none is given.
    progress
        Gets the number that are acknowledged, now and then.
    clock
        Seconds that only grow.

    Raises
    ------
    SendError
        If a record is not taken, or the file cannot be read on: with the number that was sent.
    """
    sending = Sending(producer, topic, progress)
    failed: EventFileError | None = None
    with _signals() as signals:
        started = clock()
        try:
            for number, record in enumerate(signals.until_stopped(records)):
                while rate is not None and not signals.stopped:
                    early = started + number / rate - clock()
                    if early <= 0:
                        break
                    producer.poll(min(early, _POLL_SECONDS))
                if signals.stopped:
                    break
                sending.put(record.key, record.value, lambda: signals.stopped)
        except EventFileError as error:
            failed = error
        finally:
            # A signal that comes while this waits does not cut it short: the wait is bounded.
            sending.finish(lambda: signals.stopped)
        sending.result.stopped = signals.stopped
    sending.check()
    if failed is not None:
        raise SendError(
            f"{failed}; {plural(sending.result.sent, 'event')} before that were sent to {topic}"
        ) from failed
    return sending.result


class Sending:
    """Records under way, and what became of those before.

    Parameters
    ----------
    producer, topic
        Where they go.
    progress
        Gets the number that are acknowledged, now and then.
    """

    def __init__(
        self, producer: Sender, topic: str, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        self.result = Sent()
        self._producer = producer
        self._topic = topic
        self._progress = progress
        self._read = 0
        self._given = 0
        self._told = 0
        self._error: KafkaError | None = None

    def put(
        self,
        key: bytes | None,
        value: bytes | None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Give a record to the producer, waiting while its queue is full.

        Raises
        ------
        SendError
            If this or an earlier record was not taken.
        """
        self._read += 1
        delivered = partial(self._delivered, self._read)
        while not stopped():
            self.check()
            try:
                self._producer.produce(self._topic, value, key, on_delivery=delivered)
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
                continue
            except KafkaException as error:
                self._given += 1
                delivered(error.args[0], None)  # what the client refuses at once gets no report
                return
            self._given += 1
            self.result.without_user += key is None
            self._producer.poll(0)
            self._progress(self.result.sent)
            return

    def _delivered(self, number: int, error: KafkaError | None, _message: object) -> None:
        self._told += 1
        if error is None:
            self.result.sent += 1
        elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self.result.too_large += 1
            self.result.first_too_large = min(self.result.first_too_large or number, number)
        else:
            self._error = self._error or error

    def finish(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait for what is under way, for a bounded time after a signal or an error."""
        deadline = None
        while self._producer.flush(_FLUSH_SECONDS):
            self._progress(self.result.sent)
            if not stopped() and self._error is None:
                continue  # each record is delivered, or fails by the client's own timeout
            now = time.monotonic()
            deadline = now + _END_SECONDS if deadline is None else deadline
            if now > deadline:
                break
        self.result.under_way = self._given - self._told

    def check(self) -> None:
        """Raise what a delivery report told.

        Raises
        ------
        SendError
            If a record was not taken.
        """
        if self._error is not None:
            raise SendError(
                f"cannot send to {self._topic}: {self._error.str()}; "
                f"{plural(self.result.sent, 'event')} were acknowledged"
            )


class _Signals:
    """SIGINT and SIGTERM, which may interrupt reading, and nothing else."""

    def __init__(self) -> None:
        self.stopped = False
        self._reading = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Take note; a read that waits for a pipe would go on waiting, so it is left."""
        self.stopped = True
        if self._reading:
            self._reading = False
            raise _StoppedError

    def until_stopped(self, records: Iterable[Record]) -> Iterator[Record]:
        """Give the records, up to the one that is being read when a signal comes."""
        rest = iter(records)
        while not self.stopped:
            try:
                self._reading = True
                record = next(rest, None)
                self._reading = False
            except _StoppedError:
                return
            if record is None:
                return
            yield record


class _StoppedError(Exception):
    """A signal came while an event was being read."""


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals.handle) for number in _SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
