"""Refused records: how they are written, and when there are too many of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from consumer.contract.records import Headers, Output, Record
from consumer.contract.stage import StageError
from consumer.settings import DeadLetterSettings
from schemas.dead_letters import (
    MAX_HEADERS_BYTES,
    MAX_KEY_BYTES,
    Refusal,
    RefusalReason,
    dead_letter_headers,
    headers_size,
    original_headers,
    redrives_of,
)
from schemas.origins import origin_headers, origin_of

OF_THE_MODEL = {
    RefusalReason.UNKNOWN_WORDS: "fit the model on texts like these: segmenter model fit words",
    RefusalReason.EMBEDDING_FAILED: "segmenter model verify looks at the embedding model",
}
"""What helps where the embedding model has no vector for a text, by the reason."""


class DeadLetterLimitError(StageError):
    """Too large a share of the input is refused: a wrong mapping or topic, not a few bad records.

    The process stops before it commits the batch, so nothing is lost by mending the settings.
    """


class DeadLetterLimit:
    """Watches how many of the latest records are refused, and how many the program failed on.

    Parameters
    ----------
    settings
        The limits.
    input_setting
        The setting that names the input.
    """

    def __init__(self, settings: DeadLetterSettings, input_setting: str = "topics.events") -> None:
        self._settings = settings
        self._input_setting = input_setting
        self._batches: deque[tuple[int, Counter[str]]] = deque()
        self._records = 0
        self._refused: Counter[str] = Counter()

    def check(self, *, accepted: int, refused: Mapping[str, int]) -> None:
        """Stop where a batch takes the latest records over a limit.

        Parameters
        ----------
        accepted
            Records of the batch that are used.
        refused
            Those that are not, by reason.

        Raises
        ------
        DeadLetterLimitError
            Naming the share or the number, the limit, and the commonest reason.
        """
        count = sum(refused.values())
        if not count:
            return
        records, bad = self._records + accepted + count, self._refused.total() + count
        unexpected = [each.get(RefusalReason.UNEXPECTED, 0) for each in (refused, self._refused)]
        if unexpected[0] and sum(unexpected) > self._settings.max_unexpected:
            raise self.too_many_unexpected(sum(unexpected), records)
        if records < self._settings.min_records:
            return
        if bad / records > self._settings.max_share:
            reason, _ = Counter(refused).most_common(1)[0]
            of_events = (
                f"look at events.preset, events.mapping, events.key and {self._input_setting}"
            )
            advice = OF_THE_MODEL.get(RefusalReason(reason), of_events)
            raise DeadLetterLimitError(
                f"{bad} of the latest {records} records were refused, most of late for "
                f"'{reason}'; more than dead_letters.max_share = {self._settings.max_share}: "
                f"{advice}; the batch is not committed and nothing of it was sent to the dead "
                "letters"
            )

    def too_many_unexpected(self, count: int, records: int) -> DeadLetterLimitError:
        """Give the error for a program that failed on so many of the latest records."""
        return DeadLetterLimitError(
            f"the program failed on {count} of the latest {records} records, more than "
            f"dead_letters.max_unexpected = {self._settings.max_unexpected}: look at the log for "
            "where; it is the program or this machine rather than the records; the batch is not "
            "committed and nothing of it was sent to the dead letters"
        )

    def commit(self, *, accepted: int, refused: Mapping[str, int]) -> None:
        """Count a batch that was committed."""
        counts = Counter(refused)
        if not accepted + counts.total():  # a new model's transaction, which has no records
            return
        self._batches.append((accepted + counts.total(), counts))
        self._records += accepted + counts.total()
        self._refused.update(counts)
        while self._batches and self._records - self._batches[0][0] >= self._settings.window:
            records, former = self._batches.popleft()
            self._records -= records
            self._refused.subtract(former)


def dead_letter_output(
    topic: str, record: Record, refusal: Refusal, max_bytes: int | None
) -> Output:
    """Give the dead letter of a record: its key and where it is, the reason beside.

    Value and headers, which may hold what users wrote, stay in the input alone where `max_bytes` is
    None; a header then says how long the value is. Of the record's headers only those stay that
    `segmenter intake` gave it.

    Else they go along as they came. Of a value longer than `max_bytes` the beginning is kept, and a
    header says how long it was; so of a key of more than 32 KiB. Where the record's own headers are
    longer than 16 KiB in all, again only intake's are kept, and a header says how many there were.
    How often `segmenter dead-letters redrive` has brought the record back goes along.
    """
    key, key_truncated_from = _beginning(record.key, MAX_KEY_BYTES)
    own, headers_dropped = original_headers(record.headers), None
    if max_bytes is None:
        value, truncated_from, value_bytes = None, None, len(record.value or b"")
        own = _of_intake(own)
    else:
        (value, truncated_from), value_bytes = _beginning(record.value, max_bytes), None
        if headers_size(own) > MAX_HEADERS_BYTES:
            headers_dropped = len(own)
            own = _of_intake(own)
    headers = dead_letter_headers(
        refusal,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        truncated_from=truncated_from,
        key_truncated_from=key_truncated_from,
        headers_dropped=headers_dropped,
        redrives=redrives_of(record.headers),
        value_bytes=value_bytes,
    )
    return Output(topic, key, value, (*headers, *own))


def _of_intake(headers: Headers) -> Headers:
    """Give the headers that `segmenter intake` gave a record."""
    origin = origin_of(headers)
    return () if origin is None else tuple(origin_headers(origin))


def _beginning(data: bytes | None, most: int) -> tuple[bytes | None, int | None]:
    """Cut bytes to a length; give how many they were where that made a difference."""
    if data is None or len(data) <= most:
        return data, None
    return data[:most], len(data)
