"""Hostile input: the work that parsers are given stays in proportion to the text.

The bounds are on what reaches a parser whose rules are quadratic, not on the clock.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax import lexbor

from models.text import clean, detect_language, language, markup, prepare_text
from models.text.characters import MAX_MARKS, normalize
from models.text.clean import MAX_CHARS

# Found by trying what these parsers do badly: each took seconds, or memory, without a guard.
FORMATTING_BOMB = "<p>" + "".join(f"<b a={n}>" for n in range(1_000)) + "</p>" + "<p>x</p>" * 11_000
HOSTILE = {
    "formatting elements rebuilt in every paragraph": FORMATTING_BOMB,
    "deep nesting": "<div>" * 20_000,
    "formatting elements with attributes": "".join(f"<b a={n}>" for n in range(10_000)),
    "end tags in deep nesting": "<b>" * 12_500 + "</p>" * 12_500,
    "attributes to compare": "<p " + " ".join(f"a{n}" for n in range(16_000)) + ">x",
    "tags that never end": "<p a" * 25_000,
    "only tag openers": "<" * MAX_CHARS,
    "comments that never end": "<!--" * 25_000,
    "entities": "&#x41;" * 16_000,
    "preformatted": "<pre>\n" * 16_000,
    "brackets": "[" * MAX_CHARS,
    "brackets as Markdown": "[a](/b) " + "[" * MAX_CHARS,
    "images as Markdown": "[a](/b) " + "![" * 50_000,
    "nested quotes": "`a`\n" + (">" * 19 + " a\n") * 5_000,
    "lists": "- a\n" * 25_000,
    "nested lists": "`a`\n" + "- " * 50_000,
    "emphasis that never closes": "`a` " + "*a **b " * 14_000,
    "stars": " *a" * 33_000,
    "underscores": "_a " * 33_000,
    "backticks": "".join("`" * (n % 200) + "a" for n in range(1_000)),
    "inline tags in Markdown": "`a` <b>x</b> " + '<b a="' * 14_000,
    "lines": "`a`\n" + "a\n" * 50_000,
    "URLs": "http://(" * 12_500,
    "URLs that never end well": "http://" + "." * MAX_CHARS,
    "almost URLs": "a://" * 25_000,
    "marks on one letter": "a" + "\u0315\u0300" * 50_000,
    "marks after invisible characters": ("\u0300" * 30 + "\u200b") * 3_300,
    "letters that expand": "\ufdfa" * MAX_CHARS,
    "emoji sequence": "👩\u200d" * 50_000,
    "one word": "a" * MAX_CHARS,
    "one Chinese run": "這個產品" * 25_000,
    "apostrophes": "a'" * 50_000,
    "dotted path": "aa." * 33_000 + "/",
    "spaces": " " * MAX_CHARS,
    "line feeds": "\r\n" * 50_000,
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in HOSTILE.items()])
def test_hostile_input_gives_a_text_no_longer_than_nfkc_may_make_it(text: str) -> None:
    assert len(prepare_text(text[:MAX_CHARS]).text) <= MAX_CHARS


TAGS = (
    "<p> <b\na=1> </b> <i> <TABLE> <td> <svg> <select> <button> <a\nhref=x> </a> <x> <script> "
    "<img\nalt=x> </p> <nobr/> <template> text"
)


@given(st.lists(st.sampled_from(TAGS.split(" "))).map("".join))
def test_no_element_with_rules_of_its_own_reaches_the_parser(html: str) -> None:
    """HTML's adoption agency and list of active formatting elements are the quadratic part."""
    source = markup._TAG_NAME.sub(markup._plain_element, html)
    names = set(re.findall(r"</?([a-zA-Z]+)", source))
    assert names <= {"span", "script", "style", "template", "iframe", "img"}


def test_the_formatting_bomb_makes_no_more_nodes_than_it_has_tags() -> None:
    source = markup._TAG_NAME.sub(markup._plain_element, FORMATTING_BOMB)
    tags = source.count("<")
    nodes = len(lexbor.LexborHTMLParser(source).css("*"))
    assert nodes <= tags + len(("html", "head", "body"))
    unguarded = lexbor.LexborHTMLParser("<p><b a=1><b a=2></p>" + "<p>x</p>" * 50)
    assert len(unguarded.css("b")) > 100  # what the guard is for


def test_a_tag_reaches_the_parser_with_few_enough_attributes_to_compare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources: list[str] = []
    parser = lexbor.LexborHTMLParser
    monkeypatch.setattr(
        lexbor, "LexborHTMLParser", lambda source: sources.append(source) or parser(source)
    )
    attributes = " ".join(f"a{n}" for n in range(14_000))
    assert clean(f"<p>before</p><p {attributes}>after</p>") == "before\nafter"
    assert max(len(tag) for tag in re.findall("<[^<>]*", sources[0])) <= 10_000


def test_markdown_beyond_its_limit_is_left_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    render = markup._markdown(False).render
    monkeypatch.setattr(
        markup._markdown(False), "render", lambda text: parsed.append(len(text)) or render(text)
    )
    line = "some *emphasis* here\n"
    lines = clean(line * 3_000).split("\n")
    assert parsed
    assert max(parsed) <= markup.MAX_MARKDOWN
    assert lines[0] == "some emphasis here"
    assert lines[-1] == "some *emphasis* here"
    assert len(lines) == 3_000
    assert set(lines) == {lines[0], lines[-1]}


def test_markdown_without_line_feeds_is_cut_at_its_limit() -> None:
    text = clean("*a* " * 10_000)
    assert text.startswith("a a a")
    assert text.endswith("*a* *a*")
    assert text.count("a") == 10_000


@pytest.mark.parametrize("mark", ["\u0301", "\u0315", "\u3099", "\U0001d165"])
def test_a_letter_keeps_a_bounded_number_of_marks(mark: str) -> None:
    kept = f"q{mark * MAX_MARKS}"
    assert normalize(kept) == kept
    assert normalize(f"{kept}{mark * 1_000}r") == f"{kept}r"


def test_long_runs_of_emoji_are_not_taken_for_marks() -> None:
    assert clean("😀" * 100) == "😀" * 100


@pytest.mark.parametrize("mark", "\u0301\u093f\u0e31\u064b\u20e3\U0001e8d0")
def test_marks_of_all_scripts_count_as_marks(mark: str) -> None:
    assert normalize(f"क{mark * (MAX_MARKS + 9)}") == normalize(f"क{mark * MAX_MARKS}")


@pytest.mark.parametrize("letter", "a-ก好 1")
def test_what_is_no_mark_may_be_repeated(letter: str) -> None:
    assert normalize(letter * 100) == letter * 100


@pytest.mark.parametrize("inline_html", [False, True])
def test_the_parser_of_markdown_has_its_rules_before_a_thread_gets_it(inline_html: bool) -> None:
    parser = markup._markdown.__wrapped__(inline_html)
    rulers = (parser.core.ruler, parser.block.ruler, parser.inline.ruler, parser.inline.ruler2)
    assert all(ruler.__cache__ for ruler in rulers)


def test_threads_that_begin_together_clean_as_one_thread_does() -> None:
    texts = ["<p>a *b* &amp; c</p>", "*d [e](f.g)* ~~h~~ ![i](j.k)", "1. *l*\n2. m", "的 *好*"] * 5
    expected = [clean(text) for text in texts]
    for cached in (markup._markdown, language._detector):
        cached.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(clean, texts)) == expected
        assert set(pool.map(detect_language, ["Das ist nicht gut genug"] * 20)) == {"de"}
