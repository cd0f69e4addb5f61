"""Calls of the client that may not keep to their own timeout."""

from __future__ import annotations

from collections.abc import Callable

from models.daemon_pool import DaemonPool

# A thread that waits for its next call lets the client go at once, one that hangs never does.
_LET_GO_SECONDS = 0.1


class HungError(Exception):
    """A call of the client does not come back in its time."""


class TimedCalls:
    """Makes such calls in a thread of its own, which is left behind where one hangs.

    Parameters
    ----------
    name
        Of the thread.
    grace_seconds
        How far beyond its own timeout a call may go before it counts as hung.
    """

    def __init__(self, name: str, grace_seconds: float) -> None:
        self._thread = DaemonPool(1, name)
        self._grace = grace_seconds

    def call(self, call: Callable[[], None], seconds: float) -> None:
        """Make a call with this timeout; raise HungError when it does not keep to it."""
        future = self._thread.submit(call)
        try:
            future.result(seconds + self._grace)
        except TimeoutError:
            if future.done():
                raise
            raise HungError(f"no answer after {seconds + self._grace:.0f} s") from None
        finally:
            # An error that it holds refers to this frame: the client would outlive its use.
            del future

    def close(self) -> None:
        """End the thread, or leave it behind."""
        self._thread.close(_LET_GO_SECONDS)
