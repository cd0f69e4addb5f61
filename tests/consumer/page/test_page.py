"""The page of `segmenter report`: what it tells and hides, and that nothing breaks out of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import statistics
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.cli import main as cli
from consumer.offline.observed import Details, DriftFound, Measured
from consumer.offline.outcome import Counts
from consumer.offline.replay import ReplayResult
from consumer.page import told
from consumer.page.by_words import by_words, how_much
from consumer.page.charts import Look, flows_chart
from consumer.page.compose import Asked, Page, compose
from consumer.page.events import rated, read_events
from consumer.page.folder import gather_folder
from consumer.page.gathered import Change, Gathered, Users, UsersRead
from consumer.page.places import Places, names, places
from consumer.page.render import PARTS, render
from consumer.page.write import PageWriter
from consumer.settings import Settings
from consumer.settings.report import ReportSettings
from models.segments.model import SegmentModel
from models.segments.surrogate import Condition
from models.text import clean
from schemas.arrays import decode_array
from schemas.profiles import ProfileRecord
from schemas.segment_model import NO_SEGMENT
from tests.consumer.page.replayed import SETTINGS, TOPICS, replayed, stream
from tests.consumer.stages.stage_data import EMBEDDER

ITEMS = "segment-recommendations.jsonl"
VEGA = "const vegaEmbed = 1;"


class Reader(HTMLParser):
    """What a browser would see: open elements, attributes, the text, and the scripts apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "script":
            self.scripts.append("")
        if tag not in {"meta", "img", "br", "input", "path", "polyline"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"path", "polyline"}:
            assert self.open.pop() == tag
        if tag in {"td", "th", "dt", "dd"}:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not (self.open and self.open[-1] == "style"):
            self.text += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ReplayResult]:
    """The file of events, the folder, and what the replay counted."""
    folder = tmp_path_factory.mktemp("page")
    events, result = replayed(folder)
    return events, folder / "out", result


@pytest.fixture(autouse=True)
def _no_bundling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.page.render.vega_script", lambda: VEGA)


def written(
    made: tuple[Path, Path, Any], output: Path, *, with_events: bool = True, **shown: Any
) -> str:
    """Write the page and read it back."""
    asked = Asked(label="site" if with_events else None)
    settings = Settings(**SETTINGS, report=shown)
    writer = PageWriter(settings, asked, output)
    writer.of_folder(made[1], made[0] if with_events else None)
    return output.read_text(encoding="utf-8")


def one_spaced(text: str) -> str:
    return " ".join(text.split())


# --- what it tells ------------------------------------------------------------------------------


