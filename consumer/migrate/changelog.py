"""Reading a partition's changelog with records of several embedding models in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from consumer.contract.records import Record
from consumer.migrate.errors import MigrationError
from models.profiles.table import ProfileTable
from schemas.errors import first_problem
from schemas.profiles import PROFILE_SCHEMA, ProfileRecord

_STANDING = (
    "segment",
    "segment_label",
    "segment_since_event",
    "sequence",
    "model_version",
    "events",
    "repeats",
    "recent_events",
    "labels",
)
"""What a user keeps over a migration. None of it depends on the embedding model. `model_version`
stays the one of the latest decision: the migrated segment model is a later version, so it is new to
everybody and waives dwelling once, as each new version does. The counts stay too: "events counted,
ever" is true of them even where the input's beginning is gone."""


@dataclass(frozen=True, slots=True)
class Former:
    """A user whose latest record is of another embedding model; its vector is not kept."""

    record: ProfileRecord

    @property
    def counts(self) -> tuple[int, int]:
        """Events and repeats."""
        return self.record.events, self.record.repeats

    def migrated(self, profile: ProfileRecord) -> ProfileRecord:
        """Give the user's next record: the profile made anew, the standing as it was.

        Where no event of the user is left, `profile` has a zero vector and a weight of 0, which
        says that nothing is known but the standing. Its reference time is the former one then.
        """
        kept: dict[str, Any] = {name: getattr(self.record, name) for name in _STANDING}
        if not profile.events:
            kept["reference_time"] = self.record.reference_time
        return profile.model_copy(update=kept)


@dataclass(slots=True)
class PartitionState:
    """The users of one partition by the embedding model of their latest record.

    Attributes
    ----------
    table
        Those of the present model.
    formers
        Those of any other, in order of arrival.
    """

    embedding: str
    table: ProfileTable
    formers: dict[str, Former] = field(default_factory=dict)

    def load(self, record: Record) -> None:
        """Take one record of the changelog in.

        Raises
        ------
        MigrationError
            If it cannot be read.
        """
        place = f"{record.topic}[{record.partition}]@{record.offset}"
        if record.value is None:
            user = (record.key or b"").decode("utf-8", "replace")
            self.table.remove(user)
            self.formers.pop(user, None)
            return
        profile = read_profile(record.value, place)
        if profile.embedding != self.embedding:
            self.table.remove(profile.user_id)
            self.formers[profile.user_id] = Former(profile.model_copy(update={"vector": ""}))
            return
        self.formers.pop(profile.user_id, None)
        self.take(profile, place)

    def take(self, profile: ProfileRecord, place: str) -> None:
        """Take a profile of the present model in."""
        try:
            self.table.load(profile)
        except ValueError as error:
            raise MigrationError(f"the changelog record {place} cannot be read: {error}") from None


def read_profile(value: bytes, place: str) -> ProfileRecord:
    """Read a changelog record, of whatever embedding model.

    Raises
    ------
    MigrationError
        If it is of another schema than this version of segmenter writes, or is no profile.
    """
    try:
        document = from_json(value)
    except ValueError as error:
        raise MigrationError(
            f"the changelog record {place} is not JSON: {error}; another program has written it"
        ) from None
    schema = document.get("schema_version") if isinstance(document, dict) else None
    # A record of an older schema is to be brought to the present one here, step by step. There is
    # only one schema so far.
    if schema != PROFILE_SCHEMA:
        raise MigrationError(
            f"the changelog record {place} has schema_version {schema!r}, this version of "
            f"segmenter reads {PROFILE_SCHEMA}: migrate with the version that wrote it, or a later"
        )
    try:
        return ProfileRecord.model_validate(document)
    except ValidationError as error:
        raise MigrationError(
            f"the changelog record {place} cannot be read: {first_problem(error)}; "
            "another program has written it"
        ) from None
