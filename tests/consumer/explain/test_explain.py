"""Why a user is in a segment, from a replay's folder and the file that it replayed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.cli import main as cli
from consumer.explain.explain import explain
from consumer.explain.facts import Explanation, Found, Without
from consumer.explain.page import page
from consumer.explain.render import render
from consumer.explain.sources import ExplainError, from_folder
from consumer.explain.wording import moves
from consumer.offline.replay import replay_file
from consumer.settings import Settings
from consumer.state.lookup import ProfileNotFoundError
from consumer.wiring import embedder as wiring
from models.distances import distances_to_all
from models.profiles.rows import unit_rows
from schemas.arrays import decode_array
from schemas.profiles import ProfileRecord
from tests.consumer.stages.stage_data import EMBEDDER, NOW, TOPICS, a_model, event

# Each event by itself, so that each change has a time of its own.
SETTINGS = Settings(assignment={"dwell_events": 2}, batch={"max_records": 1})
HOPS, QUBIT = TOPICS


def events() -> list[dict[str, Any]]:
    """Ann goes from one interest to the other; Bob stays; Cem has more events than are kept."""
    made = []
    for number in range(6):
        words = (HOPS if number < 2 else QUBIT).split()
        words = words[number % 3 :] + words[: number % 3]
        text = f"{words[0]} {words[1]} . {words[2]} {words[3]} ."  # the embedder knows no marks
        made.append(event("ann", number, text))
        made.append(event("bob", number, HOPS, type="comment"))
    made += [event("cem", number, QUBIT if number % 3 else HOPS) for number in range(20)]
    return sorted(made, key=lambda each: each["occurred_at"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("explained")
    lines = "".join(json.dumps(each) + "\n" for each in events())
    (made / "events.jsonl").write_text(lines, encoding="utf-8")
    model = a_model()
    replay_file(made / "events.jsonl", made / "out", SETTINGS, EMBEDDER, model=model, now=NOW)
    return made


def told(
    folder: Path, user: str, *, file: bool = True, settings: Settings = SETTINGS, **more: Any
) -> Explanation:
    path = folder / "events.jsonl" if file else None
    evidence = from_folder(settings, folder / "out", path, user, more.get("at"))
    return explain(evidence, user, settings, lambda: EMBEDDER, **more)


def profile(folder: Path, user: str) -> ProfileRecord:
    lines = (folder / "out/profiles.jsonl").read_text(encoding="utf-8").splitlines()
    records = map(ProfileRecord.model_validate_json, lines)
    return next(record for record in records if record.user_id == user)


@pytest.mark.parametrize(("user", "kept"), [("ann", 6), ("bob", 6), ("cem", 8)])
def test_the_shares_add_up_to_the_margin_and_so_do_all_others(folder, user, kept):
    found = told(folder, user)
    margin = found.margin
    assert margin is not None
    shares = [each.share for each in found.known]
    assert len(shares) == kept
    assert None not in shares
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(margin.events, abs=1e-9)
    total = margin.events + margin.centres + margin.others + margin.rounding
    assert total == pytest.approx(margin.margin, abs=1e-6)
    assert abs(margin.rounding) < 1e-6
    own = profile(folder, user)
    distances = distances_to_all(
        unit_rows(decode_array(own.vector, "<f4")[None]), a_model().centres
    )[0]
    nearer = found.segment.id if found.segment else int(distances.argmin())
    assert margin.margin == pytest.approx(distances[1 - nearer] - distances[nearer])
    if kept == own.events:
        assert margin.others == 0
        assert margin.others_weight == pytest.approx(0, abs=1e-5)
    else:
        assert margin.others_weight == pytest.approx(
            own.weight - sum(e.weight for e in found.known)
        )


def test_events_push_to_the_side_of_what_they_say(folder):
    found = told(folder, "ann")
    assert found.segment is not None
    assert found.segment.label == "qubit photon"
    for each in found.known:
        assert each.found is Found.READ
        says_qubit = any(word in (each.text or "") for word in QUBIT.split())
        assert ((each.share or 0) > 0) == says_qubit
    assert [change.status for change in found.changes] == ["entered", "switched"]
    assert found.since == found.changes[-1]
    pushed = found.changes[-1].shares
    assert pushed is not None
    assert [each.event_id for each in pushed.events] == [found.changes[-1].event_id]
    assert pushed.events[0].share + pushed.others + pushed.centres == pytest.approx(
        found.changes[-1].margin, abs=1e-9
    )
    assert [near.segment.id for near in found.nearest] == [1, 0]


def test_the_words_that_push_are_those_without_which_the_text_says_less(folder):
    first = told(folder, "ann").known[0]
    assert len(first.sentences) == 2
    assert {part.text for part in first.words} <= set(re.findall(r"\w+", first.text or ""))
    strongest = max(first.words, key=lambda part: part.share)
    assert strongest.text in QUBIT.split()
    assert strongest.share > 0


def test_what_would_move_a_user_moves_the_user_in_a_replay(folder, tmp_path):
    found = told(folder, "ann")
    moving = found.counterfactuals
    assert moving is not None
    towards = next(more for more in moving.more if more.like == "segment")
    last = next(more for more in moving.more if more.like == "event")
    assert last.events is None  # the user is where the last one pulls
    assert (towards.segment, towards.events) == (towards.towards, towards.events)
    # The very middle of the other segment is what its text says.
    latest = max(each["occurred_at"] for each in events() if each["user_id"] == "ann")
    ends = []
    for count in (towards.events - 1, towards.events):
        more = [event("ann", 100 + number, HOPS, occurred_at=latest) for number in range(count)]
        file = tmp_path / f"{count}.jsonl"
        file.write_text("".join(json.dumps(each) + "\n" for each in [*events(), *more]))
        out = tmp_path / str(count)
        replay_file(file, out, SETTINGS, EMBEDDER, model=a_model(), now=NOW)
        ends.append(profile(tmp_path_as(out), "ann").segment)
    assert ends == [1, 0]
    # Taking away the fewest that push most turns the nearest segment.
    assert moving.fewest is not None
    gone = set(moving.fewest.offsets)
    own = profile(folder, "ann")
    vectors = {each.offset: each for each in found.known}
    left = decode_array(own.vector, "<f4").astype(np.float64)
    for offset in gone:
        text = events()[offset]["text"]
        left = left - vectors[offset].weight * EMBEDDER.embed([text])[0]
    assert distances_to_all(unit_rows(left[None]), a_model().centres)[0].argmin() == 0


def tmp_path_as(out: Path) -> Path:
    """A folder in which `profile` finds a replay's."""
    home = out.parent / f"{out.name}-home"
    home.mkdir()
    (home / "out").symlink_to(out)
    return home


