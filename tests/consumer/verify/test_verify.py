"""The auditor passes what is sound and finds what is not: one test for each defect."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.verify import VerifyError, VerifyResult, Violation, ViolationKind, verify_folder
from consumer.verify.embeddings import EmbeddingTally
from consumer.verify.facts import LatestChange, ProfileFacts, SeenChange
from consumer.verify.invariants import (
    compare_memberships,
    compare_profiles,
    follow_chains,
)
from consumer.verify.report import MAX_KEPT, Counts, Violations
from schemas.changes import ChangeStatus, SegmentRef
from tests.consumer.verify.histories import (
    EMBEDDING,
    OTHER_EMBEDDING,
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
    result = audit()
    assert result.exit_code == 0
    assert result.unchecked == ("that segments exist: there is no model.json",)
    assert "ok, with parts not checked" in result.render()


def test_a_summary_needs_no_more_than_the_four_counts(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    del files.summary["users"], files.summary["changes"]
    assert audit().ok


# --- chains -------------------------------------------------------------------------------------


def test_a_missing_change_is_found(files: ReplayFiles, audit: Callable[[], VerifyResult]) -> None:
    del files.changes[of_user(files.changes, "ann")[1]]
    result = audit()
    assert found(result) == {(Kind.SEQUENCE, "ann"): 1, (Kind.SUMMARY_DIFFERS, "summary.json"): 1}
    assert detail(result, Kind.SEQUENCE) == "change 3 came after change 1, where 2 belongs"


def test_a_missing_first_change_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    del files.changes[of_user(files.changes, "ann")[0]]
    result = audit()
    assert found(result) == {(Kind.SEQUENCE, "ann"): 1, (Kind.SUMMARY_DIFFERS, "summary.json"): 1}
    assert detail(result, Kind.SEQUENCE) == "change 2 came as the first change, where 1 belongs"


def test_a_missing_last_change_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    del files.changes[of_user(files.changes, "ann")[-1]]
    assert found(audit()) == {
        (Kind.MEMBERSHIP_DIFFERS, "ann"): 1,
        (Kind.PROFILE_DIFFERS, "ann"): 1,
        (Kind.SUMMARY_DIFFERS, "summary.json"): 1,
    }


def test_a_doubled_change_is_found_and_breaks_no_chain(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    first = of_user(files.changes, "ann")[0]
    files.changes.insert(first + 2, files.changes[first])
    files.summary["changes"] += 1
    assert found(audit()) == {(Kind.REPEATED_ID, "ann"): 1}


def test_swapped_changes_are_found(files: ReplayFiles, audit: Callable[[], VerifyResult]) -> None:
    one, two, _ = of_user(files.changes, "ann")
    files.changes[one], files.changes[two] = files.changes[two], files.changes[one]
    assert found(audit()) == {(Kind.SEQUENCE, "ann"): 3}


@pytest.mark.parametrize("previous", [{"id": 3, "label": "words 1, 0"}, {"id": 1, "label": "old"}])
def test_a_wrong_previous_segment_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], previous: dict[str, Any]
) -> None:
    files.changes[of_user(files.changes, "ann")[1]]["data"]["previous_segment"] = previous
    result = audit()
    assert found(result) == {(Kind.CHAIN, "ann"): 1}
    assert f"gives segment {previous['id']} " in detail(result, Kind.CHAIN)


def test_a_first_change_with_a_previous_segment_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    data = files.changes[of_user(files.changes, "bob")[0]]["data"]
    data.update(previous_segment={"id": 4, "label": "x"}, status="switched")
    result = audit()
    assert found(result) == {(Kind.CHAIN, "bob"): 1}
    assert "the user was in no segment" in detail(result, Kind.CHAIN)


def test_a_switch_from_a_segment_to_itself_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    last = files.changes[of_user(files.changes, "ann")[-1]]["data"]
    last["segment"] = last["previous_segment"]
    assert (Kind.STATUS, "ann") in found(audit())


def test_a_status_that_does_not_fit_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.changes[of_user(files.changes, "bob")[0]]["data"]["status"] = "exited"
    result = audit()
    assert (Kind.MALFORMED, "segment-changes.jsonl") in found(result)
    assert "status exited does not fit" in detail(result, Kind.MALFORMED)


def test_a_forged_id_is_found(files: ReplayFiles, audit: Callable[[], VerifyResult]) -> None:
    place = of_user(files.changes, "ann")[1]
    genuine = files.changes[place]["id"]
    files.changes[place]["id"] = "11111111-2222-3333-4444-555555555555"
    result = audit()
    assert found(result) == {(Kind.FORGED_ID, "ann"): 1}
    assert genuine in detail(result, Kind.FORGED_ID)


def test_an_id_taken_from_another_change_is_forged_and_repeated(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    donor, place = of_user(files.changes, "bob")[0], of_user(files.changes, "ann")[-1]
    files.changes[place]["id"] = files.changes[donor]["id"]
    kinds = found(audit())
    assert {(Kind.FORGED_ID, "ann"), (Kind.REPEATED_ID, "ann")} <= kinds.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [("subject", "bob"), ("time", "2020-01-01T00:00:00Z"), ("type", "x"), ("specversion", "0.3")],
)
def test_an_attribute_that_does_not_fit_the_change_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], name: str, value: str
) -> None:
    files.changes[of_user(files.changes, "ann")[0]][name] = value
    result = audit()
    assert found(result) == {(Kind.ENVELOPE, "ann"): 1}
    assert detail(result, Kind.ENVELOPE).endswith(f"in {name}")


# --- memberships --------------------------------------------------------------------------------


def test_a_stale_membership_is_found_and_not_held_against_the_profile(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    before = files.changes[of_user(files.changes, "ann")[1]]["data"]
    files.memberships[of_user(files.memberships, "ann")[0]] = before
    result = audit()
    assert found(result) == {(Kind.MEMBERSHIP_DIFFERS, "ann"): 1}
    assert "shows sequence 2 in segment 2" in detail(result, Kind.MEMBERSHIP_DIFFERS)


@pytest.mark.parametrize(
    ("name", "value"), [("margin", 0.125), ("changed_at", "2020-01-01T00:00:00Z")]
)
def test_a_membership_that_differs_in_any_field_is_found_and_the_field_named(
    files: ReplayFiles, audit: Callable[[], VerifyResult], name: str, value: object
) -> None:
    files.memberships[of_user(files.memberships, "ann")[0]][name] = value
    result = audit()
    assert found(result) == {(Kind.MEMBERSHIP_DIFFERS, "ann"): 1}
    assert detail(result, Kind.MEMBERSHIP_DIFFERS).endswith(f"fields that differ: {name}")


def test_a_missing_membership_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    del files.memberships[of_user(files.memberships, "bob")[0]]
    assert found(audit()) == {(Kind.MEMBERSHIP_MISSING, "bob"): 1}


def test_a_membership_of_a_user_without_changes_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    first = files.changes[of_user(files.changes, "bob")[0]]["data"]
    files.memberships.append({**first, "user_id": "cat"})
    kinds = found(audit())
    assert kinds == {(Kind.MEMBERSHIP_UNFOUNDED, "cat"): 1, (Kind.PROFILE_DIFFERS, "cat"): 1}


def test_two_memberships_of_a_user_are_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.memberships.append(files.memberships[of_user(files.memberships, "ann")[0]])
    assert found(audit()) == {(Kind.REPEATED_USER, "ann"): 1}


# --- profiles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "defect", [{"segment": 3}, {"sequence": 2}, {"segment_label": "x"}, {"segment": None}]
)
def test_a_profile_that_differs_from_the_membership_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], defect: dict[str, Any]
) -> None:
    files.profiles[of_user(files.profiles, "ann")[0]].update(defect)
    assert found(audit()) == {(Kind.PROFILE_DIFFERS, "ann"): 1}


@pytest.mark.parametrize("defect", [{"segment": 3}, {"sequence": 1}])
def test_a_profile_with_a_segment_but_no_change_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], defect: dict[str, Any]
) -> None:
    files.profiles[of_user(files.profiles, "cat")[0]].update(defect)
    result = audit()
    assert found(result) == {(Kind.PROFILE_DIFFERS, "cat"): 1}
    assert "there is no change" in detail(result, Kind.PROFILE_DIFFERS)


def test_a_missing_profile_is_found(files: ReplayFiles, audit: Callable[[], VerifyResult]) -> None:
    del files.profiles[of_user(files.profiles, "bob")[0]]
    result = audit()
    assert (Kind.PROFILE_MISSING, "bob") in found(result)
    # Its events are missing too.
    assert result.violations_by_kind[Kind.BALANCE] == 1


@pytest.mark.parametrize("place", ["profile", "change", "model"])
def test_a_record_of_another_embedding_model_is_found_and_the_minority_named(
    files: ReplayFiles, audit: Callable[[], VerifyResult], place: str
) -> None:
    # The first record of all is the odd one out: what comes first is not taken for the truth.
    if place == "profile":
        files.profiles[0]["embedding"] = OTHER_EMBEDDING
    elif place == "change":
        files.changes[0]["data"]["model"]["embedding"] = OTHER_EMBEDDING
    else:
        files.model["embedding"] = OTHER_EMBEDDING
    result = audit()
    subject = "model.json" if place == "model" else "ann"
    assert found(result) == {(Kind.MIXED_EMBEDDING, subject): 1}
    told = detail(result, Kind.MIXED_EMBEDDING)
    assert told.startswith("1 record")
    assert OTHER_EMBEDDING[:12] in told
    assert EMBEDDING[:12] in told


def test_changes_of_a_former_embedding_model_are_history(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    _under_the_former_model(files, versions={1, 2})
    result = audit()
    assert result.ok, result.render()


def test_a_change_of_the_former_embedding_model_by_the_present_segment_model_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    _under_the_former_model(files, versions={3})
    result = audit()
    assert Kind.MIXED_EMBEDDING in result.violations_by_kind
    assert OTHER_EMBEDDING[:12] in detail(result, Kind.MIXED_EMBEDDING)


def test_an_embedding_model_that_comes_back_without_a_later_segment_model_is_found() -> None:
    first, second = history_of({"ann": UserPath([1, 2])}).changes
    for version, broken in ((2, True), (3, False)):
        model = second.model.model_copy(update={"embedding": OTHER_EMBEDDING, "version": version})
        before = first.model_copy(update={"model": first.model.model_copy(update={"version": 2})})
        after = second.model_copy(update={"model": model})
        violations = Violations()
        follow_chains(
            [SeenChange(change, change.id) for change in (before, after)],
            violations,
            EmbeddingTally(),
        )
        assert (Kind.MIXED_EMBEDDING in violations.by_kind) == broken


def _under_the_former_model(files: ReplayFiles, versions: set[int]) -> None:
    """Let the decisions of some versions be those of another embedding model."""
    membership_models = [membership["model"] for membership in files.memberships]
    for model in [*(change["data"]["model"] for change in files.changes), *membership_models]:
        if model["version"] in versions:
            model["embedding"] = OTHER_EMBEDDING


# --- the model ----------------------------------------------------------------------------------


def test_a_segment_that_the_model_does_not_have_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.model["segments"] = [s for s in files.model["segments"] if s["id"] != 4]
    result = audit()
    assert found(result) == {(Kind.UNKNOWN_SEGMENT, "ann"): 1}
    assert "segment 4" in detail(result, Kind.UNKNOWN_SEGMENT)


def test_segments_of_a_former_model_may_be_gone(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.model["version"] += 1
    files.model["segments"] = files.model["segments"][:1]
    assert audit().ok


def test_decisions_of_a_later_model_than_the_one_at_hand_are_reported_as_not_checked(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.model["version"] -= 1
    result = audit()
    assert result.exit_code == 0
    (reason,) = result.unchecked
    assert reason.startswith("the segments of 1 users")


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


def test_a_doubled_dead_letter_is_found_even_where_another_is_missing(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.dead_letters[1] = files.dead_letters[0]
    assert found(audit()) == {(Kind.REPEATED_DEAD_LETTER, "dead-letters.jsonl"): 1}


@pytest.mark.parametrize("name", ["accepted", "repeated", "refused", "users", "changes"])
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


@pytest.mark.parametrize("name", ["events", "repeats"])
def test_an_event_counted_twice_in_a_profile_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult], name: str
) -> None:
    files.profiles[0][name] += 1
    assert (Kind.BALANCE, "summary.json") in found(audit())


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


def test_a_malformed_membership_is_found_and_not_called_missing(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    del files.memberships[of_user(files.memberships, "ann")[0]]["margin"]
    result = audit()
    assert found(result) == {(Kind.MALFORMED, "memberships.jsonl"): 1}
    assert "margin: Field required" in detail(result, Kind.MALFORMED)


def test_a_malformed_profile_leaves_the_balance_open(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.profiles[of_user(files.profiles, "ann")[0]]["vector"] = "?"
    result = audit()
    assert found(result) == {(Kind.MALFORMED, "profiles.jsonl"): 1}
    assert any("input = accepted + repeated + refused" in reason for reason in result.unchecked)


def test_a_malformed_dead_letter_is_found_and_still_counted(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    del files.dead_letters[0]["offset"]
    assert found(audit()) == {(Kind.MALFORMED, "dead-letters.jsonl"): 1}


def test_a_malformed_model_is_found(files: ReplayFiles, audit: Callable[[], VerifyResult]) -> None:
    files.model["version"] = 0
    result = audit()
    assert found(result) == {(Kind.MALFORMED, "model.json"): 1}
    assert any("segments exist" in reason for reason in result.unchecked)


def test_a_malformed_summary_is_found(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.summary["records"] = "many"
    result = audit()
    assert found(result) == {(Kind.MALFORMED, "summary.json"): 1}
    assert result.counts.records is None


def test_a_complaint_never_quotes_what_a_user_wrote(
    files: ReplayFiles, audit: Callable[[], VerifyResult]
) -> None:
    files.profiles[0]["terms"] = "a secret text"
    files.dead_letters[0]["value"] = "a secret text"
    files.changes.append('{"a secret text')
    result = audit()
    assert result.violations_by_kind[Kind.MALFORMED] == 3
    assert "secret" not in result.render()


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


def _follow(history: History, keep: int, violations: Violations, *, lost: bool) -> set[Kind]:
    """Audit a history of which only the last changes are kept."""
    changes = history.changes[len(history.changes) - keep :]
    embeddings = EmbeddingTally()
    chains = follow_chains(
        (SeenChange(change, change.id, lost) for change in changes), violations, embeddings
    )
    standings = compare_memberships(
        ((user, LatestChange.of(m)) for user, m in history.memberships.items()),
        chains,
        violations,
        beginning_lost=lost,
    )
    compare_profiles(
        ((user, ProfileFacts.of(profile)) for user, profile in history.profiles.items()),
        standings,
        violations,
        embeddings,
    )
    return set(violations.by_kind)


@given(histories(), st.data())
def test_a_lost_beginning_is_fine_where_retention_explains_it(
    history: History, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(0, len(history.changes)))
    assert _follow(history, keep, Violations(), lost=True) == set()


@given(histories(), st.data())
def test_a_lost_beginning_is_found_where_retention_does_not_explain_it(
    history: History, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(0, len(history.changes)))
    kinds = _follow(history, keep, Violations(), lost=False)
    assert bool(kinds) == (keep < len(history.changes))
    assert kinds <= {Kind.SEQUENCE, Kind.MEMBERSHIP_UNFOUNDED}


def test_a_user_whose_first_change_is_kept_is_checked_from_the_first_one_on() -> None:
    first = history_of({"ann": UserPath([1])}).changes[0]
    switched = {"previous_segment": SegmentRef(id=2, label="x"), "status": ChangeStatus.SWITCHED}
    change = first.model_copy(update=switched)
    violations = Violations()
    chains = follow_chains(
        [SeenChange(change, change.id, beginning_lost=True)], violations, EmbeddingTally()
    )
    assert (set(violations.by_kind), chains.cut_off) == ({Kind.CHAIN}, 0)


def test_a_gap_after_the_lost_beginning_is_found() -> None:
    history = history_of({"ann": UserPath([1, 2, 3, 4])})
    violations = Violations()
    del history.changes[2]
    assert _follow(history, 2, violations, lost=True) == {Kind.SEQUENCE}


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
