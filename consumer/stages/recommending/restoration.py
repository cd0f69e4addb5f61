"""Reading a partition's items back from their changelog, and the parts that lie with it."""

from __future__ import annotations

from datetime import timedelta

from consumer.contract.records import Record, RecordColumns
from consumer.contract.stage import Changelog, StageError, Upto
from consumer.settings import TopicSettings
from consumer.stages.recommending.attributes import AttributeBook, is_of_user
from consumer.stages.recommending.items import ItemState
from consumer.stages.recommending.merging import PartBook
from models.recommendation.item_codec import decode_items, former_of, made_of
from schemas.binary import NewerRecordError, RecordError


class RecommenderRestoration:
    """The state of one partition while it is read back.

    Parameters
    ----------
    topics
        Names of the changelogs.
    partition
        Whose state it is.
    half_life
        That of now; items that faded by another are anchored anew.
    """

    def __init__(self, topics: TopicSettings, partition: int, half_life: timedelta) -> None:
        self.items = ItemState()
        self.book = PartBook(everybody=partition == 0)
        self.attributes = AttributeBook()
        self._items_topic = topics.item_profiles
        self._half_life = half_life
        self.changelogs = (
            Changelog(topics.item_profiles, partition, Upto.END, needs_offset=True),
            # Others write these too. What lies beyond the committed offset comes again as input,
            # and is known by its place.
            Changelog(topics.recommendation_parts, partition, Upto.END),
        )

    def load(self, record: Record) -> None:
        """Take one record in."""
        self.load_many(RecordColumns.of(record))

    def load_many(self, records: RecordColumns) -> None:
        """Take records in; of an item's only the latest is left."""
        if records.topic != self._items_topic:
            for record in records:
                (self.attributes if is_of_user(record) else self.book).note(record)
            return
        keys = [key or b"" for key in records.keys]
        latest = {key: number for number, key in enumerate(keys)}
        gone = [key for key, number in latest.items() if records.values[number] is None]
        kept = {key: records.values[number] or b"" for key, number in latest.items()}
        kept = {key: value for key, value in kept.items() if value}
        try:
            self.items.remove([key.decode() for key in gone])
            if kept:
                # That which was written last, not that whose item came last.
                last = max(kept, key=latest.__getitem__)
                embedding, dimensions = made_of(last, kept[last])
                rows = decode_items(
                    [*kept], [*kept.values()], embedding, dimensions, self._half_life
                )
                self.items.load(rows, embedding, former_of(last, kept[last]))
        except UnicodeDecodeError:
            raise StageError(f"{records.topic}[{records.partition}] has a key not UTF-8") from None
        except RecordError as error:
            place = next(
                (records.place(latest[key]) for key, value in kept.items() if _bad(key, value)),
                f"{records.topic}[{records.partition}]",
            )
            newer = isinstance(error, NewerRecordError)
            raise StageError(
                f"the changelog record {place} "
                + (
                    f"was written by a newer version ({error}): upgrade this process"
                    if newer
                    else f"cannot be read: {error}; another program or version has written it"
                )
            ) from None


def _bad(key: bytes, value: bytes) -> bool:
    try:
        made_of(key, value)
    except RecordError:
        return True
    return False
