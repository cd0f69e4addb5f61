from __future__ import annotations

import json

import pytest

from benchmarks import evaluation


@pytest.fixture
def figures():
    row = {
        "asked": 2,
        "agreement": {"v_measure": 0.75, "adjusted_rand": 0.5, "purity": 0.9, "users": 40},
        "internal": {
            "silhouette": 0.25,
            "simplified_silhouette": None,
            "cohesion": 0.5,
            "separation": 0.6,
            "davies_bouldin": 2.0,
        },
    }
    names = ("segmenter", "KMeans, offline", "MiniBatchKMeans, one pass")
    return {
        "segments": [{}, {}],
        "prequential": {"agreement": row["agreement"]},
        "groups": [
            {
                "least_events": least,
                "labelled": 40,
                "rows": [
                    {"name": names[0], **row},
                    *(
                        {"name": name, **row, "seeds": 5, "v_measures": [0.7, 0.78]}
                        for name in names[1:]
                    ),
                ],
            }
            for least in (1, 5, 10)
        ],
        "flapping": [
            {
                "least_events": least,
                "users": 40,
                "changes_a_user": 1.5,
                "switches_a_user": 0.5,
                "by_reason": {
                    "entered, behaviour": 40,
                    "switched, behaviour": 3,
                    "switched, model_update": 17,
                },
            }
            for least in (1, 5, 10)
        ],
    }


def test_the_tables_say_the_figures_and_the_ratio_to_offline(figures):
    assert evaluation.ratio_to_offline(figures) == 1.0
    text = evaluation.tables({"auto": figures})
    assert "is 1.00 times that of offline KMeans" in text
    assert (
        "| **segmenter**, final, 40 users with ≥ 10 events | 2 | 0.750 | 0.500 | 0.900 |  |" in text
    )
    assert "| segments found, ≥ 10 events | 40 | 1.50 | 0.50 | 0.07 | 0.42 |" in text
    assert "| KMeans, offline, 40 users | 2 | 0.750 | 0.500 | 0.900 | 0.700 to 0.780 |" in text
    assert "| **segmenter**, segments found | 2 | 0.250 |  | 0.500 | 0.600 | 2.000 |" in text


def test_rendering_again_changes_nothing_and_keeps_the_rest(figures, tmp_path):
    page = "# A\n<!-- cofacts: begin -->\nold\n<!-- cofacts: end -->\nrest\n"
    assert evaluation.rendered(page, tmp_path) == page
    (tmp_path / "evaluation-cofacts-6.json").write_text(json.dumps(figures))
    new = evaluation.rendered(page, tmp_path)
    assert "old" not in new
    assert new.startswith("# A\n")
    assert new.endswith("rest\n")
    assert evaluation.rendered(new, tmp_path) == new


def test_the_page_holds_the_results_that_are_there():
    text = evaluation.PAGE.read_text(encoding="utf-8")
    assert evaluation.rendered(text, evaluation.RESULTS) == text
