"""Every rule, through each way into the engine: what is sound passes, each defect is found."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from consumer.verify import ViolationKind
from schemas.changes import SegmentChange
from tests.consumer.verify.feeds import FEEDS, WHOLE, Feed, Found
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
Audit = Callable[[], Found]


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


@pytest.fixture(params=FEEDS)
def audit(request: pytest.FixtureRequest, files: ReplayFiles, tmp_path: Path) -> Audit:
    feed: Feed = request.param
    return lambda: feed(files, tmp_path)


@pytest.fixture(params=WHOLE)
def audit_whole(request: pytest.FixtureRequest, files: ReplayFiles, tmp_path: Path) -> Audit:
    """Of rules over what no audit without an end reads: sums, models, and records in full."""
    feed: Feed = request.param
    return lambda: feed(files, tmp_path)


def of_user(events: list[Any], user: str) -> list[int]:
    """Give the places of a user's lines."""
    return [i for i, e in enumerate(events) if e.get("subject", e.get("user_id")) == user]


@pytest.mark.parametrize("feed", FEEDS)
@given(history=histories())
def test_a_valid_history_passes(feed: Feed, history: History) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = feed(ReplayFiles.of(history), Path(folder))
    assert (tuple(found.first), tuple(found.unchecked)) == ((), ())


# --- changes ------------------------------------------------------------------------------------


def test_a_missing_change_is_found(files: ReplayFiles, audit: Audit) -> None:
    del files.changes[of_user(files.changes, "ann")[1]]
    result = audit()
    assert result.kinds == {(Kind.SEQUENCE, "ann"): 1}
    assert result.detail(Kind.SEQUENCE) == "change 3 came after change 1, where 2 belongs"


def test_a_missing_first_change_is_found(files: ReplayFiles, audit: Audit) -> None:
    del files.changes[of_user(files.changes, "ann")[0]]
    result = audit()
    assert result.kinds == {(Kind.SEQUENCE, "ann"): 1}
    assert result.detail(Kind.SEQUENCE) == "change 2 came as the first change, where 1 belongs"


def test_a_missing_last_change_is_found(files: ReplayFiles, audit: Audit) -> None:
    del files.changes[of_user(files.changes, "ann")[-1]]
    assert audit().kinds == {
        (Kind.MEMBERSHIP_DIFFERS, "ann"): 1,
        (Kind.PROFILE_DIFFERS, "ann"): 1,
    }


def test_a_doubled_change_is_found_and_breaks_no_chain(files: ReplayFiles, audit: Audit) -> None:
    first = of_user(files.changes, "ann")[0]
    files.changes.insert(first + 2, files.changes[first])
    files.summary["changes"] += 1
    assert audit().kinds == {(Kind.REPEATED_ID, "ann"): 1}


def test_swapped_changes_are_found(files: ReplayFiles, audit: Audit) -> None:
    one, two, _ = of_user(files.changes, "ann")
    files.changes[one], files.changes[two] = files.changes[two], files.changes[one]
    assert audit().kinds == {(Kind.SEQUENCE, "ann"): 3, (Kind.VERSION, "ann"): 1}


@pytest.mark.parametrize("previous", [{"id": 3, "label": "words 1, 0"}, {"id": 1, "label": "old"}])
def test_a_wrong_previous_segment_is_found(
    files: ReplayFiles, audit: Audit, previous: dict[str, Any]
) -> None:
    files.changes[of_user(files.changes, "ann")[1]]["data"]["previous_segment"] = previous
    result = audit()
    assert result.kinds == {(Kind.CHAIN, "ann"): 1}
    assert f"gives segment {previous['id']} " in result.detail(Kind.CHAIN)


def test_a_first_change_with_a_previous_segment_is_found(files: ReplayFiles, audit: Audit) -> None:
    data = files.changes[of_user(files.changes, "bob")[0]]["data"]
    data.update(previous_segment={"id": 4, "label": "x"}, status="switched")
    result = audit()
    assert result.kinds == {(Kind.CHAIN, "bob"): 1}
    assert "the user was in no segment" in result.detail(Kind.CHAIN)


