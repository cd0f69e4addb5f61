"""How long a part of the work has been under way, whoever was doing it."""

import threading
import time


class BusyTime:
    """Seconds in which at least one thread was inside; a context, from any number of threads.

    Added up call by call, the time of two threads that share the cores would count twice, and work
    divided by time would show half the speed.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._inside = 0
        self._since = 0.0
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        with self._lock:
            return self._seconds + (time.monotonic() - self._since if self._inside else 0.0)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._since = time.monotonic()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._seconds += time.monotonic() - self._since
