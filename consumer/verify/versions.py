"""What must hold of the versions of the segments that are kept, and of what is put down to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consumer.verify.decode import MalformedError, read
from consumer.verify.report import Finding, ViolationKind, Violations
from schemas.base import claimed_schema
from schemas.changes import ChangeReason, SegmentChange
from schemas.model_versions import MODEL_VERSION_SCHEMA, ModelVersionRecord
from schemas.segment_model import SEGMENT_MODEL_SCHEMA, SegmentModelRecord

_LEARNED = {
    ChangeReason.MODEL_UPDATE,
    ChangeReason.SEGMENT_MERGED,
    ChangeReason.SEGMENT_SPLIT,
}
"""Reasons of what was learned: nothing was, under a version that an operator has put in force."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept in memory of a version."""

    segments: int
    """A hash of ids and centres."""
    since: dict[int, int]
    rollback_of: int | None
    next_id: int


class VersionAudit:
    """Takes the records of `segment-model-versions` in their order, then judges.

    Versions that were removed since count as long as the log still has them.

    Parameters
    ----------
    subject
        The topic.
    violations
        Where the findings go.
    """

    def __init__(self, subject: str, violations: Violations) -> None:
        self._subject = subject
        self._violations = violations
        self._seen: dict[int, _Seen] = {}
        self._born: dict[int, int] = {}
        self._latest = 0
        self.newer = 0
        """Records of a newer format, of which nothing is known."""
        self.unknown = 0
        """Changes with the reason `rollback` whose version is not kept any more."""

    def _violated(self, detail: str) -> None:
        self._violations.add(ViolationKind.VERSION, self._subject, detail)

    def add(self, key: bytes | None, value: bytes | None, place: str) -> None:
        """Take one record."""
        if value is None:
            return
        try:
            record = read(ModelVersionRecord, value)
        except MalformedError as error:
            if _is_newer(value):
                self.newer += 1
            else:
                sentence = f"{place} cannot be read: {error}"
                self._violations.add(ViolationKind.MALFORMED, self._subject, sentence)
            return
        model = record.model
        if key != b"%d" % model.version:
            self._violated(f"{place} is version {model.version} under another key")
        if model.version in self._seen:
            self._violated(f"version {model.version} was written twice")
            return
        if model.version < self._latest:
            self._violated(f"version {model.version} came after version {self._latest}")
        self._latest = max(self._latest, model.version)
        seen = self._seen[model.version] = _seen(model)
        for finding in self._against_others(model.version, seen):
            self._violated(finding)

    def _against_others(self, version: int, seen: _Seen) -> Iterator[str]:
        if seen.since and max(seen.since) >= seen.next_id:
            yield f"version {version} has segment {max(seen.since)}, and would give its id again"
        former = self._seen.get(version - 1)
        if former is not None and seen.next_id < former.next_id:
            yield f"version {version} gives ids again that version {version - 1} has given"
        for segment, since in seen.since.items():
            if (born := self._born.setdefault(segment, since)) != since:
                yield (
                    f"segment {segment} was born in version {since}, says version {version}; an "
                    f"earlier one says in version {born}"
                )
        if seen.rollback_of is not None:
            source = self._seen.get(seen.rollback_of)
            if seen.rollback_of >= version:
                yield f"version {version} is the rollback to version {seen.rollback_of}, no earlier"
            elif source is not None and source.segments != seen.segments:
                yield (
                    f"version {version} is the rollback to version {seen.rollback_of} and has "
                    "other segments"
                )
        elif former is not None:
            for segment in sorted(seen.since.keys() - former.since.keys()):
                if seen.since[segment] < version:
                    yield (
                        f"segment {segment} comes back in version {version}, which is no rollback"
                    )

    def check_model(self, model: SegmentModelRecord | None) -> None:
        """Hold the versions against the latest segment model, which is at least as late."""
        if model is None or not self._seen:
            return
        if self._latest > model.version:
            self._violated(
                f"version {self._latest} is kept, and the latest segment model is of version "
                f"{model.version}"
            )
        elif (kept := self._seen.get(model.version)) is not None and kept != _seen(model):
            self._violated(f"version {model.version} is kept otherwise than it is in force")

    def change(self, change: SegmentChange) -> Iterator[Finding]:
        """Hold a change's reason against its version: a rollback's is `rollback`, and no other."""
        rollback = change.reason is ChangeReason.ROLLBACK
        if not (rollback or change.reason in _LEARNED):
            return
        seen = self._seen.get(change.model.version)
        if seen is None:
            self.unknown += rollback
        elif rollback != (seen.rollback_of is not None):
            yield (
                ViolationKind.VERSION,
                f"change {change.sequence} has the reason {change.reason!s} under version "
                f"{change.model.version}, which is "
                + ("no rollback" if rollback else f"the rollback to version {seen.rollback_of}"),
            )

    def unchecked(self) -> Iterator[str]:
        """Say what could not be looked at."""
        if self.newer:
            yield (
                f"{self._subject}: {self.newer:,} versions are of a newer format than this "
                "version knows"
            )
        if self.unknown:
            yield (
                f"that {self.unknown:,} changes with the reason rollback have one: their versions "
                "are not kept any more"
            )


def _seen(model: SegmentModelRecord) -> _Seen:
    return _Seen(
        segments=hash(tuple((segment.id, segment.centre) for segment in model.segments)),
        since={segment.id: segment.since for segment in model.segments},
        rollback_of=model.rollback_of,
        next_id=model.next_id,
    )


def _is_newer(value: bytes) -> bool:
    """Tell whether a record, or the model in it, says to be of a newer format."""
    newer_model = claimed_schema(value, "model") > SEGMENT_MODEL_SCHEMA
    return newer_model or claimed_schema(value) > MODEL_VERSION_SCHEMA
