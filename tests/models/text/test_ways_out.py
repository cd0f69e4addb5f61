"""The ways out for texts that need little: the same, byte for byte, as without them."""

from __future__ import annotations

import re
import unicodedata
from html.entities import html5

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.text import (
    LoneSurrogateError,
    characters,
    clean,
    clean_all,
    many,
    markup,
    simple_html,
    simple_markdown,
)
from models.text.characters import (
    MAX_MARKS,
    collapse_fully,
    collapse_whitespace,
    normalize,
    normalize_fully,
)
from models.text.clean import _URL, clean_fully, remove_urls
from models.text.markup import html_to_text, markdown_fully, strip_markup, strip_markup_fully

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SPACES = st.sampled_from(
    [
        "",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "\r",
        "\u3000",
        "\xa0",
        "\u1680",
        "\x0b",
        "\f",
        "\x1c",
    ]
)
MARKS = st.sampled_from(
    ["\u0301", "\u0301" * MAX_MARKS, "\u0301" * (MAX_MARKS + 1), "\u3099\u0315" * 20, "\u093f" * 31]
)
INVISIBLE = st.sampled_from(
    list(
        "\u200b\u200d\ufe0f\u034f\u3164\ufffd\ufffc\xad\ue000\u115f\U000e0101\x00\x1f\x7f\u2028\x85"
    )
)
LETTERS = st.sampled_from(
    ["a", "Word", "é", "e", "好", "啤酒", "\uff0c", "ﬁ", "ﷺ", "👩", "❤", "™", "각", "ｶﾞ"]
)
TEXTS = st.lists(ANY | SPACES | MARKS | INVISIBLE | LETTERS, max_size=20).map("".join)

TAGS = (
    "<p> </p> <br> <br/> <BR> <li> </li> <ul> <pre> </pre> <td> <th> <em> </em> <a\thref='x>'> "
    "</a> <code> </code> <blockquote> </blockquote> <hr\t/> <h1\tclass='a'> <img\tsrc='a'> "
    "<a\thref=\"http://a.b/c?d=e&amp;f\"\trel='nofollow'> <img\talt=''> <img\talt='a\tcat'> "
    "<img\talt=\"b's\"\tsrc='c'> <img\talt='a&amp;b'> <img\talt='d'\talt='e'/> "
    "<img\talt='\n'\talt='x'> <IMG\talt='c'> </img> <script> </script> <x> <x-y> <p\tchecked> <P> "
    "</P> <span\n> < > <> </> <3 </ <a <!-- --> <a\thref=\"http://b <a\thref='c <x\ty='z"
)
REFERENCES = (
    "& &amp; &lt; &gt; ; &nbsp; &#39; &#x27; &#128; &#0; &#xD800; &#1114112; &#10; &#32; &NewLine; "
    "&Tab; &ampx; &amp &nosuch; &am &; &#; &#x; &NotEqualTilde; &#8203; &#xfe0f; &hellip; p;"
)
OTHERS = (
    "* ** _ ` ``` ~~ # > - [b] [/b] [a](http://b.c) [1]: http:// https://x.y www.x WWW. word words "
    ". , ( ) [ ] 好 é"
)
PIECES = (
    st.sampled_from(TAGS.split(" ")).map(lambda tag: tag.replace("\t", " "))
    | st.sampled_from(REFERENCES.split(" "))
    | st.sampled_from(OTHERS.split(" "))
    | SPACES
)
RAW = st.lists(PIECES, max_size=25).map("".join)
HTML = st.lists(
    st.sampled_from([tag.replace("\t", " ") for tag in TAGS.split(" ")[:27]])
    | st.sampled_from(REFERENCES.split(" "))
    | st.sampled_from(["", " ", "\n", "    ", "word", "two words", "é", "# ", "> ", "*a*"])
    | st.sampled_from(["<a href='b", "<a href='b'", "<", "<b c", "</p"]),
    min_size=1,
    max_size=25,
).map("".join)


MARKS_AND_WORDS = (
    "* ** *** _ __ ` `` a bc 1 . , ! ( ) ' \" : - > + # [x] [ ] [a\tb](http://c) [d](e.f(g)) "
    "[h](i) ![j](k) [l]: é 好 \\ $ 😀 ~~ = & &amp; < <b> \u201c http://u.v"
)
MARKDOWN = st.lists(
    st.sampled_from([mark.replace("\t", " ") for mark in MARKS_AND_WORDS.split(" ")])
    | st.sampled_from([" ", " ", "  ", "\n", "\n\n", "    ", "words"])
    | st.sampled_from(["\n- ", "\n> ", "\n# ", "\n* ", "\n  + ", "\n>\n", "\n- > ", "\n1. "]),
    max_size=25,
).map("".join)


