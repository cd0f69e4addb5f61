"""The audit of a replay's folder: its sums, what retention explains, and what it says."""

from __future__ import annotations

import base64
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.verify import VerifyError, VerifyResult, Violation, ViolationKind, verify_folder
from consumer.verify.decode import Told, canonical
from consumer.verify.engine import Engine
from consumer.verify.ledger import MembershipFacts, ProfileFacts
from consumer.verify.report import MAX_KEPT, Counts, Violations
from schemas.arrays import encode_array
from schemas.changes import ChangeStatus, SegmentRef
from tests.consumer.verify.histories import (
    History,
    ReplayFiles,
    UserPath,
    histories,
    history_of,
)

Kind = ViolationKind


@pytest.fixture
def files() -> ReplayFiles:
    """Three users: one who moves twice, one who leaves, one who never was in a segment."""
    return ReplayFiles.of(
        history_of(
            {
                "ann": UserPath([1, 2, 4], repeats=2, by_model=frozenset({1})),
                "bob": UserPath([0, None]),
                "cat": UserPath(),
            },
            refused=2,
        )
    )


@pytest.fixture
def audit(files: ReplayFiles, tmp_path: Path) -> Callable[[], VerifyResult]:
    return lambda: verify_folder(files.write(tmp_path))


def found(result: VerifyResult) -> dict[tuple[Kind, str], int]:
    """Count violations by kind and subject."""
    counts: dict[tuple[Kind, str], int] = {}
    for entry in result.violations:
        counts[entry.kind, entry.subject] = counts.get((entry.kind, entry.subject), 0) + 1
    return counts


def detail(result: VerifyResult, kind: Kind) -> str:
    (entry,) = (entry for entry in result.violations if entry.kind is kind)
    return entry.detail


def of_user(events: list[Any], user: str) -> list[int]:
    """Give the places of a user's lines."""
    return [i for i, e in enumerate(events) if e.get("subject", e.get("user_id")) == user]


# --- what is sound ------------------------------------------------------------------------------


@given(histories())
def test_a_valid_history_passes(history: History) -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = verify_folder(ReplayFiles.of(history).write(Path(folder)))
    assert result.ok, result.render()
    assert (result.exit_code, result.violations, result.unchecked) == (0, (), ())
    assert result.counts == Counts(
        records=history.records,
        accepted=sum(profile.events for profile in history.profiles.values()),
        repeated=sum(profile.repeats for profile in history.profiles.values()),
        refused=len(history.dead_letters),
        changes=len(history.changes),
        users=len(history.profiles),
        members=sum(profile.segment is not None for profile in history.profiles.values()),
    )


def test_a_folder_without_a_model_passes_and_says_what_was_not_checked(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.model = None
    files.summary |= {"segments": 0, "model_version": None, "sizes": []}
    result = audit()
    assert result.exit_code == 0
    assert result.unchecked == ("that segments exist: there is no model.json",)
    assert "ok, with parts not checked" in result.render()


def test_a_summary_needs_no_more_than_the_four_counts(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    needed = ("records", "accepted", "repeated", "refused")
    files.summary = {name: files.summary[name] for name in needed}
    assert audit().ok


def test_two_memberships_of_a_user_are_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.memberships.append(files.memberships[of_user(files.memberships, "ann")[0]])
    assert found(audit()) == {(Kind.REPEATED_USER, "ann"): 1}


# --- the segments -------------------------------------------------------------------------------


def test_a_lifecycle_file_that_was_emptied_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.summary["lifecycle_events"] = 5
    assert "lifecycle_events is 5" in detail(audit(), Kind.SUMMARY_DIFFERS)


def test_a_model_of_another_version_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.model["version"] += 1
    told = detail(audit(), Kind.SUMMARY_DIFFERS)
    assert told == "model_version is 3, model.json is of version 4"


def test_a_model_that_went_is_found(files: ReplayFiles, audit: Callable[[], VerifyResult]) -> None:
    files.model = None
    details = [each.detail for each in audit().violations]
    assert "model_version is 3, model.json is not there" in details


@pytest.mark.parametrize("version", [None, 2])
def test_another_version_in_the_summary_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], version: int | None
) -> None:
    files.summary["model_version"] = version
    assert found(audit()) == {(Kind.SUMMARY_DIFFERS, "summary.json"): 1}


