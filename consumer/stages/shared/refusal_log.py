"""Lines of the log about refused records: the first of each reason at once, more of it seldom."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from consumer.contract.records import Record
from schemas.dead_letters import Refusal, RefusalReason
from schemas.intake import OTHER_FORMS

logger = logging.getLogger(__name__)

_EVERY_SECONDS = 600.0

# The sentences of these name fields, places and numbers. Those of the others quote ids and values,
# which belong to the dead letters and not into a log.
_QUOTE_NOTHING = {
    RefusalReason.MISSING_VALUE,
    RefusalReason.INVALID_UTF8,
    RefusalReason.INVALID_JSON,
    RefusalReason.MISSING_FIELD,
    RefusalReason.MISSING_KEY,
    RefusalReason.NO_TEXT,
    RefusalReason.UNKNOWN_WORDS,
    RefusalReason.UNEXPECTED,
    RefusalReason.RECORD_TOO_LARGE,
}


class RefusalLog:
    """Tells of refused records once they are committed; after an abort they come again.

    Parameters
    ----------
    clock
        Seconds, monotonic.
    enabled
        Whether it tells of any; a replay does so at its end.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, enabled: bool = True
    ) -> None:
        self._enabled = enabled
        self._clock = clock
        self._pending: list[tuple[Record, Refusal, str]] = []
        self._due: dict[tuple[str, RefusalReason], float] = {}
        self._unsaid: Counter[tuple[str, RefusalReason]] = Counter()

    def note(self, record: Record, refusal: Refusal, dead_letters: str) -> None:
        """Take a record that is refused in the transaction to come, and its topic."""
        if self._enabled:
            self._pending.append((record, refusal, dead_letters))

    def committed(self) -> None:
        """Write the lines that are due."""
        self._write("its dead letter is on {}")

    def stopped(self) -> None:
        """Write the lines that are due where so many are refused that nothing is committed."""
        self._write("nothing was sent to {}")

    def _write(self, outcome: str) -> None:
        for record, refusal, dead_letters in self._pending:
            what, now = (record.topic, refusal.reason), self._clock()
            self._unsaid[what] += 1
            if now < self._due.get(what, now):
                continue
            self._due[what] = now + _EVERY_SECONDS
            line = _line(record, refusal, self._unsaid.pop(what))
            logger.warning("%s; %s", line, outcome.format(dead_letters))
        self._pending = []

    def aborted(self) -> None:
        """Forget the records of the transaction."""
        self._pending = []


def _line(record: Record, refusal: Refusal, count: int) -> str:
    place = record.place
    field = f" (field {refusal.field})" if refusal.field else ""
    public = refusal.reason in _QUOTE_NOTHING or refusal.detail in OTHER_FORMS
    says = f": {refusal.detail}" if public else ""
    more = f", {count:,} of this reason since the last line" if count > 1 else ""
    return f"{place} is refused{more}: {refusal.reason}{field}{says}"
