"""Reading a partition's changelog with records of several embedding models in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consumer.stages.segmentation.restoration import ProfileRestoration
from models.embedding.runner_types import Embedder
from models.profiles.table import ProfileRows
from schemas.profiles import ProfileRecord

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
    """A user whose latest record is of another embedding model; its vector is not kept.

    `extra` are sections of it that this version does not know.
    """

    record: ProfileRecord
    extra: bytes = b""

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
        # Which items a user has is no matter of vectors; of before it was kept, the input tells.
        kept["items"] = self.record.items or profile.items
        if not profile.events:
            kept["reference_time"] = self.record.reference_time
        return profile.model_copy(update=kept)


class PartitionState(ProfileRestoration):
    """The users of one partition by the embedding model of their latest record.

    Those of the present model are in `table`.
    """

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
        super().__init__(
            topic,
            partition,
            embedder,
            memory,
            float16_limit,
            references=references,
            items=items,
        )
        self._formers: dict[str, Former] = {}

    def set_aside(self, rows: ProfileRows, row: int, embedding: str) -> None:
        """Keep all that is known of a user whose latest record is of another embedding model."""
        record = rows.to_record(row, embedding).model_copy(update={"vector": ""})
        self._formers[record.user_id] = Former(record, rows.extra[row])

    @property
    def formers(self) -> dict[str, Former]:
        """Users whose latest record is of another embedding model."""
        return {user: self._formers[user] for user in self.former}
