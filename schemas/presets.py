"""Well-known forms of reviews and comments, as mappings: plain data that `schemas.mapping` reads.

Field names are those of the sources:

* Amazon: McAuley Lab, Amazon Reviews 2023 (amazon-reviews-2023.github.io), the files of 2018
  (nijianmo.github.io/amazon) and of 2014 (jmcauley.ucsd.edu/data/amazon), which have the same
  fields.
* Yelp Open Dataset, `review.json` and `tip.json` (yelp.com/dataset/documentation); until 2016 with
  dates alone.
* Steam: the list of reviews of store.steampowered.com/appreviews
  (partner.steamgames.com/doc/store/getreviews), its tables with columns such as `author.steamid`
  and `review_id`, and the McAuley Lab's `steam_reviews.json`.
* Google Local: McAuley Lab, 2021 (datarepo.eng.ucsd.edu/mcauley_group/gdrive/googlelocal) and 2018.
* Goodreads: UCSD Book Graph, `goodreads_reviews*.json` (mengtingwan.github.io/data/goodreads).
* Google Play: what `reviews` of github.com/JoMingyu/google-play-scraper (Python) and of
  github.com/facundoolano/google-play-scraper (Node.js) give.
* App Store: the same of github.com/cowboy-bebug/app-store-scraper (Python) and of
  github.com/facundoolano/app-store-scraper (Node.js).
* Reddit: comments and submissions as Pushshift dumps them (files.pushshift.io,
  arxiv.org/abs/2001.08435).

Times without a zone are read as UTC.
"""

from __future__ import annotations

from typing import Any, Final

Form = dict[str, Any]
"""Arguments of an `EventMapping`."""

_REVIEW: Final = {"type": "review"}

USER_EVENT: Form = {
    "name": "none",
    "when": ["event_id", "user_id", "type", "occurred_at"],
}

AMAZON_2023: Form = {
    "name": "amazon-reviews",
    "when": ["user_id", "asin", "timestamp"],
    "fields": {
        "user_id": ["user_id"],
        "text": ["title", "text"],
        "item_id": ["parent_asin"],
        "rating": ["rating"],
        "occurred_at": ["timestamp"],
    },
    "constants": _REVIEW,
    "event_id_from": ["user_id", "asin", "timestamp"],
    "time_format": "epoch-milliseconds",
}

AMAZON_2018: Form = {
    "name": "amazon-reviews-2018",
    "when": ["reviewerID", "asin", "unixReviewTime"],
    "fields": {
        "user_id": ["reviewerID"],
        "text": ["summary", "reviewText"],
        "item_id": ["asin"],
        "rating": ["overall"],
        "occurred_at": ["unixReviewTime"],
    },
    "constants": _REVIEW,
    "event_id_from": ["reviewerID", "asin", "unixReviewTime"],
    "time_format": "epoch-seconds",
}

YELP: Form = {
    "name": "yelp-reviews",
    "when": ["review_id", "user_id", "business_id", "date"],
    "fields": {
        "event_id": ["review_id"],
        "user_id": ["user_id"],
        "text": ["text"],
        "item_id": ["business_id"],
        "rating": ["stars"],
        "occurred_at": ["date"],
    },
    "constants": _REVIEW,
    "time_format": "iso8601",
}

YELP_TIP: Form = {
    "name": "yelp-tips",
    "when": ["user_id", "business_id", "date", "text"],
    "fields": {"item_id": ["business_id"], "occurred_at": ["date"]},
    "constants": {"type": "comment"},
    "event_id_from": ["user_id", "business_id", "date", "text"],
    "time_format": "iso8601",
}

STEAM: Form = {
    "name": "steam-reviews",
    "when": ["author.steamid", "review", "timestamp_created"],
    "fields": {
        "event_id": ["recommendationid?", "review_id?"],
        "user_id": ["author.steamid"],
        "text": ["review"],
        "item_id": ["appid?", "app_id?"],
        "occurred_at": ["timestamp_created"],
    },
    "constants": _REVIEW,
    "event_id_from": ["author.steamid", "timestamp_created"],
    "time_format": ["epoch-seconds", "iso8601"],
}

STEAM_MCAULEY: Form = {
    "name": "steam-reviews-mcauley",
    "when": ["username", "product_id", "date", "text"],
    "fields": {
        "user_id": ["username"],
        "text": ["text"],
        "item_id": ["product_id"],
        "occurred_at": ["date"],
    },
    "constants": _REVIEW,
    "event_id_from": ["username", "product_id", "date"],
    "time_format": "iso8601",
}

GOOGLE_LOCAL_2021: Form = {
    "name": "google-local",
    "when": ["user_id", "gmap_id", "time"],
    "fields": {
        "user_id": ["user_id"],
        "text": ["text"],
        "item_id": ["gmap_id"],
        "rating": ["rating"],
        "occurred_at": ["time"],
    },
    "constants": _REVIEW,
    "event_id_from": ["user_id", "gmap_id", "time"],
    "time_format": "epoch-milliseconds",
}

