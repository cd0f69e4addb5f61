"""Questions that are asked every so often, beside whoever wants to know."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from consumer.contract.clock import Timer
from models.daemon_pool import DaemonPool

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Background(Generic[Answer]):
    """Asks in a thread of its own, one question after the other.

    Parameters
    ----------
    name
        Of the thread.
    what
        What is asked for, for the log.
    question
        Asks.
    every_seconds
        From one question to the next.
    timer
        What time it is.
    """

    def __init__(
        self,
        name: str,
        what: str,
        question: Callable[[], Answer],
        every_seconds: float,
        timer: Timer = time,
    ) -> None:
        self._what = what
        self._ask = question
        self._every = every_seconds
        self._timer = timer
        self._next = timer.monotonic() + every_seconds
        self._thread = DaemonPool(1, name)
        self._question: Future[Answer] | None = None

    def tick(self) -> Answer | None:
        """Give an answer that has come since the last call; ask again if it is time to."""
        answer = None
        if self._question is not None and self._question.done():
            if (error := self._question.exception()) is None:
                answer = self._question.result()
            else:  # the next question may be answered
                logger.info("%s: %s", self._what, error)
            self._question = None
        if self._question is None and self._timer.monotonic() >= self._next:
            self._next = self._timer.monotonic() + self._every
            self._question = self._thread.submit(self._ask)
        return answer

    def close(self) -> None:
        """End the thread."""
        self._thread.close()
