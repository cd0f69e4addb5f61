"""Embeds on a GPU: batches by a budget of tokens, several sessions, and a way out of every failure.

No GPU has run it yet. It takes its sessions through `BatchSession`, so that the tests give it
sessions of the CPU and scripted ones, which run out of memory or fail as they are told.

How a call goes

1. The texts are cut into batches of like length, by the budget
   (`models.embedding.batching`).
2. Each of the sessions takes the next batch as soon as it is free. While that runs on the GPU,
   another thread lays out the one after on the host. Two sessions keep the GPU busy while one of
   them copies.
3. A batch for which the memory is too small halves the budget, for good, and is cut anew. A batch
   that fails in another way is cut in two. So a text that fails does so alone at last, and gets a
   row of NaN; the others do not notice.
4. Before a text is given up, the shortest text there can be is tried. If that fails too, the text
   is not to blame, but the device: `DeviceFailedError`, rather than every text a dead letter.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.daemon_pool import DaemonPool
from models.embedding.batching import Batch, Layout
from models.embedding.errors import DeviceFailedError
from models.embedding.gpu.session import Failure, failure_of
from models.embedding.runner_types import CLOSE_SECONDS, RunnerTotals, TokenIds, UsedDevice, Vectors

logger = logging.getLogger(__name__)


class BatchSession(Protocol):
    """A session of a device, used by one thread at a time."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Vectors:
        """Give the vectors of a batch, (texts and filling, dimensions)."""


@dataclass(frozen=True)
class _Job:
    """Texts of a call, by their indices, laid out for a run."""

    indices: NDArray[np.int64]
    batch: Batch
    cost: int


