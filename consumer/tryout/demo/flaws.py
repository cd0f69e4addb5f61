"""Bad records as broken producers send them, each with the reason for which it must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.dead_letters import RefusalReason

_Made = tuple[bytes | None, bytes]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A way to spoil a good event, giving the key and the value of a bad record."""

    reason: RefusalReason
    make: Callable[[dict[str, Any]], _Made]


def _encode(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def _spoil(**changes: Any) -> Callable[[dict[str, Any]], _Made]:
    """Overwrite fields of the event."""
    return lambda event: (event["user_id"].encode(), _encode({**event, **changes}))


def _drop(name: str) -> Callable[[dict[str, Any]], _Made]:
    """Leave a field out."""
    return lambda event: (
        event["user_id"].encode(),
        _encode({key: value for key, value in event.items() if key != name}),
    )


def _cut_off(event: dict[str, Any]) -> _Made:
    """End the JSON in the middle."""
    value = json.dumps(event).encode()
    return event["user_id"].encode(), value[: len(value) // 2]


def _latin_1(event: dict[str, Any]) -> _Made:
    """Encode the text in the wrong character set."""
    value = json.dumps({**event, "text": "Très bon café à 5 £"}, ensure_ascii=False)
    return event["user_id"].encode(), value.encode("latin-1", "replace")


def _no_key(event: dict[str, Any]) -> _Made:
    return None, _encode(event)


def _key_of_the_item(event: dict[str, Any]) -> _Made:
    """Key by something else than the user."""
    return b"sku-" + event["event_id"].encode(), _encode(event)


def _no_zone(event: dict[str, Any]) -> _Made:
    return _spoil(occurred_at=event["occurred_at"].removesuffix("Z"))(event)


FLAWS = (
    Flaw(RefusalReason.INVALID_JSON, _cut_off),
    Flaw(RefusalReason.INVALID_FIELD, _no_zone),
    Flaw(RefusalReason.KEY_MISMATCH, _key_of_the_item),
    Flaw(RefusalReason.MISSING_FIELD, _drop("user_id")),
    Flaw(RefusalReason.INVALID_UTF8, _latin_1),
    Flaw(RefusalReason.NO_TEXT, _spoil(text=" <br/> ", item_title=None)),
    Flaw(RefusalReason.MISSING_KEY, _no_key),
    # SQL's "for ever", and the zero time of some languages.
    Flaw(RefusalReason.TIME_IN_FUTURE, _spoil(occurred_at="9999-12-31T23:59:59Z")),
    Flaw(RefusalReason.TIME_TOO_OLD, _spoil(occurred_at="0001-01-01T00:00:00Z")),
    Flaw(RefusalReason.INVALID_FIELD, _spoil(text={"en": "A translation in a field for one"})),
)
"""The demo goes round them, so that each kind is seen."""
