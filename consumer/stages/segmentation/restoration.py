"""Reading one partition's profiles back: from its changelog, or a checkpoint and what follows."""

from __future__ import annotations

from functools import cached_property

from consumer.contract.records import Record, RecordColumns
from consumer.contract.stage import (
    Changelog,
    Columns,
    OtherVersionError,
    StageError,
    StateKind,
    Upto,
)
from models.embedding.runner_types import Embedder
from models.profiles.codec import RecordAtError, decode
from models.profiles.snapshot import OtherLayoutError, table_of
from models.profiles.table import ProfileRows, ProfileTable
from schemas.binary import NewerRecordError, RecordError
from schemas.profiles import PROFILE_SCHEMA


class ProfileRestoration:
    """Reads one partition's profiles back from the changelog."""

    def __init__(
        self,
        topic: str,
        partition: int,
        embedder: Embedder,
        memory: int,
        float16_limit: float | None = None,
        *,
        references: int = 0,
        items: int | None = None,
    ) -> None:
        self.changelogs = (Changelog(topic, partition, Upto.END, needs_offset=True),)
        self.table = ProfileTable(
            embedder.dimensions, memory, float16_limit, references=references, items=items
        )
        # Users whose latest record is of another embedding model: place and model. Before the topic
        # is compacted, a migrated user's former record is still there, ahead of the new one.
        self.former: dict[str, tuple[str, str]] = {}
        self._embedding = embedder.identity

    @cached_property
    def latest_version(self) -> int:
        """The latest segment model that has decided on a user; not before all was read back."""
        return self.table.latest_version()

    @property
    def kind(self) -> StateKind:
        """What a checkpoint has to have in common with this worker's profiles."""
        limit = self.table.float16_limit
        return {
            "schema_version": PROFILE_SCHEMA,
            "embedding": self._embedding,
            "dimensions": self.table.dimensions,
            "event_memory": self.table.memory,
            "precision": "float32" if limit is None else f"float16 up to {limit:g}",
            "references": self.table.references,
            **({} if self.table.items is None else {"items": self.table.items}),
        }

    def resume(self, columns: Columns) -> int:
        """Take the profiles of a checkpoint over.

        Raises
        ------
        SnapshotError, OtherVersionError
            If the columns make up no profiles of this kind; the table then is as it was.
        """
        table = self.table
        try:
            self.table = table_of(
                columns,
                table.dimensions,
                table.memory,
                table.float16_limit,
                references=table.references,
                items=table.items,
            )
        except OtherLayoutError as error:
            raise OtherVersionError(str(error)) from None
        return len(self.table)

    def load(self, record: Record) -> None:
        """Take one record of the changelog in."""
        self.load_many(RecordColumns.of(record))

    def load_many(self, records: RecordColumns) -> None:
        """Take records of the changelog in; of a user's only the latest is left."""
        try:
            read = decode(
                records.keys,
                records.values,
                self._embedding,
                self.table.dimensions,
                self.table.memory,
                references=self.table.references,
                items=self.table.items,
            )
        except RecordAtError as error:
            raise _unreadable(records.place(error.number), error.reason) from None
        latest = {user: number for number, user in enumerate(read.rows.users)}
        if len(latest) == len(records) and not (self.former or read.tombstones or read.foreign):
            self.table.put(read.rows)
            return
        own = []
        for user, number in latest.items():
            if self.former:
                self.former.pop(user, None)
            if number in read.tombstones:
                self.table.remove(user)
            elif (embedding := read.foreign.get(number)) is not None:
                self.table.remove(user)
                self.former[user] = (records.place(number), embedding)
                self.set_aside(read.rows, number, embedding)
            else:
                own.append(number)
        self.table.put(read.rows if len(own) == len(records) else read.rows.take(own))

    def set_aside(self, rows: ProfileRows, row: int, embedding: str) -> None:
        """Be told of a user whose latest record is of another embedding model."""

    def check(self) -> None:
        """Make sure that all that was read back is of this worker's embedding model.

        Raises
        ------
        StageError
            If a user's latest record is of another one.
        """
        for place, embedding in self.former.values():
            raise StageError(
                f"the changelog record {place} was made with the embedding model "
                f"{embedding[:12]}, this worker runs {self._embedding[:12]}; profiles of "
                "two models cannot be mixed: run the former model, bring the group to this one "
                "with 'segmenter migrate', or give a new kafka.group_id and new topics"
            )


def _unreadable(place: str, reason: RecordError) -> StageError:
    if isinstance(reason, NewerRecordError):
        return StageError(
            f"the changelog record {place} was written by a newer version ({reason}): "
            "upgrade this worker"
        )
    return StageError(
        f"the changelog record {place} cannot be read: {reason}; "
        "it was written by another version or another program"
    )