@given(TEXTS)
@example("\u3000x\u3000\u0301")
@example("a" * MAX_MARKS + "\u0301" * (MAX_MARKS + 1))
@example("\u2122\ufe0f")
def test_characters_are_normalised_as_without_a_way_out(text: str) -> None:
    assert normalize(text) == normalize_fully(text)


def test_no_character_that_is_taken_as_it_is_would_have_been_dropped() -> None:
    printable = [chr(code) for code in range(0x110000) if chr(code).isprintable()]
    taken = [char for char in printable if not characters._INVISIBLE_PRINTABLE.match(char)]
    assert len(taken) > 100_000
    for start in range(0, len(taken), 1_000):
        chunk = " ".join(taken[start : start + 1_000])
        assert normalize(chunk) == normalize_fully(chunk)


def test_plain_characters_are_left_as_they_are_beside_any_others() -> None:
    plain = [chr(code) for code in range(0x80, 0x110000) if characters.is_plain(chr(code))]
    assert 2_000 < len(plain) < 10_000
    # What composes with a character before it, or is put in order among others, is a mark.
    assert not [char for char in plain if unicodedata.category(char)[0] == "M"]
    for text in ("".join(plain), "".join(f"a{char}" for char in plain), " ".join(plain)):
        assert normalize(text) == text == normalize_fully(text)


@pytest.mark.parametrize("before", range(MAX_MARKS + 2))
@pytest.mark.parametrize("marks", [MAX_MARKS, MAX_MARKS + 1, 2 * MAX_MARKS])
def test_a_run_of_marks_is_found_wherever_it_begins(before: int, marks: int) -> None:
    text = "好" * before + "\u0301" * marks + "b"
    assert len(normalize(text)) == before + MAX_MARKS + 1


@given(TEXTS | RAW)
def test_white_space_is_collapsed_as_without_a_way_out(text: str) -> None:
    text = normalize(text)
    assert collapse_whitespace(text) == collapse_fully(text)


def test_no_white_space_but_what_is_looked_for_is_left_in_a_normalised_text() -> None:
    spaces = "".join(char for char in map(chr, range(0x110000)) if char.isspace())
    assert set(normalize(spaces)) == set(" \n\t\u1680")


@given(RAW)
@example("(https://x.y)[www.a.b]<ftp://c> shttp://a http://http://b wwww.c httphttp://d://e")
@example("see(http://a.b) and((http://c.d(e))f")
@example("http://a.bwww.c.d ://www.x")
@example("(http://a.b.) <www.a..> [http://a!] (http://a(b.).)] http://.. www.K.?")
def test_urls_are_removed_as_without_a_way_out(text: str) -> None:
    assert remove_urls(text) == _URL.sub(" ", text)


@given(HTML)
@example("    <p># a")
@example("&#32;<p>a</p>")
@example("</p> a<p>b")
@example("<p>&am</p>p;")
@example("<pre>&NewLine;&Tab;</pre>")
@example("<pre>\na\n</pre>\nb\n<pre>c")
@example("   <img alt='   # a'><p>b</p>")
@example("<p>a <a href='http://b")
@example("<p>a <a href='b' c='http://d&amp;e f &amp; g")
@example("<p>a <a href='b'")
@example("<p>a <a href='b<img src='c'>word")
@example("<p>a < b &lt; c")
@example("<p>a <")
@example("<p>a <b <em>c</em> d")
@example("<p>a</p> </p")
@example("<p>a <!-- b")
@example("<pre>a\nb <pre class='c")
def test_simple_html_is_read_as_the_parser_reads_it(html: str) -> None:
    html = normalize(html)
    assert simple_html.read(html, markup.GAPS, markup.BLOCK_TAGS) in (None, html_to_text(html))


@pytest.mark.parametrize("start", range(0, len(html5), 500))
def test_every_entity_stands_for_what_the_parser_says(start: int) -> None:
    for name in list(html5)[start : start + 500]:
        html = f"<p>a &{name} b</p>"
        joined = simple_html.read(html, markup.GAPS, markup.BLOCK_TAGS)
        assert joined == html_to_text(html) or (
            joined is None and (name[-1] != ";" or html5[name] in "\n\t")
        )