def test_the_page_answers_the_questions_of_an_analyst(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    page = Reader(written(made, tmp_path / "r.html", texts=True, ids="shown"))
    result, text = made[2], one_spaced(page.text)
    assert page.open == []
    # What is this segment? Name, words, size, figures, texts, ratings.
    for size in result.sizes:
        assert size.label in text
        assert f"{size.users:,} users" in text
    assert "malt" in text
    assert "cohesion" in text
    assert "ratings: mean" in text
    assert page.tags["blockquote"] >= 6
    # Who is in it? The map, its filter, users of each card.
    assert "typical users" in text
    assert "nearest to another segment" in text
    assert (
        len([name for name, value in page.attributes if (name, value) == ("name", "segment")]) == 2
    )
    assert "user-1<b>" in text
    # Why did this user move? The latest moves, and the command for more.
    assert f"{Asked().command} USER" in text
    # What changed last week? Can I trust it?
    assert "What has changed lately" in text
    assert "offline k-means" in text
    assert "adjusted Rand" in text
    assert "V-measure" in text
    # What came in.
    counts = f"{result.accepted} accepted, {result.repeated} repeated, {result.refused} refused"
    assert f"{result.records} records: {counts}." in text
    assert "invalid_json" in text
    for id_, name in PARTS:
        assert id_ in page.ids
        assert name in text


def test_words_that_tell_segments_apart_are_on_the_page_with_what_they_are_worth(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    found = gather_folder(made[1])
    where = places(found.users, found.model)
    words = by_words(found.users, where, where.ids.tolist())
    assert words.tree is not None
    text = one_spaced(Reader(written(made, tmp_path / "r.html")).text)
    share = f"{100 * words.tree.fidelity:.0f} %"
    assert f"it says the right segment of {share} of them" in text
    assert f"would be right of {100 * words.tree.baseline:.0f} %" in text
    told_of = {each.segment: each for each in words.segments}
    assert told_of.keys() == set(where.ids.tolist())
    for each in words.segments:
        assert ", ".join(each.words) in text
        assert each.right <= min(each.told, each.members)
    assert sum(each.right for each in words.segments) == words.tree.right
    # Each interest's words are one segment's.
    said = [set(each.words) for each in words.segments]
    assert {frozenset(own & set(TOPICS[0].split())) == frozenset() for own in said} == {True, False}


def test_where_no_words_are_kept_that_is_said() -> None:
    found = known(dict.fromkeys(range(50), 1), [])
    ids, centres = np.array([1]), np.ones((1, 1))
    rows, nothing = np.zeros(50, np.int64), np.zeros(50)
    where = Places(ids, centres, rows, nothing, nothing, rows - 1, nothing)
    assert by_words(found.users, where, [1]).without.startswith("No words of users")
    spoken = replace(found.users, terms=[{"hops": 1.0}] * 12 + [{}] * 38)
    assert "Words are kept of 12 users in a segment" in by_words(spoken, where, [1]).without
    spoken = replace(found.users, terms=[{"hops": 1.0}] * 50)
    assert "in one segment" in by_words(spoken, where, [1]).without


@pytest.mark.parametrize(
    ("least", "below", "said"),
    [
        (3, None, "3 % or more"),
        (0, 1, "less than 1 %"),
        (3, 8, "3 % to 7 %"),
        (3, 4, "3 %"),
    ],
)
def test_a_condition_is_said_in_whole_percents(least: int, below: int | None, said: str) -> None:
    assert how_much(Condition(0, least, below)) == said


def test_ids_of_elements_are_there_once_and_links_lead_to_them(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    page = Reader(written(made, tmp_path / "r.html"))
    assert len(page.ids) == len(set(page.ids))
    links = [value for name, value in page.attributes if name == "href"]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(page.ids)


def test_each_chart_has_a_description_and_a_table_behind_it(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    page = Reader(written(made, tmp_path / "r.html"))
    charts = json.loads(page.scripts[0])
    assert charts.keys() >= {"map", "sizes", "changes", "flows", "relations"}
    labels = {value for name, value in page.attributes if name == "aria-label"}
    for name, spec in charts.items():
        assert f"chart-{name}" in page.ids
        assert spec["description"] in labels
    assert page.tags["details"] >= 4


def test_every_chart_is_one_that_vega_lite_draws(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    vl_convert = pytest.importorskip("vl_convert")
    charts = json.loads(Reader(written(made, tmp_path / "r.html")).scripts[0])
    for spec in charts.values():
        svg = vl_convert.vegalite_to_svg({**spec, "width": 600})
        assert svg.count("<path") > 2


def test_sections_that_lack_something_say_so_in_a_sentence(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    text = one_spaced(Reader(written(made, tmp_path / "r.html", with_events=False)).text)
    assert "Ratings: the events of the replay were not given: name their file with --input." in text
    assert "No labels are known of users in a segment" in text
    bare = tmp_path / "bare"
    shutil.copytree(made[1], bare)
    for name in ("details.json", "model.json", "segment-lifecycle.jsonl", ITEMS):
        (bare / name).unlink()
    text = one_spaced(Reader(written((made[0], bare, None), tmp_path / "r.html")).text)
    for sentence in (
        "There is no model of the segments yet, so nobody is in one.",
        "The replay published no items: give it --recommendations.enabled true",
        "The folder is of an earlier version's replay, which noted nothing of it.",
        "Nothing is known of segments that were created",
        "Fewer than 20 users are in a segment",
        "Nothing is known yet that any two segments have in common.",
    ):
        assert sentence in text


def test_a_page_of_nobody_is_a_page(tmp_path: Path) -> None:
    _, result = replayed(tmp_path, lines=[{"user_id": "x"}] * 8)
    assert result.users == 0
    page = Reader(written((tmp_path / "events.jsonl", tmp_path / "out", result), tmp_path / "r"))
    assert page.open == []
    assert "There is no user yet." in page.text


def test_drift_is_told_with_its_thresholds(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    found = gather_folder(made[1])
    assert found.details is not None
    drift = DriftFound(
        tests={"mmd": Measured(statistic=0.5, threshold=0.1)},
        segments={0: {"mean_cosine": Measured(statistic=0.01, threshold=0.1)}},
        detections={},
        reference_users=30,
        current_users=31,
        churn=0.25,
    )
    found = replace(found, details=found.details.model_copy(update={"drift": drift}))
    text = one_spaced(Reader(render(composed(found))).text)
    assert "31 users against 30 of then" in text
    assert "25.0 % of the reference's users" in text
    assert "1 test is over the threshold." in text
    assert "mmd 0.5 0.1 over it" in text
    assert "mean cosine 0.01 0.1 below" in text


def composed(found: Gathered, **shown: Any) -> Page:
    return compose(found, ReportSettings(**shown), Asked())


# --- what it hides ------------------------------------------------------------------------------


def test_by_default_neither_texts_nor_ids_of_users_are_on_the_page(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    page = written(made, tmp_path / "r.html")
    assert "user-" not in page
    assert "alert(1)" not in page
    assert "<blockquote" not in page
    assert re.search(r"#[0-9a-f]{10}", page)
    assert "Texts of users are not shown" in page


def test_hidden_ids_leave_nothing_and_hashes_are_others_in_each_report(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    hidden = written(made, tmp_path / "r.html", ids="hidden")
    assert "user-" not in hidden
    assert not re.search(r'"#[0-9a-f]{10}"', hidden)
    assert "find a user" not in hidden
    one, other = names("hashed"), names("hashed")
    assert one("ann") == one("ann") != other("ann")
    assert one("ann") != one("bob")


def test_what_users_wrote_stays_text(made: tuple[Path, Path, ReplayResult], tmp_path: Path) -> None:
    whole = written(made, tmp_path / "r.html", texts=True, ids="shown")
    page = Reader(whole)
    assert page.open == []
    assert page.tags["script"] == 3
    assert page.tags["img"] == 0
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "</script><script>alert(1)<img src=x onerror=alert(2)>" in page.text
    assert "\u202e" not in whole
    assert "<b>" not in whole.partition('id="charts">')[2].partition("</script>")[0]


def test_the_page_loads_nothing_and_runs_its_own_scripts_alone(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path
) -> None:
    whole = written(made, tmp_path / "r.html", texts=True)
    page = Reader(whole)
    (policy,) = [value for _, value in page.attributes if value.startswith("default-src")]
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in page.scripts[1:]
    ]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    assert policy == f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'"
    assert not {"src", "srcset", "data"} & {name for name, _ in page.attributes}
    style = whole.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_what_is_written_stands_out_from_its_ground_by_day_and_by_night() -> None:
    style = (Path(render.__code__.co_filename).parent / "page.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", rule))
        for rule in re.findall(r":root \{([^}]*)\}", style)
    ]
    assert len(schemes) == 2
    for colours in schemes:
        for ground in ("paper", "panel"):
            for ink in ("ink", "faint", "accent", "alarm"):
                # WCAG 2.2, 1.4.3.
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- figures ------------------------------------------------------------------------------------


def test_figures_of_a_card_are_those_of_its_users(made: tuple[Path, Path, ReplayResult]) -> None:
    found = gather_folder(made[1])
    assert found.model is not None
    seen = read_events(
        [Keyed(json.dumps(line).encode()) for line in stream()],
        Settings(**SETTINGS),
        found.users,
        label="site",
    )
    page = compose(found, ReportSettings(), Asked(label="site"), seen=seen)
    model = SegmentModel.from_record(found.model)
    for card in page.cards:
        members = found.users.segments == card.id
        row = model.ids.tolist().index(card.id)
        apart = np.linalg.norm(found.users.vectors[members] - model.centres[row], axis=1)
        assert card.users == members.sum()
        assert card.cohesion == pytest.approx(apart.mean(), abs=1e-5)
        gap = np.linalg.norm(model.centres[0] - model.centres[1])
        assert card.separation == pytest.approx(gap)
        own = {user for user, inside in zip(found.users.ids, members, strict=True) if inside}
        given_ = [e["rating"] for e in stream() if e["user_id"] in own and e["rating"] is not None]
        assert card.ratings is not None
        assert card.ratings.count == len(given_)
        assert card.ratings.mean == pytest.approx(statistics.fmean(given_))
        assert card.ratings.variance == pytest.approx(statistics.variance(given_))
        assert card.ratings.bars == tuple(
            (str(value), given_.count(value)) for value in sorted({1, 2, 3, 4, 5})
        )
    assert page.labelled is not None
    assert sum(map(sum, page.labelled.counts)) == (found.users.segments != NO_SEGMENT).sum()


class Keyed:
    """A record of a file."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.key = json.loads(value)["user_id"].encode()


def test_many_different_ratings_are_put_into_bars_of_one_width() -> None:
    found = rated({1: [float(n) for n in range(50)], 2: [0.0, 49.0, 49.0]})
    assert [count for _, count in found[2].bars] == [1, 0, 0, 0, 0, 0, 0, 2]
    assert sum(count for _, count in found[1].bars) == 50
    assert rated({}) == {}


def test_what_the_replay_noted_as_typical_is_nearest_of_all(
    made: tuple[Path, Path, ReplayResult],
) -> None:
    details = Details.model_validate_json((made[1] / "details.json").read_bytes())
    found = gather_folder(made[1])
    assert found.model is not None
    segment_of = dict(zip(found.users.ids, found.users.segments.tolist(), strict=True))
    text_of = {(e["user_id"], e["event_id"]): e["text"] for e in stream()}
    for segment in found.model.segments:
        typical = [each for each in details.typical if each.segment == segment.id]
        assert 3 <= len(typical) <= 6
        assert len({each.user_id for each in typical}) == len(typical)
        assert {segment_of[each.user_id] for each in typical} == {segment.id}
        assert [each.distance for each in typical] == sorted(each.distance for each in typical)
        centre = decode_array(segment.centre, "<f8")
        texts = [clean(text_of[each.user_id, each.event_id]) for each in typical]
        apart = np.linalg.norm(EMBEDDER.embed(texts) - centre, axis=1)
        assert [each.distance for each in typical] == pytest.approx(apart.tolist(), abs=1e-4)
    assert sum(details.lengths) == 407
    assert sum(details.types.values()) == 400


SEGMENTS = st.sampled_from([NO_SEGMENT, 1, 2, 3])


@given(st.lists(st.tuples(st.integers(0, 4), SEGMENTS, st.floats(0, 1e6)), min_size=1, max_size=60))
def test_sizes_followed_back_are_those_counted_forwards(
    walk: list[tuple[int, int, float]],
) -> None:
    at: dict[int, int] = {}
    changes = []
    for user, new, time in sorted(walk, key=lambda each: each[2]):
        old = at.get(user, NO_SEGMENT)
        if old == new:
            continue
        at[user] = new
        status = "entered" if old == NO_SEGMENT else "exited" if new == NO_SEGMENT else "switched"
        changes.append(Change(str(user), time, status, "behaviour", "user", old, new, None, None))
    found = known(at, changes)
    sizes = told.sizes_over_time(found)
    if not changes:
        assert sizes is None
        return
    assert sizes is not None
    for moment, users in zip(sizes.times.tolist(), sizes.users.tolist(), strict=True):
        now: dict[str, int] = {}
        for change in changes:
            if change.at <= moment:
                now[change.user_id] = change.new
        assert users == [list(now.values()).count(segment) for segment in sizes.segments]
    # And the latest days add up to what there is.
    for each in told.lately(found, sizes, since=5e5):
        before: dict[str, int] = {}
        for change in changes:
            if change.at < 5e5:
                before[change.user_id] = change.new
        assert each.before == list(before.values()).count(each.segment)
        assert each.after == list(at.values()).count(each.segment)
        moves = each.entered + each.came - each.went - each.left + each.others
        assert each.after - each.before == moves
    moved = sum(change.status == "switched" for change in changes)
    assert sum(flow.users for flow in told.flows(changes)) == moved


def known(at: dict[int, int], changes: list[Change]) -> Gathered:
    """What is known of users whose segments are given."""
    n = len(at)
    users = Users(
        [str(user) for user in sorted(at)],
        np.ones((n, 1), np.float32),
        np.array([at[user] for user in sorted(at)], np.int64),
        np.ones(n, np.int64),
        np.ones(n),
        np.zeros(n),
        [None] * n,
        [{}] * n,
    )
    return Gathered("a test", 1e6, users, changes, [], None, {}, Counts(n, n, 0, 0, n), [])


def test_segments_that_only_versions_made_and_took_back_are_no_news() -> None:
    ways = [(9e5, 0, 9), (9.5e5, 9, 0)]
    changes = [
        Change("0", at, "switched", "segment_split", "model", old, new, None, None)
        for at, old, new in ways
    ]
    found = known({0: 0}, changes)
    sizes = told.sizes_over_time(found)
    assert sizes is not None
    assert sizes.segments == [0, 9]
    assert [each.segment for each in told.lately(found, sizes, since=5e5)] == [0]


def test_names_beside_the_flows_do_not_lie_on_each_other() -> None:
    ways = [told.Flow(0, 1, 1_000, 0), *(told.Flow(n, n + 1, 1, 0) for n in range(2, 9))]
    look = Look({n: f"name {n}" for n in range(12)}, [])
    spec = flows_chart(ways, look, "moves")
    assert spec is not None
    height = spec["layer"][1]["encoding"]["y"]["scale"]["domain"][1]
    for layer in spec["layer"][2:]:
        middles = sorted(node["middle"] for node in layer["data"]["values"])
        apart = np.diff(middles) / height * spec["height"]
        assert apart.min() >= 12


def test_repeats_of_a_user_who_is_told_of_again_count_once(
    made: tuple[Path, Path, ReplayResult],
) -> None:
    """A topic has a record of each batch, not of each user."""
    lines = (made[1] / "profiles.jsonl").read_text(encoding="utf-8").splitlines()
    ann, bob = (ProfileRecord.model_validate_json(line) for line in lines[:2])
    read = UsersRead()
    for profile, repeats in ((ann, 1), (bob, 4), (ann, 3)):
        read.put(profile.model_copy(update={"repeats": repeats}))
    assert read.repeated == 7
    read.discard(bob.user_id)
    assert read.repeated == 3


def test_without_a_model_nobody_has_a_place() -> None:
    where = places(known({1: 7, 2: NO_SEGMENT}, []).users, None)
    assert where.rows.tolist() == [-1, -1]
    assert np.isnan(where.own).all()


def test_segments_keep_their_colour_and_shape_through_all_charts() -> None:
    look = Look(dict.fromkeys(range(50), "a"), list(range(50)))
    both = {(look.colour(n), look.shape(n)) for n in range(42)}
    assert len(both) == 42
    assert look.name(3) == "3 a"
    assert look.name(99) == "99 a former segment"


# --- the command --------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_names_it(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "page.html"
    code = cli.main(
        [
            "report",
            str(made[1]),
            "--input",
            str(made[0]),
            "--label",
            "site",
            "--output",
            str(output),
        ]
    )
    assert code == 0
    assert capsys.readouterr().out == f"40 users in 2 segments: written to {output}\n"
    assert output.stat().st_size < 400_000


def test_a_folder_that_is_no_replay_is_refused_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"segmenter: {tmp_path} is no folder of a replay that has ended: it holds no summary.json; "
        "give the --output folder of 'segmenter replay'"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "events.jsonl"], "--input goes with a replay's folder"),
        (["FOLDER", "--label", "site"], "--label wants the replay's events"),
    ],
)
def test_what_does_not_go_together_is_refused(
    made: tuple[Path, Path, ReplayResult],
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(made[0].parent)
    given_ = [str(made[1]) if word == "FOLDER" else word for word in words]
    assert cli.main(["report", *given_]) == 2
    assert said in capsys.readouterr().err


def test_a_line_that_is_none_is_named_and_not_quoted(
    made: tuple[Path, Path, ReplayResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "out"
    shutil.copytree(made[1], broken)
    with (broken / "segment-changes.jsonl").open("a") as file:
        file.write('{"data": {"user_id": "secret-name"}}\n')
    assert cli.main(["report", str(broken), "--output", str(tmp_path / "r.html")]) == 3
    err = capsys.readouterr().err
    assert "segment-changes.jsonl, line " in err
    assert "secret-name" not in err
