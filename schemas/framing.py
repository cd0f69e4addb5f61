"""A schema registry's framing of values and keys: a zero byte, four of schema id, the payload.

Confluent's serializers write it, and those of other registries can be told to. Newer ones may put
the id into a header (`__value_schema_id`) and leave the value as it is; nothing need be done then.
"""

from __future__ import annotations

_MAGIC_BYTE = 0
_PREFIX_BYTES = 5


def unframe(data: bytes) -> tuple[bytes, int | None]:
    """Give the payload and the schema's id; of data without a frame all, and None.

    No JSON begins with a zero byte, so that the frame is told by itself.
    """
    if len(data) < _PREFIX_BYTES or data[0] != _MAGIC_BYTE:
        return data, None
    return data[_PREFIX_BYTES:], int.from_bytes(data[1:_PREFIX_BYTES], "big")
