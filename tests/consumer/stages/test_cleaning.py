"""Which texts are looked at for their language, and cut into words."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from consumer.settings import Settings
from consumer.stages.segmentation.cleaning import Cleaning
from consumer.stages.segmentation.prepared import PreparedEvents
from consumer.stages.shared.unexpected import Faults
from models.profiles.sample import rank
from models.text import NOT_LOOKED_AT, cut_words

ENGLISH = "This is what they wanted to have"
GERMAN = "Dieses Bier schmeckt mir nicht und war zu teuer"
CHINESE = "這個產品不好用"
USERS = tuple(f"user-{number}" for number in range(60))


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
