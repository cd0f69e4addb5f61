"""What the page tells of items and of how segments are related, and what is written as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.cli import main as cli
from consumer.offline.outcome import Counts
from consumer.offline.recommended import ReplayedRecommender
from consumer.offline.replay import replay_file
from consumer.page.charts import Look
from consumer.page.folder import gather_folder
from consumer.page.gathered import Gathered, UsersRead
from consumer.page.graph import KINDS, around, kinds_of, relations_chart, share_in_words
from consumer.page.items import Related, item_lists, related
from consumer.page.places import Places
from consumer.page.told import Flow
from consumer.settings import Settings
from models.recommendation.relations import Relation
from schemas.recommendations import RatingFigures, RecommendedItem, SegmentRecommendations
from tests.consumer.page.replayed import SETTINGS, replayed, stream
from tests.consumer.page.test_page import VEGA, Reader, one_spaced
from tests.consumer.stages.stage_data import EMBEDDER, NOW

NO_RATING = RatingFigures(weight=0, mean=0, variance=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file of events, and the folder of their replay."""
    folder = tmp_path_factory.mktemp("items")
    events, _ = replayed(folder)
    return events, folder / "out"


@pytest.fixture(autouse=True)
def _no_bundling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.page.render.vega_script", lambda: VEGA)


def published(segment: int | None, weights: dict[str, float], total: float | None = None) -> Any:
    """What leads in a segment, by plain shares."""
    whole = sum(weights.values()) if total is None else total
    items = [
        RecommendedItem(item_id=name, score=weight / whole, popularity=weight, ratings=NO_RATING)
        for name, weight in sorted(weights.items(), key=lambda each: -each[1])
    ]
    return SegmentRecommendations(
        segment=segment,
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        items=items,
        popularity=whole,
        ratings=NO_RATING,
        exact=len(items),
        slack=0,
        partitions=1,
    )


def gathered(lists: dict[int | None, SegmentRecommendations]) -> Gathered:
    return Gathered(
        source="",
        until=0,
        users=UsersRead().columns(),
        changes=[],
        lifecycle=[],
        model=None,
        names={},
        counts=Counts(0, 0, 0, 0, 0),
        refused=[],
        recommendations=lists,
    )


def segments_at(*centres: tuple[float, ...]) -> Places:
    none = np.zeros(0)
    rows = np.zeros(0, np.int64)
    ids = np.arange(len(centres), dtype=np.int64)
    return Places(ids, np.array(centres, float), rows, none, none, rows, none)


# --- items --------------------------------------------------------------------------------------


def test_items_of_a_replay_are_those_that_a_count_of_its_events_gives(
    made: tuple[Path, Path],
) -> None:
    """Every event weighs as its rating says, half as much a year before the latest."""
    found = gather_folder(made[1]).recommendations
    assert found.keys() == {None, 0, 1}
    latest = max(datetime.fromisoformat(each["occurred_at"]) for each in stream())
    counted: dict[str, float] = {}
    for each in stream():
        age = (latest - datetime.fromisoformat(each["occurred_at"])).total_seconds() / 86_400
        gain = 1.0 if each["rating"] is None else (each["rating"] - 1) / 2
        item = each["item_id"]
        counted[item] = counted.get(item, 0.0) + gain * 2 ** (-age / 365)
    everybody = {each.item_id: each.popularity for each in found[None].items}
    assert everybody == pytest.approx(counted, rel=1e-5)
    # Each interest's own item is one segment's.
    own = [
        {name: each.popularity for each in found[n].items if "-2" in (name := each.item_id)}
        for n in (0, 1)
    ]
    assert sum(sum(each.values()) for each in own) > 0


def test_a_replay_without_recommendations_leaves_no_items_of_an_earlier_one(tmp_path: Path) -> None:
    events, _ = replayed(tmp_path, stream()[:50])
    kept = tmp_path / "out" / "segment-recommendations.jsonl"
    assert kept.is_file()
    replay_file(events, tmp_path / "out", Settings(), EMBEDDER, now=NOW)
    assert not kept.exists()