def test_wrong_sizes_are_found(files: ReplayFiles, audit: Callable[[], VerifyResult]) -> None:
    sizes = files.summary["sizes"]
    sizes[4]["users"] += 1
    assert detail(audit(), Kind.SUMMARY_DIFFERS).startswith("sizes has 2 users in segment 4,")
    sizes[4]["users"] -= 1
    sizes[0]["label"] = "others"
    assert "sizes calls segment 0 otherwise" in detail(audit(), Kind.SUMMARY_DIFFERS)
    del sizes[0]
    assert found(audit()) == {(Kind.SUMMARY_DIFFERS, "summary.json"): 2}


@pytest.mark.parametrize("model", [True, False])
def test_a_vector_of_another_length_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], model: bool
) -> None:
    if not model:
        files.model = None
        files.summary |= {"segments": 0, "model_version": None, "sizes": []}
    for numbers, words in ((3, "3 numbers"), (5, "5 numbers")):
        files.profiles[0]["vector"] = encode_array(np.ones(numbers), "<f4")
        told = detail(audit(), Kind.MALFORMED)
        assert words in told
        assert told.endswith(" 4")
    files.profiles[0]["vector"] = base64.b64encode(bytes(17)).decode()
    assert "5 numbers" in detail(audit(), Kind.MALFORMED)


# --- the balance --------------------------------------------------------------------------------


def test_a_missing_dead_letter_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    del files.dead_letters[0]
    result = audit()
    assert found(result) == {
        (Kind.SUMMARY_DIFFERS, "summary.json"): 1,
        (Kind.BALANCE, "summary.json"): 1,
    }
    assert detail(result, Kind.BALANCE).endswith("1 are not accounted for")


@pytest.mark.parametrize(
    "name", ["accepted", "repeated", "refused", "users", "changes", "lifecycle_events", "segments"]
)
def test_a_wrong_count_in_the_summary_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], name: str
) -> None:
    files.summary[name] += 1
    result = audit()
    assert found(result) == {(Kind.SUMMARY_DIFFERS, "summary.json"): 1}
    assert detail(result, Kind.SUMMARY_DIFFERS).startswith(f"{name} is ")


@pytest.mark.parametrize(("by", "verdict"), [(2, "not accounted for"), (-2, "counted twice")])
def test_lost_and_invented_input_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], by: int, verdict: str
) -> None:
    files.summary["records"] += by
    result = audit()
    assert found(result) == {(Kind.BALANCE, "summary.json"): 1}
    assert verdict in detail(result, Kind.BALANCE)


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["{", "[]", "null", "", '{"id": "x", "source": "s"}', "NaN"])
def test_a_malformed_change_is_found_with_its_line(
    files: ReplayFiles, audit: Callable[[], VerifyResult], line: str
) -> None:
    files.changes.append(line)
    files.summary["changes"] += 1
    number = len(files.changes)
    result = audit()
    assert found(result) == {(Kind.MALFORMED, "segment-changes.jsonl"): 1}
    assert detail(result, Kind.MALFORMED).startswith(f"line {number} cannot be read: ")


def test_a_malformed_summary_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.summary["records"] = "many"
    result = audit()
    assert found(result) == {(Kind.MALFORMED, "summary.json"): 1}
    assert result.counts.records is None


@pytest.mark.parametrize(
    "name",
    [
        "segment-changes.jsonl",
        "memberships.jsonl",
        "profiles.jsonl",
        "dead-letters.jsonl",
        "summary.json",
    ],
)
def test_a_folder_that_is_not_complete_is_refused(
    files: ReplayFiles, tmp_path: Path, name: str
) -> None:
    files.write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(VerifyError, match=f"holds no {name}: give the --output folder"):
        verify_folder(tmp_path)


# --- retention ----------------------------------------------------------------------------------


def _whole(history: History, keep: int, violations: Violations, *, lost: bool) -> set[Kind]:
    """Audit a history of which only the last changes are kept."""
    engine = Engine(violations, beginning_lost=lost)
    for change in history.changes[len(history.changes) - keep :]:
        engine.change(Told(change, change.id), canonical(change), beginning_lost=lost)
    for user, membership in history.memberships.items():
        engine.membership(user, MembershipFacts.of(membership, canonical(membership)))
    for user, profile in history.profiles.items():
        engine.profile(user, ProfileFacts.of(profile))
    engine.finish()
    return set(violations.by_kind)


