"""Which texts are looked at for their language, and cut into words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.settings import Settings
from consumer.stages.segmentation import cleaning as cleaning_module
from consumer.stages.segmentation.cleaning import Cleaned, Cleaning
from consumer.stages.segmentation.prepared import PreparedEvents
from consumer.stages.shared.unexpected import Faults
from models.profiles.sample import rank
from models.text import NOT_LOOKED_AT, cut_words, language, many
from tests.schemas.test_sifting import GOOD, KEYS, damaged, objects

ENGLISH = "This is what they wanted to have"
GERMAN = "Dieses Bier schmeckt mir nicht und war zu teuer"
CHINESE = "這個產品不好用"
USERS = tuple(f"user-{number}" for number in range(60))


@pytest.fixture(autouse=True, scope="module")
def _no_batch_is_small() -> Iterator[None]:
    """Have batches of any size done together."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(many, "FEW", 0)
        patched.setattr(language, "FEW", 0)
        yield


def cleaned(
    text: str, *, share: float = 1, sampled: float = 1, hint: str | None = None
) -> PreparedEvents:
    """Clean one text of every user."""
    values = [
        json.dumps(
            {
                "event_id": f"e-{user}",
                "user_id": user,
                "type": "review",
                "occurred_at": "2026-01-01T00:00:00Z",
                "text": text,
                "language": hint,
            }
        ).encode()
        for user in USERS
    ]
    cleaning = Cleaning(Settings().events.intake(), Faults(), language_share=share)
    keys = [user.encode() for user in USERS]
    done = cleaning(values, keys, datetime(2026, 2, 1, tzinfo=UTC), sampled)
    assert not done.refusals
    return done.events


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_a_share_of_users_by_hash_has_its_texts_looked_at(share: float) -> None:
    assert cleaned(GERMAN, share=share, sampled=0).languages == [
        "de" if rank(user) <= share else NOT_LOOKED_AT for user in USERS
    ]


@pytest.mark.parametrize(("text", "code"), [(ENGLISH, "en"), (CHINESE, "zh"), ("10 x y", "und")])
def test_what_a_glance_tells_is_told_for_all(text: str, code: str) -> None:
    assert set(cleaned(text, share=0, sampled=0).languages) == {code}


def test_a_hint_is_taken_for_all() -> None:
    assert set(cleaned(GERMAN, share=0, sampled=0, hint="de-AT").languages) == {"de"}