@given(st.integers(0, 0x120000), st.sampled_from("dxX"))
def test_every_number_stands_for_what_the_parser_says(code: int, form: str) -> None:
    number = str(code) if form == "d" else f"{form}{code:x}"
    html = f"<p>a &#{number}; b</p>"
    assert strip_markup(html) == strip_markup_fully(html)


@given(RAW | HTML | MARKDOWN)
def test_markup_is_stripped_as_without_a_way_out(text: str) -> None:
    text = normalize(text)
    assert collapse_fully(strip_markup(text)) == collapse_fully(strip_markup_fully(text))


@given(MARKDOWN)
@example("*a* **b** ***c*** _d_ __e__ snake_case `f*g` [h](http://i.j) [k] [l](m n) 2 * 3 * 4")
@example('see *it\'s _so_*, "*a*" *"a"* _e.g._ *b.*c ` d ` **e**f*g*h')
@example("a\n\n- b\n\n- c\n[a](b.c(d)) [e](f.(g(h)))")
@example("[a]: b\n1. *c*\n+1 *d*\n    *e*\n# *f*\n*g*\n===\n> *h*")
@example("a *b\nc* d\\\n\\*e\\* **f` g** `")
def test_simple_markdown_is_read_as_the_parser_reads_it(text: str) -> None:
    text = normalize(text)
    simple = simple_markdown.read(text, markup._LINK_TARGET)
    if simple is not None:
        simple = markup._LEFTOVER_STRONG.sub(r"\1", simple)
        assert collapse_fully(simple) == collapse_fully(markdown_fully(text))


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("See [the shop](http://a.b/c_(d)?e&f), *really*.", "See the shop, really."),
        ('"*So*", they _said_: **buy** `a * b`', '"So", they said: buy a * b'),
        ("> so *they* said\n\n- [a](b.c)\n- b\n\n# And *so*\non", "so they said\na\nb\nAnd so\non"),
        ("Two lines\n\n**of** snake_case [1] & more", "Two lines\nof snake_case [1] & more"),
    ],
)
def test_common_markdown_needs_no_parser(
    monkeypatch: pytest.MonkeyPatch, markdown: str, text: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this text needs none")

    assert collapse_fully(markdown_fully(markdown)) == text
    monkeypatch.setattr(markup, "markdown_fully", refuse)
    assert clean(markdown) == text


@given(RAW | MARKDOWN)
@example("- a\n- b")
@example("x\n  * a b\n * c")
@example("- a\n* b\n- c")
@example("a _b_ c")
def test_a_text_is_taken_for_markdown_by_any_of_its_patterns(text: str) -> None:
    patterns = [pattern for _, pattern in markup._SIGNS]
    patterns += [rf"^[ ]{{0,3}}{pattern}" for _, pattern in markup._LINE_SIGNS]
    found = any(re.search(pattern, text, re.MULTILINE) for pattern in patterns)
    assert markup._is_markdown(text) == found


@given(RAW | HTML | TEXTS)
def test_texts_are_cleaned_as_without_a_way_out(raw: str) -> None:
    assert clean(raw) == clean_fully(raw)


MARKED = st.sampled_from(
    [*"\u2019\u201c\u201d\u2013\u2014\u2018", "\u2019s", "é", "…", "\x00", "\x01", "\x02"]
)


@given(st.lists(RAW | HTML | TEXTS | MARKDOWN | st.lists(PIECES | MARKED, max_size=8).map("".join)))
@example(["&am<b>p; x</b><p>"] * 20)
@example(["a &lt;b&gt; <p>c &amp; d & e</p>", "<p>&#32; a", "&#32;<p>b", "<p>&am</p>p;"] * 4)
@example(["<p>&<b>amp; x</b>", "<a href='b&c=d;'>e</a><p>&nosuch; f", "<p>&hellip;&nbsp;g"] * 5)
@example(["<p>a\nb</p><pre>c\nd", "e\nf<p>", "<pre>\ng\n</pre>\nh<pre>i\n</pre>j\n<p>"] * 5)
@example(["</pre>a\nb<p>", "a\nb</pre>c\nd<p>", "<pre>a\nb<pre>c\nd</pre>e\nf", "<pre\n>a\n"] * 4)
@example(["<p>a <a href='http://b", "<p>a <a href='b c", "<p>a <b", "<a href='b", "<p <a b='"] * 3)
@example(["<p>a <a href='b", "<p><x href='b", "<p>a <p>b<img alt='c", "<p><a b='c' d='e"] * 4)
@example(["a <img alt='b c'><p>d", "a<img\x1fsrc='b'><p>c", "a<img src='\uff02' alt='b'><p>c"] * 4)
@example(
    ["a<img alt='`'><p>b", "a<img src='`[/b]'><p>b", "<img alt='a'><p>b", "a<img alt='&lt;'><p>"]
)
@example(
    ["a<img alt='# b'>\n<p>c", "a\n<img alt='b'>\nc", "a<p><img src='b", "a<img src='\x00'><p>b"]
    * 4
)
@example(["the <> operator", "<p>the <> operator", "<>"] * 5)
@example(["    <p># a", "</p>a<p>b", "<p></p>", " ", "\n", "", "x <", "<p", "> <p>y"] * 2)
@example(["a<p>b</p><pre>c\nd</pre>\ne", "<td>    # a", "a <b\x00> <p>", "w\x00ww.x"] * 4)
@example(["<p>" + "a b" * 33_400 + "\n\n c </p>"] * 14)
@example(["<p>a\n\n<a href='http://b.c'>d</a> <blockquote>e</blockquote>f\n", "<x>", "<x"] * 5)
@example(
    ["- a\n- b", "# a", ">b", "a - b", "c > d", "a_b_ _c_", "~~d~~", "a:/b", "w.b", "[a](b.c)"]
)
@example(
    ["<p>- a</p>\n- b", "<p>- a</p><p>- b", "<p>#</p> a", "<p>></p>b", "<p>www.</p>b", "::"] * 2
)
def test_of_many_texts_each_is_cleaned_as_alone(raws: list[str]) -> None:
    assert many._clean_together(raws or ["a"]) == [clean(raw) for raw in raws or ["a"]]


def test_of_few_texts_and_of_none_each_is_cleaned_as_alone() -> None:
    for count in (0, 1, many.FEW, many.FEW + 1):
        raws = ["<p>a  b</p>\r\n"] * count
        assert clean_all(raws) == ["a b"] * count


def test_long_texts_are_cleaned_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []

    def noted(raws: list[str]) -> list[str]:
        together.append(sum(map(len, raws)))
        return cleaned(raws)

    cleaned = many._clean_together
    monkeypatch.setattr(many, "_clean_together", noted)
    monkeypatch.setattr(many, "FEW", 1)
    raws = ["<p>a  b" + "<" * length for length in (10, 600_000, 300_000, 10, 200_000, 20)]
    assert clean_all(raws) == [clean(raw) for raw in raws]
    assert len(together) == 2
    assert max(together) <= many.MOST_CHARS


def test_a_lone_surrogate_is_refused_among_many() -> None:
    with pytest.raises(LoneSurrogateError):
        clean_all(["a"] * many.FEW + ["b\ud800"])


def test_common_texts_are_cleaned_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("none of these is looked at alone")

    monkeypatch.setattr(many, "clean", refuse)
    monkeypatch.setattr(many, "finished", refuse)
    raws = {
        "Simply a text.  With two\n\nlines - so it\u2019s\n": "Simply a text. With two\nlines - "
        "so it\u2019s",
        "Title\n<p>It is <em>the</em> <a href=\"http://a.b/c_d\" rel='x'>best</a>.</p>\n\n"
        "<ul>\n<li>one</li></ul>": "Title\nIt is the best.\none",
    }
    assert clean_all([*raws] * many.FEW) == [*raws.values()] * many.FEW


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Simply a text.  With two lines.\n\nAnd 5 > 3 - so it is", None),
        ("這個產品\uff0c不好用。\u3000沒有說明書\uff01", "這個產品,不好用。 沒有說明書!"),
        (
            "Title\n<p>It&rsquo;s <em>the</em> &amp; <a href=\"http://a.b/c\" rel='x'>best</a>.</p>"
            "<ul>\n<li>one</li><li><img src='a' alt='two'></li></ul><pre>a\nb</pre>",
            "Title\nIt\u2019s the & best.\none\ntwo\na\nb",
        ),
    ],
)
def test_common_texts_need_neither_parser_nor_the_full_passes(
    monkeypatch: pytest.MonkeyPatch, raw: str, text: str | None
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this text needs none of it")

    monkeypatch.setattr(characters, "normalize_fully", refuse)
    monkeypatch.setattr(markup, "html_to_text", refuse)
    monkeypatch.setattr(markup, "markdown_to_text", refuse)
    assert clean(raw) == (text or "Simply a text. With two lines.\nAnd 5 > 3 - so it is")
