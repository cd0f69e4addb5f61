"""Asks the cluster every now and then, in a thread of its own: a question may take its time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import OffsetSpec

from consumer.verify.lookups import GroupOffsets, Lookups, error_text, places
from consumer.verify.watch import Sample

_STOP_SECONDS = 5.0


class Sampler:
    """Takes samples until it is stopped.

    Parameters
    ----------
    lookups
        Who asks; the sampler closes it.
    events
        The input topic.
    partitions
        The partitions of all topics whose ends are asked for.
    every_seconds
        From one sample to the next.
    request_seconds
        How long to wait for the answer to one question.
    clock
        Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        lookups: Lookups,
        events: str,
        partitions: Mapping[str, list[int]],
        *,
        every_seconds: float,
        request_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._lookups = lookups
        self._events = events
        self._partitions = partitions
        self._every_seconds = every_seconds
        self._request_seconds = request_seconds
        self._clock = clock
        self._latest: Sample | None = None
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def take(self) -> Sample | None:
        """Give the latest sample once, None where there is no new one; raise what ended it."""
        if self._error is not None:
            raise self._error
        sample, self._latest = self._latest, None
        return sample

    def stop(self) -> None:
        """End it; a question under way is waited for, though not for long."""
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)
        if not self._thread.is_alive():
            self._lookups.close()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._latest = self._sample()
                self._stopped.wait(self._every_seconds)
        except Exception as error:
            self._error = error

    def _sample(self) -> Sample:
        asked_at, wait = self._clock(), self._request_seconds
        trouble: KafkaException | None = None
        group = GroupOffsets({}, {})
        try:
            group = self._lookups.committed(self._events, self._partitions[self._events], wait)
        except KafkaException as error:
            trouble = error
        all_places = places(self._partitions)
        # Stable offsets first: what is written in between makes an end too large, never too small.
        stable, failed = self._lookups.offsets(all_places, OffsetSpec.latest(), wait, stable=True)
        trouble = failed or trouble
        ends, failed = self._lookups.offsets(all_places, OffsetSpec.latest(), wait)
        trouble = failed or trouble
        text = error_text(trouble) if trouble else None
        return Sample(asked_at, group.offsets, ends, stable, text, group.metadata)
