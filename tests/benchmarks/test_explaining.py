"""Exact shares beside LIME and SHAP: the cases, the control, and what the page says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import explaining
from benchmarks.explaining import Case, agreement, compared, exact, shuffled, with_interval
from benchmarks.flapping.texts import Posts
from benchmarks.shared import RESULTS, read


def posts(users: int = 60, each: int = 8) -> Posts:
    """Users who write mostly of one of six things, in sixteen dimensions."""
    draw = np.random.default_rng(1)
    number = np.repeat(np.arange(users), each)
    vectors = np.eye(16)[number % 6] + 0.3 * draw.normal(size=(len(number), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    times = np.arange(len(number)) * 10**11
    return Posts(
        vectors.astype(np.float32),
        number,
        number % 6,
        times,
        np.ones(len(number)),
        np.arange(len(number)),
        [f"u{n}" for n in range(users)],
    )


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return explaining.cases_of(posts(), 20)


def test_a_case_is_a_user_nearest_to_the_centre_that_it_names(cases):
    assert len(cases) == 20
    for case in cases:
        nothing, everything = case.margins(np.array([np.zeros(8), np.ones(8)]))
        assert everything > 0
        # What no event's is, is the margin of a profile without any.
        assert nothing == pytest.approx(
            np.linalg.norm(case.farther) - np.linalg.norm(case.nearer), abs=1e-9
        )
        assert exact(case).shape == (8,)


def leaving_out(case: Case) -> np.ndarray:
    """What is less without each event: what the packages go by."""
    left = 1 - np.eye(len(case.weights))
    return case.margins(np.ones((1, len(case.weights)))) - case.margins(left)


def test_what_goes_by_the_margin_agrees_in_rank_and_what_is_shuffled_does_not(cases, monkeypatch):
    monkeypatch.setattr(
        explaining, "METHODS", {"leaving out": leaving_out, "shares, shuffled": shuffled}
    )
    found = compared(cases)
    assert found["leaving out"]["spearman_low"] > 0.5
    assert found["leaving out"]["asked"] == 9
    control = found["shares, shuffled"]
    assert control["spearman_low"] < 0 < control["spearman_high"]
    assert found["exact shares"]["asked"] == 0


def test_what_ranks_all_alike_agrees_with_nothing():
    wanted = np.array([1.0, 2.0, 3.0])
    assert agreement(wanted, np.ones(3))["spearman"] == 0
    assert agreement(wanted, wanted * 2) == pytest.approx({"spearman": 1, "kendall": 1, "first": 1})
    assert agreement(wanted, -wanted)["kendall"] == pytest.approx(-1)


def test_the_interval_holds_the_mean():
    found = with_interval([0.2, 0.4, 0.9, 0.7] * 10)
    assert found[""] == pytest.approx(0.55)
    assert 0.4 < found["_low"] < 0.55 < found["_high"] < 0.7


def test_the_page_says_what_was_measured():
    text = explaining.PAGE.read_text(encoding="utf-8")
    figures = read(RESULTS / "explaining.json")
    for name, part in explaining.parts(figures).items():
        assert f"<!-- {name}: begin -->\n{part.strip()}\n<!-- {name}: end -->" in text
    # What the page concludes.
    for name in ("SHAP (KernelExplainer)", "LIME (tabular)"):
        low = figures["methods"][name]["spearman_low"]
        assert low > figures["methods"]["shares, shuffled"]["spearman_high"]
