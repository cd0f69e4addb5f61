"""The picture of the users: the plane, the fonts, and whatever a label may hold."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from consumer.report import fonts
from consumer.report.fonts import Lettering
from consumer.report.pictures import DARK, png
from consumer.report.placing import spread, wrapped
from consumer.report.projection import principal_plane
from tests.consumer.tryout.demo_report_data import PNG, report_data


def test_the_same_data_give_the_same_picture_in_either_light():
    assert png(report_data().map.draw()) == png(report_data().map.draw())
    assert png(report_data().map.draw()) != png(report_data().map.draw(DARK))


# Warnings are errors here: a missing glyph, a label read as mathematics or hidden would fail.
@pytest.mark.parametrize(
    "labels",
    [
        {1: "咖啡豆, 手冲", 2: "コーヒー, beans", 3: "커피"},
        {1: "$\\frac{1$, x", 2: "_hidden, y", 3: "\x00\ud800"},
        {1: "😀, 🎉", 2: "", 3: "a" * 300},
        {1: "only one"},
        {id_: f"word{id_}, other{id_}, third{id_}" for id_ in range(1, 51)},
    ],
)
def test_any_label_can_be_drawn(labels):
    # What a model cannot carry as JSON cannot be built with validation.
    data = report_data(labels=dict.fromkeys(labels, "x"), users=60)
    assert png(replace(data.map, labels=labels).draw()).startswith(PNG)


@pytest.mark.parametrize("users", [0, 1, 2, 5_001])
def test_any_number_of_users_can_be_drawn(users):
    data = report_data(users=users)
    assert png(data.map.draw()).startswith(PNG)


def test_words_that_no_font_can_write_are_left_out():
    lettering = Lettering(["咖啡, beans, café", "手冲"], candidates=["No Such Font"])
    assert lettering.families == ["DejaVu Sans"]
    assert lettering.writable("咖啡, beans, café") == "beans, café"
    assert lettering.writable("手冲") == ""


@pytest.fixture
def han_font(tmp_path):
    """Name of an installed font that knows no character but the two of the word for coffee."""
    name, glyphs = "Segmenter Test Han", [".notdef", "ka", "fei"]
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 800))
    pen.lineTo((800, 0))
    pen.closePath()
    font = FontBuilder(1_000)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap({ord("咖"): "ka", ord("啡"): "fei"})
    font.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1_000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "han.ttf")
    font_manager.fontManager.addfont(tmp_path / "han.ttf")
    yield name
    font_manager.fontManager.ttflist = [
        font for font in font_manager.fontManager.ttflist if font.name != name
    ]


def test_an_installed_font_is_used_for_what_the_base_font_lacks(han_font, monkeypatch):
    lettering = Lettering(["咖啡, beans, 手冲"], candidates=["No Such Font", han_font])
    assert lettering.families == ["DejaVu Sans", han_font]
    assert lettering.writable("咖啡, beans, 手冲") == "咖啡, beans"
    assert Lettering(["beans"], candidates=[han_font]).families == ["DejaVu Sans"]

    labels = {1: "咖啡, beans", 2: "running"}
    monkeypatch.setattr("consumer.report.fonts.CANDIDATES", ())
    without = png(report_data(labels=labels).map.draw())
    monkeypatch.setattr("consumer.report.fonts.CANDIDATES", (han_font,))
    assert png(report_data(labels=labels).map.draw()) != without


def test_a_font_that_was_installed_since_matplotlib_made_its_list_is_found(han_font, monkeypatch):
    manager = font_manager.fontManager
    (font,) = [each for each in manager.ttflist if each.name == han_font]
    monkeypatch.setattr(manager, "ttflist", [each for each in manager.ttflist if each is not font])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [font.fname, "/nowhere/a.ttf"])
    fonts.look_anew.cache_clear()
    assert Lettering(["café"], candidates=[han_font]).families == ["DejaVu Sans"]
    assert fonts.look_anew.cache_info().currsize == 0  # nothing was missing
    lettering = Lettering(["咖啡"], candidates=[han_font])
    assert (lettering.families, lettering.note) == (["DejaVu Sans", han_font], None)
    fonts.look_anew.cache_clear()


def test_chinese_is_written_on_a_machine_that_has_no_font_for_it(monkeypatch):
    base = [font for font in font_manager.fontManager.ttflist if font.name == fonts.BASE]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", base)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    fonts.know_brought.cache_clear()
    lettering = Lettering(["咖啡, 鹽酥雞, beans"])
    assert (lettering.families, lettering.note) == ([fonts.BASE, "Noto Sans SC"], None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each character that it has no glyph of
        png(report_data(labels={1: "咖啡, 鹽酥雞", 2: "beans"}).map.draw())
    fonts.know_brought.cache_clear()


def test_words_that_are_left_out_are_told_below_the_picture(monkeypatch):
    monkeypatch.setattr("consumer.report.fonts.CANDIDATES", ())
    data = report_data(labels={1: "咖啡, beans", 2: "running"}, story=None)
    told = [text.get_text() for text in data.map.draw().texts]
    assert any("left out: install one, such as Noto Sans CJK" in text for text in told)
    without = report_data(labels={1: "coffee, beans", 2: "running"}, story=None)
    assert not any("left out" in text.get_text() for text in without.map.draw().texts)


WORDS = [
    "kilometres",
    "headphones",
    "portafilter",
    "niacinamide",
    "cooperative",
    "soundstage",
    "moisturiser",
]
MANY = {
    id_: ", ".join(WORDS[(id_ * step) % len(WORDS)] for step in (1, 2, 3)) for id_ in range(1, 21)
}


@pytest.mark.parametrize(
    "labels",
    [MANY, dict(list(MANY.items())[:6]), {1: "a name of very many words " * 4, 2: "short"}],
    ids=["twenty segments", "six segments", "a long name"],
)
def test_no_name_lies_over_another_and_the_legend_has_all_of_them_whole(labels):
    figure = report_data(labels=labels, users=300, d=24).map.draw()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    names = [text for text in axes.texts if text.get_visible() and text.get_text()]
    boxes = [name.get_window_extent() for name in names]
    assert len(boxes) >= len(labels) // 2
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    (legend,) = figure.legends
    told = " ".join(text.get_text().replace("\n", " ") for text in legend.get_texts())
    assert all(f"{id_}  {label.strip()}" in told for id_, label in labels.items())
    assert not legend.get_window_extent().overlaps(Bbox.union(boxes))


@given(
    points=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 25), st.just(2)), elements=st.floats(-1, 1)
    )
)
@settings(max_examples=15, deadline=None)
def test_texts_are_spread_without_overlaps_and_inside_of_the_axes(points):
    figure = Figure()
    axes = figure.subplots()
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    texts = [
        axes.text(x, y, f"name {n}", ha="center", va="center") for n, (x, y) in enumerate(points)
    ]
    spread(axes, texts, points, short=[str(n) for n in range(len(points))], points=4, colour="grey")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts if text.get_visible()]
    assert boxes
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    within = axes.get_window_extent()
    assert all(within.contains(*box.min) and within.contains(*box.max) for box in boxes)


def test_lines_are_broken_by_their_width_and_nothing_is_lost():
    assert wrapped("coffee, beans, espresso", 15) == "coffee, beans,\nespresso"
    assert wrapped("咖啡豆手冲拿铁", 8) == "咖啡豆手\n冲拿铁"
    assert wrapped("", 8) == ""


@settings(max_examples=60, deadline=None)
@given(
    vectors=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(2, 6)),
        elements=st.floats(-1, 1, width=16),
    )
)
def test_the_plane_shows_as_much_variance_as_the_two_largest_eigenvalues(vectors):
    plane = principal_plane(vectors)
    centred = vectors - vectors.mean(axis=0)
    values = np.sort(np.linalg.eigvalsh(centred.T @ centred))[::-1]
    shown = np.square(plane.project(vectors)).sum()
    assert shown == pytest.approx(values[:2].sum(), abs=1e-9 * len(vectors))
    largest = plane.axes[np.arange(2), np.abs(plane.axes).argmax(axis=1)]
    assert (largest >= 0).all()
    assert 0 <= plane.explained <= 1 + 1e-12


def test_the_plane_is_not_mirrored_when_the_vectors_are():
    vectors = np.random.default_rng(5).normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]
    np.testing.assert_allclose(principal_plane(-vectors).axes, principal_plane(vectors).axes)