def test_without_the_file_that_was_replayed_texts_are_said_to_be_unknown(folder):
    found = told(folder, "ann", file=False)
    assert {each.found for each in found.known} == {Found.NOT_ASKED}
    assert {each.share for each in found.known} == {None}
    assert found.margin is not None
    assert found.margin.others + found.margin.centres == pytest.approx(found.margin.margin)
    assert any("--input" in note for note in found.notes)


def test_another_file_s_events_are_not_taken_for_the_user_s(folder, tmp_path):
    other = tmp_path / "other.jsonl"
    lines = [json.dumps({**each, "event_id": f"x{n}"}) for n, each in enumerate(events())]
    other.write_text("\n".join(lines[:10]), encoding="utf-8")
    evidence = from_folder(SETTINGS, folder / "out", other, "ann")
    found = explain(evidence, "ann", SETTINGS, lambda: EMBEDDER)
    assert {each.found for each in found.known} == {Found.OTHER, Found.GONE}
    assert any("6 of the 6 events" in note for note in found.notes)


def test_at_a_time_only_what_was_published_by_then_is_told(folder):
    whole = told(folder, "ann")
    entered, switched = whole.changes
    between = switched.changed_at - timedelta(seconds=1)
    found = told(folder, "ann", at=between)
    assert found.changes == [entered]
    assert (found.segment, found.since) == (entered.segment, entered)
    assert {each.occurred_at <= between for each in found.known} == {True}
    assert "ann was in 0" in render(found)
    with pytest.raises(ExplainError, match="nothing was published of the user 'ann' by 2000"):
        told(folder, "ann", at=datetime(2000, 1, 1, tzinfo=UTC))
    with pytest.raises(ProfileNotFoundError, match="has no record of the user 'eve'"):
        told(folder, "eve", at=between)


