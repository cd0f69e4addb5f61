"""Each preset on lines made up in its form, and `auto` on all of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from schemas.dead_letters import RefusalReason
from schemas.intake import RefusedError
from schemas.mapping import PRESETS, MappingPreset
from schemas.presets import FORMS
from tests.schemas.intakes import an_intake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JULY = datetime(2018, 7, 7, 22, 9, 11, tzinfo=UTC)
SECONDS = int(JULY.timestamp())
DAY = JULY.replace(hour=0, minute=0, second=0)

USER_EVENT = {
    "event_id": "e1",
    "user_id": "ann",
    "type": "comment",
    "occurred_at": "2018-07-07T22:09:11Z",
    "text": "Fine",
}
AMAZON_2023 = {
    "rating": 4.0,
    "title": "Good",
    "text": "Holds",
    "images": [],
    "asin": "B1",
    "parent_asin": "B2",
    "user_id": "ann",
    "timestamp": SECONDS * 1000,
    "helpful_vote": 0,
    "verified_purchase": True,
}
AMAZON_2018 = {
    "overall": 4.0,
    "verified": True,
    "reviewTime": "07 7, 2018",
    "reviewerID": "ann",
    "asin": "B1",
    "style": {"Size:": " 8"},
    "reviewerName": "Ann",
    "reviewText": "Holds",
    "summary": "Good",
    "unixReviewTime": SECONDS,
}
AMAZON_2014 = {
    "reviewerID": "ann",
    "asin": "B1",
    "reviewerName": "Ann",
    "helpful": [2, 3],
    "reviewText": "Holds",
    "overall": 4.0,
    "summary": "Good",
    "unixReviewTime": SECONDS,
    "reviewTime": "07 7, 2018",
}
YELP = {
    "review_id": "r1",
    "user_id": "ann",
    "business_id": "b1",
    "stars": 3,
    "date": "2018-07-07 22:09:11",
    "text": "Fine",
    "useful": 0,
}
YELP_2014 = {
    "votes": {"funny": 0, "useful": 1, "cool": 0},
    "user_id": "ann",
    "review_id": "r1",
    "stars": 3,
    "date": "2018-07-07",
    "text": "Fine",
    "type": "review",
    "business_id": "b1",
}
YELP_TIP = {
    "user_id": "ann",
    "business_id": "b1",
    "text": "Fine",
    "date": "2018-07-07 22:09:11",
    "compliment_count": 0,
}
STEAM = {
    "recommendationid": "44",
    "author": {"steamid": "76000000000000001", "num_games_owned": 3, "num_reviews": 1},
    "language": "english",
    "review": "Fine",
    "timestamp_created": SECONDS,
    "timestamp_updated": SECONDS + 9,
    "voted_up": True,
    "weighted_vote_score": "0.5",
}
STEAM_TABLE = {
    "app_id": "10",
    "review_id": "44",
    "language": "english",
    "review": "Fine",
    "timestamp_created": str(SECONDS),
    "author.steamid": "76000000000000001",
    "author.num_games_owned": "3",
}
STEAM_MCAULEY = {
    "username": "ann",
    "hours": 1.5,
    "products": 9,
    "product_id": "10",
    "page_order": 0,
    "date": "2018-07-07",
    "text": "Fine",
    "early_access": False,
    "page": 1,
}
GOOGLE_LOCAL_2021 = {
    "user_id": "100000000000000000001",
    "name": "Ann",
    "time": SECONDS * 1000,
    "rating": 5,
    "text": "Fine",
    "pics": None,
    "resp": None,
    "gmap_id": "0x1:0x2",
}
GOOGLE_LOCAL_2018 = {
    "rating": 3.0,
    "reviewerName": "Ann",
    "reviewText": "Fine",
    "categories": ["Cafe"],
    "gPlusPlaceId": "10",
    "unixReviewTime": SECONDS,
    "reviewTime": "Jul 7, 2018",
    "gPlusUserId": "100000000000000000001",
}
GOODREADS = {
    "user_id": "ann",
    "book_id": "7",
    "review_id": "r1",
    "rating": 5,
    "review_text": "Fine",
    "date_added": "Sat Jul 07 15:09:11 -0700 2018",
    "date_updated": "Sat Jul 07 15:09:12 -0700 2018",
    "read_at": "",
    "started_at": "",
    "n_votes": 0,
    "n_comments": 0,
}
GOOGLE_PLAY = {
    "reviewId": "r1",
    "userName": "ann",
    "userImage": "https://images.example/a",
    "content": "Fine",
    "score": 4,
    "thumbsUpCount": 0,
    "reviewCreatedVersion": "1.0",
    "at": "2018-07-07 22:09:11",
    "replyContent": None,
    "repliedAt": None,
}
GOOGLE_PLAY_NODE = {
    "id": "r1",
    "userName": "ann",
    "userImage": "https://images.example/a",
    "date": "July 7, 2018",
    "score": 4,
    "title": "Good",
    "text": "Holds",
    "url": "https://shop.example",
}
APP_STORE = {
    "date": "2018-07-07 22:09:11",
    "isEdited": False,
    "rating": 4,
    "review": "Holds",
    "title": "Good",
    "userName": "ann",
}
APP_STORE_NODE = {
    "id": "r1",
    "userName": "ann",
    "userUrl": "https://shop.example/ann",
    "version": "1.0",
    "score": 4,
    "title": "Good",
    "text": "Holds",
    "url": "https://shop.example",
    "updated": "2018-07-07T15:09:11-07:00",
}
COMMENT = {
    "author": "ann",
    "body": "Fine",
    "created_utc": SECONDS,
    "id": "c1",
    "link_id": "t3_s1",
    "parent_id": "t3_s1",
    "subreddit": "coffee",
    "score": 1,
    "edited": False,
}
SUBMISSION = {
    "author": "ann",
    "created_utc": str(SECONDS),
    "id": "s1",
    "title": "Good",
    "selftext": "Holds",
    "subreddit": "coffee",
    "is_self": True,
    "url": "https://forum.example",
}
STEAM_ID = "76000000000000001"
GOOGLE_ID = "100000000000000000001"
BOTH = "Good\n\nHolds"

CASES: list[tuple[MappingPreset, dict[str, Any], str, str, datetime]] = [
    ("none", USER_EVENT, "ann", "Fine", JULY),
    ("amazon-reviews", AMAZON_2023, "ann", BOTH, JULY),
    ("amazon-reviews", AMAZON_2018, "ann", BOTH, JULY),
    ("amazon-reviews", AMAZON_2014, "ann", BOTH, JULY),
    ("amazon-reviews-2018", AMAZON_2018, "ann", BOTH, JULY),
    ("amazon-reviews-2014", AMAZON_2014, "ann", BOTH, JULY),
    ("yelp-reviews", YELP, "ann", "Fine", JULY),
    ("yelp-reviews", YELP_2014, "ann", "Fine", DAY),
    ("yelp-reviews", YELP_TIP, "ann", "Fine", JULY),
    ("steam-reviews", STEAM, STEAM_ID, "Fine", JULY),
    ("steam-reviews", STEAM_TABLE, STEAM_ID, "Fine", JULY),
    ("steam-reviews", STEAM_MCAULEY, "ann", "Fine", DAY),
    ("google-local", GOOGLE_LOCAL_2021, GOOGLE_ID, "Fine", JULY),
    ("google-local", GOOGLE_LOCAL_2018, GOOGLE_ID, "Fine", JULY),
    ("goodreads-reviews", GOODREADS, "ann", "Fine", JULY),
    ("google-play", GOOGLE_PLAY, "ann", "Fine", JULY),
    ("google-play", GOOGLE_PLAY_NODE, "ann", BOTH, DAY),
    ("app-store", APP_STORE, "ann", BOTH, JULY),
    ("app-store", APP_STORE_NODE, "ann", BOTH, JULY),
    ("reddit", COMMENT, "ann", "Fine", JULY),
    ("reddit", SUBMISSION, "ann", BOTH, JULY),
]


@pytest.mark.parametrize(("preset", "record", "user", "text", "time"), CASES)
def test_a_preset_reads_records_of_its_form_and_auto_reads_them_the_same(
    preset: MappingPreset, record: dict[str, Any], user: str, text: str, time: datetime
) -> None:
    value = json.dumps(record).encode()
    intake = an_intake(mapping=PRESETS[preset])
    event, left_out = intake.sift(value, intake.key_of(value), NOW)
    assert (event.user_id, event.text, event.occurred_at) == (user, text, time)
    assert event.event_id
    assert left_out == ()
    auto = an_intake(mapping=PRESETS["auto"])
    assert auto.sift(value, auto.key_of(value), NOW)[0] == event


def test_every_preset_and_every_form_is_tried() -> None:
    assert {preset for preset, *_ in CASES} == {*get_args(MappingPreset)} - {"auto"}
    mapping = PRESETS["auto"]
    forms = [mapping, *mapping.alternatives]
    tried = {mapping._form_of(record).name for _, record, *_ in CASES}
    assert tried == {form.name for form in forms}
    assert {*FORMS} == {*get_args(MappingPreset)}


@pytest.mark.parametrize("record", [record for _, record, *_ in CASES])
def test_no_record_fits_the_forms_of_two_sources(record: dict[str, Any]) -> None:
    mapping = PRESETS["auto"]
    fitting = [form.name for form in (mapping, *mapping.alternatives) if form._fits(record)]
    # A review of Yelp has all fields of a tip, which comes behind it.
    assert len(fitting) == 1 or fitting == ["yelp-reviews", "yelp-tips"]


@pytest.mark.parametrize("record", [record for _, record, *_ in CASES])
def test_an_event_id_made_of_a_record_is_the_same_each_time_and_another_for_another(
    record: dict[str, Any],
) -> None:
    def event_id(record: dict[str, Any]) -> Any:
        return PRESETS["auto"].apply(record)["event_id"]

    def changed(value: Any) -> Any:
        if isinstance(value, bool | None):
            return value
        if isinstance(value, int | float):
            return value + 1000
        if isinstance(value, dict):
            return {name: changed(each) for name, each in value.items()}
        return value + "9" if isinstance(value, str) else value

    ids = ("event_id", "review_id", "reviewId", "recommendationid", "id")
    parts = ("timestamp", "unixReviewTime", "time")
    key = next((name for name in (*ids, *parts) if name in record), None)
    if key is None:  # hashed with a day or a time
        key = "date"
        other = {**record, key: "2018-07-08"}
    else:
        other = {**record, key: changed(record[key])}
    assert event_id(record) == event_id(dict(record))
    assert event_id(other) != event_id(record)


@pytest.mark.parametrize("field", ["text", "review", "body", "title"])
def test_auto_refuses_a_record_of_no_form_and_names_the_nearest(field: str) -> None:
    with pytest.raises(RefusedError) as caught:
        an_intake(mapping=PRESETS["auto"]).read(json.dumps({field: "SECRET"}).encode(), b"u", NOW)
    refusal = caught.value.refusal
    assert refusal.reason is RefusalReason.MISSING_FIELD
    assert "no form that is known" in refusal.detail
    assert "SECRET" not in refusal.detail
    value = json.dumps({k: v for k, v in GOODREADS.items() if k != "date_added"}).encode()
    with pytest.raises(RefusedError, match=r"nearest to goodreads-reviews.*'date_added'"):
        an_intake(mapping=PRESETS["auto"]).read(value, b"ann", NOW)


@pytest.mark.parametrize("record", [COMMENT, SUBMISSION])
def test_an_account_that_was_deleted_is_nobody(record: dict[str, Any]) -> None:
    value = json.dumps({**record, "author": "[deleted]"}).encode()
    with pytest.raises(RefusedError, match="of no user: 'author' is '\\[deleted\\]'") as caught:
        an_intake(mapping=PRESETS["reddit"]).read(value, b"[deleted]", NOW)
    refusal = caught.value.refusal
    assert (refusal.reason, refusal.field) == (RefusalReason.MISSING_FIELD, "author")


def test_a_comment_and_a_submission_with_the_same_number_are_two_events() -> None:
    mapping = PRESETS["reddit"]
    assert mapping.apply({**COMMENT, "id": "x"}) != mapping.apply({**SUBMISSION, "id": "x"})
    event_ids = {mapping.apply({**each, "id": "x"})["event_id"] for each in (COMMENT, SUBMISSION)}
    assert len(event_ids) == 2
