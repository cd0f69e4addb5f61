"""The words that count for the typical words of a segment."""

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from models.text import chinese_script, clean, tokenize, tokens
from models.text.leftovers import without_leftovers
from models.text.tokens import _ASCII_WORD, _WORD, MAX_CHARS, MAX_WORD_LETTERS
from models.text.traditional import to_simplified


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("The Brewery's HOPPY beers, the best of them", "en", ["brewery", "hoppy", "beers"]),
        ("Das Bier ist kein Genuss", "de", ["bier", "kein", "genuss"]),
        ("STRASSE und Straße", "de", ["strasse", "strasse"]),
        ("J\u2019aime la bière d\u2019abbaye", "fr", ["aime", "bière", "abbaye"]),
        ("rock'n'roll o'clock 'quoted' dogs'", "en", ["rock'n'roll", "quoted", "dogs"]),
        ("вкусное пиво", "ru", ["вкусное", "пиво"]),
        ("मैंने किताब पढ़ी", "hi", ["मैंने", "किताब", "पढ़ी"]),
        ("맥주가 정말 맛있어요", "ko", ["맥주가", "정말", "맛있어요"]),
        ("東京のビールは最高です", "ja", ["東京", "ビール", "最高"]),
        ("I had 啤酒 there", "en", ["啤酒"]),
        ("the lager", "und", ["lager"]),
        ("", "en", []),
    ],
)
def test_words_are_folded_and_stop_words_dropped(
    text: str, language: str, words: list[str]
) -> None:
    assert [word for word in tokenize(text, language) if word != "o'clock"] == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("这个产品不好用,没有说明书。", ["产品", "不好", "没有", "说明书"]),
        ("這個產品不好用,沒有說明書。", ["產品", "不好", "沒有", "說明書"]),
        ("無意義訊息", ["無", "意義", "訊息"]),
        ("iPhone 15 Pro拍照很清晰 don't buy", ["iphone", "pro", "拍照", "清晰", "not"]),
        ("the 啤酒 of 台灣", ["啤酒", "台灣"]),
    ],
)
def test_chinese_is_cut_in_both_scripts_and_keeps_its_own(text: str, words: list[str]) -> None:
    assert [word for word in tokenize(text, "zh") if word != "buy"] == words


CHINESE_STOP_WORDS = (
    "这 這 们 我們 个 這個 说 說 説 为 為 爲 因為 什麼 怎麼 麼 還 還是 對於 時 時候 從 從而 與 會 "
    "雖然 並且 這裡 哪裏 後 然後 來 過 經過 給 讓 誰 請 應該說 無論 接著 妳 妳們 是 的 了"
)


@pytest.mark.parametrize("word", CHINESE_STOP_WORDS.split())
def test_chinese_stop_words_are_dropped_in_either_script(word: str) -> None:
    assert set(tokenize(word, "zh")) <= {"應該"}


@pytest.mark.parametrize(
    ("text", "language", "negation"),
    [
        ("it is not good", "en", "not"),
        ("no, never", "en", "no"),
        ("never again", "en", "never"),
        ("without sugar", "en", "without"),
        ("I don't", "en", "not"),
        ("it isn\u2019t", "en", "not"),
        ("CAN'T", "en", "not"),
        ("不 好", "zh", "不"),
        ("没 来", "zh", "没"),
        ("沒 來", "zh", "沒"),
        ("别 来", "zh", "别"),
        ("別 來", "zh", "別"),
        ("無 糖", "zh", "無"),
        ("nicht gut", "de", "nicht"),
        ("ne pas", "fr", "pas"),
        ("sin azúcar", "es", "sin"),
        ("не работает", "ru", "не"),
    ],
)
def test_negations_stay(text: str, language: str, negation: str) -> None:
    assert negation in tokenize(text, language)


