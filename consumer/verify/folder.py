"""Audits the folder that `segmenter replay` wrote."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from consumer.contract import folder as files
from consumer.verify import decode
from consumer.verify.engine import Sums
from consumer.verify.ledger import UNREADABLE_MEMBERSHIP, UNREADABLE_PROFILE
from consumer.verify.lifecycle import check_lifecycle, check_segment_states
from consumer.verify.report import VerifyError, VerifyResult, ViolationKind
from consumer.verify.whole import WholeAudit
from schemas.changes import SegmentChange, structured_cloudevent
from schemas.lifecycle import LifecycleEvent, structured_lifecycle_event
from schemas.segment_model import SegmentModelRecord
from schemas.segments import SegmentState

logger = logging.getLogger(__name__)

_REQUIRED = (
    files.CHANGES,
    files.MEMBERSHIPS,
    files.PROFILES,
    files.DEAD_LETTERS,
    files.SUMMARY,
)

T = TypeVar("T")


class LetGo(BaseModel):
    """What was counted of users who fell silent, whose profiles are gone."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    users: NonNegativeInt = 0
    accepted: NonNegativeInt = 0
    repeated: NonNegativeInt = 0


class Size(BaseModel):
    """How many users a segment has in the end; without an id, those in none."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: int | None
    label: str
    users: NonNegativeInt


class Summary(BaseModel):
    """The counts of a replay, as it wrote them; other entries are of no concern here.

    Those with a default are not in the summary of an earlier version.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    records: NonNegativeInt
    accepted: NonNegativeInt
    repeated: NonNegativeInt
    refused: NonNegativeInt
    users: NonNegativeInt | None = None
    changes: NonNegativeInt | None = None
    lifecycle_events: NonNegativeInt | None = None
    segments: NonNegativeInt | None = None
    model_version: NonNegativeInt | None = None
    sizes: list[Size] | None = None
    let_go: LetGo = LetGo()


def check_ended(folder: Path) -> None:
    """Check that a folder holds what a replay that has ended leaves there.

    Raises
    ------
    VerifyError
        If it does not.
    """
    if missing := [name for name in _REQUIRED if not (folder / name).is_file()]:
        raise VerifyError(
            f"{folder} holds no {missing[0]}: give the --output folder of a replay that has ended"
        )


def verify_folder(folder: Path) -> VerifyResult:
    """Audit a replay's folder.

    Raises
    ------
    VerifyError
        If it is not the folder of a finished replay, or cannot be read.
    """
    check_ended(folder)
    try:
        audit = _FolderAudit(folder)
        audit.run()
    except OSError as error:
        raise VerifyError(f"cannot read {folder}: {error}") from error
    return audit.result(f"folder {folder}")