def test_a_switch_from_a_segment_to_itself_is_found(files: ReplayFiles, audit: Audit) -> None:
    last = files.changes[of_user(files.changes, "ann")[-1]]["data"]
    last["segment"] = last["previous_segment"]
    assert (Kind.STATUS, "ann") in audit().kinds


def test_a_status_that_does_not_fit_is_found(files: ReplayFiles, audit: Audit) -> None:
    files.changes[of_user(files.changes, "bob")[0]]["data"]["status"] = "exited"
    result = audit()
    assert (Kind.MALFORMED, "segment-changes.jsonl") in result.kinds
    assert "status exited does not fit" in result.detail(Kind.MALFORMED)


def test_a_forged_id_is_found(files: ReplayFiles, audit: Audit) -> None:
    place = of_user(files.changes, "ann")[1]
    genuine = files.changes[place]["id"]
    files.changes[place]["id"] = "11111111-2222-3333-4444-555555555555"
    result = audit()
    assert result.kinds == {(Kind.FORGED_ID, "ann"): 1}
    assert genuine in result.detail(Kind.FORGED_ID)


def test_an_id_taken_from_another_change_is_forged_and_repeated(
    files: ReplayFiles, audit: Audit
) -> None:
    donor, place = of_user(files.changes, "bob")[0], of_user(files.changes, "ann")[-1]
    files.changes[place]["id"] = files.changes[donor]["id"]
    kinds = audit().kinds
    assert {(Kind.FORGED_ID, "ann"), (Kind.REPEATED_ID, "ann")} <= kinds.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [("subject", "bob"), ("time", "2020-01-01T00:00:00Z"), ("type", "x"), ("specversion", "0.3")],
)
def test_an_attribute_that_does_not_fit_the_change_is_found(
    files: ReplayFiles, audit: Audit, name: str, value: str
) -> None:
    files.changes[of_user(files.changes, "ann")[0]][name] = value
    result = audit()
    assert result.kinds == {(Kind.ENVELOPE, "ann"): 1}
    assert result.detail(Kind.ENVELOPE).endswith(name)


def test_a_change_of_another_embedding_model_is_found_and_the_minority_named(
    files: ReplayFiles, audit: Audit
) -> None:
    # The first record of all is the odd one out: what comes first is not taken for the truth.
    files.changes[0]["data"]["model"]["embedding"] = OTHER_EMBEDDING
    result = audit()
    assert result.kinds == {(Kind.MIXED_EMBEDDING, "ann"): 1}
    told = result.detail(Kind.MIXED_EMBEDDING)
    assert told.startswith("1 record")
    assert OTHER_EMBEDDING[:12] in told
    assert EMBEDDING[:12] in told


@pytest.mark.parametrize(("version", "broken"), [(1, True), (2, True), (3, False)])
def test_another_embedding_model_comes_with_a_later_segment_model_only(
    files: ReplayFiles, audit: Audit, version: int, broken: bool
) -> None:
    first, second, third = (files.changes[n]["data"] for n in of_user(files.changes, "ann"))
    files.changes = [each for each in files.changes if each["subject"] == "ann"]
    first["model"]["version"] = second["model"]["version"] = 2
    third["model"] = {"embedding": OTHER_EMBEDDING, "version": version}
    files.memberships = [third]
    files.profiles = files.profiles[:1]
    files.model = None
    assert (Kind.MIXED_EMBEDDING in {kind for kind, _ in audit().kinds}) == broken


def test_changes_of_a_former_embedding_model_are_history(files: ReplayFiles, audit: Audit) -> None:
    _under_the_former_model(files, versions={1, 2})
    result = audit()
    assert result.first == ()


