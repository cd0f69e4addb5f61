"""What a demo leaves behind, also where users wrote to break it."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from consumer.offline.outcome import Counts
from consumer.page.typical import nearest_texts
from consumer.report.pictures import png
from consumer.report.terminal import console
from consumer.report.wording import one_line, ordinal, percent
from consumer.settings import Settings
from consumer.tryout.demo.collect import _texts
from consumer.tryout.demo.contents import (
    ChangeCounts,
    Story,
    Timing,
    UserText,
    count_changes,
    tell_life,
    top_flows,
)
from consumer.tryout.demo.story import choose_story, tell
from consumer.tryout.demo.stream import FileStream
from consumer.tryout.demo.summary import render_summary
from schemas.changes import ChangeReason
from schemas.lifecycle import LifecycleEvent
from tests.consumer.stages.stage_data import EMBEDDER, NOW, a_model, event
from tests.consumer.tryout.demo_report_data import (
    LABELS,
    PNG,
    START,
    change,
    report_data,
    segment_model,
)
from tests.stubs import FailingEmbedder

HOSTILE = "<script>alert('x')</script> [bold]\x1b[2J\u202eabc & \"quoted\" $\\frac{$\nnext line"


def summary(data, width=80, encoding="utf-8") -> str:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding=encoding, newline="\n")
    render_summary(console(file, width=width), data)
    file.flush()
    return buffer.getvalue().decode(encoding)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_the_summary_tells_segments_story_flows_figures_and_paths():
    text = unwrapped(summary(report_data()))
    assert "Segments of 30 users" in text
    for label in LABELS.values():
        assert label in text
    assert "“I brew two cups before work.”" in text
    assert (
        "u-1 moved from “coffee, beans, cup” to “running, shoes, pace” on 14 March 2026, "
        "after the 12th event." in text
    )
    assert "0.61 from the centre of the new segment and 0.88 from the old one" in text
    assert "by a margin of 0.27" in text
    assert re.search(r"Before 27 February 2026 “My first espresso was sour.”", text)
    assert re.search(r"The event 14 March 2026 “These shoes fit like gloves.”", text)
    assert re.search(r"Since 21 March 2026 “Ran ten kilometres today.”", text)
    assert "1 coffee, beans, cup → running, shoes, pace" in text
    assert "1,000 = 980 accepted + 12 repeated + 8 refused" in text
    assert "invalid_json 5, key_mismatch 3" in text
    assert "250 events/s" in text
    assert "V-measure 0.987" in text
    assert "30 users against the interests" in text
    assert "demo-output/report.html" in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_summary_fits_its_width_and_has_no_colours_in_a_pipe(width):
    text = summary(report_data(), width)
    assert max(map(len, text.splitlines())) <= min(width, 100)
    assert "\x1b" not in text


def test_the_summary_survives_a_terminal_that_only_knows_ascii():
    data = report_data(typical_texts={1: ["咖啡 \u2013 très bon"]})
    text = unwrapped(summary(data, encoding="ascii"))
    assert "coffee, beans, cup > running, shoes, pace" in text
    assert '"?? ? tr?s bon"' in text
    assert "####" in text


def test_what_users_wrote_reaches_the_terminal_as_plain_text():
    data = report_data(
        typical_texts={1: [HOSTILE]},
        model=segment_model({1: HOSTILE, 2: "[red]two[/red]", 5: "\x07bell"}),
        story=Story("[u]\x1b]0;title\x07", [change(old=1, new=2)], [UserText("e", START, HOSTILE)]),
    )
    buffer = io.StringIO()
    render_summary(Console(file=buffer, width=100, force_terminal=True, color_system=None), data)
    text = buffer.getvalue()
    assert not {"\x07", "\u202e"} & set(text)
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert "[red]two[/red]" in text
    assert "[bold]" in text


@pytest.mark.parametrize("users", [0, 1])
def test_a_run_with_hardly_a_user_is_told_all_the_same(users):
    data = report_data(users=users)
    assert f"Segments of {users} user" in summary(data)
    assert png(data.map.draw()).startswith(PNG)


def test_users_without_a_segment_are_counted_and_drawn():
    data = report_data()
    segments = np.where(np.arange(30) < 4, -1, data.map.segments)
    data = replace(data, map=replace(data.map, segments=segments))
    assert data.map.outside == 4
    assert sum(data.map.sizes().values()) == 26
    assert "no segment" in summary(data)
    assert png(data.map.draw()) != png(report_data().map.draw())


def test_without_a_story_labels_or_moves_the_rest_is_shown():
    data = report_data(
        story=None,
        agreement=None,
        changes=ChangeCounts(3, 0, 0, 0, {}),
        counts=Counts(3, 3, 0, 0, 3),
        timing=Timing(0.0),
        refused={},
    )
    text = summary(data)
    assert "story" not in text
    assert "ways" not in text
    assert "agreement" not in text
    assert png(replace(data.map, ways=()).draw()).startswith(PNG)


def test_changes_are_counted_by_kind_and_only_own_moves_make_flows():
    counts = count_changes(
        [
            change(),
            change(sequence=2, old=1, new=2),
            change(user="u-2", old=1, new=2),
            change(user="u-3", old=2, new=1),
            change(user="u-4", old=1, new=2, by_model=True),
            change(user="u-5", old=1, new=None),
            change(user="u-6", old=1, new=2, by_model=True).model_copy(
                update={"reason": ChangeReason.SEGMENT_MERGED}
            ),
        ]
    )
    assert counts == ChangeCounts(1, 3, 2, 1, {(1, 2): 2, (2, 1): 1})
    assert counts.total == 7
    assert top_flows(counts, limit=1) == [(1, 2, 2)]


def test_the_story_is_of_the_user_with_one_late_move_by_the_largest_margin():
    def moved(user, *moves):
        return [
            change(user),
            *(change(user, 2 + n, old=1, new=2, **move) for n, move in enumerate(moves)),
        ]

    stories = {
        "a-early": moved("a-early", {"events": 4, "margin": 0.9}),
        "b-small": moved("b-small", {"events": 12, "margin": 0.1}),
        "c-large": moved("c-large", {"events": 12, "margin": 0.3}),
        "d-equal": moved("d-equal", {"events": 12, "margin": 0.3}),
        "e-twice": moved("e-twice", *[{"events": 12, "margin": 0.8}] * 2),
        "f-model": moved("f-model", {"events": 12, "margin": 0.8, "by_model": True}),
        "g-stays": moved("g-stays"),
        "h-never": [],
    }
    assert choose_story(stories) == "c-large"
    assert choose_story(dict(reversed(stories.items()))) == "c-large"
    del stories["b-small"], stories["c-large"], stories["d-equal"]
    assert choose_story(stories) == "e-twice"
    assert choose_story({"h-never": []}) is None


def test_a_story_without_a_move_tells_how_the_user_entered_or_left():
    entered = tell(Story("u-1", [change(events=1)], []))
    assert (
        entered.headline == "u-1 entered “coffee, beans, cup” on 1 March 2026, after the 1st event."
    )
    left = tell(Story("u-1", [change(), change(sequence=2, old=1, new=None, events=22)], []))
    assert "left “coffee, beans, cup”" in left.headline
    assert left.reason == "The profile lies too far from every segment."
    updated = tell(Story("u-1", [change(old=1, new=2, by_model=True)], []))
    assert "2026" not in updated.headline
    assert updated.reason == "Version 4 of the segments drew the lines anew."
    for reason, sentence in (("segment_merged", "merged the two"), ("segment_split", "split the")):
        followed = change(old=1, new=2, by_model=True).model_copy(
            update={"reason": ChangeReason(reason)}
        )
        assert tell(Story("u-1", [followed], [])).reason.startswith(
            f"Version 4 of the segments {sentence}"
        )
    assert tell(Story("u-1", [], [])) is None


def test_the_lives_of_segments_are_told_in_the_summary():
    def life(kind, segment, **fields):
        given = {"parents": [], "children": [], "successor": None, "size": 5, "size_before": 5}
        return LifecycleEvent(
            **{"type": kind, "segment": segment, "label": HOSTILE, "flows": [], **given, **fields},
            version=3,
            at=START,
        )

    data = report_data(
        lifecycle=[
            life("created", 2),
            life("created", 5, parents=[2]),
            life("split", 2, children=[2, 5]),
            life("merged", 1, parents=[1, 7]),
            life("retired", 7, successor=1),
            life("retired", 8),
            life("renamed", 2, previous_label="ale, hops"),
        ]
    )
    told = [tell_life(data, event) for event in data.lifecycle]
    assert told == [
        "created",
        f"created from 2 ({LABELS[2]})",
        f"split into 2 ({LABELS[2]}), 5 ({LABELS[5]})",
        f"made of 1 ({LABELS[1]}), 7 (former segment 7)",
        f"retired, taken over by 1 ({LABELS[1]})",
        "retired",
        "renamed from ale, hops",
    ]
    text = unwrapped(summary(data))
    assert "2 created, 1 split, 1 merged, 2 retired, 1 renamed, in 4 versions" in text


@given(st.text(), st.integers(4, 200))
def test_one_line_is_short_and_holds_nothing_that_moves_a_cursor(text, limit):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", line)
    line.encode()


def test_long_texts_are_cut_between_words_and_scripts_without_blanks_anywhere():
    assert one_line("one two three four", 14) == "one two three…"
    assert one_line("咖啡" * 20, 11) == "咖啡" * 5 + "…"
    assert one_line("  a\n\tb  ") == "a b"


def test_numbers_are_written_as_people_write_them():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]
    )
    assert [percent(*parts) for parts in ((1, 3), (1, 500), (0, 5), (5, 0), (5, 5))] == (
        ["33 %", "0.2 %", "0 %", "0 %", "100 %"]
    )


def test_texts_are_quoted_as_they_were_written_and_of_an_edited_one_the_first(tmp_path) -> None:
    first = {**event("u", 1, "<b>很好</b>\uff0c推薦 ½"), "language": "zh"}
    lines = [
        first,
        {**first, "text": "an edit", "occurred_at": event("u", 9)["occurred_at"]},
        event("u", 2, "5", item_title="Cup \uff08blue\uff09"),
        event("u", 3, "seen only", type="view"),
        event("u", 4, "👍"),
        event("v", 1, "another user"),
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = Settings()
    found = _texts(settings, FileStream(path, settings.events.intake()), {"u"}, NOW)
    assert {user: [text.text for text in texts] for user, texts in found.items()} == {
        "u": ["很好\uff0c推薦 ½", "Cup \uff08blue\uff09"]
    }


def test_a_text_that_the_model_fails_on_is_not_shown_as_typical() -> None:
    texts = ["malt and hops for brewing at home", "a quark among hops, malt and barley"]
    wrote = {"u": [texts[0]], "v": [texts[1]]}
    nearest = {0: ["u", "v"], 1: []}
    model = a_model()
    centres = dict(zip(model.ids.tolist(), model.centres, strict=True))
    shown = nearest_texts(centres, nearest, wrote, FailingEmbedder("quark", 16), 3)
    assert shown == {0: [texts[0]], 1: []}
    assert nearest_texts(centres, nearest, wrote, EMBEDDER, 3)[0] == sorted(texts, reverse=True)