def test_a_recommender_takes_what_is_its_own_alone() -> None:
    recommender = ReplayedRecommender(Settings(**SETTINGS))
    assert recommender.finish() == {}


def test_items_are_on_the_page_with_popularity_and_ratings(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ["report", str(made[1]), "--output", str(tmp_path / "r.html")]
    assert cli.main(words) == 0
    page = Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.tags["img"] == 0
    text = one_spaced(page.text)
    assert "\u202e" not in text
    found = gather_folder(made[1])
    for each in item_lists(found.recommendations, [0, 1]):
        assert f"weight {each.weight:,.1f}, {each.rated:,.1f} ratings (faded)" in text
        assert f"mean {each.mean:.2f}, variance {each.variance:.2f}" in text
        for row in each.items:
            assert "</script>" in row.item
            assert f"{row.item} weight {row.weight:,.1f} {100 * row.share:.1f} %" in text


def test_the_share_is_told_beside_that_of_all_users() -> None:
    lists = {None: published(None, {"a": 3, "b": 1}), 4: published(4, {"a": 1, "c": 1})}
    own, everybody = item_lists(lists, [4, 9])
    assert (own.segment, everybody.segment) == (4, None)
    assert [(each.item, each.times) for each in own.items] == [("a", 0.5 / 0.75), ("c", None)]
    assert [each.times for each in everybody.items] == [None, None]


# --- relations ----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 9), min_size=6, max_size=6),
    st.lists(st.integers(0, 9), min_size=6, max_size=6),
    st.integers(1, 6),
)
def test_what_segments_share_lies_between_the_bounds_of_what_is_published(
    one: list[int], other: list[int], top: int
) -> None:
    whole = [{str(n): float(w) for n, w in enumerate(each) if w} for each in (one, other)]
    lists: dict[int | None, SegmentRecommendations] = {}
    for segment, weights in enumerate(whole):
        if weights:
            first = dict(sorted(weights.items(), key=lambda each: -each[1])[:top])
            lists[segment] = published(segment, first, sum(weights.values()))
    [pair] = related(gathered(lists), segments_at((0, 1), (1, 0)), [])
    sums = [max(sum(each.values()), 1e-9) for each in whole]
    true = sum(
        (whole[0][name] / sums[0] * whole[1][name] / sums[1]) ** 0.5
        for name in whole[0].keys() & whole[1].keys()
    )
    if len(lists) == 2:
        assert pair.relation.shared - 1e-9 <= true <= pair.shared_most + 1e-9
        if top == 6:
            assert pair.relation.shared == pytest.approx(true)
            assert pair.shared_most == pytest.approx(true, abs=1e-6)
    else:
        assert pair.relation.shared == pair.shared_most == 0


def test_moves_between_segments_of_today_are_counted_both_ways() -> None:
    flows = [Flow(0, 1, 3, 1), Flow(1, 0, 1, 0), Flow(0, 2, 2, 0), Flow(9, 0, 5, 0)]
    found = related(gathered({}), segments_at((1, 0), (0, 1), (0.9, 0.1)), flows)
    assert [(each.relation.first, each.relation.second, each.moves) for each in found] == [
        (0, 1, 5),
        (0, 2, 2),
        (1, 2, 0),
    ]
    assert found[0].relation.there_share == 4 / 6
    assert kinds_of(found) == ["moves", "alike"]
    likeness = {(e.relation.first, e.relation.second): e.relation.similarity for e in found}
    assert likeness[0, 2] > 0 > likeness[0, 1]


def test_one_segment_is_related_to_none() -> None:
    assert related(gathered({}), segments_at((1, 0)), []) == []
    assert relations_chart([], {0: 5}, Look({0: "a"}, [0]), "") is None


