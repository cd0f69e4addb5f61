"""Reads a replay's folder for the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from pydantic_core import from_json

from consumer.contract import folder as files
from consumer.contract.errors import ExpectedError, UsageError
from consumer.offline.observed import Details
from consumer.offline.outcome import Counts
from consumer.page.gathered import ChangesRead, Gathered, UsersRead, by_reason, names_of
from schemas.changes import SegmentChange
from schemas.errors import first_problem
from schemas.lifecycle import LifecycleEvent
from schemas.profiles import ProfileRecord
from schemas.recommendations import SegmentRecommendations
from schemas.segment_model import SegmentModelRecord

_REQUIRED = (files.SUMMARY, files.CHANGES, files.PROFILES)
_NO_ITEMS = (
    "The replay published no items: give it --recommendations.enabled true, and events an item_id."
)
_NO_DETAILS = "The folder is of an earlier version's replay, which noted nothing of it."

_Kept = TypeVar("_Kept", bound=BaseModel)


class _Refused(BaseModel):
    model_config = ConfigDict(extra="ignore")

    reason: str
    field: str | None = None
    count: NonNegativeInt


class _Summary(BaseModel):
    """What the page takes of summary.json."""

    model_config = ConfigDict(extra="ignore")

    records: NonNegativeInt
    accepted: NonNegativeInt
    repeated: NonNegativeInt
    refused: NonNegativeInt
    refused_for: list[_Refused] = []


def check_is_replay(folder: Path) -> None:
    """Check that a folder holds what a replay that has ended leaves there.

    Raises
    ------
    UsageError
        If it does not.
    """
    if missing := [name for name in _REQUIRED if not (folder / name).is_file()]:
        raise UsageError(
            f"{folder} is no folder of a replay that has ended: it holds no {missing[0]}; give the "
            "--output folder of 'segmenter replay'"
        )


def gather_folder(folder: Path) -> Gathered:
    """Read a replay's folder.

    Raises
    ------
    UsageError
        If it is none.
    ExpectedError
        If a file of it cannot be read.
    """
    check_is_replay(folder)
    summary = _whole(folder / files.SUMMARY, _Summary)
    users = UsersRead()
    for profile in _lines(folder / files.PROFILES, ProfileRecord):
        users.put(profile)
    changes = ChangesRead()
    for change in _lines(folder / files.CHANGES, SegmentChange, event=True):
        changes.put(change)
    lives = list(_if_there(folder / files.LIFECYCLE, LifecycleEvent))
    model, details = folder / files.MODEL, folder / files.DETAILS
    segments = _whole(model, SegmentModelRecord) if model.is_file() else None
    noted = _whole(details, Details) if details.is_file() else None
    items = folder / files.RECOMMENDATIONS
    lists = list(_lines(items, SegmentRecommendations)) if items.is_file() else []
    columns, ordered = users.columns(), changes.sorted()
    latest = [ordered[-1].at] if ordered else []
    return Gathered(
        source=f"a replay, in {folder.name or folder.resolve().name}",
        until=max([*latest, *columns.updated.tolist()], default=0.0),
        users=columns,
        changes=ordered,
        lifecycle=lives,
        model=segments,
        names=names_of(changes.names, lives, segments),
        counts=Counts(
            summary.records, summary.accepted, summary.repeated, summary.refused, len(columns)
        ),
        refused=by_reason({(each.reason, each.field): each.count for each in summary.refused_for}),
        details=noted,
        recommendations={each.segment: each for each in lists},
        notes={
            **({} if noted else dict.fromkeys(("input", "texts", "drift"), _NO_DETAILS)),
            **({} if lists else {"items": _NO_ITEMS}),
        },
    )


def _whole(path: Path, kind: type[_Kept]) -> _Kept:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _unreadable(path, error) from None


def _lines(path: Path, kind: type[_Kept], *, event: bool = False) -> Iterator[_Kept]:
    """Read a line at a time; of a CloudEvent its data."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = from_json(line)
                yield kind.model_validate(found["data"] if event else found)
            except ValidationError as error:
                raise _unreadable(path, error, f", line {number:,}") from None
            except (ValueError, TypeError, KeyError):
                raise ExpectedError(f"{path}, line {number:,}, is no record") from None


def _if_there(path: Path, kind: type[_Kept]) -> Iterator[_Kept]:
    if path.is_file():
        yield from _lines(path, kind, event=True)


def _unreadable(path: Path, error: ValidationError, place: str = "") -> ExpectedError:
    return ExpectedError(f"{path}{place} cannot be read: {first_problem(error)}")
