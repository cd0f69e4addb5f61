"""What is a tag and what is text: no word outside of real tags is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from models.text import clean, tags
from models.text.clean import MAX_CHARS
from models.text.tags import protect

WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=9).map("w".__add__)
FRAGMENTS = (
    "< > << >> <3 </3 (< <= => -> <- <> </> <a <b <i <p <br </ </p </b <! <!- <!-- <? <?x -- && & "
    "' \" /> <script <style <img <hand <size> <name>"
)
NO_TAGS = st.sampled_from(FRAGMENTS.split(" "))
TAGS = st.sampled_from(
    [
        "<br>",
        "<br />",
        "<p>",
        "</p>",
        "<b>",
        "</b>",
        "<i class=x>",
        "</i>",
        '<a href="https://x.example/a>b">',
        "<a href='x' target=y>",
        "</a>",
        "<DIV CHECKED>",
        "</div>",
        "<o:p>",
        "<my-tag>",
        "<!-- remark -->",
        "<!DOCTYPE html>",
        "[b]",
        "[/b]",
        "[h1]",
        "[/h1]",
    ]
)


def words_of(text: str) -> list[str]:
    return re.findall(r"\bw[a-z]{3,9}\b", text)


@given(st.lists(WORDS | NO_TAGS | TAGS | st.just("\n"), max_size=40).map(" ".join))
@example("<br> <a wone wtwo > wthree")
@example("<p> <!-- wone <b> wtwo </b>")
def test_no_word_outside_of_tags_is_lost(text: str) -> None:
    # Of a script that does not end all goes that follows, unless a tag does, without attributes.
    assume(not re.search(r"<script\s*>", text))
    comments = re.sub(r"<!--.*?-->", " ", text, flags=re.DOTALL)
    assert words_of(clean(text)) == words_of(comments)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (
            "Fits well.<br />Smaller than I thought (<a hand wide). Would buy again.",
            "Fits well.\nSmaller than I thought (<a hand wide). Would buy again.",
        ),
        ("<p>a < b and c</p> end", "a < b and c\nend"),
        ("<b>I</b> <3 this </3 that", "I <3 this </3 that"),
        ("<p>x<y and z>w</p> end", "x<y and z>w\nend"),
        ("<br>5 <6 and 7> 3", "5 <6 and 7> 3"),
        ("<b>ok</b> if i <b and c> d then", "ok if i <b and c> d then"),
        ("<br>don't <i can't stop> won't", "don't <i can't stop> won't"),
        ("<p>Use <size> and <b>b</b></p>", "Use <size> and b"),
        ("<p>a <quote>b</quote> c</p>", "a b c"),
        ("<p>x<my-tag>y</p>", "xy"),
        ('<p>a<vendor x="1">b</p>', "ab"),
        ('<p>Hi</p> <a href="http://trunca', "Hi"),
        ('<p>Hi</p> <a href="http://trunca and more words', "Hi\nand more words"),
        (
            '<p>see</p> <a href="http://x.y/z>link</a> and <b>bold</b> words',
            "see\nlink and bold words",
        ),
        ("<p>a</p><!-- never closed", "a\nnever closed"),
        ("<p>a<!-->b<!-- c -->d", "abd"),
        ("<p>use <script in a page", "use <script in a page"),
        ("<br>How do I use <script> here<br>or there", "How do I use <script> here\nor there"),
        ("<p>visible</p><script>never closed", "visible"),
        ('<p id="a">use <script > <p id="b">so', "use <script >\nso"),
        ('use <style > <img src="a.png"> so <br>', "use <style > so"),
        ("<br><john@x.example> wrote", "<john@x.example> wrote"),
        ("<br>mail <https://foo.bar> gone", "mail gone"),
        ("<br>a <! great > b <? c > d", "a <! great > b <? c > d"),
        ('<img alt="a < b & c" src=x><br>', "a < b & c"),
        ("<p data-x checked :id @click>a</p>", "a"),
        ("**bold** and <a hand wide, <br> too", "bold and <a hand wide,\ntoo"),
        ("> quoted <a hand\n\nreply <br>", "quoted <a hand\nreply"),
    ],
)
def test_what_cannot_be_a_tag_is_text(html: str, text: str) -> None:
    assert clean(html) == text


BEHIND = st.sampled_from(
    ["<br>", "<p class='a'>", '<img src="a.png" alt="">', "<h1 id=b>", "</td>", '<DIV a="1" b=2 >']
)


@given(st.lists(WORDS, min_size=1, max_size=5), BEHIND, st.sampled_from(sorted(tags.RAW)))
def test_no_word_behind_a_script_is_lost_that_only_names_it(words, tag, name) -> None:
    text = f'<p id="a">we use <{name} > {" ".join(words)} {tag} {words[0]}'
    assert words_of(clean(text)) == words_of(text)


UNITS = (
    '<!-- | <a | <a \'" | <a "b | <a b=" | <a b=\'" | \'<a" | <a b="<" | <script> | <x>'
    " | </x | <img alt=\" | <!doctype | <?xml | <b///// | <a b c d e | <a b= | <a b='<"
)


@pytest.mark.parametrize("unit", UNITS.split(" | "))
def test_of_hostile_tags_no_more_comes_out_than_escaping_makes(unit: str) -> None:
    text = f"{unit} " * (MAX_CHARS // len(unit))
    assert len(protect(text)) <= len("&lt;") * len(text)


BBCODE = [
    ("[h1]Verdict[/h1][b]Fits[/b] [url=https://x.example/p]so[/url]", "Verdict\nFits so"),
    ("[list][*]first[*]second[/list][spoiler]end[/spoiler]", "first\nsecond\nend"),
    ("[quote=Tom;12]said[/quote]answered", "said\nanswered"),
    ("[img]https://x.example/a.png[/img]seen [IMG width=3]a/b.png[/IMG]", "seen"),
    ("[url]https://x.example/a[/url] [email]a@x.example[/email]", "a@x.example"),
    ("[size=5][color=#ff0000]loud[/color][/size]", "loud"),
    ("[table][tr][th]a[/th][td]b[/td][/tr][/table]", "a b"),
    ("[b]one [i]two[/b] three[/i]", "one two three"),
    ("[h1]not closed, but [b]bold[/b][hr]", "not closed, but bold"),
    ("[code]arr[i] = [b]x[/b][/code] and [b]bold[/b]", "arr[i] = [b]x[/b]\nand bold"),
    ("`[b]x[/b]` is bold, [b]so[/b]", "[b]x[/b] is bold, so"),
    ("arr[i] and [i]so[/i]", "arr[i] and so"),
    ("[b]html[/b]<br />too", "html\ntoo"),
    ("see [1] and [2] in [b]it[/b]", "see [1] and [2] in it"),
]


@pytest.mark.parametrize(("raw", "text"), BBCODE)
def test_bbcode_leaves_its_words(raw: str, text: str) -> None:
    assert clean(raw) == text


@pytest.mark.parametrize(
    "text",
    ["[1] and [2]", "arr[i] = b[j]", "[spoiler] ahead", "a [b] c", "x[/i] y", "[/rant]"],
)
def test_brackets_without_a_closing_tag_are_text(text: str) -> None:
    assert clean(text) == text


BRACKETS = "[b] [/b] [*] [h1] [/h1] [code] [/code] [i] [1]"


@given(st.lists(WORDS | st.sampled_from(BRACKETS.split(" "))))
def test_bbcode_loses_no_word(parts: list[str]) -> None:
    assert words_of(clean(" ".join(parts))) == words_of(" ".join(parts))


def test_however_many_names_are_no_elements_the_text_is_not_searched_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[str] = []
    last = tags._Source.last

    def counting(source: Any, pattern: str) -> int:
        searched.append(pattern)
        return last(source, pattern)

    monkeypatch.setattr(tags._Source, "last", counting)
    text = " ".join(f"<q{number}>" for number in range(1000))
    assert protect(f"{text} <x>y</x>") == f"{text} ".replace("<", "&lt;") + "<x>y</x>"
    assert len(searched) < 10