@given(histories(), st.data())
def test_a_lost_beginning_is_fine_where_retention_explains_it(
    history: History, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(0, len(history.changes)))
    assert _whole(history, keep, Violations(), lost=True) == set()


@given(histories(), st.data())
def test_a_lost_beginning_is_found_where_retention_does_not_explain_it(
    history: History, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(0, len(history.changes)))
    kinds = _whole(history, keep, Violations(), lost=False)
    assert bool(kinds) == (keep < len(history.changes))
    assert kinds <= {Kind.SEQUENCE, Kind.MEMBERSHIP_UNFOUNDED}


def test_a_user_whose_first_change_is_kept_is_checked_from_the_first_one_on() -> None:
    first = history_of({"ann": UserPath([1])}).changes[0]
    switched = {"previous_segment": SegmentRef(id=2, label="x"), "status": ChangeStatus.SWITCHED}
    change = first.model_copy(update=switched)
    violations = Violations()
    engine = Engine(violations, beginning_lost=True)
    engine.change(Told(change, change.id), b"", beginning_lost=True)
    assert (set(violations.by_kind), engine.cut_off) == ({Kind.CHAIN}, 0)


def test_a_gap_after_the_lost_beginning_is_found() -> None:
    history = history_of({"ann": UserPath([1, 2, 3, 4])})
    violations = Violations()
    del history.changes[2]
    assert _whole(history, 2, violations, lost=True) == {Kind.SEQUENCE}


# --- the report ---------------------------------------------------------------------------------


def _result(**parts: Any) -> VerifyResult:
    return VerifyResult("folder out", Counts(records=1234, accepted=1234), **parts)


def test_exit_codes_tell_sound_broken_and_unknown_apart() -> None:
    broken = {Kind.CHAIN: 1}
    assert _result().exit_code == 0
    assert _result(violations_by_kind=broken).exit_code == 1
    assert _result(inconclusive="moving").exit_code == 2
    assert _result(inconclusive="moving", violations_by_kind=broken).exit_code == 1
    assert [_result().ok, _result(inconclusive="moving").ok] == [True, False]


def test_all_violations_are_counted_and_the_first_are_kept() -> None:
    violations = Violations()
    for i in range(MAX_KEPT + 5):
        violations.add(Kind.CHAIN, f"user {i}", "broken")
    everything = Violations()
    everything.add(Kind.SEQUENCE, "ann", "gap")
    everything.extend(violations)
    assert (len(everything), len(everything.first)) == (MAX_KEPT + 6, MAX_KEPT)
    result = _result(
        violations=tuple(everything.first), violations_by_kind=dict(everything.by_kind)
    )
    text = result.render()
    assert text.startswith(f"{MAX_KEPT + 6:,} violations: folder out\n")
    assert text.endswith("… and 6 more")


def test_the_report_shows_counts_violations_and_what_was_not_checked() -> None:
    result = _result(
        violations=(Violation(Kind.CHAIN, "ann", "broken"),),
        violations_by_kind={Kind.CHAIN: 1},
        unchecked=("the balance: no input",),
        notes=("the group is behind",),
    )
    assert result.render() == (
        "1 violation: folder out\n\n"
        "  records            1,234\n"
        "  accepted           1,234\n\n"
        "  chain           1\n\n"
        "  chain  ann: broken\n\n"
        "not checked: the balance: no input\n\n"
        "note: the group is behind"
    )


def test_the_report_escapes_what_a_terminal_would_obey() -> None:
    nasty = Violation(Kind.CHAIN, "a\x1b[2J\nb" + "x" * 500, "broken")
    result = _result(violations=(nasty,), violations_by_kind={Kind.CHAIN: 1})
    text = result.render()
    assert "\x1b" not in text
    assert r"a\x1b[2J\nbxxx" in text
    assert "x" * 200 not in text


def test_a_violation_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Violation(Kind.CHAIN, "ann", "broken").detail = "sound"  # type: ignore[misc]
