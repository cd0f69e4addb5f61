"""Keys of records: the user id as it is, or as JSON, as REST bridges and converters write it."""

from __future__ import annotations

import json
from typing import Literal

from pydantic_core import from_json

from schemas.framing import unframe
from schemas.ids import number_as_id

KeyForm = Literal["raw", "json"]
"""`raw`: the user id in UTF-8. `json`: the user id as a JSON string or number."""


def encode_key(user_id: str, form: KeyForm) -> bytes:
    """Give the key of a user's records."""
    return (json.dumps(user_id, ensure_ascii=False) if form == "json" else user_id).encode()


def decode_key(key: bytes, form: KeyForm) -> str | None:
    """Give the user id that a key holds, None where it is not of that form.

    As JSON it may be in a schema registry's framing, and in the envelope of Kafka Connect's
    converter (`schema` and `payload`). A whole float below 2**53 is that number.
    """
    try:
        if form == "raw":
            return key.decode()
        value = from_json(unframe(key)[0], allow_inf_nan=False)
        if isinstance(value, dict) and value.keys() == {"schema", "payload"}:
            value = value["payload"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = number_as_id(value)
    except ValueError:  # a number of thousands of digits among them
        return None
    return value if isinstance(value, str) else None
