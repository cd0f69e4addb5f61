"""The language of a text: the hint, the script, the model, or none."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text import UNDETERMINED, detect_language, language

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
