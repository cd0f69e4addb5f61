"""The language of a text: the hint, the script, the model, or none."""

import socket

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from models.text import (
    NOT_LOOKED_AT,
    UNDETERMINED,
    characters,
    detect_language,
    detect_languages,
    language,
)
from models.text.function_words import FunctionWords

ENGLISH = "The beer arrived quickly and it tastes wonderful, I would order it again."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"),
        ("DIESES BIER SCHMECKT MIR NICHT UND WAR ZU TEUER", "de"),
        ("Cette bière est vraiment excellente, je la recommande.", "fr"),
        ("Esta cerveza es muy buena y la recomiendo a todos", "es"),
        ("Это пиво мне совсем не понравилось", "ru"),
        ("मुझे यह किताब बहुत अच्छी लगी", "hi"),
        ("这个产品不好用,没有说明书", "zh"),
        ("這個產品不好用,沒有說明書", "zh"),
        ("好", "zh"),
        ("今天用iPhone拍照", "zh"),
        ("這家店的鮮の味真的非常好吃,推薦給大家", "zh"),
        ("この商品はとても良いです", "ja"),
        ("東京のビール最高", "ja"),
        ("맥주가 정말 맛있어요", "ko"),
        ("맥주 大好", "ko"),
        ("I like 啤酒 and 咖啡 very much indeed", "en"),
        (f"{ENGLISH}\n{ENGLISH}", "en"),
    ],
)
def test_the_language_is_told_from_the_text(text: str, code: str) -> None:
    assert detect_language(text) == code


@pytest.mark.parametrize(
    "text", ["", "ok", "👍👍", "10/10", "!?", "a", "IPA", "Xyzzy", "qwv zkj", "1 2 3 4 5 6"]
)
def test_a_text_that_tells_too_little_is_undetermined(text: str) -> None:
    assert detect_language(text) == UNDETERMINED == "und"


@pytest.mark.parametrize(
    ("hint", "code"),
    [
        ("zh-TW", "zh"),
        ("zh-Hant-HK", "zh"),
        ("EN", "en"),
        ("pt_BR", "pt"),
        (" de ", "de"),
        ("yue", "zh"),
        ("cmn-Hans", "zh"),
        ("eng", "en"),
        ("iw", "he"),
    ],
)
def test_a_valid_hint_wins(hint: str, code: str) -> None:
    assert detect_language("ok", hint) == code
    assert detect_language("Это пиво мне совсем не понравилось", hint) == code


@pytest.mark.parametrize(
    "hint", [None, "", " ", "und", "mul", "english", "x-klingon", "-", "qq", "e"]
)
def test_a_hint_that_names_no_language_is_ignored(hint: str | None) -> None:
    assert detect_language(ENGLISH, hint) == "en"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.text(max_size=8))
def test_every_text_gets_a_code(text: str, hint: str | None) -> None:
    code = detect_language(text, hint)
    assert code.isascii()
    assert code.islower()
    assert 2 <= len(code) <= 3
    assert detect_language(text, hint, detect=False) in (code, NOT_LOOKED_AT)


TOLD_WITHOUT_THE_DETECTOR = {
    "": UNDETERMINED,
    "10/10 👍": UNDETERMINED,
    "IPA": UNDETERMINED,
    ENGLISH: "en",
    "I don\u2019t know if they\u2019d like it": "en",
    "It\u2019s the best, and the café is near": "en",
    "这个产品不好用": "zh",
    "東京のビール最高": "ja",
    "맥주가 정말 맛있어요": "ko",
}
OTHERS = {
    "de": "Dieses Bier schmeckt mir nicht und war zu teuer, ich will das Geld zurück",
    "fr": "Cette bière est vraiment excellente, je la recommande à tous mes amis",
    "es": "Esta cerveza es muy buena y la recomiendo a todos, no me canso de ella",
    "pt": "Esta cerveja é muito boa e eu a recomendo a todos, não me canso dela",
    "nl": "Dit bier is erg lekker, ik was er al lang naar op zoek en het is of blijft goed",
    "it": "Questa birra è davvero ottima, la consiglio a tutti i miei amici",
    "da": "Denne øl er rigtig god, og jeg vil have mere af den til jul, for den er billig",
    "sv": "Den här ölen är mycket god, och jag vill ha mer av den till jul",
    "pl": "To piwo jest bardzo dobre i polecam je wszystkim, nie mam nic do dodania",
    "ru": "Это пиво мне совсем не понравилось",
}


@pytest.mark.parametrize(("text", "code"), TOLD_WITHOUT_THE_DETECTOR.items())
def test_without_the_detector_scripts_and_english_function_words_tell(text: str, code: str) -> None:
    assert detect_language(text, detect=False) == detect_language(text) == code


@pytest.mark.parametrize(("code", "text"), OTHERS.items())
def test_other_languages_are_for_the_detector_alone(code: str, text: str) -> None:
    assert detect_language(text, detect=False) == NOT_LOOKED_AT
    assert detect_language(text) == code


@pytest.mark.parametrize("quote", ["the best", "this and that", "\u201cthe one and only\u201d"])
@pytest.mark.parametrize("code", OTHERS)
def test_a_few_english_words_make_no_english_text(code: str, quote: str) -> None:
    text = f"{OTHERS[code]}, {quote}, {OTHERS[code]}, {OTHERS[code]}"
    assert detect_language(text, detect=False) == NOT_LOOKED_AT


