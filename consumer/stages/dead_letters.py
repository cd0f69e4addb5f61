"""Refused records: how they are written, and when there are too many of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from consumer.records import Output, Record
from consumer.settings import DeadLetterSettings
from consumer.stage import StageError
from schemas.dead_letters import Refusal, dead_letter_headers
from schemas.origins import origin_headers, origin_of


class DeadLetterLimitError(StageError):
    """Too large a share of the input is refused: a wrong mapping or topic, not a few bad records.

    The process stops before it commits the batch, so nothing is lost by mending the settings.
    """


class DeadLetterLimit:
    """Watches the share of refused records among the latest ones.

    Parameters
    ----------
    settings
        The limit.
    input_setting
        The setting that names the input.
    """

    def __init__(self, settings: DeadLetterSettings, input_setting: str = "topics.events") -> None:
        self._settings = settings
        self._input_setting = input_setting
        self._batches: deque[tuple[int, int]] = deque()
        self._total = 0
        self._refused = 0

    def check(self, *, accepted: int, refused: Mapping[str, int]) -> None:
        """Stop where a batch takes the share over the limit.

        Raises
        ------
        DeadLetterLimitError
            Naming the share, the limit and the commonest reason.
        """
        count = sum(refused.values())
        records, bad = self._total + accepted + count, self._refused + count
        if not count or records < self._settings.min_records:
            return
        if bad / records > self._settings.max_share:
            reason, _ = Counter(refused).most_common(1)[0]
            raise DeadLetterLimitError(
                f"{bad} of the latest {records} records were refused, most of late for "
                f"'{reason}'; more than dead_letters.max_share = {self._settings.max_share}: "
                f"look at events.preset, events.mapping, events.key and {self._input_setting}; the "
                "batch is not committed and nothing of it was sent to the dead letters"
            )

    def commit(self, *, accepted: int, refused: int) -> None:
        """Count a batch that was committed."""
        if not accepted + refused:  # a new model's transaction, which has no records
            return
        self._batches.append((accepted + refused, refused))
        self._total += accepted + refused
        self._refused += refused
        while self._batches and self._total - self._batches[0][0] >= self._settings.window:
            records, bad = self._batches.popleft()
            self._total -= records
            self._refused -= bad


def dead_letter_output(topic: str, record: Record, refusal: Refusal, max_bytes: int) -> Output:
    """Give the dead letter of a record: its key and value as they came, the reason in headers.

    Of a value longer than `max_bytes` the beginning is kept, and a header says how long it was. Of
    the record's own headers those are kept that `segmenter intake` gave it.
    """
    value, truncated_from = record.value, None
    if value is not None and len(value) > max_bytes:
        value, truncated_from = value[:max_bytes], len(value)
    headers = dead_letter_headers(
        refusal,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        truncated_from=truncated_from,
    )
    origin = origin_of(record.headers)
    headers += [] if origin is None else origin_headers(origin)
    return Output(topic, record.key, value, tuple(headers))