@pytest.mark.parametrize(("versions", "broken"), [((3, 3, 2), 1), ((3, 2, 2), 1), ((2, 3, 3), 0)])
def test_a_user_is_decided_on_under_no_earlier_version_than_before(
    files: ReplayFiles, audit: Audit, versions: tuple[int, ...], broken: int
) -> None:
    files.changes = [each for each in files.changes if each["subject"] == "ann"]
    for change, version in zip(files.changes, versions, strict=True):
        change["data"]["model"]["version"] = version
        id_of(change)
    files.memberships = [files.changes[-1]["data"]]
    files.profiles = [each for each in files.profiles if each["user_id"] == "ann"]
    files.model = None
    result = audit()
    assert result.kinds.get((Kind.VERSION, "ann"), 0) == broken
    if broken:
        told = result.detail(Kind.VERSION)
        assert "under version 2 of the segment model, the one before under version 3" in told


def id_of(line: dict[str, Any]) -> None:
    """Give a change the id that follows from what it says now."""
    line["id"] = SegmentChange.model_validate_json(json.dumps(line["data"])).id


def _under_the_former_model(files: ReplayFiles, versions: set[int]) -> None:
    """Let the decisions of some versions be those of another embedding model."""
    membership_models = [membership["model"] for membership in files.memberships]
    for model in [*(change["data"]["model"] for change in files.changes), *membership_models]:
        if model["version"] in versions:
            model["embedding"] = OTHER_EMBEDDING


# --- memberships and profiles -------------------------------------------------------------------


def test_a_stale_membership_is_found_and_not_held_against_the_profile(
    files: ReplayFiles, audit: Audit
) -> None:
    before = files.changes[of_user(files.changes, "ann")[1]]["data"]
    files.memberships[of_user(files.memberships, "ann")[0]] = before
    result = audit()
    assert result.kinds == {(Kind.MEMBERSHIP_DIFFERS, "ann"): 1}
    assert "shows sequence 2 in segment 2" in result.detail(Kind.MEMBERSHIP_DIFFERS)


def test_a_missing_membership_is_found(files: ReplayFiles, audit: Audit) -> None:
    del files.memberships[of_user(files.memberships, "bob")[0]]
    assert audit().kinds == {(Kind.MEMBERSHIP_MISSING, "bob"): 1}


def test_a_membership_of_a_user_without_changes_is_found(files: ReplayFiles, audit: Audit) -> None:
    first = files.changes[of_user(files.changes, "bob")[0]]["data"]
    files.memberships.append({**first, "user_id": "cat"})
    kinds = audit().kinds
    assert kinds == {(Kind.MEMBERSHIP_UNFOUNDED, "cat"): 1, (Kind.PROFILE_DIFFERS, "cat"): 1}


@pytest.mark.parametrize(
    "defect", [{"segment": 3}, {"sequence": 2}, {"segment_label": "x"}, {"segment": None}]
)
def test_a_profile_that_differs_from_the_membership_is_found(
    files: ReplayFiles, audit: Audit, defect: dict[str, Any]
) -> None:
    files.profiles[of_user(files.profiles, "ann")[0]].update(defect)
    assert audit().kinds == {(Kind.PROFILE_DIFFERS, "ann"): 1}


@pytest.mark.parametrize("defect", [{"segment": 3}, {"sequence": 1}])
def test_a_profile_with_a_segment_but_no_change_is_found(
    files: ReplayFiles, audit: Audit, defect: dict[str, Any]
) -> None:
    files.profiles[of_user(files.profiles, "cat")[0]].update(defect)
    result = audit()
    assert result.kinds == {(Kind.PROFILE_DIFFERS, "cat"): 1}
    assert "there is no change" in result.detail(Kind.PROFILE_DIFFERS)


def test_a_missing_profile_is_found(files: ReplayFiles, audit: Audit) -> None:
    del files.profiles[of_user(files.profiles, "bob")[0]]
    result = audit()
    assert result.kinds == {(Kind.PROFILE_MISSING, "bob"): 1}


def test_a_doubled_dead_letter_is_found_even_where_another_is_missing(
    files: ReplayFiles, audit: Audit
) -> None:
    files.dead_letters[1] = files.dead_letters[0]
    assert audit().kinds == {(Kind.REPEATED_DEAD_LETTER, "dead-letters.jsonl"): 1}


# --- labels -------------------------------------------------------------------------------------


