"""What `clean` makes of plain text, HTML, Markdown and mixtures."""

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from models.text import LoneSurrogateError, clean, verbatim
from models.text.characters import normalize
from models.text.clean import MAX_CHARS

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
MARKUP = (
    "<p> </p> <b> </b> <br> <img\talt='x'> <script> </script> <pre> </pre> <!-- --> <a\thref='y'> "
    "&amp; &lt;b&gt; &#x200b; &#xd800; &trade; ** * _ ` ``` [a](http://b.c) ![d](e.f) [ ]( ) # - > "
    "~~ http://x.y www.z.de word 啤酒 \u0301 \u200d \ufe0f \u2764 \u200b \U0001f525 \u2122 \r \f"
)
FRAGMENTS = st.sampled_from(MARKUP.split(" "))
WILD = st.lists(FRAGMENTS | UNICODE | st.sampled_from([" ", "\n"]), max_size=30).map("".join)


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "x_1 * y_2",
        "C++ <3",
        "i <b and c> d",
        "1 <2 & 3> 2",
        "2**3 and 4**5 = a*b*c",
        "f***ing **** this",
        "snake_case_name and __init__.py",
        "$\\sum_{i}_j a_{k}$ holds",
        "按*26*或 *62* 都是假的",
        "Use <policy_id> and <name> here, List<T> too",
        "How do I use <script> in a page?",
        "AT&T, R&D; fish & chips",
        "[note 1](see below), f[i](x y)",
        "5 > 3\n> 2",
        "it costs $5 - $7 - good",
        "#1 in town, C# too",
        "-- signed",
        "~5 or ~~~ waves",
        "ab cd",
        "what?! no...",
    ],
)
def test_plain_text_that_looks_like_markup_survives_unharmed(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\nTwo"),
        ("Title\n<p>Body\nwraps <em>here</em>.</p>", "Title\nBody wraps here."),
        ("Hello<br>World<BR/>!", "Hello\nWorld\n!"),
        ("a<script>alert('x < y')</script>b<style>p{}</style>c", "abc"),
        ("<p>visible</p><script>never closed", "visible"),
        ("<p>Tom &amp; Jerry &lt;3 &hellip;&nbsp;&#x1F600;</p>", "Tom & Jerry <3 ... 😀"),
        ("<p>see <img src='x' alt='a \"nice\" cat'> there</p>", 'see a "nice" cat there'),
        ("<p>no <img src='x' alt=''><img src='y'>alt</p>", "no alt"),
        ("<pre><code>if x:\n    y\n</code></pre>end", "if x:\ny\nend"),
        ("<ul><li>one<li>two</ul>three", "one\ntwo\nthree"),
        ("<table><tr><td>a<td>b</tr><tr><td>c</table>", "a b\nc"),
        ("H<sub>2</sub>O and <b>bo</b>ld", "H2O and bold"),
        ('<p>Hi there <a href="http://trunca', "Hi there"),
        ("<p>Un<b>bal</i>anced</div></p>", "Unbalanced"),
        ("<!-- remark --><p title='a > b'>text</p>", "text"),
        ("<!DOCTYPE html><html><head><title>T</title></head><body>B</body></html>", "T\nB"),
        ("<a href='https://t.co/x?utm_source=y'>the shop</a>", "the shop"),
        ("<P CLASS=x>caps</P>", "caps"),
        ("<p>a &lt;b&gt; c</p>", "a <b> c"),
    ],
)
def test_html_becomes_the_text_a_browser_shows(html: str, text: str) -> None:
    assert clean(html) == text


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("# Title\n\nSome *text*, **bold** and __more__.", "Title\nSome text, bold and more."),
        ("see [the shop](https://x.y/z_(a)?b=1 'title').", "see the shop."),
        ("![a cat](cat.png) and [ref][1]\n\n[1]: https://x.y", "a cat and ref"),
        ("Run `a_b * c_d` now", "Run a_b * c_d now"),
        ("```python\nx = a**2\nif x < 3:\n    y\n```\nend", "x = a**2\nif x < 3:\ny\nend"),
        ("- one\n- two\n  - three", "one\ntwo\nthree"),
        ("> quoted text\n\nreply", "quoted text\nreply"),
        ("~~gone~~ kept", "gone kept"),
        ("line one\nline *two*", "line one\nline two"),
        ("`List<T>` and `<div>` are types", "List<T> and <div> are types"),
        ("這是**重點**啊", "這是重點啊"),
        ("**重點\uff1a**請看", "重點:請看"),
        ("*a* [註](見下文)", "a [註](見下文)"),
        ("*em* and a <b and c> d", "em and a <b and c> d"),
    ],
)
def test_markdown_leaves_its_words(markdown: str, text: str) -> None:
    assert clean(markdown) == text


