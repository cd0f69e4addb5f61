"""Records of `item-events` as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from schemas.binary import NewerRecordError, RecordError
from schemas.item_events import ItemEventColumns, read_item_events


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Events of items of one partition, in their order, with what was withdrawn in between.

    Attributes
    ----------
    events
        As columns, but for those that came before their item was withdrawn.
    withdrawn
        Items that begin anew in this batch, or end in it.
    """

    events: ItemEventColumns
    withdrawn: frozenset[str]


def read_feed(records: Sequence[Record]) -> Feed:
    """Read records of one partition.

    Raises
    ------
    StageError
        If one cannot be read: with its place.
    """
    withdrawn = {record.key: number for number, record in enumerate(records) if not record.value}
    kept = [
        record
        for number, record in enumerate(records)
        if record.value and number > withdrawn.get(record.key, -1)
    ]
    keys = [record.key or b"" for record in kept]
    try:
        events = read_item_events(keys, [record.value or b"" for record in kept])
    except RecordError:
        for record, key in zip(kept, keys, strict=True):
            try:
                read_item_events([key], [record.value or b""])
            except NewerRecordError as error:
                raise StageError(
                    f"{record.place} was written by a newer version ({error}): upgrade this process"
                ) from None
            except RecordError as error:
                raise StageError(f"{record.place} is no event of an item: {error}") from None
        raise
    names = frozenset((key or b"").decode(errors="replace") for key in withdrawn)
    return Feed(events, names)
