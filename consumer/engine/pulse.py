"""Notices that the whole process stood still: suspended, or its machine was.

A process that comes back after the group's session timeout is a zombie: others have its partitions.
Whatever it writes is refused by the brokers (see `consumer.engine.transactions`), but what it holds
in memory, in queues and in half-done calls is of another time. It is safest to end it and start
anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from consumer.contract.errors import ExpectedError


class SuspendedError(ExpectedError):
    """The process stood still for longer than the group waits for a member."""


class Pulse:
    """Beats in a thread of its own, and measures the longest pause between two beats.

    A loop that waits for a broker or for a long batch does not stop the beat; SIGSTOP, a frozen
    container or a suspended machine does.

    Parameters
    ----------
    limit_seconds
        A pause that is longer makes `check` raise.
    clock
        Seconds, never going backwards.
    beat_seconds
        From one beat to the next.
    """

    def __init__(
        self,
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        beat_seconds: float = 0.2,
    ) -> None:
        self._limit = limit_seconds
        self._clock = clock
        self._beat_seconds = beat_seconds
        self._last = clock()
        self._longest = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Look at the pauses since the start, the present one included.

        Raises
        ------
        SuspendedError
            If one was too long. It stays so: there is no way back but a new process.
        """
        # The present pause first: a beat in between turns it into a former one.
        longest = max(self._clock() - self._last, self._longest)
        if longest > self._limit:
            raise SuspendedError(
                f"this process stood still for {longest:.1f} s, longer than the group waits for a "
                f"member ({self._limit:g} s, kafka.session_timeout_seconds): others may have its "
                "partitions by now; start it again"
            )

    def beat(self) -> None:
        """Take a pause's measure."""
        now = self._clock()
        self._longest = max(self._longest, now - self._last)
        self._last = now

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            self.beat()
