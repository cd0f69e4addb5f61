"""Audits the folder that `segmenter replay` wrote."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from pydantic_core import from_json

from consumer.contract.folder import (
    CHANGES,
    DEAD_LETTERS,
    LIFECYCLE,
    MEMBERSHIPS,
    MODEL,
    PROFILES,
    SUMMARY,
)
from consumer.verify import invariants
from consumer.verify.decode import (
    MalformedError,
    envelope_faults,
    read_change,
    read_profile,
)
from consumer.verify.embeddings import EmbeddingTally
from consumer.verify.facts import LatestChange, ProfileFacts, SeenChange
from consumer.verify.invariants import ProfileSums
from consumer.verify.lifecycle import SeenLifecycle, check_lifecycle
from consumer.verify.report import Counts, VerifyError, VerifyResult, ViolationKind, Violations
from schemas.changes import SegmentChange, structured_cloudevent
from schemas.dead_letters import DeadLetter
from schemas.errors import first_problem
from schemas.lifecycle import LifecycleEvent, structured_lifecycle_event
from schemas.segment_model import SegmentModelRecord

logger = logging.getLogger(__name__)

_REQUIRED = (CHANGES, MEMBERSHIPS, PROFILES, DEAD_LETTERS, SUMMARY)

T = TypeVar("T")


class Summary(BaseModel):
    """The counts of a replay, as it wrote them; other entries are of no concern here."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    records: NonNegativeInt
    accepted: NonNegativeInt
    repeated: NonNegativeInt
    refused: NonNegativeInt
    users: NonNegativeInt | None = None
    changes: NonNegativeInt | None = None


def verify_folder(folder: Path) -> VerifyResult:
    """Audit a replay's folder.

    Raises
    ------
    VerifyError
        If it is not the folder of a finished replay, or cannot be read.
    """
    if missing := [name for name in _REQUIRED if not (folder / name).is_file()]:
        raise VerifyError(
            f"{folder} holds no {missing[0]}: give the --output folder of a replay that has ended"
        )
    try:
        return _FolderAudit(folder).run()
    except OSError as error:
        raise VerifyError(f"cannot read {folder}: {error}") from error


