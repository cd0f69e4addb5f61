"""Event files: what is read, and what is refused with a sentence."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.offline.files import EventFileError, read_lines, read_records
from schemas.intake import RefusedError
from schemas.mapping import PRESETS, EventMapping
from tests.schemas.intakes import an_intake

LINES = b'{"user_id": "a"}\r\n\n{"user_id": "b"}\n{"user_id": 7}\n{\n[]\n{"user_id": ""}'


@pytest.fixture(params=["plain", "gzip", "two gzip members"])
def path(request, tmp_path) -> Path:
    """The same lines, written in three ways, under a name that tells nothing."""
    written = {
        "plain": LINES,
        "gzip": gzip.compress(LINES),
        "two gzip members": gzip.compress(LINES[:25]) + gzip.compress(LINES[25:]),
    }
    path = tmp_path / "events"
    path.write_bytes(written[request.param])
    return path


def test_lines_come_without_their_ends_and_blank_ones_are_left_out(path):
    assert list(read_lines(path)) == [
        b'{"user_id": "a"}',
        b'{"user_id": "b"}',
        b'{"user_id": 7}',
        b"{",
        b"[]",
        b'{"user_id": ""}',
    ]


def test_a_record_has_its_user_as_key_and_its_line_as_offset(path):
    found = list(read_records(path, "topic", an_intake()))
    assert [record.key for record in found] == [b"a", b"b", None, None, None, None]
    assert [record.offset for record in found] == [*range(6)]
    assert [record.value for record in found] == list(read_lines(path))
    assert {(r.topic, r.partition, r.timestamp, r.headers) for r in found} == {("topic", 0, -1, ())}


def test_the_key_is_found_through_the_mapping(tmp_path):
    path = tmp_path / "events"
    path.write_bytes(b'{"author": {"id": 7}}\n{"author": null}\n')
    intake = an_intake(EventMapping(fields={"user_id": ["author.id"]}))
    assert [record.key for record in read_records(path, "topic", intake)] == [b"7", None]


def test_a_line_whose_time_cannot_be_read_has_its_key_and_is_refused_for_the_time(tmp_path):
    path = tmp_path / "events"
    path.write_bytes(b'{"user_id": "a", "asin": "b", "timestamp": "soon"}\n')
    intake = an_intake(PRESETS["amazon-reviews"])
    (record,) = read_records(path, "topic", intake)
    assert record.key == b"a"
    with pytest.raises(RefusedError, match="occurred_at"):
        intake.read(record.value, record.key, datetime.now(UTC))


@pytest.mark.parametrize("content", [b"", b"\n\r\n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_has_no_lines(tmp_path, content):
    path = tmp_path / "events"
    path.write_bytes(content)
    assert list(read_lines(path)) == []


def damaged() -> dict[str, bytes]:
    packed = gzip.compress(bytes(range(256)) * 400)
    wrong_sum = bytearray(packed)
    wrong_sum[-6] ^= 0xFF
    return {
        "cut short": packed[:-20],
        "only its head": packed[:12],
        "checksum": bytes(wrong_sum),
        "garbage inside": packed[:10] + b"\xff" * 40 + packed[50:],
        "garbage behind": packed + b"tail",
    }


@pytest.mark.parametrize("kind", damaged())
def test_a_damaged_gzip_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(damaged()[kind])
    with pytest.raises(EventFileError, match=r"cannot read the events of .*events\.jsonl\.gz: ."):
        list(read_lines(path))


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_no_file_is_refused_by_name(tmp_path, name):
    with pytest.raises(EventFileError, match="cannot read the events of "):
        list(read_lines(tmp_path / name))