def test_a_text_that_is_not_looked_at_is_told_from_one_that_tells_nothing() -> None:
    assert detect_language("qwv zkj", detect=False) == NOT_LOOKED_AT
    assert detect_language("qwv zkj") == UNDETERMINED


def test_a_hint_wins_over_function_words() -> None:
    assert detect_language(ENGLISH, "fr", detect=False) == "fr"


def test_the_detector_is_not_loaded_where_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("nobody asked")

    monkeypatch.setattr(language, "_detector", refuse)
    for text in OTHERS.values():
        detect_language(text, detect=False)
    for text in TOLD_WITHOUT_THE_DETECTOR:
        detect_language(text)


@given(st.text("abc 好の한〇。1é", max_size=30) | st.text(max_size=10))
@example("\u3007")
@example("好" * 3 + "é" * 7)
@example("好" * 3 + "é" * 8)
def test_scripts_are_told_as_by_counting_every_character(text: str) -> None:
    letters, han, kana, hangul = (
        sum(regex.match(one, char) is not None for char in text)
        for one in (r"\p{L}", r"\p{Han}", r"[\p{Hiragana}\p{Katakana}ー]", r"\p{Hangul}")
    )
    east_asian = han + kana + hangul
    code = None
    if letters and east_asian and east_asian >= language.MIN_EAST_ASIAN_SHARE * letters:
        code = "zh"
        if max(kana, hangul) >= language.MIN_PHONETIC_SHARE * east_asian:
            code = "ko" if hangul > kana else "ja"
    shown = detect_language(text, detect=False)
    assert shown == code if code else shown not in ("zh", "ja", "ko")


def test_characters_that_show_chinese_at_a_glance_are_han_and_all_others_are_counted() -> None:
    characters = [chr(code) for code in range(0x110000)]
    for char in filter(language._COMMON_HAN.match, characters):
        assert regex.match(r"(?=\p{L})\p{Han}", char)
    phonetic = regex.findall(r"[\p{Hiragana}\p{Katakana}ー\p{Hangul}]", "".join(characters))
    assert len(phonetic) > 10_000
    assert all(map(language._MAYBE_PHONETIC.match, phonetic))


@given(st.text("abc 好の한", min_size=1, max_size=40), st.text("好の한 xyz", max_size=40))
def test_only_the_beginning_of_a_text_is_looked_at(beginning: str, rest: str) -> None:
    sample = (beginning * language.SAMPLE_CHARS)[: language.SAMPLE_CHARS]
    assert detect_language(sample + rest) == detect_language(sample)


def test_the_model_is_bundled_and_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("language detection must not open a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    language._detector.cache_clear()
    assert detect_language(ENGLISH) == "en"


SOME_WORDS = st.sampled_from(
    [
        *("which", "WHAT", "isn't", "however,", "although", "wouldn't", "wouldn'ts", "beer", "a"),
        *(
            "die",
            "Bier",
            "\n",
            "  ",
            "\u2019",
            "isn\u2019t",
            "好",
            "\t",
            "\0",
            "\x1c",
            "",
            "1",
            "the",
        ),
    ]
)
SOME_TEXTS = st.lists(st.lists(SOME_WORDS, max_size=40).map(" ".join) | st.text(max_size=5))


@given(SOME_TEXTS, st.booleans(), st.sampled_from([None, "", "de", "qq"]))
@example(["which what isn't " + "a " * 100] * 50, True, None)
@example(["which what" + " word" * words for words in range(1, 60)], False, None)
@example(["x" * (190 + length) + " which what isn't" for length in range(11)] * 5, False, None)
@example([], False, None)
@example([""] * 20, False, None)
def test_of_many_texts_the_languages_are_those_of_each(
    texts: list[str], asked: bool, hint: str | None
) -> None:
    hints = [hint, *[None] * len(texts)][: len(texts)]
    alone = [
        detect_language(text, own, detect=asked) for text, own in zip(texts, hints, strict=True)
    ]
    assert detect_languages(texts, hints, [asked] * len(texts)) == alone


@given(st.lists(st.lists(SOME_WORDS, max_size=40).map(" ".join)))
def test_of_many_texts_of_ascii_all_is_told_at_once(texts: list[str]) -> None:
    samples = [text[: language.SAMPLE_CHARS] for text in texts]
    plain = [sample if sample.isascii() else "" for sample in samples]
    clean = all(char >= " " or char == "\n" for sample in plain for char in sample)
    assert language._shown_of_many(texts) == [
        detect_language(text, detect=False) if clean and sample.isascii() else None
        for text, sample in zip(texts, samples, strict=True)
    ]


def test_words_that_do_not_fit_into_a_number_are_refused() -> None:
    for word in ("throughout", "dès", ""):
        with pytest.raises(ValueError, match="8 letters"):
            FunctionWords(["which", word])


def test_no_plain_character_is_of_east_asia() -> None:
    plain = "".join(char for char in map(chr, range(0x110000)) if characters.is_plain(char))
    for script in (language._HAN, language._KANA, language._HANGUL):
        assert script.search(plain) is None
    assert language._is_chinese("x" + plain) is False
