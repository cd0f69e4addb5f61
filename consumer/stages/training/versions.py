"""The latest versions of the segments, to be looked at and to be put in force again.

They are kept beside the topic of the model, which is compacted under one key: who follows that
reads one record, however many versions are kept here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_snapshot
from models.clustering.learner import without_state
from models.segments.model import SegmentModel
from schemas.model_versions import (
    MODEL_VERSION_SCHEMA,
    ModelVersionRecord,
    VersionOrigin,
    version_key,
)

_MOST_BYTES = 256 * 1024 * 1024
"""Of all versions that are kept, which the active trainer has in memory beside all else. Each has
16 MiB at most, as a record, so there are always some."""


def read_version(value: bytes, place: str) -> ModelVersionRecord:
    """Read a kept version.

    Raises
    ------
    StageError
        If it is none; NewerModelError if a newer release has written it.
    """
    return read_snapshot(
        value,
        place,
        ModelVersionRecord.model_validate_json,
        what="version of the segments",
        schema=MODEL_VERSION_SCHEMA,
    )


class KeptVersions:
    """The versions that are kept, and what goes out with a new one.

    Parameters
    ----------
    settings
        The topic, how many are kept, and what new ones are learned with.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.model_versions
        self._training = settings.training
        # As bytes: of a thousand segments fifty are some 200 MB, as models several times that.
        self._values: dict[int, bytes] = {}

    def load(self, record: Record) -> None:
        """Take one record in.

        Raises
        ------
        StageError
            If its key is no version.
        """
        try:
            version = int(record.key or b"")
        except ValueError:
            raise StageError(
                f"{record.place} is no version of the segments: its key is {record.key!r}"
            ) from None
        if record.value is None:
            self._values.pop(version, None)
        else:
            self._values[version] = record.value

    @property
    def numbers(self) -> list[int]:
        """The versions, ascending."""
        return sorted(self._values)

    def find(self, version: int) -> ModelVersionRecord | None:
        """Give a version; None where it is not kept. Raises as `read_version`."""
        value = self._values.get(version)
        return None if value is None else read_version(value, f"version {version} on {self._topic}")

    def keep(
        self,
        model: SegmentModel,
        previous: SegmentModel | None,
        origin: VersionOrigin,
        at: datetime,
        *,
        order: str | None = None,
        settings: dict[str, Any] | None = None,
    ) -> list[Output]:
        """Keep a new version; give the records of the transaction that publishes it.

        Where the one before is not kept, having been published by a release that kept none, it is
        kept along: it can be gone back to. Those beyond the latest get tombstones, and so do the
        oldest where all together are large.

        Parameters
        ----------
        model, previous
            The version, and the one before if there is one.
        origin, at, order
            What made it, when, and by which order.
        settings
            What it was learned with; None for those of now.
        """
        given = self._training.model_dump(mode="json") if settings is None else settings
        coming = {model.version: _entry(model, origin, at, order, given)}
        if previous is not None and previous.version not in self._values:
            rolled = previous.rollback_of is not None
            former = VersionOrigin.ROLLBACK if rolled else VersionOrigin.UNKNOWN
            coming[previous.version] = _entry(previous, former, None, None, {})
        gone = self._beyond(self._values | coming)
        outputs = [
            self._output(version, None) for version in gone if self._values.pop(version, None)
        ]
        for version in sorted(coming.keys() - {*gone}):
            self._values[version] = coming[version]
            outputs.append(self._output(version, coming[version]))
        return outputs

    def _beyond(self, values: Mapping[int, bytes]) -> list[int]:
        """Give the versions for which there is no room, ascending; the latest ones have it."""
        gone: list[int] = []
        room = _MOST_BYTES
        for place, version in enumerate(sorted(values, reverse=True)):
            room -= len(values[version])
            if place >= self._training.kept_versions or room < 0:
                gone.append(version)
        return gone[::-1]

    def _output(self, version: int, value: bytes | None) -> Output:
        return Output(self._topic, version_key(version), value, partition=0)


def _entry(
    model: SegmentModel,
    origin: VersionOrigin,
    at: datetime | None,
    order: str | None,
    settings: dict[str, Any],
) -> bytes:
    kept: dict[str, Any] = {"retired": [], "learner": without_state(model.learner)}
    record = ModelVersionRecord(
        model=model.to_record().model_copy(update=kept),
        origin=origin,
        at=at,
        order=order,
        settings=settings,
    )
    return record.model_dump_json().encode()