@pytest.fixture
def labelled(files: ReplayFiles) -> list[dict[str, Any]]:
    """Let ann's changes tell a label, and give these; the second one tells none."""
    changes = [files.changes[n]["data"] for n in of_user(files.changes, "ann")]
    label = {"name": "a", "probability": 0.5, "previous": None, "version": 1}
    changes[0]["label"] = label
    changes[2]["label"] = {**label, "name": "b", "previous": "a"}
    files.memberships[of_user(files.memberships, "ann")[0]] = changes[2]
    profile = files.profiles[of_user(files.profiles, "ann")[0]]
    profile["labels"] = {"predicted": "b", "since_event": 1, "model_version": 1}
    return changes


def test_labels_that_go_on_from_each_other_pass(labelled: object, audit: Audit) -> None:
    assert audit().kinds == {}


@pytest.mark.parametrize("first", [True, False])
def test_a_label_that_does_not_go_on_from_the_last_one_is_found(
    labelled: list[dict[str, Any]], audit: Audit, first: bool
) -> None:
    labelled[0 if first else 2]["label"]["previous"] = "c"
    result = audit()
    assert result.kinds == {(Kind.LABEL, "ann"): 1}
    was = "None" if first else "'a'"
    assert result.detail(Kind.LABEL).endswith(f"gives 'c' as the previous label, it was {was}")


def test_a_profile_with_another_label_than_was_told_last_is_found(
    files: ReplayFiles, labelled: object, audit: Audit
) -> None:
    files.profiles[of_user(files.profiles, "ann")[0]]["labels"]["predicted"] = "a"
    result = audit()
    assert result.kinds == {(Kind.LABEL, "ann"): 1}
    assert result.detail(Kind.LABEL) == "the profile shows the label 'a', the last change 'b'"


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["{", "[]", "null", "", "NaN"])
def test_a_change_that_cannot_be_read_is_found(files: ReplayFiles, audit: Audit, line: str) -> None:
    files.changes.append(line)
    files.summary["changes"] += 1
    assert audit().kinds == {(Kind.MALFORMED, "segment-changes.jsonl"): 1}


@pytest.mark.parametrize(
    ("lines", "file"), [("memberships", "memberships.jsonl"), ("profiles", "profiles.jsonl")]
)
def test_what_cannot_be_read_is_not_called_missing_or_different(
    files: ReplayFiles, audit: Audit, lines: str, file: str
) -> None:
    records = getattr(files, lines)
    del records[of_user(records, "ann")[0]]["segment"]
    result = audit()
    assert result.kinds == {(Kind.MALFORMED, file): 1}
    assert "segment: Field required" in result.detail(Kind.MALFORMED)


def test_a_dead_letter_that_does_not_say_what_was_refused_is_found(
    files: ReplayFiles, audit: Audit
) -> None:
    del files.dead_letters[0]["offset"]
    assert audit().kinds == {(Kind.MALFORMED, "dead-letters.jsonl"): 1}


def test_a_complaint_never_quotes_what_a_user_wrote(files: ReplayFiles, audit: Audit) -> None:
    files.profiles[0]["segment_label"] = ["a secret text"]
    files.memberships[0]["segment"] = "a secret text"
    files.changes.append('{"a secret text')
    result = audit()
    assert {kind for kind, _ in result.kinds} == {Kind.MALFORMED}
    assert "secret" not in "".join(each.render() for each in result.first)


# --- what only a whole shows --------------------------------------------------------------------


def test_a_malformed_membership_is_found_and_not_called_missing(
    files: ReplayFiles, audit_whole: Audit
) -> None:
    del files.memberships[of_user(files.memberships, "ann")[0]]["margin"]
    result = audit_whole()
    assert result.kinds == {(Kind.MALFORMED, "memberships.jsonl"): 1}
    assert "margin: Field required" in result.detail(Kind.MALFORMED)


