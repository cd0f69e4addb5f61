"""Records of `item-events` as columns."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from schemas.binary import NewerRecordError, RecordError
from schemas.item_events import ItemEventColumns, read_item_events

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Events of items of one partition, in their order, with what was withdrawn in between.

    Attributes
    ----------
    events
        As columns, but for those that came before their item was withdrawn.
    withdrawn
        Items that begin anew in this batch, or end in it.
    met
        Those of them that had an event in it before.
    passed_over
        Records that are none of a worker's.
    """

    events: ItemEventColumns
    withdrawn: frozenset[str]
    met: frozenset[str] = frozenset()
    passed_over: int = 0


def read_feed(records: Sequence[Record]) -> Feed:
    """Read records of one partition.

    Whoever withdraws items writes to the topic, too. A record of theirs that cannot be read is
    passed over: it would stop each recommender that comes to it.

    Raises
    ------
    StageError
        If a newer version has written one: with its place.
    """
    withdrawn = {record.key: number for number, record in enumerate(records) if not record.value}
    kept = [
        record
        for number, record in enumerate(records)
        if record.value and number > withdrawn.get(record.key, -1)
    ]
    met = {
        record.key
        for number, record in enumerate(records)
        if record.value and number < withdrawn.get(record.key, -1)
    }
    try:
        events = _columns(kept)
    except RecordError:
        sound = [record for record in kept if _is_sound(record)]
        events = _columns(sound)
    else:
        sound = kept
    return Feed(events, _names(withdrawn), _names(met), len(kept) - len(sound))


def _columns(records: Sequence[Record]) -> ItemEventColumns:
    keys = [record.key or b"" for record in records]
    return read_item_events(keys, [record.value or b"" for record in records])


def _is_sound(record: Record) -> bool:
    try:
        _columns([record])
    except NewerRecordError as error:
        raise StageError(
            f"{record.place} was written by a newer version ({error}): upgrade this process"
        ) from None
    except RecordError as error:
        logger.warning("%s is no event of an item, and is passed over: %s", record.place, error)
        return False
    return True


def _names(keys: Iterable[bytes | None]) -> frozenset[str]:
    """Give the items that keys name; what is not UTF-8 names none."""
    return frozenset(
        name for key in keys if "\ufffd" not in (name := (key or b"").decode(errors="replace"))
    )