@pytest.mark.parametrize(
    "debris",
    [
        "2014 15.5 \uff11\uff12 1,000 ½",
        "x y z π ж",
        "foo_bar x_1 _private a__b",
        "\\frac \\rangle",
        "@someone @user_1",
        "ipfs://Qm1/x git://a.b/c",
        "example.com/path?utm_source=x github.com/a/b",
        "/lib/libfoo.so/bar",
        "9f86d081884c7d659a2feaa0c55ad015 addr1qx2fxv2umyhttkxyxp8x0",
        "a" * (MAX_WORD_LETTERS + 1),
        "ก" * (MAX_WORD_LETTERS + 1),
        "<3 :-) !!! 👍",
    ],
)
@pytest.mark.parametrize("language", ["en", "zh", "th"])
def test_numbers_single_letters_and_leftovers_are_dropped(debris: str, language: str) -> None:
    assert tokenize(clean(debris), language) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@someone drinks ale", ["drinks", "ale"]),
        ("ale@Straße.de", []),
        ("mail john.smith@example.com an ale", ["mail", "ale"]),
        ("u/john_doe and /u/jane on r/ale", ["ale"]),
        ("回复@小明:啤酒", ["啤酒"]),
        ("啤酒//@小明_1:啤酒", ["啤酒", "啤酒"]),
        ("ale @ pub 5@6", ["ale", "pub"]),
        ("nan", []),
        ("ale nan", ["ale"]),
        ("[deleted]", []),
        ("ale (removed) [Removed]\n- None -\nN/A", ["ale"]),
        ("it was removed from the ale", ["removed", "ale"]),
        ("deleted files", ["deleted", "files"]),
        ("financial nonetheless\nannulled", ["financial", "annulled"]),
        ("[QUOTE=Peter;12]ale[/quote] [size=3]", ["ale"]),
        ('[quote="Peter Schneider, post:3"] ale', ["ale"]),
        ("[doge] ale [哈哈]", ["ale"]),
        ("keg[ale]", ["keg", "ale"]),
        ("&amp;amp;lt;blockquote&amp;amp;gt; ale &amp;amp;nbsp; &amp;#39;", ["ale"]),
        ("&amp;lt;div class=foo&amp;gt;ale", ["ale"]),
        ("ale < keg > keg", ["ale", "keg", "keg"]),
        ("a1b2c3d4 9f86d081 ale", ["ale"]),
    ],
)
def test_people_placeholders_markup_and_ids_are_no_words(text: str, words: list[str]) -> None:
    assert tokenize(clean(text), "en") == words


@given(st.text("&;<>[]@/u=a \nanull()#x1回复", max_size=60))
def test_a_text_without_a_sign_of_anything_else_stays_as_it_is(text: str) -> None:
    left = without_leftovers(text)
    if not set("&<[@/(") & set(text) and "nan" not in text and "null" not in text:
        assert left == text


def test_names_with_digits_stay() -> None:
    words = ["covid19", "5g", "h2o", "ps5", "mp3", "windows2000", "wh1000xm4"]
    assert tokenize(" ".join(words), "en") == words


def test_words_repeat_as_often_as_they_occur() -> None:
    assert tokenize("stout Stout STOUT", "en") == ["stout"] * 3


def test_only_the_beginning_of_a_text_counts() -> None:
    assert tokenize("beer " * 10, "en", max_chars=13) == ["beer"] * 2
    assert tokenize("啤酒" * 10, "zh", max_chars=4) == ["啤酒"] * 2
    assert len(tokenize("beer " * MAX_CHARS, "en")) == MAX_CHARS // len("beer ")


def test_folding_keeps_the_length_of_a_text() -> None:
    """Words found in the folded text are read from the text itself, at the same place."""
    text = "".join(map(chr, to_simplified()))
    assert len(text.translate(to_simplified())) == len(text) > 4_000


def test_common_variants_are_folded_too() -> None:
    """They are frequent in Taiwan's messages, some of them no letters of Big5."""
    given = "囉裏饋爲飆説麽産衆啓綫絶閲鷄謡銹著妳這個產品沒"
    assert given.translate(to_simplified()) == "啰里馈为飙说么产众启线绝阅鸡谣锈着你这个产品没"