class _FolderAudit:
    """One pass over the files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._violations = Violations()
        self._embeddings = EmbeddingTally()
        self._unchecked: list[str] = []
        # Lines that cannot be read, by file.
        self._malformed: Counter[str] = Counter()

    def run(self) -> VerifyResult:
        """Read every file once, in the order that the checks need."""
        violations, embeddings = self._violations, self._embeddings
        chains = invariants.follow_chains(self._changes(), violations, embeddings)
        if later := chains.later.untold():
            self._unchecked.append(later)
        standings = invariants.compare_memberships(self._memberships(), chains, violations)
        sums = invariants.compare_profiles(
            self._profiles(), standings, violations, embeddings, chains.labels
        )
        refused = invariants.count_dead_letters(self._refused(), DEAD_LETTERS, violations)
        if model := self._model():
            embeddings.add_model(model.embedding, model.version, MODEL)
            if reason := invariants.check_segments(chains, model, violations):
                self._unchecked.append(reason)
        self._check_lifecycle(model)
        embeddings.report(violations)
        summary = self._check_summary(sums, refused, chains.count)
        logger.info("%s: %d changes of %d users audited", self._folder, chains.count, sums.users)
        return VerifyResult(
            source=f"folder {self._folder}",
            counts=Counts(
                records=summary.records if summary else None,
                accepted=sums.accepted,
                repeated=sums.repeated,
                refused=refused,
                changes=chains.count,
                users=sums.users,
                members=sums.members,
            ),
            violations=tuple(violations.first),
            violations_by_kind=dict(violations.by_kind),
            unchecked=tuple(self._unchecked),
        )

    # --- the files --------------------------------------------------------------------------

    def _lines(self, name: str, parse: Callable[[bytes], T]) -> Iterator[tuple[bytes, T | None]]:
        """Give each line with what it says, None where that cannot be read (and is reported)."""
        with (self._folder / name).open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line, parse(line)
                except MalformedError as error:
                    self._malformed[name] += 1
                    self._violations.add(
                        ViolationKind.MALFORMED, name, f"line {number} cannot be read: {error}"
                    )
                    yield line, None

    def _by_user(
        self, name: str, parse: Callable[[bytes], tuple[str, T]]
    ) -> Iterator[tuple[str, T | None]]:
        """Give the lines of a file that has one for each user."""
        users: set[str] = set()
        for line, entry in self._lines(name, parse):
            user, value = entry or (_user_id(line), None)
            if user is None:
                continue
            if user in users:
                self._violations.add(
                    ViolationKind.REPEATED_USER, user, f"has more than one line in {name}"
                )
                continue
            users.add(user)
            yield user, value

    def _changes(self) -> Iterator[SeenChange]:
        for _, event in self._lines(CHANGES, _read_event):
            if event is None:
                continue
            seen, faults = event
            if faults:
                self._violations.add(
                    ViolationKind.ENVELOPE,
                    seen.change.user_id,
                    f"the event of change {seen.change.sequence} does not fit it in "
                    f"{', '.join(faults)}",
                )
            yield seen

    def _memberships(self) -> Iterator[tuple[str, LatestChange | None]]:
        def parse(line: bytes) -> tuple[str, LatestChange]:
            change = read_change(line)
            return change.user_id, LatestChange.of(change)

        return self._by_user(MEMBERSHIPS, parse)

    def _profiles(self) -> Iterator[tuple[str, ProfileFacts | None]]:
        def parse(line: bytes) -> tuple[str, ProfileFacts]:
            profile = read_profile(line)
            return profile.user_id, ProfileFacts.of(profile)

        return self._by_user(PROFILES, parse)

    def _refused(self) -> Iterator[tuple[str, int, int] | None]:
        def parse(line: bytes) -> tuple[str, int, int]:
            try:
                letter = DeadLetter.model_validate_json(line)
            except ValidationError as error:
                raise MalformedError(first_problem(error)) from None
            return letter.topic, letter.partition, letter.offset

        return (source for _, source in self._lines(DEAD_LETTERS, parse))

    def _check_lifecycle(self, model: SegmentModelRecord | None) -> None:
        if not (self._folder / LIFECYCLE).is_file():
            # Replays of earlier versions have none.
            self._unchecked.append(f"the lives of segments: there is no {LIFECYCLE}")
            return
        check_lifecycle(self._lifecycle(), model, LIFECYCLE, self._violations)

    def _lifecycle(self) -> Iterator[SeenLifecycle]:
        for _, parsed in self._lines(LIFECYCLE, _read_lifecycle):
            if parsed is None:
                continue
            seen, faults = parsed
            if faults:
                self._violations.add(
                    ViolationKind.ENVELOPE,
                    LIFECYCLE,
                    f"the event of segment {seen.event.segment} in version {seen.event.version} "
                    f"does not fit what is in it in {', '.join(faults)}",
                )
            yield seen

    def _model(self) -> SegmentModelRecord | None:
        path = self._folder / MODEL
        if not path.is_file():
            self._unchecked.append(f"that segments exist: there is no {MODEL}")
            return None
        try:
            return SegmentModelRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            self._violations.add(
                ViolationKind.MALFORMED, MODEL, f"cannot be read: {first_problem(error)}"
            )
            self._unchecked.append(f"that segments exist: {MODEL} cannot be read")
            return None

    # --- the sums ---------------------------------------------------------------------------

    def _check_summary(self, sums: ProfileSums, refused: int, changes: int) -> Summary | None:
        try:
            summary = Summary.model_validate_json((self._folder / SUMMARY).read_bytes())
        except ValidationError as error:
            self._violations.add(
                ViolationKind.MALFORMED, SUMMARY, f"cannot be read: {first_problem(error)}"
            )
            self._unchecked.append(
                f"that input = accepted + repeated + refused: {SUMMARY} cannot be read"
            )
            return None
        self._compare("refused", summary.refused, refused)
        self._compare("changes", summary.changes, changes + self._malformed[CHANGES])
        if self._malformed[PROFILES]:
            self._unchecked.append(
                "that input = accepted + repeated + refused: lines of "
                f"{PROFILES} cannot be read, so the events in them are not known"
            )
            return summary
        self._compare("accepted", summary.accepted, sums.accepted)
        self._compare("repeated", summary.repeated, sums.repeated)
        self._compare("users", summary.users, sums.users)
        invariants.check_balance(
            SUMMARY,
            self._violations,
            records=summary.records,
            accepted=sums.accepted,
            repeated=sums.repeated,
            refused=refused,
        )
        return summary

    def _compare(self, name: str, told: int | None, found: int) -> None:
        if told is not None and told != found:
            self._violations.add(
                ViolationKind.SUMMARY_DIFFERS,
                SUMMARY,
                f"{name} is {told:,}, the files beside it hold {found:,}",
            )


def _read_event(line: bytes) -> tuple[SeenChange, list[str]]:
    """Read a structured CloudEvent: the change, and the attributes that do not fit it."""
    event, recorded_id, source = _envelope(line)
    try:
        change = SegmentChange.model_validate(event.get("data"))
    except ValidationError as error:
        raise MalformedError(f"data: {first_problem(error)}") from None
    expected = structured_cloudevent(change, source)
    # The id has a check of its own: it tells more than that it differs.
    del expected["id"]
    return SeenChange(change, recorded_id), envelope_faults(expected, event)


def _read_lifecycle(line: bytes) -> tuple[SeenLifecycle, list[str]]:
    """Read a lifecycle event in the same way."""
    event, recorded_id, source = _envelope(line)
    try:
        told = LifecycleEvent.model_validate(event.get("data"))
    except ValidationError as error:
        raise MalformedError(f"data: {first_problem(error)}") from None
    expected = structured_lifecycle_event(told, source)
    del expected["id"]
    return SeenLifecycle(told, recorded_id), envelope_faults(expected, event)


def _envelope(line: bytes) -> tuple[dict[str, object], str, str]:
    """Read a structured CloudEvent: all of it, its id and its source."""
    event = _object(line)
    recorded_id, source = event.get("id"), event.get("source")
    if not isinstance(recorded_id, str) or not isinstance(source, str) or not source:
        raise MalformedError("it is no CloudEvent: id and source must be strings")
    return event, recorded_id, source


def _object(line: bytes) -> dict[str, object]:
    try:
        value = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        # The parser's messages give a place and what it expected there, never the input.
        raise MalformedError(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object")
    return value


def _user_id(line: bytes) -> str | None:
    """Give the user of a line that is otherwise not readable, where that much can be read."""
    try:
        user = _object(line).get("user_id")
    except MalformedError:
        return None
    return user if isinstance(user, str) else None
