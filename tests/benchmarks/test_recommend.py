"""The tables of recommendations are those of the results, and tell what is more than chance."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import recommend
from benchmarks.interests.plan import Shape
from benchmarks.markdown import render
from benchmarks.recommending.streams import KINDS
from benchmarks.shared import RESULTS


def interval(mean, low, high):
    return {"mean": mean, "low": low, "high": high}


def method(gap):
    measures = {"ndcg@10": interval(0.2, 0.1, 0.3)}
    return {"measures": measures, "against": {"ndcg@10": gap}, "coverage": 0.5, "novelty": 3.0}


@pytest.fixture
def figures():
    gaps = {
        "popularity": interval(0, 0, 0),
        "segment": interval(0.1, 0.05, 0.15),
        "shuffled segments": interval(0.01, -0.02, 0.04),
        "segment and user": interval(-0.1, -0.2, -0.05),
    }
    methods = {name: method(gap) for name, gap in gaps.items()}
    return {
        "events": 1000,
        "users": 10,
        "items": 20,
        "segments": 3,
        "to_foretell": 200,
        "of_unknown": 7,
        "had": 5,
        "steps": 2,
        "without": [],
        "chosen": {
            "half_life_days": 30.0,
            "prior_weight": 50.0,
            "own_weight": 0.5,
            "similarity_weight": 1.0,
        },
        "prior_weights": {"50": 0.21, "1": 0.2},
        "classes": [
            {"least": 0, "most": None, "users": 9, "rankings": 12, "methods": methods},
            {"least": 0, "most": 0, "users": 1, "rankings": 1, "methods": {}},
        ],
    }


def test_differences_beyond_chance_are_bold_and_classes_without_figures_left_out(figures, tmp_path):
    path = tmp_path / "recommend.json"
    path.write_text(json.dumps({"own items": figures}), encoding="utf-8")
    text = "<!-- recommendations: begin --><!-- recommendations: end -->"
    page = recommend.rendered(text, path)
    assert "| own items | any | 9 | 0.200 | **+0.100 (+0.050 to +0.150)** |" in page
    assert "| +0.010 (-0.020 to +0.040) | **-0.100 (-0.200 to -0.050)** |" in page
    assert "| own items | 0.2100 | 0.2000 |" in page
    assert page.count("| own items |") == 3
    assert recommend.rendered(text, tmp_path / "none.json") == text


def test_the_page_shows_what_the_results_say():
    page = recommend.PAGE.read_text(encoding="utf-8")
    assert recommend.rendered(page, RESULTS / "recommend.json") == page
    assert render(page, "recommendations", "") != ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_made_up_stream_is_measured_through_the_replay(kind, tmp_path):
    small = Shape(interests=6, users=260, events=8, single=0.1)
    found = recommend.made_up(kind, tmp_path / "events.jsonl", small, seed=3)
    assert found["events"] == len((tmp_path / "events.jsonl").read_text().splitlines())
    gap = found["classes"][0]["methods"]["category"]["against"]["ndcg@10"]
    assert np.sign(gap["low"]) == (1 if kind == "own items" else -1)
