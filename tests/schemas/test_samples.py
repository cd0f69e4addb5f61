"""The binary record of a sampled profile, beside a writer that knows only `struct`."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.rows import ProfileRows
from models.profiles.sample_codec import encode_samples
from schemas.binary import NewerRecordError, RecordError
from schemas.samples import read_sample

IDENTITY = "ab" * 32
TEXT = st.text(max_size=12)
HEAD = b"\xf5S\x01\x00"


def framed(key: bytes, *parts: bytes, head: bytes = HEAD) -> bytes:
    body = head + b"".join(parts)
    check = xxhash.xxh3_64_intdigest(body) ^ xxhash.xxh3_64_intdigest(key)
    return body + struct.pack("<Q", check)


def part(tag: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("<HHI", tag, flags, len(payload)) + payload


SAMPLE = part(1, bytes.fromhex(IDENTITY) + struct.pack("<dqq", 1.5, 7, 1))
VECTOR = part(2, struct.pack("<3f", 0, 0.6, 0.8))


@st.composite
def rows_of(draw: Any) -> ProfileRows:
    names = draw(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=3))
    rows = ProfileRows.empty(names, 3, 4)
    for row in range(len(names)):
        rows.sums[row] = draw(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3))
        rows.weights[row] = draw(st.floats(0, 1e9))
        rows.reference[row] = draw(st.integers(-(10**15), 10**16))
        rows.terms[row] = draw(st.dictionaries(TEXT, st.floats(0, 9), max_size=3))
        rows.given[row] = draw(st.none() | TEXT)
    return rows


@given(rows_of(), st.booleans(), st.data())
def test_what_is_written_says_what_the_profile_says(
    rows: ProfileRows, labels: bool, data: st.DataObject
) -> None:
    sampled = [data.draw(st.booleans()) for _ in rows.users]
    latest = {row: np.float32([0.1, 0.2, row]) for row in range(len(rows)) if row % 2}
    chosen = list(reversed(range(len(rows))))
    values = encode_samples(rows, chosen, IDENTITY, sampled=sampled, labels=labels, latest=latest)
    vectors = rows.vectors()
    for row, by_hash, value in zip(chosen, sampled, values, strict=True):
        key = rows.users[row].encode()
        vector = struct.pack("<3f", *vectors[row])
        state = struct.pack("<dqq", rows.weights[row], rows.reference[row], by_hash)
        parts = [part(1, bytes.fromhex(IDENTITY) + state), part(2, vector)]
        if terms := rows.terms[row]:
            texts = [word.encode() for word in terms]
            lengths = struct.pack(f"<{len(texts)}I", *map(len, texts))
            numbers = struct.pack(f"<I{len(texts)}d", len(texts), *terms.values())
            parts.append(part(5, numbers + lengths + b"".join(texts)))
        if labels and rows.given[row] is not None:
            parts.append(part(7, rows.given[row].encode()))
        if row in latest:
            parts.append(part(8, struct.pack("<3e", *latest[row])))
        assert value == framed(key, *parts)
        found = read_sample(key, value)
        assert (found.user, found.embedding) == (rows.users[row], IDENTITY)
        assert found.vector.tobytes() == vector
        assert (found.terms, found.sampled) == (rows.terms[row], by_hash)
        assert found.label == (rows.given[row] if labels else None)
        assert found.weight == rows.weights[row]
        # The former form of it says the same.
        again = read_sample(b"", found.to_record().model_dump_json().encode())
        assert again.to_record() == found.to_record()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (framed(b"bob", SAMPLE, VECTOR), "its checksum does not fit"),
        (framed(b"ann", SAMPLE, VECTOR, head=b"\xf5P\x01\x00"), "of the kind 'P', not 'S'"),
        (framed(b"ann", SAMPLE), r"its section 2 \(vector\) is missing"),
        (framed(b"ann", SAMPLE, VECTOR, VECTOR), "a section is there twice"),
        (framed(b"ann", part(1, bytes(55)), VECTOR), "not of the form"),
        (framed(b"ann", SAMPLE, part(2, b"123")), "not of the form"),
        (framed(b"ann", SAMPLE, VECTOR, part(7, b"\xff")), "not of the form"),
        (framed(b"ann", SAMPLE, VECTOR, part(8, b"123")), "not of the form"),
        (framed(b"ann", part(1, bytes(32) + struct.pack("<dqq", -1, 0, 1)), VECTOR), "weight or"),
        (b"{}", "user_id"),
        (b"", "JSON"),
    ],
)
def test_a_sample_that_does_not_fit_says_why(value: bytes, sentence: str) -> None:
    with pytest.raises(RecordError, match=sentence):
        read_sample(b"ann", value)


@pytest.mark.parametrize(
    "value",
    [
        framed(b"ann", SAMPLE, VECTOR, head=b"\xf5S\x02\x00"),
        framed(b"ann", SAMPLE, part(2, bytes(6), 1)),
        b'{"schema_version": 3}',
    ],
)
def test_a_sample_of_a_newer_version_is_told_from_a_damaged_one(value: bytes) -> None:
    with pytest.raises(NewerRecordError):
        read_sample(b"ann", value)


def test_a_section_that_is_not_known_is_passed_over() -> None:
    found = read_sample(b"ann", framed(b"ann", SAMPLE, VECTOR, part(77, b"hi", 5)))
    assert (found.weight, found.updated_at.microsecond, found.sampled) == (1.5, 7, True)
