"""Cleaning in processes of their own, so that one worker uses more cores than one.

What a process dies of cannot be caught in it. So what `consumer.stages.shared.unexpected` does for
exceptions is done here for deaths: a batch whose process has died is cleaned anew; if that one dies
as well, the record to blame is found by halving, and refused if two more die of it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.process.children import ChildDiedError
from consumer.settings import DeadLetterSettings
from consumer.stages.segmentation.cleaning import Cleaned, Request, renumbered
from consumer.stages.shared.dead_letters import DeadLetterLimit
from consumer.stages.shared.unexpected import shortest_failing
from schemas.dead_letters import Refusal, RefusalReason

# Chance may kill processes now and then, but not that often amid one batch.
_FRUITLESS = 3


class CleaningProcesses:
    """Cleans batches in processes; for several threads at once.

    Parameters
    ----------
    ask
        Has a process clean (`make_cleaning`), and raises ChildDiedError where it dies.
    dead_letters
        On how many records of a batch they may die.
    """

    def __init__(self, ask: Callable[[Request], Cleaned], dead_letters: DeadLetterSettings) -> None:
        self._ask = ask
        self._most = dead_letters.max_unexpected
        self._limit = DeadLetterLimit(dead_letters)

    def __call__(self, records: Sequence[Record], now: datetime, sampled: float) -> Cleaned:
        """Clean a batch, as `Cleaning`; a record of which a process dies is refused, no other is.

        Raises
        ------
        ChildFailedError
            If there is something else that a process cannot go on with.
        DeadLetterLimitError
            If processes die of too many records.
        StageError
            If they die again and again, and of no record alone.
        """
        refusals: dict[int, Refusal] = {}
        fruitless = 0
        numbers = list(range(len(records)))
        while True:
            try:
                cleaned = self._twice([records[number] for number in numbers], now, sampled)
                break
            except ChildDiedError as error:
                culprit = self._find([records[number] for number in numbers], now, sampled, error)
            if culprit is None:
                fruitless += 1
                if fruitless == _FRUITLESS:
                    raise StageError(
                        "processes that prepare batches die again and again amid a batch of "
                        f"{len(records)} records, and of no record alone: is there memory for them "
                        "(batch.prepare_processes, batch.max_records)?"
                    )
                continue
            number, refusal = culprit
            refusals[numbers.pop(number)] = refusal
            if len(refusals) > self._most:
                raise self._limit.too_many_unexpected(len(refusals), len(records))
        if refusals:
            cleaned = renumbered(cleaned, numbers)
            cleaned.refusals.update(refusals)
        return cleaned

    def _clean(self, records: Sequence[Record], now: datetime, sampled: float) -> Cleaned:
        values, keys = [record.value for record in records], [record.key for record in records]
        return self._ask((values, keys, now, sampled))

    def _twice(self, records: Sequence[Record], now: datetime, sampled: float) -> Cleaned:
        """Clean; where a process dies, once more: in most cases it is killed from outside."""
        try:
            return self._clean(records, now, sampled)
        except ChildDiedError:
            return self._clean(records, now, sampled)

    def _find(
        self, records: Sequence[Record], now: datetime, sampled: float, error: ChildDiedError
    ) -> tuple[int, Refusal] | None:
        """Find the record that a process dies of, alone too; None where it is not one record."""
        count, _ = shortest_failing(
            lambda count: self._clean(records[:count], now, sampled), len(records), error
        )
        try:
            self._twice(records[count - 1 : count], now, sampled)
        except ChildDiedError as alone:
            return count - 1, Refusal(
                reason=RefusalReason.UNEXPECTED,
                detail=f"a process that prepares records dies of this one ({alone}), among others "
                "and alone; it is a defect of segmenter or of a library, please report it",
            )
        return None