@pytest.mark.parametrize(
    ("mixture", "text"),
    [
        ("<p>I **love** this [shop](https://x.y)</p>", "I love this shop"),
        ("**bold**<br>and <i>italic</i> in `code<T>`", "bold\nand italic in code<T>"),
        ("Tom &amp; *Jerry*", "Tom & Jerry"),
        ("```\n<p>not parsed</p>\n```\nafter", "<p>not parsed</p>\nafter"),
    ],
)
def test_html_and_markdown_may_be_mixed(mixture: str, text: str) -> None:
    assert clean(mixture) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("see https://a.b/c?utm_source=x&y=1#z, ok", "see , ok"),
        ("(https://foo.bar/x_(y)) and <https://foo.bar> gone", "and gone"),
        ("看https://youtu.be/abc請看", "看 請看"),
        ("WWW.Example.com and ftp://x/y", "and"),
        ("nohttp://here", "nohttp://here"),
        ("https://only.a/url", ""),
    ],
)
def test_urls_are_removed(raw: str, text: str) -> None:
    assert clean(raw) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("\uff21\uff22\u3000ｶﾞ ﬁ ①", "AB ガ fi 1"),
        (
            "so\u00adft ze\u200bro \u202ebidi\u202c \ufeffbom a\u200db\ufe0f",
            "soft zero bidi bom ab",
        ),
        ("a\x00b\x08c", "abc"),
        ("a\r\nb\rc\x0bd\x85e\u2028f", "a\nb\nc\nd\ne\nf"),
        ("e\u200b\u0301", "é"),
        ("\ue000private\ufffd", "private"),
        ("👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥", "👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥"),
        ("👩🏽\u200d💻 →\ufe0f √\u200d√ \U0002fffe", "👩🏽\u200d💻 → √√"),
        ("  a \t b \n\n\n c\u00a0d ", "a b\nc d"),
        ("&amp;lt; &#65; &copy; &nosuch; &#8203;x", "&lt; A © &nosuch; x"),
        ("", ""),
    ],
)
def test_characters_are_brought_to_one_form(raw: str, text: str) -> None:
    assert clean(raw) == text


def test_case_and_stop_words_stay_for_the_model() -> None:
    assert clean("This is NOT what I wanted.") == "This is NOT what I wanted."


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xDC00, 0xDFFF])
def test_a_lone_surrogate_is_refused_by_place_and_never_by_text(code: int) -> None:
    with pytest.raises(LoneSurrogateError) as refusal:
        clean(f"secret{chr(code)}")
    assert isinstance(refusal.value, ValueError)
    assert f"U+{code:04X} at position 6" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_an_entity_for_a_surrogate_is_dropped() -> None:
    assert clean("<p>a&#xD800;b</p>") == clean("a&#xD800;b") == "ab"


def test_every_control_and_format_character_is_dropped() -> None:
    invisible = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in {"Cc", "Cf", "Co", "Zl", "Zp"}
    ]
    assert clean("".join(invisible)) == ""


def test_a_text_is_read_up_to_its_limit() -> None:
    assert len(clean("a" * (MAX_CHARS + 5))) == MAX_CHARS
    assert len(clean("\ufdfa" * MAX_CHARS)) <= MAX_CHARS


@given(WILD)
@example("&trade;&#xfe0f;")
@example("\u2122\ufe0f\u0323")
def test_the_result_is_nfkc_without_controls_or_loose_space(raw: str) -> None:
    text = clean(raw)
    assert unicodedata.is_normalized("NFKC", text)
    assert not [
        c
        for c in text
        if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co"} - {"\n"} and c not in "\n\u200d"
    ]
    assert text == "\n".join(" ".join(line.split()) for line in text.split("\n") if line.strip())


@given(WILD)
def test_a_zero_width_joiner_stands_only_between_emoji(raw: str) -> None:
    text = clean(raw)
    for position, char in enumerate(text):
        if char == "\u200d":
            assert not text[position - 1].isalnum()
            assert 0 < position < len(text) - 1
            assert not text[position + 1].isalnum()


@given(WILD)
@example("e\u200b\u0301 http://x.y\u0301")
@example("\u2764\ufe0f\u200d\U0001f525 \u2122\ufe0f")
def test_cleaning_plain_text_twice_changes_nothing_more(raw: str) -> None:
    assume(not set("<&*_`[#>~\\-") & set(normalize(raw)))
    once = clean(raw)
    assert clean(once) == once


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0xD800, 0xDFFF), st.data())
def test_a_surrogate_anywhere_is_refused(text: str, code: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(text)))
    with pytest.raises(LoneSurrogateError):
        clean(text[:position] + chr(code) + text[position:])


@pytest.mark.parametrize(
    ("raw", "quoted"),
    [
        ("很好\uff0c推薦\uff01", "很好\uff0c推薦\uff01"),
        ("½ cup, ﬁne, 10 m²", "½ cup, ﬁne, 10 m²"),
        ("<p>Very&nbsp;<b>good</b></p>1 &frac12;", "Very good\n1 ½"),
        ("[b]so[/b] *well* **made**", "so well made"),
        ("see https://x.example/a", "see https://x.example/a"),
        ("a\x00b\u202ec \r\n d", "abc\nd"),
        ("so (<a hand)<br>ok", "so (<a hand)\nok"),
    ],
)
def test_a_quote_is_the_text_without_its_markup_and_nothing_else(raw: str, quoted: str) -> None:
    assert verbatim(raw) == quoted


@given(WILD)
def test_a_quote_says_the_same_as_what_the_model_sees(raw: str) -> None:
    """Any text can be quoted, and nothing that breaks a line or a terminal is in it."""
    quoted = verbatim(raw)
    assert not [
        character
        for character in quoted
        if unicodedata.category(character) in ("Cc", "Cs") and character != "\n"
    ]


def test_a_quote_cannot_hold_half_a_character() -> None:
    with pytest.raises(LoneSurrogateError):
        verbatim("a\ud800")
