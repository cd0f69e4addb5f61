"""Well-known forms of reviews and comments, as mappings: the data of presets.toml, by preset."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

Form = dict[str, Any]
"""Arguments of an `EventMapping`."""

USER_EVENT: Form = {
    "name": "none",
    "when": ["event_id", "user_id", "type", "occurred_at"],
}

_SOURCES: dict[str, Form] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
_ALL: list[Form] = [
    form
    for source in _SOURCES.values()
    for form in ({**source, "alternatives": []}, *source.get("alternatives", []))
]
_AMAZON_2018 = _SOURCES["amazon-reviews"]["alternatives"][0]

FORMS: dict[str, Form] = {
    "none": {},
    **_SOURCES,
    # The files of 2014 have the fields of those of 2018.
    "amazon-reviews-2014": _AMAZON_2018,
    "amazon-reviews-2018": _AMAZON_2018,
    "auto": {**USER_EVENT, "alternatives": _ALL, "known_only": True},
}
"""What each preset stands for, by name; the older and smaller forms of a source are beside it."""
