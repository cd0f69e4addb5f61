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
from consumer.verify.lifecycle import check_lifecycle
from consumer.verify.report import VerifyError, VerifyResult, ViolationKind
from consumer.verify.whole import WholeAudit
from schemas.changes import SegmentChange, structured_cloudevent
from schemas.lifecycle import LifecycleEvent, structured_lifecycle_event

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


class Summary(BaseModel):
    """The counts of a replay, as it wrote them; other entries are of no concern here."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    records: NonNegativeInt
    accepted: NonNegativeInt
    repeated: NonNegativeInt
    refused: NonNegativeInt
    users: NonNegativeInt | None = None
    changes: NonNegativeInt | None = None
    let_go: LetGo = LetGo()


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
        for source in self._read(files.DEAD_LETTERS, lambda line, _: decode.refused_on(line)):
            engine.dead_letters.add(source, files.DEAD_LETTERS)
        path = self._folder / files.MODEL
        value = path.read_bytes() if path.is_file() else None
        model = self.check_segments(value, files.MODEL, files.MODEL, files.MODEL)
        if (self._folder / files.LIFECYCLE).is_file():
            lives = filter(None, self._read(files.LIFECYCLE, _life))
            check_lifecycle(lives, model, files.LIFECYCLE, self.between)
        else:
            # Replays of earlier versions have none.
            self.unchecked.append(f"the lives of segments: there is no {files.LIFECYCLE}")
        sums = self.finish(self._changes)
        self._check_summary(sums)
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

    def _check_summary(self, sums: Sums) -> None:
        name, malformed = files.SUMMARY, self._malformed
        value = (self._folder / name).read_bytes()
        told = decode.attempt(lambda: decode.read(Summary, value), name, name, self.between)
        if told is None:
            self.not_balanced(f"{name} cannot be read")
            return
        engine = self.engine
        self._compare("refused", told.refused, engine.dead_letters.count)
        self._compare("changes", told.changes, engine.changes + malformed[files.CHANGES])
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

    def _compare(self, name: str, told: int | None, found: int) -> None:
        if told is not None and told != found:
            self.between.add(
                ViolationKind.SUMMARY_DIFFERS,
                files.SUMMARY,
                f"{name} is {told:,}, the files beside it hold {found:,}",
            )


def _change(line: bytes, place: str) -> decode.Told[SegmentChange]:
    return decode.event_on(line, place, SegmentChange, structured_cloudevent)


def _life(line: bytes, place: str) -> decode.Told[LifecycleEvent]:
    return decode.event_on(line, place, LifecycleEvent, structured_lifecycle_event)
