"""The batches that are under way: one is being collected while others are being prepared.

Two or more are prepared at a time, so that the next one is validated and cleaned while the one
before is embedded. They come out in the order of their records, whichever is done first.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consumer.contract.clock import Timer
from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.settings import BatchSettings
from models.daemon_pool import DaemonPool

Prepared = TypeVar("Prepared")

# In one process more would hold more records and gain nothing: one is embedded, one cleaned, one
# applied.
AHEAD = 2
# A batch that is not full begins so many times what a transaction takes after the one before: so
# these take a small part of the time where events are few, and events wait little. But no sooner
# than this share of the longest wait: a transaction costs all brokers some processor time.
_COMMITS_APART, _LEAST_WAIT = 4.0, 0.2
# What a batch costs whatever its size is a fifth of all at 512 records. So under load it is larger,
# up to what is prepared in so many seconds: events behind it wait for no more.
_LARGE_SECONDS = 0.2


def no_suspect() -> str:
    """Say what may hang where nobody knows better."""
    return "does this process get any time, or does it hang?"


class PreparationHungError(ExpectedError):
    """A batch is not prepared in time, and the thread that prepares it cannot be interrupted."""


@dataclass(slots=True)
class Batch(Generic[Prepared]):
    """Records on their way, with the epochs under which they were read.

    `bytes` is their size; `first` is since when no batch before it is in preparation; `took` is how
    many seconds a record took to prepare.
    """

    records: list[Record] = field(default_factory=list)
    bytes: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    first: float = 0.0
    took: float = 0.0
    future: Future[Prepared] = field(default_factory=Future)


def size_of(record: Record) -> int:
    """Give the bytes of a record: key, value and headers."""
    return _size_of([record])


def _size_of(records: Sequence[Record]) -> int:
    size = sum([len(each.key or b"") + len(each.value or b"") for each in records])
    headers = [each.headers for each in records if each.headers]
    return size + sum(len(name) + len(value) for own in headers for name, value in own)


class Batches(Generic[Prepared]):
    """Collects records into batches and has them prepared, in their order, in threads.

    Parameters
    ----------
    prepare
        The slow and pure part of the work; called from so many threads at the same time.
    settings
        How large a batch may be, and how long it may take to fill and to prepare.
    close_seconds
        How long the threads are waited for at the end.
    timer
        What time it is.
    ahead
        How many are prepared at the same time.
    commits_apart
        From the beginning of one batch to that of the next one that is not full: so many times what
        a transaction takes, `max_wait_seconds` at most.
    suspect
        Asked, where a batch is not prepared in time, for what may hang.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[Record]], Prepared],
        settings: BatchSettings,
        close_seconds: float = 2.0,
        timer: Timer = time,
        *,
        ahead: int = AHEAD,
        commits_apart: float = _COMMITS_APART,
        suspect: Callable[[], str] = no_suspect,
    ) -> None:
        self._prepare, self._suspect = prepare, suspect
        self._settings, self._max_bytes = settings, settings.max_bytes
        self._close_seconds = close_seconds
        self._now = timer.monotonic
        threads = [DaemonPool(1, f"prepare-{number}") for number in range(ahead)]
        self._ahead = ahead
        self._threads, self._turns = threads, itertools.cycle(threads)
        self._collecting: Batch[Prepared] = Batch()
        # Large enough, and followed by records that came with theirs.
        self._closed: deque[Batch[Prepared]] = deque()
        # Bytes of a record, by the latest batch; a first guess leaves the number to decide.
        self._record_bytes = settings.max_bytes / settings.max_records
        # As many as are known to be prepared soon, by the latest batch.
        self._most = settings.usual_records
        # When a batch began to be prepared last, and how long after it the next one may.
        self._begun, self._apart = self._now(), settings.max_wait_seconds
        self._commits_apart = commits_apart
        # Only the first may be given out.
        self._preparing: deque[Batch[Prepared]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing is under way."""
        return not (self._collecting.records or self._closed or self._preparing)

    @property
    def bytes(self) -> int:
        """Bytes of the records under way."""
        return sum(batch.bytes for batch in (self._collecting, *self._closed, *self._preparing))

    @property
    def preparing(self) -> bool:
        """Whether the first batch is still being prepared."""
        return bool(self._preparing) and not self._preparing[0].future.done()

    @property
    def crowded(self) -> bool:
        """Whether a batch is prepared beside another, as only one that is full is."""
        return len(self._preparing) > 1

    @property
    def room(self) -> int:
        """How many records the batch being collected still takes, as far as that is known.

        In bytes it is a guess, by the size of the latest ones: `collect` makes another batch of
        what is too much.
        """
        batch = self._collecting
        left = self._max_bytes - batch.bytes
        if self._closed or left <= 0:
            return 0
        records = self._most - len(batch.records)
        size = max(self._record_bytes, batch.bytes / max(len(batch.records), 1))
        fit = int(left / max(size, 1))
        return min(records, fit if batch.records else max(fit, 1))

    @property
    def due_in(self) -> float | None:
        """Seconds until what is collected has waited long enough, or is enough; None of nothing.

        It counts from when the batch before began to be prepared: nothing of what is collected came
        earlier, though much of it may have waited in the client meanwhile.
        """
        if not (self._closed or self._collecting.records):
            return None
        if len(self._collecting.records) >= self._settings.usual_records:
            return 0.0
        return max(self._begun + self._apart - self._now(), 0.0)

    def committed(self, seconds: float) -> None:
        """Note how long the transaction of the latest batch took."""
        longest = self._settings.max_wait_seconds
        self._apart = min(max(self._commits_apart * seconds, _LEAST_WAIT * longest), longest)

    def collect(self, records: Sequence[Record], epoch: Callable[[int], int]) -> None:
        """Add records in their order, one at least, with the present epoch of their partitions."""
        batch, size = self._collecting, _size_of(records)
        if batch.bytes + size > self._max_bytes:
            if len(records) > 1:
                for record in records:
                    self.collect([record], epoch)
                return
            if batch.records:
                self._closed.append(batch)
                batch = self._collecting = Batch()
        batch.records += records
        batch.bytes += size
        for number in {record.partition for record in records}:
            batch.epochs[number] = epoch(number)

    def advance(self) -> Batch[Prepared] | None:
        """Give the first batch if it is prepared, else None; begin to prepare the one collected.

        That is begun beside another only when it is full: a smaller one goes on filling meanwhile.
        With none in preparation it begins when it is as large as usual or has waited: at once where
        none has begun for a while.

        Raises
        ------
        PreparationHungError
            If the first one in preparation takes too long.
        """
        ready = None
        if self._preparing:
            if self._preparing[0].future.done():
                ready = self.take()
            else:
                self._check(self._preparing[0])
        due = not self._preparing and self.due_in == 0.0
        if len(self._preparing) < self._ahead and (self.room <= 0 or due):
            if self._closed:
                batch = self._closed.popleft()
            else:
                batch, self._collecting = self._collecting, Batch()
            self._record_bytes = batch.bytes / len(batch.records)
            self._begun = batch.first = self._now()
            batch.future = next(self._turns).submit(lambda: self._timed(batch))
            self._preparing.append(batch)
        return ready

    def wait(self, seconds: float) -> bool:
        """Wait so long for the first batch in preparation; tell whether it is done, or is none."""
        if not self._preparing:
            return True
        wait([self._preparing[0].future], seconds)
        return self._preparing[0].future.done()

    def take(self) -> Batch[Prepared] | None:
        """Give the first batch in preparation away, done or not; None where there is none."""
        if not self._preparing:
            return None
        batch = self._preparing.popleft()
        if batch.future.done():
            large = round(_LARGE_SECONDS / max(batch.took, 1e-9))
            usual, most = self._settings.usual_records, self._settings.max_records
            self._most = min(max(large, usual), most)
        if self._preparing:  # it shared cores and device with the one before
            self._preparing[0].first = self._now()
        return batch

    def touches(self, partitions: frozenset[int]) -> bool:
        """Whether a batch in preparation holds records of these partitions."""
        return any(not partitions.isdisjoint(batch.epochs) for batch in self._preparing)

    def leave_out(self, partitions: frozenset[int]) -> None:
        """Take records of these partitions out of what is only collected."""
        for batch in (self._collecting, *self._closed):
            batch.records = [each for each in batch.records if each.partition not in partitions]
            batch.bytes = _size_of(batch.records)
        self._closed = deque(batch for batch in self._closed if batch.records)

    def drop(self) -> None:
        """Forget all batches; their records will be read again."""
        self._collecting, self._closed = Batch(), deque()
        while (batch := self.take()) is not None:
            batch.future.cancel()

    def close(self) -> None:
        """Drop what is under way and end the threads."""
        self.drop()
        deadline = self._now() + self._close_seconds
        for thread in self._threads:
            thread.close(max(deadline - self._now(), 0.0))

    def _timed(self, batch: Batch[Prepared]) -> Prepared:
        began = self._now()
        prepared = self._prepare(batch.records)
        batch.took = (self._now() - began) / len(batch.records)
        return prepared

    def _check(self, batch: Batch[Prepared]) -> None:
        limit = self._settings.prepare_timeout_seconds
        if self._now() - batch.first > limit:
            raise PreparationHungError(
                f"a batch of {len(batch.records)} records is not prepared after {limit:g} s "
                f"(batch.prepare_timeout_seconds): {self._suspect()}"
            )
