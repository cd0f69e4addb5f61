"""Encodings other than UTF-8, told by the first bytes of what holds JSON or a table."""

from __future__ import annotations

import json


def encoding_of(start: bytes) -> str | None:
    """Give the encoding that the first bytes tell, UTF-16 or UTF-32; None for UTF-8 and the rest.

    Without a byte order mark it is known by the zeros between the first letters, as in JSON's own
    rule (RFC 4627, section 3): an object and the header of a table begin with ASCII. What only has
    a zero somewhere, as the framing of a schema registry does, is none of them.
    """
    found = json.detect_encoding(start)
    if found in {"utf-16", "utf-32"}:  # by its mark, which the codec of that name takes off
        return found
    if found.startswith("utf-8") or not start:
        return None
    try:
        letters = start[:8].decode(found)
    except UnicodeDecodeError:
        return None
    return found if letters.isascii() and "\0" not in letters else None
