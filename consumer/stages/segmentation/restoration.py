"""Reading one partition's profiles back: from its changelog, or a checkpoint and what follows."""

from __future__ import annotations

from pydantic import ValidationError

from consumer.contract.records import Record
from consumer.contract.stage import Changelog, Columns, StageError, StateKind, Upto
from models.embedding.runner_types import Embedder
from models.profiles.snapshot import table_of
from models.profiles.table import ProfileTable
from schemas.base import claimed_schema
from schemas.errors import first_problem
from schemas.profiles import PROFILE_SCHEMA, ProfileRecord


class ProfileRestoration:
    """Reads one partition's profiles back from the changelog."""

    def __init__(self, topic: str, partition: int, embedder: Embedder, memory: int) -> None:
        self.changelogs = (Changelog(topic, partition, Upto.END, needs_offset=True),)
        self.table = ProfileTable(embedder.dimensions, memory)
        # Users whose latest record is of another embedding model: place and model. Before the topic
        # is compacted, a migrated user's former record is still there, ahead of the new one.
        self.former: dict[str, tuple[str, str]] = {}
        self._embedding = embedder.identity

    @property
    def kind(self) -> StateKind:
        """What a checkpoint has to have in common with this worker's profiles."""
        return {
            "schema_version": PROFILE_SCHEMA,
            "embedding": self._embedding,
            "dimensions": self.table.dimensions,
            "event_memory": self.table.memory,
        }

    def resume(self, columns: Columns) -> int:
        """Take the profiles of a checkpoint over.

        Raises
        ------
        SnapshotError
            If the columns make up no profiles of this kind; the table then is as it was.
        """
        self.table = table_of(columns, self.table.dimensions, self.table.memory)
        return len(self.table)

    def load(self, record: Record) -> None:
        """Take one record of the changelog in."""
        place = f"{record.topic}[{record.partition}]@{record.offset}"
        try:
            if record.value is None:
                user = (record.key or b"").decode()
                self.table.remove(user)
                self.former.pop(user, None)
                return
            profile = ProfileRecord.model_validate_json(record.value)
        except ValidationError as error:
            if (schema := claimed_schema(record.value)) > PROFILE_SCHEMA:
                raise StageError(
                    f"the changelog record {place} was written by a newer version (schema "
                    f"{schema}; this one knows {PROFILE_SCHEMA}): upgrade this worker"
                ) from None
            raise _unreadable(place, first_problem(error)) from None
        except UnicodeDecodeError:
            raise _unreadable(place, "its key is not UTF-8") from None
        if profile.embedding != self._embedding:
            self.table.remove(profile.user_id)
            self.set_aside(profile, place)
            return
        self.former.pop(profile.user_id, None)
        self.take(profile, place)

    def set_aside(self, profile: ProfileRecord, place: str) -> None:
        """Note a user whose latest record is of another embedding model."""
        self.former[profile.user_id] = (place, profile.embedding)

    def take(self, profile: ProfileRecord, place: str) -> None:
        """Take a profile of this embedding model in."""
        try:
            self.table.load(profile)
        except ValueError as error:
            raise _unreadable(place, str(error)) from None

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


def _unreadable(place: str, reason: str) -> StageError:
    return StageError(
        f"the changelog record {place} cannot be read: {reason}; "
        "it was written by another version or another program"
    )