class _FolderAudit(WholeAudit):
    """One pass over the files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        # Lines that cannot be read, by file.
        self._malformed: Counter[str] = Counter()
        self._lives = 0
        # Users with a profile, by segment.
        self._sizes: Counter[int | None] = Counter()

    def run(self) -> None:
        """Read every file once."""
        engine = self.engine
        for told in filter(None, self._read(files.CHANGES, _change)):
            engine.change(told, decode.canonical(told.event))
        for user, membership in self._by_user(
            files.MEMBERSHIPS, decode.membership, UNREADABLE_MEMBERSHIP
        ):
            engine.membership(user, membership)
        for user, profile in self._by_user(files.PROFILES, decode.profile, UNREADABLE_PROFILE):
            engine.profile(user, profile)
            self._sizes[profile.standing.segment] += 1
        for source in self._read(files.DEAD_LETTERS, lambda line, _: decode.refused_on(line)):
            engine.dead_letters.add(source, files.DEAD_LETTERS)
        path = self._folder / files.MODEL
        value = path.read_bytes() if path.is_file() else None
        model = self.check_segments(value, files.MODEL, files.MODEL, files.MODEL)
        if (self._folder / files.LIFECYCLE).is_file():
            lives = [*filter(None, self._read(files.LIFECYCLE, _life))]
            self._lives = len(lives) + self._malformed[files.LIFECYCLE]
            check_lifecycle(lives, model, files.LIFECYCLE, self.between)
        else:
            # Replays of earlier versions have none.
            self.unchecked.append(f"the lives of segments: there is no {files.LIFECYCLE}")
        if (self._folder / files.SEGMENTS).is_file():
            lines = (self._folder / files.SEGMENTS).read_bytes().splitlines()
            states = {
                _segment_of(line) or f"line {place}": line for place, line in enumerate(lines, 1)
            }
            if reason := check_segment_states(states, model, files.SEGMENTS, self.between):
                self.unchecked.append(f"{files.SEGMENTS}: {reason}")
        sums = self.finish(self._changes)
        self._check_summary(sums, model, there=value is not None)
        logger.info("%s: %d changes of %d users audited", self._folder, engine.changes, sums.users)

    # --- the files --------------------------------------------------------------------------

    def _lines(
        self, name: str, read: Callable[[bytes, str], T]
    ) -> Iterator[tuple[bytes, T | None]]:
        """Give each line with what it says, None where that cannot be read (and is reported)."""
        with (self._folder / name).open("rb") as file:
            for number, line in enumerate(file, start=1):
                place = f"line {number}"
                found = decode.attempt(partial(read, line, place), place, name, self.in_changes)
                self._malformed[name] += found is None
                yield line, found

    def _read(self, name: str, read: Callable[[bytes, str], T]) -> Iterator[T | None]:
        return (found for _, found in self._lines(name, read))

    def _changes(self) -> Iterator[SegmentChange]:
        """Give the changes that can be read, once more."""
        with (self._folder / files.CHANGES).open("rb") as file:
            for line in file:
                with suppress(decode.MalformedError):
                    yield _change(line, "").event

    def _by_user(
        self, name: str, read: Callable[[bytes], tuple[str, T]], unreadable: T
    ) -> Iterator[tuple[str, T]]:
        """Give the lines of a file that has one for each user."""
        users: set[str] = set()
        for line, found in self._lines(name, lambda line, _: read(line)):
            user, facts = found or (decode.user_on(line), unreadable)
            if user is None:
                continue
            if user in users:
                sentence = f"has more than one line in {name}"
                self.between.add(ViolationKind.REPEATED_USER, user, sentence)
                continue
            users.add(user)
            yield user, facts

    # --- the sums ---------------------------------------------------------------------------

    def _check_summary(self, sums: Sums, model: SegmentModelRecord | None, *, there: bool) -> None:
        name, malformed = files.SUMMARY, self._malformed
        value = (self._folder / name).read_bytes()
        told = decode.attempt(lambda: decode.read(Summary, value), name, name, self.between)
        if told is None:
            self.not_balanced(f"{name} cannot be read")
            return
        engine = self.engine
        self._compare("refused", told.refused, engine.dead_letters.count)
        self._compare("changes", told.changes, engine.changes + malformed[files.CHANGES])
        if (self._folder / files.LIFECYCLE).is_file():
            self._compare("lifecycle_events", told.lifecycle_events, self._lives)
        if model is not None or not there:
            self._check_model(told, model)
        self.counts = replace(self.counts, records=told.records)
        if malformed[files.PROFILES]:
            self.not_balanced(
                f"lines of {files.PROFILES} cannot be read, so the events in them are not known"
            )
            return
        sums = sums._replace(
            accepted=sums.accepted + told.let_go.accepted,
            repeated=sums.repeated + told.let_go.repeated,
        )
        self._compare("accepted", told.accepted, sums.accepted)
        self._compare("repeated", told.repeated, sums.repeated)
        self._compare("users", told.users, sums.users)
        self.balance(name, told.records, sums)

    def _check_model(self, told: Summary, model: SegmentModelRecord | None) -> None:
        """Hold what the summary says of the segments against the model and the profiles."""
        version = model.version if model else None
        if "model_version" in told.model_fields_set and told.model_version != version:
            self._differs(
                f"model_version is {_number(told.model_version)}, {files.MODEL} is "
                + ("not there" if version is None else f"of version {version:,}")
            )
        segments = {each.id: each.label for each in model.segments} if model else {}
        self._compare("segments", told.segments, len(segments))
        if told.sizes is None or self._malformed[files.PROFILES]:
            return
        found: dict[int | None, tuple[int | None, str | None]] = {
            segment: (self._sizes[segment], label) for segment, label in segments.items()
        }
        if model is not None and (outside := self._sizes[None]):
            found[None] = (outside, "no segment")
        sizes = {each.id: (each.users, each.label) for each in told.sizes}
        self._compare("the number of sizes", len(told.sizes), len(found))
        for segment in sorted(sizes.keys() | found.keys(), key=lambda each: (each is None, each)):
            name = "no segment" if segment is None else f"segment {segment}"
            users, label = sizes.get(segment, (None, None))
            counted, right = found.get(segment, (None, None))
            if users != counted:
                self._differs(
                    f"sizes has {_number(users)} users in {name}, the files beside it "
                    f"{_number(counted)}"
                )
            elif label != right:
                self._differs(f"sizes calls {name} otherwise than {files.MODEL}")

    def _differs(self, sentence: str) -> None:
        self.between.add(ViolationKind.SUMMARY_DIFFERS, files.SUMMARY, sentence)

    def _compare(self, name: str, told: int | None, found: int) -> None:
        if told is not None and told != found:
            self._differs(f"{name} is {told:,}, the files beside it hold {found:,}")


def _number(count: int | None) -> str:
    return "none" if count is None else f"{count:,}"


def _change(line: bytes, place: str) -> decode.Told[SegmentChange]:
    return decode.event_on(line, place, SegmentChange, structured_cloudevent)


def _segment_of(line: bytes) -> str | None:
    """Give the id that a line of segments tells, None where it cannot be read."""
    with suppress(decode.MalformedError):
        return str(decode.read(SegmentState, line).id)
    return None


def _life(line: bytes, place: str) -> decode.Told[LifecycleEvent]:
    return decode.event_on(line, place, LifecycleEvent, structured_lifecycle_event)
