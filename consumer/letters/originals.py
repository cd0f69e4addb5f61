"""Refused records whose dead letters do not hold them: they are fetched from where they were.

A dead letter says topic, partition, offset, time, key and the length of the value. Of a topic that
was made anew another record may be at that offset, so all of these have to agree.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster, OffsetGoneError
from consumer.letters.choice import Letter, LetterError
from schemas.dead_letters import DeadLetterHeaders

# Offsets that lie no farther apart are read through; beyond that a fetch of its own is less.
_NEAR = 500
_AT_ONCE = 500
_BYTES_AT_ONCE = 4_000_000
# A broker that was away may tell of an end long past for a moment.
_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.5


class Originals:
    """Fetches refused records.

    Parameters
    ----------
    cluster
        Is asked.
    partitions
        By topic, how many there are; records of other topics are not fetched.
    no_progress_seconds
        How long to wait for the next record.
    """

    def __init__(
        self, cluster: Cluster, partitions: Mapping[str, int], no_progress_seconds: float
    ) -> None:
        self._cluster = cluster
        self._partitions = partitions
        self._seconds = no_progress_seconds

    def whole(
        self, letters: Iterable[Letter], wanted: Callable[[Letter], bool]
    ) -> Iterator[tuple[Letter, bool]]:
        """Give letters in their order with what was left in the input, as far as that is there.

        Parameters
        ----------
        letters
            Dead letters.
        wanted
            Whether one is worth fetching.

        Yields
        ------
        tuple of Letter and bool
            The letter, its record with value and headers where they were fetched; and whether the
            record is gone: no longer in the input, or another one is in its place.

        Raises
        ------
        LetterError
            If records were removed while they were read; ReadStalledError if none come.
        """
        ahead: list[tuple[Letter, bool]] = []
        size = 0
        for letter in letters:
            said = letter.said
            missing = (
                said is not None
                and said.in_input_alone
                and said.partition < self._partitions.get(said.topic, 0)
                and wanted(letter)
            )
            ahead.append((letter, missing))
            size += (said.value_bytes or 0) if said is not None and missing else 0
            if len(ahead) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
                yield from self._fetched(ahead)
                ahead, size = [], 0
        yield from self._fetched(ahead)

    def _fetched(self, ahead: Sequence[tuple[Letter, bool]]) -> Iterator[tuple[Letter, bool]]:
        wanted: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        for letter, missing in ahead:
            if missing and (said := letter.said) is not None:
                wanted[said.topic, said.partition].add(said.offset)
        found = {place: self._read(*place, offsets) for place, offsets in wanted.items()}
        for letter, missing in ahead:
            if not missing or (said := letter.said) is None:
                yield letter, False
                continue
            record = found[said.topic, said.partition].get(said.offset)
            if record is None or not is_refused(record, letter.record, said):
                yield letter, True
                continue
            own = (*record.headers, *_of_letter(letter.record))
            refused = replace(letter.record, key=record.key, value=record.value, headers=own)
            yield Letter(refused, said), False

    def _read(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, Record]:
        low, high = self._span(topic, partition, max(offsets))
        found: dict[int, Record] = {}
        try:
            for run in runs(each for each in offsets if low <= each < high):
                records = self._cluster.read(
                    topic,
                    partition,
                    run[-1] + 1,
                    start=run[0],
                    no_progress_seconds=self._seconds,
                )
                wanted = set(run)
                found |= {each.offset: each for each in records if each.offset in wanted}
        except OffsetGoneError as error:
            raise LetterError(f"{error}: retention has removed records, run it again") from error
        return found

    def _span(self, topic: str, partition: int, last: int) -> tuple[int, int]:
        """Give the offsets that are there, a while later where they end before the last wanted."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while (span := self._cluster.watermarks(topic, partition))[1] <= last:
            if time.monotonic() > until:
                break
            time.sleep(_PAUSE_SECONDS)
        return span


def runs(offsets: Iterable[int]) -> list[list[int]]:
    """Put offsets in order, and part them where the next one is far away."""
    found: list[list[int]] = []
    for offset in sorted(set(offsets)):
        if found and offset - found[-1][-1] <= _NEAR:
            found[-1].append(offset)
        else:
            found.append([offset])
    return found


def is_refused(record: Record, letter: Record, said: DeadLetterHeaders) -> bool:
    """Tell whether a record is the refused one, by all that its dead letter tells of it."""
    key = record.key
    if key is not None and said.key_truncated_from == len(key):
        key = key[: len(letter.key or b"")]
    return (
        key == letter.key
        and record.timestamp == said.timestamp
        and len(record.value or b"") == said.value_bytes
    )


def _of_letter(record: Record) -> tuple[tuple[str, bytes], ...]:
    """Give the headers of a dead letter, which say what was refused."""
    return tuple(each for each in record.headers if each[0].startswith("dlq_"))