@pytest.mark.parametrize("sampled", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_users_whose_words_are_kept_are_looked_at_and_have_their_words_cut(
    share: float, sampled: float
) -> None:
    events = cleaned(GERMAN, share=share, sampled=sampled)
    kept = [rank(user) <= sampled for user in USERS]
    assert [words is not None for words in events.words] == kept
    assert {words for words in events.words if words} <= {("bier", "schmeckt", "nicht", "teuer")}
    assert events.languages == [
        "de" if rank(user) <= max(share, sampled) else NOT_LOOKED_AT for user in USERS
    ]


@pytest.mark.parametrize("text", [ENGLISH, GERMAN, CHINESE, "Это пиво мне не понравилось"])
def test_words_are_the_same_whether_they_are_cut_here_or_later(text: str) -> None:
    later = cleaned(text, share=0, sampled=0)
    assert later.words == [None] * len(USERS)
    cut = [
        cut_words(text, language)
        for text, language in zip(later.texts, later.languages, strict=True)
    ]
    assert cleaned(text).words == cut


TEXTS = st.sampled_from(
    [
        *(
            ENGLISH,
            GERMAN,
            CHINESE,
            "Это пиво мне не понравилось",
            "",
            "10/10",
            "<p></p>",
            "a\x00b",
        ),
        *("<p>It isn't <em>what</em> we had\r\n</p>", "I'm not sure which of these is theirs"),
        *("buy cheap pills now, which is what they want", "\ufdfa", "x" * 100_001, "ok", "BUT"),
    ]
)
HINTS = st.sampled_from([None, None, None, "", "de", "zh-TW", "qq", "en"])
SETTINGS: list[dict[str, Any]] = [
    {},
    {"key": "json", "unnamed_languages": ["de"], "unnamed_types": ["question"]},
    {"excluded_users": "u-1", "excluded_texts": "cheap", "unnamed_texts": "theirs"},
    {"mapping": {"fields": {"text": ["text", "more"]}}, "max_text_chars": 60},
]


@st.composite
def records(draw: st.DrawFn) -> tuple[bytes | None, bytes | None]:
    """Make a record that holds an event, most often."""
    if draw(st.integers(0, 7)) == 0:
        return draw(st.none() | damaged() | objects()), draw(KEYS)
    user = draw(st.sampled_from(["u-1", "u-2", "u-3", "é"]))
    event = {
        **GOOD,
        "event_id": draw(st.sampled_from(["e1", "e2", "\u00e9"])),
        "user_id": user,
        "text": draw(TEXTS | st.text(max_size=9)),
        "item_title": draw(st.none() | TEXTS),
        "language": draw(HINTS),
        "type": draw(st.sampled_from(["review", "question", "view"])),
        "occurred_at": draw(
            st.sampled_from(
                [
                    *("2025-06-01T12:00:00Z", "2025-06-01T12:00:00.5+00:00"),
                    *("1989-12-31T23:59:59Z", "2026-01-01T14:00:00+02:00", "2025-02-30T12:00:00Z"),
                    *("2026-02-01T01:00:00.000001Z", "0000-01-01T12:00:00Z"),
                ]
            )
        ),
        "rating": draw(st.sampled_from([4.5, 5, None, "5", "x"])),
    }
    form = draw(st.sampled_from([str, str, str, str, json.dumps]))
    return json.dumps(event).encode(), form(user).encode()


def told(done: Cleaned) -> object:
    """Give all that cleaning comes to, in forms that compare."""
    columns = [getattr(done.events, each.name) for each in fields(done.events)]
    own = [(each.dtype, each.tolist()) if hasattr(each, "dtype") else each for each in columns]
    return own, done.refusals, [*map(type, done.events.users)]


@given(
    st.lists(records(), max_size=30),
    st.sampled_from(SETTINGS),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=200)
def test_a_batch_comes_to_what_its_records_come_to_alone(
    batch: list[tuple[bytes | None, bytes | None]],
    events: dict[str, Any],
    share: float,
    sampled: float,
) -> None:
    intake = Settings(events=events).events.intake()
    now = datetime(2026, 2, 1, tzinfo=UTC)
    cleaning = Cleaning(intake, Faults(), language_share=share)
    values, keys = [value for value, _ in batch], [key for _, key in batch]
    alone = Cleaned(*cleaning._clean(values, keys, now, sampled))
    assert told(Cleaned(*cleaning._clean_at_once(values, keys, now, sampled))) == told(alone)


def test_a_record_on_which_a_step_fails_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str, *_: object, **__: object) -> str:
        if text == GERMAN:
            raise RuntimeError("this text is too much")
        return "en"

    def fail_all(texts: list[str], *_: object) -> list[str]:
        return [fail(text) for text in texts]

    monkeypatch.setattr(cleaning_module, "detect_language", fail)
    monkeypatch.setattr(cleaning_module, "detect_languages", fail_all)
    values = [
        json.dumps({**GOOD, "text": text, "language": None}).encode()
        for text in (ENGLISH, GERMAN, ENGLISH)
    ]
    cleaning = Cleaning(Settings().events.intake(), Faults(), language_share=1)
    done = cleaning(values, [b"u1"] * 3, datetime(2026, 2, 1, tzinfo=UTC))
    assert done.events.numbers.tolist() == [0, 2]
    assert [*done.refusals] == [1]