@given(
    st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["en", "zh", "ja", "und"])
)
def test_words_are_never_empty_long_or_longer_than_the_text(text: str, language: str) -> None:
    words = tokenize(clean(text), language)
    assert all(words)
    assert all(word.isalnum() or not word.isascii() or "'" in word for word in words)
    assert not any(char.isspace() for word in words for char in word)
    assert sum(map(len, words)) <= len(clean(text).casefold())


@given(st.text("這個產品不好用沒有說明書啤酒為什麼", max_size=30))
def test_every_chinese_word_is_a_part_of_the_text(text: str) -> None:
    position = 0
    for word in tokenize(text, "zh"):
        position = text.index(word, position) + len(word)


def words_one_by_one(text: str, language: str) -> list[str]:
    """Cut a text into words by one pattern and one rule after another."""
    text = without_leftovers(regex.sub("[\u2018\u2019\u02bc\u00b4`]", "'", text).casefold())
    stop = tokens._stop_words(language)
    words: list[str] = []
    for word in _WORD.findall(tokens._PATH.sub(" ", text)):
        plain = tokens._plain_form(word, language) if "'" in word else word
        if plain in stop:
            continue
        if plain[0] < "\u2e80":
            if len(plain) > 1 and not tokens._is_debris(plain):
                words.append(plain)
        elif language != "ja" and regex.match(r"\p{Han}", plain):
            place = 0
            for part in tokens._chinese_cutter()(plain.translate(to_simplified())):
                if part not in tokens._stop_words("zh"):
                    words.append(plain[place : place + len(part)])
                place += len(part)
        elif len(plain) <= MAX_WORD_LETTERS:
            words.append(plain)
    return words


PIECES = (
    "a The beer beers don't isn\u2019t can't o'clock rock'n'roll 'tis l'eau beer's ' '' @ @you "
    "\\frac _ x_y covid19 5 2014 1x2y3z4a5b6c7d8e beer-garden a.bc/d http://e / \u201cso\u201d "
    "\u2014 \u2026 ` caf\u00e9 \ufb01 \u0130 \u00df \u0131 的 啤酒 說明書 \u3007 カメラ の 맥주 不 "
    "x\u0301 किताब \U00020000"
)


@given(
    st.lists(
        st.sampled_from(PIECES.split(" "))
        | st.sampled_from(["", " ", "\n", "'", "a" * 31, "b" * 30])
        | st.text(max_size=3),
        max_size=20,
    ).map(" ".join)
    | st.lists(st.sampled_from(PIECES.split(" ")), max_size=12).map("".join),
    st.sampled_from(["en", "fr", "de", "zh", "ja", "und", "th"]),
)
@example("don't won't DON'T", "en")
@example("\u201cthe best\u201d \u2014 isn\u2019t it\u2026", "en")
@example("@a@b c@d'e \\f\\g h''i j'k'l'", "fr")
def test_words_are_those_that_one_rule_after_another_gives(text: str, language: str) -> None:
    assert tokenize(text, language) == words_one_by_one(text, language)


@given(st.text("ab1_'@\\ -.", max_size=40))
def test_the_fast_pattern_finds_what_the_general_one_finds(text: str) -> None:
    assert _ASCII_WORD.findall(text) == _WORD.findall(text)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("物流很快,包装完好", "zh-Hans"),
        ("物流很快,包裝完好", "zh-Hant"),
        ("你好", "zh"),
        # Each of these is a traditional character too.
        ("皇后在后面", "zh"),
        ("這個里長", "zh-Hant"),
    ],
)
def test_the_script_of_chinese_is_told_by_what_only_one_of_them_has(text, script):
    assert chinese_script(text) == script


def test_numbers_of_papers_are_no_words() -> None:
    assert tokenize("passport e12345678 beside wh1000xm4", "en") == ["passport", "wh1000xm4"]