@pytest.mark.parametrize(
    ("name", "value"), [("margin", 0.125), ("changed_at", "2020-01-01T00:00:00Z")]
)
def test_a_membership_that_differs_in_any_field_is_found_and_the_field_named(
    files: ReplayFiles, audit_whole: Audit, name: str, value: object
) -> None:
    files.memberships[of_user(files.memberships, "ann")[0]][name] = value
    result = audit_whole()
    assert result.kinds == {(Kind.MEMBERSHIP_DIFFERS, "ann"): 1}
    assert result.detail(Kind.MEMBERSHIP_DIFFERS).endswith(f"fields that differ: {name}")


@pytest.mark.parametrize("place", ["profile", "model"])
def test_a_record_of_another_embedding_model_is_found_and_the_minority_named(
    files: ReplayFiles, audit_whole: Audit, place: str
) -> None:
    # The first record of all is the odd one out: what comes first is not taken for the truth.
    if place == "profile":
        files.profiles[0]["embedding"] = OTHER_EMBEDDING
    else:
        files.model["embedding"] = OTHER_EMBEDDING
    result = audit_whole()
    subject = "model.json" if place == "model" else "ann"
    assert result.kinds == {(Kind.MIXED_EMBEDDING, subject): 1}
    told = result.detail(Kind.MIXED_EMBEDDING)
    assert told.startswith("1 record")
    assert OTHER_EMBEDDING[:12] in told
    assert EMBEDDING[:12] in told


def test_a_change_of_the_former_embedding_model_by_the_present_segment_model_is_found(
    files: ReplayFiles, audit_whole: Audit
) -> None:
    _under_the_former_model(files, versions={3})
    result = audit_whole()
    assert Kind.MIXED_EMBEDDING in {kind for kind, _ in result.kinds}
    assert OTHER_EMBEDDING[:12] in result.detail(Kind.MIXED_EMBEDDING)


def test_a_segment_that_the_model_does_not_have_is_found(
    files: ReplayFiles, audit_whole: Audit
) -> None:
    files.model["segments"] = [s for s in files.model["segments"] if s["id"] != 4]
    result = audit_whole()
    assert result.kinds == {(Kind.UNKNOWN_SEGMENT, "ann"): 1}
    assert "segment 4" in result.detail(Kind.UNKNOWN_SEGMENT)


def test_segments_of_a_former_model_may_be_gone(files: ReplayFiles, audit_whole: Audit) -> None:
    files.model["version"] += 1
    files.model["segments"] = files.model["segments"][:1]
    files.tell_no_segments()
    assert audit_whole().first == ()


def test_decisions_of_a_later_model_than_the_one_at_hand_are_reported_as_not_checked(
    files: ReplayFiles, audit_whole: Audit
) -> None:
    files.model["version"] -= 1
    files.tell_no_segments()
    result = audit_whole()
    assert result.first == ()
    (reason,) = result.unchecked
    assert reason.startswith("the segments of 1 users")


@pytest.mark.parametrize("name", ["events", "repeats"])
def test_an_event_counted_twice_in_a_profile_is_found(
    files: ReplayFiles, audit_whole: Audit, name: str
) -> None:
    files.profiles[0][name] += 1
    assert (Kind.BALANCE, "summary.json") in audit_whole().everything


def test_a_malformed_profile_leaves_the_balance_open(
    files: ReplayFiles, audit_whole: Audit
) -> None:
    files.profiles[of_user(files.profiles, "ann")[0]]["vector"] = "?"
    result = audit_whole()
    assert result.kinds == {(Kind.MALFORMED, "profiles.jsonl"): 1}
    assert any("input = accepted + repeated + refused" in reason for reason in result.unchecked)


def test_a_malformed_dead_letter_is_found_and_still_counted(
    files: ReplayFiles, audit_whole: Audit
) -> None:
    del files.dead_letters[0]["offset"]
    assert audit_whole().kinds == {(Kind.MALFORMED, "dead-letters.jsonl"): 1}


def test_a_malformed_model_is_found(files: ReplayFiles, audit_whole: Audit) -> None:
    files.model["version"] = 0
    result = audit_whole()
    assert result.kinds == {(Kind.MALFORMED, "model.json"): 1}
    assert any("segments exist" in reason for reason in result.unchecked)