GOOGLE_LOCAL_2018: Form = {
    "name": "google-local-2018",
    "when": ["gPlusUserId", "gPlusPlaceId", "unixReviewTime"],
    "fields": {
        "user_id": ["gPlusUserId"],
        "text": ["reviewText"],
        "item_id": ["gPlusPlaceId"],
        "rating": ["rating"],
        "occurred_at": ["unixReviewTime"],
    },
    "constants": _REVIEW,
    "event_id_from": ["gPlusUserId", "gPlusPlaceId", "unixReviewTime"],
    "time_format": "epoch-seconds",
}

GOODREADS: Form = {
    "name": "goodreads-reviews",
    "when": ["user_id", "book_id", "review_id", "date_added"],
    "fields": {
        "event_id": ["review_id"],
        "user_id": ["user_id"],
        "text": ["review_text"],
        "item_id": ["book_id"],
        "rating": ["rating"],
        "occurred_at": ["date_added"],
    },
    "constants": _REVIEW,
    "time_format": ["pattern", "iso8601"],
    "time_pattern": "%a %b %d %H:%M:%S %z %Y",
}

# The stores show names alone, which two people may share.
GOOGLE_PLAY: Form = {
    "name": "google-play",
    "when": ["reviewId", "userName", "content", "at"],
    "fields": {
        "event_id": ["reviewId"],
        "user_id": ["userName"],
        "text": ["content"],
        "rating": ["score"],
        "occurred_at": ["at"],
    },
    "constants": _REVIEW,
    "time_format": ["iso8601", "epoch-milliseconds"],
}

GOOGLE_PLAY_NODE: Form = {
    "name": "google-play-node",
    "when": ["id", "userName", "text", "date"],
    "fields": {
        "event_id": ["id"],
        "user_id": ["userName"],
        "text": ["title", "text"],
        "rating": ["score"],
        "occurred_at": ["date"],
    },
    "constants": _REVIEW,
    "time_format": ["iso8601", "pattern"],
    "time_pattern": "%B %d, %Y",
}

APP_STORE: Form = {
    "name": "app-store",
    "when": ["userName", "review", "rating", "date"],
    "fields": {
        "user_id": ["userName"],
        "text": ["title", "review"],
        "rating": ["rating"],
        "occurred_at": ["date"],
    },
    "constants": _REVIEW,
    "event_id_from": ["userName", "date", "title?"],
    "time_format": ["iso8601", "epoch-milliseconds"],
}

APP_STORE_NODE: Form = {
    "name": "app-store-node",
    "when": ["id", "userName", "text", "updated"],
    "fields": {
        "event_id": ["id"],
        "user_id": ["userName"],
        "text": ["title", "text"],
        "rating": ["score"],
        "occurred_at": ["updated"],
    },
    "constants": _REVIEW,
    "time_format": "iso8601",
}

# Whoever deletes the account becomes "[deleted]", which is nobody.
_REDDIT_NULLS: Final = ["[deleted]", "[removed]", "[ Removed by Reddit ]"]

REDDIT_COMMENT: Form = {
    "name": "reddit",
    "when": ["id", "author", "body", "created_utc"],
    "fields": {
        "event_id": ["link_id?", "id"],
        "user_id": ["author"],
        "text": ["body"],
        "item_id": ["subreddit"],
        "occurred_at": ["created_utc"],
    },
    "constants": {"type": "comment"},
    "time_format": "epoch-seconds",
    "null_values": _REDDIT_NULLS,
}

REDDIT_SUBMISSION: Form = {
    "name": "reddit-submissions",
    "when": ["id", "author", "title", "created_utc"],
    "fields": {
        "event_id": ["id"],
        "user_id": ["author"],
        "text": ["title", "selftext"],
        "item_id": ["subreddit"],
        "occurred_at": ["created_utc"],
    },
    "constants": {"type": "comment"},
    "time_format": "epoch-seconds",
    "null_values": _REDDIT_NULLS,
}

_FAMILIES: Final = (
    (AMAZON_2023, AMAZON_2018),
    (YELP, YELP_TIP),
    (STEAM, STEAM_MCAULEY),
    (GOOGLE_LOCAL_2021, GOOGLE_LOCAL_2018),
    (GOODREADS,),
    (GOOGLE_PLAY, GOOGLE_PLAY_NODE),
    (APP_STORE, APP_STORE_NODE),
    (REDDIT_COMMENT, REDDIT_SUBMISSION),
)

FORMS: dict[str, Form] = {
    "none": {},
    **{first["name"]: {**first, "alternatives": list(others)} for first, *others in _FAMILIES},
    # The files of 2014 have the fields of those of 2018.
    "amazon-reviews-2014": AMAZON_2018,
    "amazon-reviews-2018": AMAZON_2018,
    "auto": {
        **USER_EVENT,
        "alternatives": [form for family in _FAMILIES for form in family],
        "known_only": True,
    },
}
"""What each preset stands for, by name; the older and smaller forms of a source are beside it."""