def a_pair(first: int, second: int, **more: float) -> Related:
    values: dict[str, Any] = {"shared": 0.0, "there": 0, "back": 0, "similarity": 0.0, **more}
    most = values.pop("most", values["shared"])
    return Related(Relation(first, second, there_share=0.0, back_share=0.0, **values), most)


def test_the_graph_has_a_circle_a_segment_and_lines_of_each_kind() -> None:
    pairs = [a_pair(0, 1, shared=0.5, most=0.7), a_pair(0, 2, there=3, back=1), a_pair(1, 2)]
    spec = relations_chart(
        pairs, {0: 9, 1: 3, 2: 1}, Look({0: "a", 1: "b", 2: "c"}, [0, 1, 2]), "said"
    )
    assert spec is not None
    assert spec["params"] == [{"name": "kind", "value": "shared"}]
    lines, nodes = spec["layer"][0]["data"]["values"], spec["layer"][1]["data"]["values"]
    assert [(each["kind"], each["one"], each["other"]) for each in lines] == [
        ("shared", "0 a", "1 b"),
        ("moves", "0 a", "2 c"),
    ]
    assert lines[0]["shared"] == "50 to 70 %"
    assert [each["id"] for each in nodes] == ["0", "1", "2"]
    assert np.hypot([n["x"] for n in nodes], [n["y"] for n in nodes]) == pytest.approx(1, abs=1e-3)
    assert nodes[0]["size"] > nodes[1]["size"] > nodes[2]["size"]


def test_of_many_segments_the_largest_are_drawn() -> None:
    pairs = [a_pair(n, n + 1, similarity=0.5) for n in range(40)]
    spec = relations_chart(
        pairs, {n: 100 - n for n in range(41)}, Look(dict.fromkeys(range(41), "x"), range(41)), ""
    )
    assert spec is not None
    ids = {int(each["id"]) for each in spec["layer"][1]["data"]["values"]}
    assert ids == set(range(24))
    assert len(spec["layer"][0]["data"]["values"]) == 23


def test_neighbours_on_the_circle_are_those_alike() -> None:
    pairs = [a_pair(0, 1, similarity=-0.5), a_pair(0, 2, similarity=0.5), a_pair(1, 2)]
    assert around([0, 1, 2], pairs) == [0, 2, 1]


def test_a_share_that_is_known_is_said_as_one() -> None:
    assert share_in_words(a_pair(0, 1, shared=0.421, most=0.424)) == "42 %"
    assert share_in_words(a_pair(0, 1, shared=0.4, most=0.5)) == "40 to 50 %"


def test_the_page_offers_the_kinds_of_lines_that_are_known(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    assert cli.main(["report", str(made[1]), "--output", str(tmp_path / "r.html")]) == 0
    page = Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    # Two segments are never like each other, once what both have in common is taken off.
    kinds = [value for name, value in page.attributes if name == "value" and value in KINDS]
    assert kinds == ["shared", "moves"]
    assert "chart-relations" in page.ids


def test_relations_and_items_are_written_as_json(made: tuple[Path, Path], tmp_path: Path) -> None:
    data = tmp_path / "new" / "data.json"
    words = ["report", str(made[1]), "--output", str(tmp_path / "r.html"), "--json", str(data)]
    assert cli.main(words) == 0
    told = json.loads(data.read_text(encoding="utf-8"))
    found = gather_folder(made[1])
    assert {each["id"] for each in told["segments"]} == {0, 1}
    assert sum(each["users"] for each in told["segments"]) == len(found.users)
    for each in (*told["segments"], {"id": None, "recommendations": told["all"]}):
        own = found.recommendations[each["id"]]
        items = each["recommendations"]["items"]
        assert [item["item_id"] for item in items] == [item.item_id for item in own.items]
        assert not any("vector" in item for item in items)
    [pair] = told["relations"]
    assert (pair["first"], pair["second"]) == (0, 1)
    assert 0 < pair["shared"] <= pair["shared_most"] <= 1
