"""Versions of the segments that are kept, and changes that are put down to them, under audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.records import Record
from consumer.settings import Settings
from consumer.stages.training.published import lifecycle_events
from consumer.stages.training.versions import KeptVersions
from consumer.verify import ViolationKind
from consumer.verify.cut import Cut
from consumer.verify.decode import Told
from consumer.verify.lifecycle import check_lifecycle
from consumer.verify.report import Violations
from consumer.verify.topics import _TopicAudit
from consumer.verify.versions import VersionAudit
from models.segments.model import SegmentModel
from models.segments.rollback import rolled_back
from schemas.changes import ChangeReason, SegmentChange
from schemas.model_versions import ModelVersionRecord, VersionOrigin
from tests.consumer.verify.feeds import TOPICS, _ScriptedReader, records_of
from tests.consumer.verify.histories import START, ReplayFiles, UserPath, history_of
from tests.models.segments.segment_lives import after, first

Kind = ViolationKind
NOBODY = np.empty((0, 0))
Entry = tuple[bytes, bytes | None]


def written(*models: SegmentModel, kept: int = 50) -> list[Entry]:
    """What a trainer writes of versions, one after the other."""
    versions = KeptVersions(Settings(training={"kept_versions": kept}))
    previous: SegmentModel | None = None
    found: list[Entry] = []
    for model in models:
        origin = VersionOrigin.TRAINER if model.rollback_of is None else VersionOrigin.ROLLBACK
        outputs = versions.keep(model, previous, origin, START)
        found += [(output.key or b"", output.value) for output in outputs]
        previous = model
    return found


@pytest.fixture
def lives() -> list[SegmentModel]:
    """Segments 0 and 1; 2 is split off 0; back to version 1; and on from there."""
    one = first(2)
    two = after(one, [[60, 40, 0], [0, 0, 50]])
    back = rolled_back(one, two, NOBODY, 1.0).model
    return [one, two, back, after(back, [[60, 0, 0], [0, 30, 20]])]


def audited(
    entries: list[Entry], model: SegmentModel | None = None
) -> tuple[VersionAudit, list[str]]:
    violations = Violations()
    audit = VersionAudit("versions", violations)
    for number, (key, value) in enumerate(entries):
        audit.add(key, value, f"versions[0]@{number}")
    audit.check_model(model.to_record() if model else None)
    assert {each.kind for each in violations.first} <= {Kind.VERSION, Kind.MALFORMED}
    return audit, [each.detail for each in violations.first]


@pytest.mark.parametrize("kept", [1, 2, 50])
def test_what_a_trainer_keeps_passes(lives: list[SegmentModel], kept: int) -> None:
    assert audited(written(*lives, kept=kept), lives[-1])[1] == []


def test_nothing_is_wrong_where_nothing_is_kept() -> None:
    assert audited([], first(2))[1] == []


@given(st.data())
def test_whatever_is_learned_and_rolled_back_passes(data: st.DataObject) -> None:
    versions = [first(data.draw(st.integers(1, 4)))]
    for _ in range(5):
        current = versions[-1]
        past = [each for each in versions[:-1] if each.version != current.rollback_of]
        if past and data.draw(st.booleans()):
            versions.append(rolled_back(data.draw(st.sampled_from(past)), current, NOBODY, 1).model)
            continue
        columns = data.draw(st.integers(1, 4))
        row = st.lists(st.integers(0, 20), min_size=columns, max_size=columns)
        versions.append(after(current, [data.draw(row) for _ in current.ids]))
    assert audited(written(*versions, kept=3), versions[-1])[1] == []
    violations = Violations()
    told = [
        Told(event, event.id)
        for previous, model in zip([None, *versions[:-1]], versions, strict=True)
        for event in lifecycle_events(model, previous, START)
    ]
    check_lifecycle(told, versions[-1].to_record(), "topic", violations)
    assert violations.first == []
    # Only what was published since is told: an upgrade, or retention.
    later = told[len(told) // 2 :]
    check_lifecycle(later, versions[-1].to_record(), "topic", violations, beginning_lost=True)
    assert violations.first == []


def changed(entry: Entry, **fields: Any) -> Entry:
    record = ModelVersionRecord.model_validate_json(entry[1] or b"")
    model = record.model.model_copy(update=fields)
    return entry[0], record.model_copy(update={"model": model}).model_dump_json().encode()


def segments_of(entry: Entry) -> list[Any]:
    return list(ModelVersionRecord.model_validate_json(entry[1] or b"").model.segments)


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (lambda e: e.append(e[3]), "version 4 was written twice"),
        (lambda e: e.insert(0, e.pop(2)), "version 1 came after version 3"),
        (
            lambda e: e.insert(1, (b"9", e.pop(1)[1])),
            "versions[0]@1 is version 2 under another key",
        ),
        (lambda e: e.append((b"5", b"{}")), "versions[0]@4 cannot be read: "),
        (
            lambda e: e.insert(2, changed(e.pop(2), next_id=2)),
            "version 3 gives ids again that version 2 has given",
        ),
        (
            lambda e: e.insert(1, changed(e.pop(1), next_id=2)),
            "version 2 has segment 2, and would give its id again",
        ),
        (
            lambda e: e.insert(2, changed(e.pop(2), segments=segments_of(e[1])[:2][::-1])),
            "version 3 is the rollback to version 1 and has other segments",
        ),
        (
            lambda e: e.insert(2, changed(e.pop(2), rollback_of=3)),
            "version 3 is the rollback to version 3, no earlier",
        ),
        (
            lambda e: e.insert(3, changed(e.pop(3), segments=segments_of(e[1]))),
            "segment 2 comes back in version 4, which is no rollback",
        ),
        (
            lambda e: e.insert(
                1,
                changed(
                    e.pop(1),
                    segments=[s.model_copy(update={"since": 2}) for s in segments_of(e[0])],
                ),
            ),
            "segment 0 was born in version 2, says version 2; an earlier one says in version 1",
        ),
        (
            lambda e: e.insert(3, changed(e.pop(3), next_id=99)),
            "version 4 is kept otherwise than it is in force",
        ),
    ],
)
def test_what_contradicts_itself_is_found(
    lives: list[SegmentModel], spoil: Callable[[list[Entry]], object], detail: str
) -> None:
    entries = written(*lives)
    assert len(entries) == 4
    spoil(entries)
    found = audited(entries, lives[-1])[1]
    assert any(each.startswith(detail) for each in found), found


def test_a_version_that_is_kept_before_it_is_in_force_is_found(lives: list[SegmentModel]) -> None:
    assert audited(written(*lives), lives[2])[1] == [
        "version 4 is kept, and the latest segment model is of version 3"
    ]


@pytest.mark.parametrize("inner", [False, True])
def test_versions_of_a_newer_format_are_told_as_not_checked(
    lives: list[SegmentModel], inner: bool
) -> None:
    entries = written(*lives)
    old = b'{"schema_version":2' if inner else b'{"schema_version":1'
    key, value = entries[3]
    entries[3] = key, (value or b"").replace(old, old[:-1] + b"9", 1)
    audit, found = audited(entries, lives[-1])
    assert found == []
    assert list(audit.unchecked()) == [
        "versions: 1 versions are of a newer format than this version knows"
    ]


def change(reason: ChangeReason, version: int) -> SegmentChange:
    """A change by a version of the model."""
    path = history_of({"ann": UserPath([0, 1], by_model=frozenset({1}))}).changes[1]
    model = path.model.model_copy(update={"version": version})
    return path.model_copy(update={"reason": reason, "model": model})


@pytest.mark.parametrize(
    ("reason", "version", "detail"),
    [
        (ChangeReason.ROLLBACK, 3, None),
        (ChangeReason.MODEL_UPDATE, 2, None),
        (ChangeReason.BEHAVIOUR, 3, None),
        (ChangeReason.FIRST_ASSIGNMENT, 3, None),
        (
            ChangeReason.ROLLBACK,
            2,
            "change 2 has the reason rollback under version 2, which is no rollback",
        ),
        *(
            (
                reason,
                3,
                f"change 2 has the reason {reason} under version 3, which is the rollback to "
                "version 1",
            )
            for reason in (
                ChangeReason.MODEL_UPDATE,
                ChangeReason.SEGMENT_MERGED,
                ChangeReason.SEGMENT_SPLIT,
            )
        ),
    ],
)
def test_a_change_is_put_down_to_a_rollback_where_its_version_is_one_and_nowhere_else(
    lives: list[SegmentModel], reason: ChangeReason, version: int, detail: str | None
) -> None:
    audit, _ = audited(written(*lives))
    found = [sentence for _, sentence in audit.change(change(reason, version))]
    assert found == ([] if detail is None else [detail])


def test_of_versions_that_are_not_kept_any_more_nothing_is_said(lives: list[SegmentModel]) -> None:
    audit, _ = audited(written(*lives)[2:])
    assert list(audit.change(change(ChangeReason.MODEL_UPDATE, 2))) == []
    assert list(audit.unchecked()) == []
    assert list(audit.change(change(ChangeReason.ROLLBACK, 2))) == []
    assert list(audit.unchecked()) == [
        "that 1 changes with the reason rollback have one: their versions are not kept any more"
    ]


def test_an_audit_of_topics_holds_changes_against_their_versions() -> None:
    history = history_of({"ann": UserPath([0, 1, 2], by_model=frozenset({2}))})
    model = history.model
    assert model is not None
    assert history.changes[2].model.version == model.version == 3
    history.model = model.model_copy(update={"schema_version": 3, "rollback_of": 1})
    kept = ModelVersionRecord(model=history.model, origin=VersionOrigin.ROLLBACK, at=START)
    records = records_of(ReplayFiles.of(history))
    value = kept.model_dump_json().encode()
    records[TOPICS.model_versions] = [Record(TOPICS.model_versions, 0, 0, -1, b"3", value)]
    reader = _ScriptedReader(records)
    spans = reader.spans(records, stable=False)
    audit = _TopicAudit(
        reader,  # type: ignore[arg-type]
        Settings(),
        Cut({0: len(records[TOPICS.events])}, spans),
    )
    audit.run()
    (violation,) = audit.outcome().violations
    assert (violation.kind, violation.subject) == (Kind.VERSION, "ann")
    assert "has the reason model_update under version 3, which is the rollback" in violation.detail