class Page(HTMLParser):
    """Texts of a page, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.open = Counter[str]()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[tag] += 1
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        self.open[tag] -= 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_terminal_and_page_tell_the_same_and_the_page_fetches_nothing(folder):
    found = told(folder, "ann")
    shown, made = render(found, 200), page(found)
    parsed = Page(made)
    assert parsed.fetched == []
    assert "script" not in parsed.tags
    assert {tag for tag, count in parsed.open.items() if count} == {"br", "meta"}
    for each in found.known:
        assert f"{each.share:+.6f}" in shown
        assert f"{each.share:+.6f}" in made
    for line in ("What would move the user", "Changes", "the centres: no event's"):
        assert line in shown
        assert line in " ".join(parsed.texts)
    assert max(map(len, shown.splitlines())) <= 200
    assert max(map(len, render(found, 60).splitlines())) <= 60


def test_events_without_which_the_user_would_be_elsewhere_are_told_together(folder):
    found = told(folder, "ann")
    moving = found.counterfactuals
    assert moving is not None
    alone = [
        Without(offsets=[each.offset], segment=found.changes[0].segment) for each in found.known[:2]
    ]
    several = found.model_copy(
        update={"counterfactuals": moving.model_copy(update={"would_not_be_here": alone})}
    )
    times = [f"2026-01-0{n} 00:00" for n in (3, 4, 5, 6)]
    line = next(line for line in moves(several) if "any one of the events of" in line)
    assert sum(time in line for time in times) == 2
    assert line.endswith("would not have come here, but be in 0 “hops yeast”.")


def test_texts_are_hidden_where_that_is_asked_for(folder):
    found = told(folder, "ann", texts=False)
    whole = found.model_dump_json() + render(found) + page(found)
    for each in events():
        if each["user_id"] == "ann":
            assert each["text"] not in whole
    assert not any(each.words or each.sentences for each in found.known)
    assert all(each.share is not None for each in found.known)


def test_what_users_write_is_no_markup_of_the_page(tmp_path):
    text = "<b>hops</b> yeast <script>alert(1)</script> & \u202emalt [red]barley"
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(event("<i>", 1, text)) + "\n", encoding="utf-8")
    replay_file(file, tmp_path / "out", SETTINGS, EMBEDDER, model=a_model(), now=NOW)
    evidence = from_folder(SETTINGS, tmp_path / "out", file, "<i>")
    found = explain(evidence, "<i>", SETTINGS, lambda: EMBEDDER)
    parsed = Page(page(found))
    assert not {"i", "b", "script"} & set(parsed.tags)
    assert "[red]" in render(found, 300) or "red" not in (found.known[0].text or "")


def test_with_one_segment_there_is_no_margin(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(event("u", 1)) + "\n", encoding="utf-8")
    replay_file(file, tmp_path / "out", SETTINGS, EMBEDDER, model=a_model(texts=[HOPS]), now=NOW)
    evidence = from_folder(SETTINGS, tmp_path / "out", file, "u")
    found = explain(evidence, "u", SETTINGS, lambda: EMBEDDER)
    assert (found.margin, found.counterfactuals) == (None, None)
    assert "one segment alone" in render(found, 200)
    assert page(found)


def test_without_references_the_rest_is_told(tmp_path):
    settings = Settings(profile={"references": 0})
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(event("u", n)) + "\n" for n in range(3)), encoding="utf-8")
    replay_file(file, tmp_path / "out", settings, EMBEDDER, model=a_model(), now=NOW)
    evidence = from_folder(settings, tmp_path / "out", file, "u")
    found = explain(evidence, "u", settings, lambda: EMBEDDER)
    assert found.known == []
    assert found.margin is not None
    assert found.margin.others + found.margin.centres == pytest.approx(found.margin.margin)
    assert any("profile.references" in note for note in found.notes)


# --- the command ----------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Run:
    monkeypatch.setattr(wiring, "load_embedder", lambda _: EMBEDDER)

    def run(user: str, *more: object) -> tuple[int, str, str]:
        flags = ["--replay", str(folder / "out"), *map(str, more)]
        code = cli.main(["explain", user, "--assignment.dwell-events", "2", *flags])
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_json_a_page_or_text(folder, command, tmp_path):
    file = folder / "events.jsonl"
    code, out, _ = command("ann", "--input", file, "--json", "--texts")
    assert code == 0
    assert Explanation.model_validate_json(out) == told(folder, "ann")
    code, out, err = command("ann", "--input", file, "--html", tmp_path / "page.html")
    assert (code, out) == (0, "")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "page.html" in err
    code, out, _ = command("ann", "--input", file)
    assert (code, "photon" in out.replace("qubit photon", "")) == (0, False)


@pytest.mark.parametrize(
    ("user", "flags", "code", "sentence"),
    [
        ("eve", (), 3, "has no record of the user 'eve'"),
        ("ann", ("--at", "2000-01-01T00:00:00Z"), 3, "nothing was published of the user 'ann'"),
        ("ann", ("--at", "soon"), 2, "soon"),
        ("ann", ("--replay", "nowhere"), 3, "nowhere is no folder of a replay that has ended"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence_and_no_success(
    command, user, flags, code, sentence
):
    found, out, err = command(user, *flags)
    assert (found, out) == (code, "")
    assert sentence in err
    assert code == 2 or len(err.splitlines()) == 1


def test_before_the_first_version_there_is_nothing_to_explain_by(tmp_path, command):
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(event("u", 1)) + "\n", encoding="utf-8")
    settings = Settings(training={"warmup_users": 20, "warmup_events": 100_000})
    replay_file(file, tmp_path / "out", settings, EMBEDDER, now=NOW)
    (tmp_path / "out/model.json").unlink(missing_ok=True)
    code, out, err = command("u", "--replay", tmp_path / "out")
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "there is no segment model yet" in err


def test_the_input_goes_with_a_replay(monkeypatch, capsys, folder):
    code = cli.main(["explain", "ann", "--input", str(folder / "events.jsonl")])
    assert code == 2
    assert "--input goes with --replay" in capsys.readouterr().err


def test_who_stays_by_the_margin_alone_is_told_so(tmp_path):
    """As much of either interest at last: nearer to where he is, and not near enough to come."""
    texts = [HOPS] * 4 + [QUBIT] * 6 + [HOPS]
    file = tmp_path / "events.jsonl"
    lines = [json.dumps(event("dee", number, text)) for number, text in enumerate(texts)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = SETTINGS.changed("assignment", margin_share=0.3)
    replay_file(file, tmp_path / "out", settings, EMBEDDER, model=a_model(), now=NOW)
    evidence = from_folder(settings, tmp_path / "out", file, "dee")
    found = explain(evidence, "dee", settings, lambda: EMBEDDER)
    moving = found.counterfactuals
    assert moving is not None
    assert found.margin is not None
    assert found.segment is not None
    assert 0 < found.margin.margin < 0.3
    assert moving.decided_anew is not None
    assert moving.decided_anew.id != found.segment.id
    assert moving.would_not_be_here == []
    told = list(moves(found))
    assert told[0].startswith("By the profile of now the user would not come here, but be in 0 ")
