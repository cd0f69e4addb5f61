"""What `segmenter watch` draws: in any size, without colours, whatever things are called."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from consumer.live.changes import Published
from consumer.live.page import page, spark
from consumer.live.watcher import BINS, SegmentRow, View
from consumer.report.wording import one_line
from consumer.status.facts import (
    Drift,
    DriftTest,
    Endpoint,
    Member,
    Model,
    Partition,
    Refused,
    Status,
)
from consumer.status.facts import Group as ConsumerGroup
from schemas.changes import SegmentRef
from tests.consumer.live.live_data import a_change, by_model, published

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u2066\u0000\r\n\tname\ud800"
CHINESE = "咖啡、浓缩咖啡、拿铁、手冲壶、磨豆机、滤纸、奶泡"
SIZES = [(80, 24), (40, 12), (20, 6), (120, 50), (200, 24), (1, 1), (80, 3)]


def _status(partitions: int = 4, **changes: Any) -> Status:
    lags = [
        Partition(
            number=number,
            member="w0",
            committed=5,
            end=5 + number * 10,
            lag_records=number * 10,
            waits_seconds=1.0,
        )
        for number in range(partitions)
    ]
    group = ConsumerGroup(
        role="worker",
        group_id="g",
        state="stable",
        topic="events",
        members=[Member(name="w0", host="h", partitions=[0, 1])],
        partitions=lags,
        records_per_second=1234.5,
        written_per_second=1250.0,
        lag_records=sum(each.lag_records for each in lags),
        waits_seconds=1.0,
        seconds_to_go=12.0,
    )
    values: dict[str, Any] = {
        "at": "2026-01-01T00:00:00+00:00",
        "cluster_id": "c",
        "groups": [group],
        "model": Model(version=12, segments=3, published_seconds=180),
        "refused": [],
        "drift": Drift(reference_set="2026-01-01T00:00:00+00:00", model_version=3),
        "endpoints": [],
        "attention": [],
    }
    return Status(**{**values, **changes})


def _row(segment: int, name: str, users: int = 10, **changes: Any) -> SegmentRow:
    history = tuple(range(users - BINS + 1, users + 1))
    return replace(SegmentRow(segment, name, users, history, entered=3, left=1), **changes)


def _view(**changes: Any) -> View:
    view = View(
        status=_status(),
        at=time.time(),
        reading=1.0,
        segments=(_row(0, "coffee, espresso", 89), _row(1, "garden, plants", 75)),
        changes=(
            published(a_change("u-0084", 2, 0, 1)),
            published(by_model("u-0085", 1, 0)),
            published(a_change("u-0086", 1, 0)),
        ),
        refused={"no_text": 12, "invalid_json": 3},
        rates={"worker": (1.0, 5.0, 3.0)},
    )
    return replace(view, **changes)


def text_of(view: View, width: int = 80, height: int | None = 24, **more: Any) -> list[str]:
    return [line.plain for line in page(view, width, height, **more)]


def test_all_that_is_asked_for_is_on_a_terminal_of_80_by_24():
    lines = text_of(_view())
    whole = "\n".join(lines)
    for wanted in (
        *("model 12: 3 segments, 3 min old", "1 member; reads 1,234/s of 1,250/s; 60 behind, "),
        *("12 s to go  ▂█▅", "lag by partition", "3: 30  2: 20  1: 10  all others 0"),
        *("coffee, espresso", "89", "54 %", "+3 -1", "garden, pla… (1) → coffee, esp… (0)"),
        *("behaviour", "model_update", "against texts up to 2026-01-01 00:00"),
        *("no_text 12, invalid_json 3 in 10 min",),
    ):
        assert wanted in whole, whole
    assert spark([float(n) for n in range(BINS)]) in whole


def test_on_a_narrow_terminal_what_matters_most_is_not_cut():
    lines = text_of(_view(), 40, 14)
    whole = "\n".join(lines)
    for wanted in ("60 behind", "coffee, espresso", "89  54 %", "u-0084", "1 → 0", "behaviour"):
        assert wanted in whole, whole
    (heading,) = (line for line in lines if "users" in line)
    assert heading.rstrip().endswith("share")


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("name", ["coffee", CHINESE, HOSTILE, "x" * 300, "", "e\u0301" * 50])
def test_no_line_is_wider_than_the_terminal_and_there_are_no_more_than_go_on_it(
    width: int, height: int, name: str
):
    view = _view(
        status=_status(70, attention=[name, "drift: mmd is in alarm"] * 5),
        segments=tuple(_row(n, name, 1_000_000 + n) for n in range(40)),
        changes=(published(a_change("u", 2, 0, 1)),) * 60,
        trouble=f"{name}: no answer",
    )
    lines = text_of(view, width, height)
    assert len(lines) <= height
    assert [line for line in lines if cell_len(line) > width] == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_columns_stay_below_their_headings_whatever_the_width_of_characters(width: int):
    names = ["coffee", CHINESE, "コーヒー", "x" * 300, "🫘 beans"]
    view = _view(segments=tuple(_row(n, name, 1000 + n) for n, name in enumerate(names)))
    lines = text_of(view, width, None)
    (heading,) = (line for line in lines if "share" in line)
    ends = cell_len(heading.partition(" share")[0])
    rows = [line for line in lines if "+3 -1" in line]
    assert len(rows) == len(names)
    told = [line.partition(f"{1000 + n:,}") for n, line in enumerate(rows)]
    assert [cell_len(before + number) for before, number, _ in told] == [ends] * len(names)


def test_large_flows_stay_in_their_column():
    rows = (
        _row(0, "coffee", 1_000_000),
        replace(_row(1, "garden", 400_000), entered=123_456, left=9_999),
        replace(_row(2, "games", 300_000), entered=1_234_567, left=999_600),
    )
    lines = text_of(_view(segments=rows))
    assert any("+123k -9,999 " in line for line in lines)
    assert any("+1.2M -1.0M " in line for line in lines)
    told = [line for line in lines if "%" in line and "▁" in line]
    assert len({line.index("▁") for line in told}) == 1


def test_what_others_have_called_things_moves_no_cursor_and_turns_no_direction():
    refused = Refused(reason=HOSTILE, field=None, topic="t", partition=0, offset=1, seconds=1.0)
    hostile = {"user_id": HOSTILE, "reason": HOSTILE}
    hostile |= {"segment": SegmentRef.model_construct(id=0, label=HOSTILE)}
    change = a_change("u", 2, 0, 1).model_copy(update=hostile)
    test = DriftTest(statistic=0.5, threshold=0.1, alarm=True)
    endpoint = Endpoint(address="a:1", role="trainer", ready=True, drift={HOSTILE: test})
    status = _status(refused=[refused], attention=[HOSTILE], endpoints=[endpoint])
    view = _view(
        status=status,
        segments=(_row(0, HOSTILE),),
        changes=(Published(change, published(a_change("u")).record),),
        refused={HOSTILE: 3},
    )
    out = io.StringIO()
    lines = page(view, 80, None, HOSTILE)
    Console(file=out, width=80, color_system=None).print(Group(*lines))
    written = out.getvalue()
    assert "evil" in written
    bad = {character for character in written if one_line(character) != character} - {" ", "\n"}
    assert bad == set()


def test_without_colours_an_alarm_is_still_one():
    test = DriftTest(statistic=0.5, threshold=0.1, alarm=True)
    calm = DriftTest(statistic=None, threshold=None)
    tests = {"mmd": test, "segment_psi": calm}
    endpoint = Endpoint(address="a:1", role="trainer", ready=True, drift=tests)
    whole = "\n".join(text_of(_view(status=_status(endpoints=[endpoint]))))
    assert "mmd 0.5 of 0.1 ALARM at a:1" in whole
    assert "segment_psi -" in whole


def test_before_the_first_answer_and_while_there_is_none_it_says_so():
    assert text_of(View()) == ["segmenter  asking Kafka ..."]
    lines = text_of(View(), trouble="b:1: it refuses the connection")
    assert lines[1] == "! b:1: it refuses the connection"
    old = _view(at=time.time() - 90, trouble="there is no topic segments")
    told = next(line for line in text_of(old) if "there is no topic" in line)
    assert told == "! there is no topic segments (the rest is 90 s old)"
    assert any("coffee" in line for line in text_of(old))


def test_nothing_yet_is_said_and_what_does_not_fit_is_counted():
    empty = "\n".join(text_of(_view(segments=(), changes=(), refused={}, reading=0.25)))
    for wanted in ("reading who is in them ...", "none in the last 10 min", "Segments, 25% read"):
        assert wanted in empty
    nobody = "\n".join(text_of(_view(segments=())))
    assert "none yet: is a trainer running" in nobody
    many = text_of(_view(segments=tuple(_row(n, f"s{n}", 1000 - n) for n in range(30))))
    assert any("more" in line and line.startswith("  and ") for line in many)
    assert sum("u-00" in line for line in many) == 3
    sampled = text_of(_view(sampled=True))
    assert any("sampled" in line and "share" in line for line in sampled)


def test_names_of_wide_characters_are_cut_where_their_columns_end():
    labels = {"segment": SegmentRef.model_construct(id=7, label=CHINESE)}
    labels |= {"previous_segment": SegmentRef.model_construct(id=8, label=CHINESE)}
    change = published(a_change("用户", 2, 0, 1).model_copy(update=labels))
    for width in (80, 120):
        (told,) = (line for line in text_of(_view(changes=(change,)), width) if "→" in line)
        assert "… (8) → " in told
        assert "… (7) " in told


def test_where_there_is_no_room_for_names_a_change_is_told_by_the_ids_of_segments():
    lines = text_of(_view(), 44, None)
    assert any("u-0084" in line and "1 → 0" in line and "behaviour" in line for line in lines)
    assert any("u-0086" in line and "none → 0" in line for line in lines)


def test_a_line_of_bars_goes_from_its_least_to_its_most():
    assert spark([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert spark([5, 5, 5]) == "▁▁▁"
    assert spark([0, 0], least=0.0) == "▁▁"
    assert spark([7, 7], least=0.0) == "██"
