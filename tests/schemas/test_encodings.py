"""Encodings are told by the first bytes alone, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from schemas.encodings import encoding_of

STARTS = ['{"event_id": "e1"}', '{\n "a": 1}', '[{"a": 1}]', "user_id,text\n"]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_is_told_decodes_the_text_and_takes_its_mark_off(
    start: str, encoding: str, mark: str
) -> None:
    value = (mark + start).encode(encoding)
    told = encoding_of(value)
    assert told is not None
    assert value.decode(told) == start


@pytest.mark.parametrize("start", [*STARTS, "", "\ufeff{}", "é", "物流很快"])
def test_utf_8_is_none_of_them(start: str) -> None:
    assert encoding_of(start.encode()) is None


@pytest.mark.parametrize(
    "value",
    [
        b"\0\0\0\0\x07\x02\x0au1",  # a schema registry's framing, before Avro
        b'\0\0\0\x01\x02{"a": 1}',  # the same, before JSON
        b"\0\0\x01\0 an icon",
        b"\x00\x01\x02\x03\x04",
        b"\0",
    ],
)
def test_bytes_with_some_zeros_are_none_of_them(value: bytes) -> None:
    assert encoding_of(value) is None
