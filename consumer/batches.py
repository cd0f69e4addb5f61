"""The two batches that are under way: one is being collected while another is being prepared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consumer.call_thread import CallThread
from consumer.records import Record
from consumer.settings import BatchSettings

Prepared = TypeVar("Prepared")

_CLOSE_SECONDS = 5.0


class PreparationHungError(Exception):
    """A batch is not prepared in time, and the thread that prepares it cannot be interrupted."""


@dataclass(slots=True)
class Batch(Generic[Prepared]):
    """Records on their way, with the epochs under which they were read."""

    records: list[Record] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)
    opened: float = 0.0
    submitted: float = 0.0
    future: Future[Prepared] | None = None


class Batches(Generic[Prepared]):
    """Collects records into batches and has them prepared, one after the other, in a thread.

    Parameters
    ----------
    prepare
        The slow and pure part of the work.
    settings
        How large a batch may be, and how long it may take to fill and to prepare.
    """

    def __init__(
        self, prepare: Callable[[Sequence[Record]], Prepared], settings: BatchSettings
    ) -> None:
        self._prepare = prepare
        self._settings = settings
        self._thread = CallThread("prepare")
        self._collecting: Batch[Prepared] = Batch()
        self._preparing: Batch[Prepared] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is under way."""
        return not self._collecting.records and self._preparing is None

    @property
    def room(self) -> int:
        """How many records the batch being collected still takes."""
        return self._settings.max_records - len(self._collecting.records)

    @property
    def due_in(self) -> float | None:
        """Seconds until the batch being collected has waited long enough; None when it is empty."""
        batch = self._collecting
        if not batch.records:
            return None
        return max(batch.opened + self._settings.max_wait_seconds - time.monotonic(), 0.0)

    def collect(self, record: Record, epoch: int) -> None:
        """Add a record."""
        batch = self._collecting
        if not batch.records:
            batch.opened = time.monotonic()
        batch.records.append(record)
        batch.epochs[record.partition] = epoch

    def advance(self) -> Batch[Prepared] | None:
        """Give the batch that is prepared, None while none is; begin to prepare the next one.

        Raises
        ------
        PreparationHungError
            If the one in preparation takes too long.
        """
        ready, preparing = None, self._preparing
        if preparing is not None and preparing.future is not None:
            if not preparing.future.done():
                self._check(preparing)
                return None
            ready, self._preparing = preparing, None
        if self.room <= 0 or self.due_in == 0.0:
            batch, self._collecting = self._collecting, Batch()
            batch.submitted = time.monotonic()
            batch.future = self._thread.submit(lambda: self._prepare(batch.records))
            self._preparing = batch
        return ready

    def wait(self, seconds: float) -> bool:
        """Wait so long for the batch in preparation; tell whether it is done, or there is none."""
        if self._preparing is None or self._preparing.future is None:
            return True
        wait([self._preparing.future], seconds)
        return self._preparing.future.done()

    def take(self) -> Batch[Prepared] | None:
        """Give the batch in preparation away, done or not; None where there is none."""
        batch, self._preparing = self._preparing, None
        return batch

    def touches(self, partitions: frozenset[int]) -> bool:
        """Whether the batch in preparation holds records of these partitions."""
        return self._preparing is not None and not partitions.isdisjoint(self._preparing.epochs)

    def leave_out(self, partitions: frozenset[int]) -> None:
        """Take records of these partitions out of the batch being collected."""
        batch = self._collecting
        batch.records = [record for record in batch.records if record.partition not in partitions]

    def drop(self) -> None:
        """Forget both batches; their records will be read again."""
        self._collecting = Batch()
        if (batch := self.take()) is not None and batch.future is not None:
            batch.future.cancel()

    def close(self) -> None:
        """Drop what is under way and end the thread."""
        self.drop()
        self._thread.close(_CLOSE_SECONDS)

    def _check(self, batch: Batch[Prepared]) -> None:
        limit = self._settings.prepare_timeout_seconds
        if time.monotonic() - batch.submitted > limit:
            raise PreparationHungError(
                f"a batch of {len(batch.records)} records is not prepared after {limit:g} s "
                "(batch.prepare_timeout_seconds): does the embedding's device hang?"
            )
