"""The lives of segments under audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.records import Headers, Output, Record
from consumer.stages.training.published import lifecycle_events, version_outputs
from consumer.verify import ViolationKind, verify_folder
from consumer.verify.decode import MalformedError, Told, event_in
from consumer.verify.lifecycle import check_lifecycle, check_segment_states
from consumer.verify.report import Violations
from models.segments.model import SegmentModel
from schemas.lifecycle import LifecycleEvent, lifecycle_headers, structured_lifecycle_event
from tests.consumer.verify.feeds import TOPICS, WHOLE, Feed
from tests.consumer.verify.histories import START, History, ReplayFiles, UserPath, history_of
from tests.models.segments.segment_lives import after, first

Kind = ViolationKind


@dataclass
class Life:
    """Some versions of the segments, and what was told of them."""

    events: list[LifecycleEvent]
    model: SegmentModel

    def found(self, **how: bool) -> list[tuple[Kind, str]]:
        violations = Violations()
        seen = [Told(event, event.id) for event in self.events]
        check_lifecycle(seen, self.model.to_record(), "the topic", violations, **how)
        assert {entry.subject for entry in violations.first} <= {"the topic"}
        return [(entry.kind, entry.detail) for entry in violations.first]


def life_of(*versions: SegmentModel) -> Life:
    told = [event for model in versions for event in lifecycle_events(model, None, START)]
    return Life(told, versions[-1])


@pytest.fixture
def renamed() -> Life:
    """Segments 0 and 1, both of which have another name in each of three versions."""
    one = first(2)
    two = after(one, [[60, 0], [0, 50]])
    three = after(two, [[60, 0], [0, 50]])
    told = [
        event
        for previous, model in zip((None, one, two), (one, two, three), strict=True)
        for event in lifecycle_events(model, previous, START)
    ]
    assert [(e.type, e.segment, e.version) for e in told[2:]] == [
        ("renamed", 0, 2),
        ("renamed", 1, 2),
        ("renamed", 0, 3),
        ("renamed", 1, 3),
    ]
    assert told[-1].previous_label == "version 2, segment 1"
    assert told[-1].label == "version 3, segment 1"
    return Life(told, three)


def lifecycle_outputs(model: SegmentModel) -> list[Output]:
    told = lifecycle_events(model, None, START)
    outputs = version_outputs(model, None, told, TOPICS, "shop")
    return [output for output in outputs if output.topic == TOPICS.lifecycle]


@pytest.fixture
def life() -> Life:
    """Segments 0 and 1; 2 is split off 0, then 1 goes into 0."""
    one = first(2)
    two = after(one, [[60, 40, 0], [0, 0, 50]])
    three = after(two, [[60, 0], [40, 0], [0, 40]])
    assert [(e.type, e.segment, e.version) for e in life_of(one, two, three).events] == [
        ("created", 0, 1),
        ("created", 1, 1),
        ("created", 2, 2),
        ("split", 0, 2),
        ("merged", 0, 3),
        ("retired", 1, 3),
    ]
    return life_of(one, two, three)


def test_a_sound_life_passes(life: Life) -> None:
    assert life.found() == []


def test_new_names_that_follow_one_another_pass(renamed: Life) -> None:
    assert renamed.found() == []
    # Those before were not told: an upgrade, or retention.
    renamed.events = renamed.events[-2:]
    assert renamed.found() == []


def test_a_new_name_that_does_not_follow_the_one_before_is_found(renamed: Life) -> None:
    renamed.events[-1] = renamed.events[-1].model_copy(update={"previous_label": "x"})
    assert [detail for _, detail in renamed.found()] == [
        "version 3 renames segment 1 from another name than version 2 gave it"
    ]


def test_another_name_in_the_model_than_the_latest_event_gave_is_found(renamed: Life) -> None:
    del renamed.events[-2]
    assert [detail for _, detail in renamed.found()] == [
        "segment 0 has another name in the segment model of version 3 than version 2 gave it"
    ]


def states_of(model: SegmentModel) -> dict[str, bytes]:
    outputs = version_outputs(model, None, [], TOPICS, "shop")
    found = [output for output in outputs if output.topic == TOPICS.segments]
    return {(output.key or b"").decode(): output.value or b"" for output in found}


def found_in_states(states: dict[str, bytes], model: SegmentModel) -> list[str]:
    violations = Violations()
    reason = check_segment_states(states, model.to_record(), "segments", violations)
    return [entry.detail for entry in violations.first] + ([reason] if reason else [])


def test_the_segments_there_are_pass_beside_their_model() -> None:
    model = first(2)
    assert found_in_states(states_of(model), model) == []
    assert found_in_states({}, model) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda s: s.pop("1"), "segment 1 is missing that is in the segment model of version 1"),
        (
            lambda s: s.update({"5": s["1"].replace(b'"id":1', b'"id":5')}),
            "segment 5 is there and not in the segment model of version 1",
        ),
        (
            lambda s: s.update({"1": s["1"].replace(b"segment 1", b"other")}),
            "segment 1 is otherwise than in the segment model of version 1",
        ),
        (
            lambda s: s.update(
                {k: v.replace(b'"version":1', b'"version":2') for k, v in s.items()}
            ),
            "there are records of version 2, the latest segment model is of version 1",
        ),
        (lambda s: s.update({"7": s["1"]}), "segment 1 is under the key '7'"),
        (lambda s: s.update({"7": b"{"}), "7 cannot be read: Invalid JSON"),
    ],
)
def test_segments_that_do_not_fit_their_model_are_found(
    spoil: Callable[[dict[str, bytes]], object], told: str
) -> None:
    states = states_of(first(2))
    spoil(states)
    assert any(told in each for each in found_in_states(states, first(2)))


def test_segments_of_a_version_before_the_models_are_not_compared() -> None:
    one = first(2)
    two = after(one, [[60, 0], [0, 50]])
    assert found_in_states(states_of(one), two) == [
        "the records are of version 1, the segment model of version 2"
    ]


@given(st.data())
def test_whatever_becomes_of_segments_passes(data: st.DataObject) -> None:
    versions = [first(data.draw(st.integers(1, 4)))]
    for _ in range(3):
        columns = data.draw(st.integers(1, 4))
        row = st.lists(st.integers(0, 20), min_size=columns, max_size=columns)
        table = [data.draw(row) for _ in versions[-1].ids]
        versions.append(after(versions[-1], table))
    life = life_of(*versions)
    assert life.found() == []
    # Only what was published since is told: an upgrade, or retention.
    life.events = [event for event in life.events if event.version > 2]
    assert life.found() == []


def test_events_of_a_later_version_than_the_model_are_found(life: Life) -> None:
    life.model = replace(life.model, version=2, since=(1, 2))
    assert life.found() == [
        (
            Kind.LIFECYCLE,
            "there are events of version 3, the latest segment model is of version 2",
        )
    ]


def test_a_segment_that_is_created_twice_is_found(life: Life) -> None:
    life.events.append(life.events[2].model_copy(update={"version": 3}))
    assert (Kind.LIFECYCLE, "segment 2 was created twice, by version 2 and by version 3") in (
        life.found()
    )


def test_a_retired_segment_in_the_model_is_found(life: Life) -> None:
    life.events[-1] = life.events[-1].model_copy(update={"segment": 2, "successor": 0})
    details = [detail for _, detail in life.found()]
    assert "segment 2 was retired by version 3 and is in the segment model of version 3" in details


def test_a_segment_that_is_used_after_it_was_retired_is_found(life: Life) -> None:
    split = life.events[3].model_copy(update={"version": 4, "segment": 0, "children": [0, 1]})
    life.events.append(split)
    life.model = replace(life.model, version=4)
    assert [detail for _, detail in life.found()] == [
        "segment 1 was retired by version 3, and version 4 has something become of it"
    ]


def test_a_segment_that_vanished_is_found(life: Life) -> None:
    del life.events[-1]
    life.model = replace(life.model, history=replace(life.model.history, retired=()))
    assert [detail for _, detail in life.found()] == [
        "segment 1 was created by version 1, was not retired, and is not in the segment model of "
        "version 3"
    ]


def test_a_model_may_be_later_than_the_events(life: Life) -> None:
    life.events = [event for event in life.events if event.version < 3]
    assert life.found() == []


def test_a_segment_that_nobody_created_is_found(life: Life) -> None:
    del life.events[2]
    expected = "segment 2 is there since version 2, and no event says that it was created"
    assert life.found() == [(Kind.LIFECYCLE, expected)]
    # It may have been among the first events, which retention has removed.
    life.events = [event for event in life.events if event.version > 1]
    assert life.found(beginning_lost=True) == []
    assert life.found() == [(Kind.LIFECYCLE, expected)]


def test_a_doubled_event_is_found_once(life: Life) -> None:
    life.events.append(life.events[-1])
    assert life.found() == [
        (Kind.REPEATED_ID, "the event that version 3 retired segment 1 came twice")
    ]


def test_events_out_of_order_are_found(life: Life) -> None:
    life.events.append(life.events.pop(2))
    assert life.found() == [
        (
            Kind.LIFECYCLE,
            "the event that version 2 created segment 2 came after those of version 3",
        )
    ]


def test_without_a_model_the_events_are_compared_with_each_other(life: Life) -> None:
    violations = Violations()
    seen = [Told(event, "forged") for event in life.events[:1]]
    check_lifecycle(seen, None, "the topic", violations)
    assert [entry.kind for entry in violations.first] == [Kind.FORGED_ID]


# --- on a topic and in a folder -------------------------------------------------------------------


def record(value: bytes | None, headers: Headers) -> Record:
    return Record("segment-lifecycle", 0, 7, -1, b"0", value, headers)


def test_records_are_read_with_the_ids_that_they_came_under(life: Life) -> None:
    outputs = lifecycle_outputs(life.model)
    told = [
        event_in(record(output.value, output.headers), LifecycleEvent, lifecycle_headers)
        for output in outputs
    ]
    assert [each.event for each in told] == [e for e in life.events if e.version == 3]
    assert [each.recorded_id for each in told] == [each.event.id for each in told]
    assert not any(each.faults for each in told)


def test_a_record_that_does_not_fit_its_headers_is_found(life: Life) -> None:
    output = lifecycle_outputs(life.model)[0]
    wrong = tuple((name, b"9" if name == "ce_subject" else text) for name, text in output.headers)
    told = event_in(record(output.value, wrong), LifecycleEvent, lifecycle_headers)
    violations = Violations()
    check_lifecycle([told], None, "the topic", violations)
    assert [(entry.kind, entry.detail) for entry in violations.first] == [
        (
            Kind.ENVELOPE,
            "the attributes of segment-lifecycle[0]@7 do not fit its event in ce_subject",
        )
    ]


def test_a_record_that_cannot_be_read_says_why(life: Life) -> None:
    output = lifecycle_outputs(life.model)[0]
    for value, headers, reason in (
        (None, output.headers, "it has no value"),
        (b"{", output.headers, "Invalid JSON"),
        (output.value, (), "it has no header ce_id"),
        (output.value, (("ce_id", b"\xff"),), "the header ce_id is no UTF-8 text"),
    ):
        with pytest.raises(MalformedError, match=reason):
            event_in(record(value, headers), LifecycleEvent, lifecycle_headers)


@pytest.fixture
def history() -> History:
    return history_of({"ann": UserPath(segments=(0, 1))})


@pytest.fixture(params=WHOLE)
def audit(
    request: pytest.FixtureRequest, history: History, life: Life, tmp_path: Path
) -> Callable[..., dict[Kind, int]]:
    feed: Feed = request.param

    def run(spoil: Callable[[ReplayFiles], object] = lambda _: None) -> dict[Kind, int]:
        files = ReplayFiles.of(history)
        files.lifecycle = [structured_lifecycle_event(event, "segmenter") for event in life.events]
        record = life.model.to_record().model_dump(mode="json")
        # The other records are of another embedding model.
        files.model |= {name: record[name] for name in ("version", "next_id", "retired")}
        files.model["segments"] = [
            {**files.model["segments"][0], **{name: each[name] for name in ("id", "since")}}
            for each in record["segments"]
        ]
        files.tell_no_segments()
        spoil(files)
        return dict(Counter(each.kind for each in feed(files, tmp_path).first))

    return run


def test_the_lives_of_segments_pass(audit: Callable[..., Any]) -> None:
    assert audit() == {}


def test_what_is_wrong_with_lives_is_found(audit: Callable[..., Any]) -> None:
    assert audit(lambda files: files.lifecycle.append(files.lifecycle[0])) == {Kind.REPEATED_ID: 1}
    assert audit(lambda files: files.lifecycle.append("{")) == {Kind.MALFORMED: 1}
    assert audit(lambda files: files.lifecycle.append("{}")) == {Kind.MALFORMED: 1}
    assert audit(lambda files: files.lifecycle[0].update(type="other")) == {Kind.ENVELOPE: 1}
    assert audit(lambda files: files.lifecycle[0].update(id="other")) == {Kind.FORGED_ID: 1}
    assert audit(lambda files: files.lifecycle[0]["data"].pop("flows")) == {
        Kind.MALFORMED: 1,
        Kind.LIFECYCLE: 1,
    }
    assert audit(lambda files: files.model.update(version=2))[Kind.LIFECYCLE] == 1


def test_a_folder_of_an_earlier_version_has_no_lives_and_says_so(
    history: History, tmp_path: Path
) -> None:
    folder = ReplayFiles.of(history).write(tmp_path)
    (folder / "segment-lifecycle.jsonl").unlink()
    result = verify_folder(folder)
    assert result.ok
    assert result.unchecked == ("the lives of segments: there is no segment-lifecycle.jsonl",)