class GpuRunner:
    """Embeds batches on a GPU; safe to call from several threads.

    Parameters
    ----------
    sessions
        Sessions of the same model.
    layout
        How the model takes several texts at once.
    dimensions
        Length of a vector.
    most_tokens
        Longest text that the model takes, for the warm-up.
    pad_id
        A token that is no text's, for the shortest text.
    batch_tokens
        The budget at first. A text longer than it runs alone.
    device
        Where the sessions run.
    fell_back
        Whether another device was asked for.

    Attributes
    ----------
    threads
        Batches that run side by side: the number of sessions.
    totals
        Counts since it was opened.
    """

    def __init__(
        self,
        sessions: Sequence[BatchSession],
        layout: Layout,
        *,
        dimensions: int,
        most_tokens: int,
        pad_id: int,
        batch_tokens: int,
        device: UsedDevice = "cuda",
        fell_back: bool = False,
    ) -> None:
        self.device: UsedDevice = device
        self.fell_back = fell_back
        self.threads = len(sessions)
        self.totals = RunnerTotals(budget=batch_tokens)
        self._layout = layout
        self._dimensions = dimensions
        self._most_tokens = most_tokens
        self._shortest = np.array([pad_id], dtype=np.int64)
        self._counting = threading.Lock()
        self._idle: queue.SimpleQueue[BatchSession] = queue.SimpleQueue()
        for session in sessions:
            self._idle.put(session)
        self._lanes = DaemonPool(self.threads, "embed-gpu")
        self._packers = DaemonPool(self.threads, "embed-pack")

    def warm_up(self) -> None:
        """Run a batch of every bucket in every session, the largest first.

        The largest comes first so that the arena, which never shrinks, takes at once what the
        smaller ones then share. A budget that the memory is too small for is halved here already.

        Raises
        ------
        DeviceFailedError
            If the device cannot run the shortest text.
        """
        started = time.monotonic()
        sessions = [self._idle.get() for _ in range(self.threads)]
        shapes = self._layout.warm_up(self.totals.budget, self._most_tokens)
        logger.info(
            "Warming up %d sessions on %s: %d shapes, budget of %d tokens a batch",
            self.threads,
            self.device,
            len(shapes),
            self.totals.budget,
        )
        for number, session in enumerate(sessions, 1):
            for shape in shapes:
                rows = [np.repeat(self._shortest, length) for length in shape]
                lengths = np.array(shape, dtype=np.int64)
                if len(rows) > 1 and self._layout.cost(lengths) > self.totals.budget:
                    continue  # of a budget that has been halved since
                vectors = np.empty((len(rows), self._dimensions), dtype=np.float32)
                self._embed(session, self._job(rows, np.arange(len(rows))), rows, vectors)
            logger.info(
                "Session %d of %d is warm after %.1f s",
                number,
                self.threads,
                time.monotonic() - started,
            )
        for session in sessions:
            self._idle.put(session)
        with self._counting:  # no text has been embedded yet
            totals = self.totals
            self.totals = RunnerTotals(oom_halvings=totals.oom_halvings, budget=totals.budget)

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        """Give the vector of each text, in their order; NaN for one that fails alone.

        Raises
        ------
        DeviceFailedError
            If the device does not work any more.
        """
        vectors = np.full((len(rows), self._dimensions), np.nan, dtype=np.float32)
        if not rows:
            return vectors
        lengths = np.array([row.size for row in rows], dtype=np.int64)
        work = deque(self._layout.batches(lengths, self.totals.budget))
        lanes = [
            self._lanes.submit(partial(self._drain, work, rows, vectors))
            for _ in range(min(self.threads, len(work)))
        ]
        wait(lanes, return_when=FIRST_EXCEPTION)
        work.clear()  # if one failed, the others end after the batch that they are at
        for lane in lanes:
            lane.result()
        return vectors

    def close(self) -> None:
        """End the threads; what is being embedded is waited for, a device that hangs is not."""
        self._lanes.close(CLOSE_SECONDS)
        self._packers.close()

    def _drain(
        self, work: deque[NDArray[np.int64]], rows: Sequence[TokenIds], vectors: Vectors
    ) -> None:
        """Run batches until there are no more, each laid out while the one before it runs."""
        session = self._idle.get()
        try:
            job = self._take(work, rows)
            while job is not None:
                following: Future[_Job | None] = self._packers.submit(
                    partial(self._take, work, rows)
                )
                self._embed(session, job, rows, vectors)
                job = following.result()
        finally:
            self._idle.put(session)

    def _take(self, work: deque[NDArray[np.int64]], rows: Sequence[TokenIds]) -> _Job | None:
        """Lay out the next batch, cut anew if the budget has fallen since it was cut."""
        try:
            indices = work.popleft()
        except IndexError:
            return None
        first, *others = self._within_budget(indices, rows)
        work.extendleft(reversed(others))
        return self._job(rows, first)

    def _within_budget(
        self, indices: NDArray[np.int64], rows: Sequence[TokenIds]
    ) -> list[NDArray[np.int64]]:
        lengths = np.array([rows[i].size for i in indices], dtype=np.int64)
        budget = self.totals.budget
        if indices.size == 1 or self._layout.cost(lengths) <= budget:
            return [indices]
        return [indices[part] for part in self._layout.batches(lengths, budget)]

    def _job(self, rows: Sequence[TokenIds], indices: NDArray[np.int64]) -> _Job:
        texts = [rows[i] for i in indices]
        cost = self._layout.cost(np.array([text.size for text in texts], dtype=np.int64))
        return _Job(indices, self._layout.pack(texts, self.totals.budget), cost)

    def _embed(
        self, session: BatchSession, job: _Job, rows: Sequence[TokenIds], vectors: Vectors
    ) -> None:
        """Run a batch, and the smaller ones that it is cut into as long as it fails."""
        pending = [job]
        while pending:
            job = pending.pop()
            if job.indices.size > 1 and job.cost > self.totals.budget:  # it has fallen since
                parts = self._within_budget(job.indices, rows)
                pending.extend(self._job(rows, part) for part in reversed(parts))
                continue
            try:
                found = session.run(job.batch.feeds)[: job.batch.texts]
            except Exception as error:  # onnxruntime's own types have no other base
                failure = failure_of(error)
                if failure is Failure.DEVICE_LOST:
                    raise _device_failed(self.device, error) from error
                if job.indices.size > 1:
                    parts = self._cut(job, rows, failure)
                    pending.extend(self._job(rows, part) for part in reversed(parts))
                    continue
                self._check_device(session)
                logger.warning("A text of %d tokens cannot be embedded: %s", job.cost, error)
                self._count(failed=1)
                continue
            finite = np.isfinite(found).all(axis=1, keepdims=True)
            vectors[job.indices] = np.where(finite, found, np.float32(np.nan))
            failed = finite.size - int(np.count_nonzero(finite))
            self._count(batches=1, tokens=job.batch.tokens, failed=failed)

    def _cut(
        self, job: _Job, rows: Sequence[TokenIds], failure: Failure
    ) -> list[NDArray[np.int64]]:
        """Smaller batches of a batch that failed: under half the budget, or two halves."""
        if failure is not Failure.OUT_OF_MEMORY:
            return np.array_split(job.indices, 2)
        # Half of what failed, not of the budget: another session may have halved that already.
        with self._counting:
            budget = max(1, job.cost // 2)
            if budget < self.totals.budget:
                halvings = self.totals.oom_halvings + 1
                self.totals = replace(self.totals, budget=budget, oom_halvings=halvings)
                logger.warning(
                    "The GPU's memory is too small for %d tokens: %d a batch from now on",
                    job.cost,
                    budget,
                )
        return self._within_budget(job.indices, rows)

    def _check_device(self, session: BatchSession) -> None:
        """Try the shortest text there can be.

        Raises
        ------
        DeviceFailedError
            If that fails: then it is not the text.
        """
        batch = self._layout.pack([self._shortest], self.totals.budget)
        try:
            session.run(batch.feeds)
        except Exception as error:  # as above
            raise _device_failed(self.device, error) from error

    def _count(self, *, batches: int = 0, tokens: int = 0, failed: int = 0) -> None:
        with self._counting:
            self.totals = replace(
                self.totals,
                batches=self.totals.batches + batches,
                computed_tokens=self.totals.computed_tokens + tokens,
                failed_texts=self.totals.failed_texts + failed,
            )


def _device_failed(device: UsedDevice, error: Exception) -> DeviceFailedError:
    return DeviceFailedError(
        f"device {device!r} failed ({error}); start the process again, and if it fails again, "
        "look at the GPU with nvidia-smi."
    )
