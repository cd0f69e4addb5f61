"""The binary record of a user's state, beside a reader and a writer that know only `struct`."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.codec import Decoded, RecordAtError, decode, encode
from models.profiles.references import REFERENCE
from models.profiles.table import ProfileRows
from schemas.binary import NewerRecordError, RecordError
from schemas.states import read_profile, read_state

IDENTITY = "ab" * 32
OTHER = "cd" * 32
DIMENSIONS, MEMORY, REFERENCES, ITEMS = 5, 4, 3, 6
INT64 = st.integers(0, 2**63 - 1)
TEXT = st.text(max_size=12)
FLOATS = st.floats(0, 1e30)
TIMES = st.integers(-(10**16), 10**17)
HASHES = st.integers(1, 2**64 - 1)
WEIGHTS = st.floats(0, 2.0**99, width=32)


@st.composite
def many_rows(draw: Any, users: int = 3, memory: int = MEMORY) -> ProfileRows:
    names = draw(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=users))
    rows = ProfileRows.empty(names, DIMENSIONS, memory, REFERENCES, ITEMS)
    for row in range(len(names)):
        had = draw(st.lists(st.integers(1, 2**32 - 1), max_size=ITEMS))
        rows.items[row, : 1 + len(had)] = [draw(st.sampled_from([0, 5])), *had]
        own = draw(st.lists(st.tuples(INT64, TIMES, HASHES, WEIGHTS), max_size=REFERENCES))
        rows.references[row, : len(own)] = np.array(own, REFERENCE)
        numbers = draw(st.lists(st.floats(width=32, allow_nan=False), min_size=5, max_size=5))
        rows.sums[row] = numbers
        if draw(st.booleans()):
            with np.errstate(over="ignore"):
                rows.sums[row] = rows.sums[row].astype(np.float16)
        rows.weights[row] = draw(FLOATS)
        rows.reference[row] = draw(TIMES)
        rows.events[row] = draw(st.one_of(st.integers(0, 2 * memory), INT64))
        ids = min(int(rows.events[row]), memory)
        rows.recent[row, :ids] = draw(
            st.lists(st.integers(0, 2**64 - 1), min_size=ids, max_size=ids)
        )
        for column in (rows.repeats, rows.since, rows.sequence, rows.versions):
            column[row] = draw(INT64)
        for column in (rows.label_since, rows.label_versions):
            column[row] = draw(st.sampled_from([0, 0, 7]))
        rows.segments[row] = draw(st.integers(-1, 2**62))
        for own in (rows.labels, rows.given, rows.predicted):
            own[row] = draw(st.none() | TEXT)
        rows.terms[row] = draw(st.dictionaries(TEXT, FLOATS, max_size=4))
        rows.extra[row] = draw(st.sampled_from([b"", struct.pack("<HHI", 77, 3, 2) + b"hi"]))
    return rows


def keys_of(rows: ProfileRows) -> list[bytes]:
    return [user.encode() for user in rows.users]


def again(rows: ProfileRows, memory: int = MEMORY) -> Decoded:
    values = encode(rows, IDENTITY)
    return decode(
        keys_of(rows), values, IDENTITY, DIMENSIONS, memory, references=REFERENCES, items=ITEMS
    )


def same(one: ProfileRows, two: ProfileRows) -> None:
    assert one.lists() == two.lists()
    for name, column in one.arrays().items():
        assert column.tobytes() == two.arrays()[name].tobytes(), name


# --- the naive reference --------------------------------------------------------------------------


def framed(key: bytes, *parts: bytes, head: bytes = b"\xf5P\x01\x00") -> bytes:
    body = head + b"".join(parts)
    check = xxhash.xxh3_64_intdigest(body) ^ xxhash.xxh3_64_intdigest(key)
    return body + struct.pack("<Q", check)


def part(tag: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("<HHI", tag, flags, len(payload)) + payload


def naive(rows: ProfileRows, row: int, embedding: str = IDENTITY) -> bytes:
    """One record, number by number, as docs/formats.md describes it."""
    numbers = rows.sums[row].tolist()
    try:
        vector, flags = struct.pack(f"<{len(numbers)}e", *numbers), 1
        if list(struct.unpack(f"<{len(numbers)}e", vector)) != numbers:
            raise OverflowError
    except OverflowError:
        vector, flags = struct.pack(f"<{len(numbers)}f", *numbers), 0
    ids = rows.recent[row].tolist()[: min(int(rows.events[row]), rows.recent.shape[1])]
    parts = [
        part(
            1,
            bytes.fromhex(embedding)
            + struct.pack(
                "<d7q",
                rows.weights[row],
                rows.reference[row],
                rows.events[row],
                rows.repeats[row],
                rows.segments[row],
                rows.since[row],
                rows.sequence[row],
                rows.versions[row],
            ),
        ),
        part(2, vector, flags),
        part(3, struct.pack(f"<{len(ids)}Q", *ids)),
    ]
    references = [each for each in rows.references[row].tolist() if each[2]]
    if references:
        parts.append(part(7, b"".join(struct.pack("<qqQf", *each) for each in references)))
    had = [each for each in rows.items[row].tolist()[1:] if each]
    if had or rows.items[row].any():
        parts.append(part(8, struct.pack(f"<{1 + len(had)}I", rows.items[row, 0], *had)))
    if (label := rows.labels[row]) is not None:
        parts.append(part(4, label.encode()))
    if terms := rows.terms[row]:
        texts = [word.encode() for word in terms]
        payload = struct.pack("<I", len(texts))
        payload += b"".join(struct.pack("<d", weight) for weight in terms.values())
        payload += b"".join(struct.pack("<I", len(text)) for text in texts) + b"".join(texts)
        parts.append(part(5, payload))
    labels = [rows.given[row], rows.predicted[row]]
    counts = int(rows.label_since[row]), int(rows.label_versions[row])
    if labels != [None, None] or counts != (0, 0):
        coded = [None if text is None else text.encode() for text in labels]
        lengths = [-1 if text is None else len(text) for text in coded]
        texts = [text or b"" for text in coded]
        parts.append(part(6, struct.pack("<qqii", *counts, *lengths) + b"".join(texts)))
    return framed(rows.users[row].encode(), *parts, rows.extra[row])


# --- both ways ------------------------------------------------------------------------------------


@given(many_rows())
def test_what_is_written_as_arrays_is_what_a_writer_of_one_number_at_a_time_gives(
    rows: ProfileRows,
) -> None:
    assert encode(rows, IDENTITY) == [naive(rows, row) for row in range(len(rows))]


@given(many_rows())
def test_a_state_read_back_is_the_state_that_was_written_bit_for_bit(rows: ProfileRows) -> None:
    read = again(rows)
    same(read.rows, rows)
    assert read.own == list(range(len(rows)))


@given(many_rows())
def test_a_record_read_by_itself_says_what_the_table_says(rows: ProfileRows) -> None:
    for row, value in enumerate(encode(rows, IDENTITY)):
        record = read_profile(rows.users[row].encode(), value)
        assert record == rows.to_record(row, IDENTITY)
        assert read_state(rows.users[row].encode(), value).rest.extra == rows.extra[row]


@given(many_rows(), st.integers(1, 9))
def test_with_another_memory_the_latest_ids_of_events_are_kept(
    rows: ProfileRows, memory: int
) -> None:
    other = ProfileRows.empty(rows.users, DIMENSIONS, memory)
    for row in range(len(rows)):
        other.load_record(row, rows.to_record(row, IDENTITY))
    assert again(rows, memory).rows.recent.tolist() == other.recent.tolist()


@given(many_rows(), st.data())
def test_records_of_both_forms_tombstones_and_another_models_are_read_beside_each_other(
    rows: ProfileRows, data: st.DataObject
) -> None:
    forms = st.sampled_from(["binary", "json", "none", "other"])
    chosen = [data.draw(forms) for _ in rows.users]
    values: list[bytes | None] = []
    for row, form in enumerate(chosen):
        if form == "json":
            values.append(rows.to_record(row, IDENTITY).model_dump_json().encode())
            rows.extra[row] = b""
        else:
            embedding = OTHER if form == "other" else IDENTITY
            values.append(None if form == "none" else naive(rows, row, embedding))
    read = decode(
        keys_of(rows), values, IDENTITY, DIMENSIONS, MEMORY, references=REFERENCES, items=ITEMS
    )
    assert read.rows.users == rows.users
    assert read.own == [row for row, form in enumerate(chosen) if form in {"binary", "json"}]
    assert read.foreign == {row: OTHER for row, form in enumerate(chosen) if form == "other"}
    assert read.tombstones == {row for row, form in enumerate(chosen) if form == "none"}
    same(read.rows.take(read.own), rows.take(read.own))
    left = sorted(read.foreign)
    rows.sums[left] = 0
    same(read.rows.take(left), rows.take(left))


def test_a_vector_is_written_in_half_precision_where_that_loses_nothing():
    rows = ProfileRows.empty(
        ["half", "tiny", "single", "huge"], DIMENSIONS, MEMORY, REFERENCES, ITEMS
    )
    rows.sums[:] = [[0.5] * 5, [6e-8] * 5, [0.1] * 5, [1e9] * 5]
    rows.sums[1] = rows.sums[1].astype(np.float16)
    states = [
        read_state(key, value)
        for key, value in zip(keys_of(rows), encode(rows, IDENTITY), strict=True)
    ]
    assert [state.vector.dtype.itemsize for state in states] == [2, 2, 4, 4]
    same(again(rows).rows, rows)


def test_no_records_are_read_as_no_states():
    read = decode([], [], IDENTITY, DIMENSIONS, MEMORY)
    assert (len(read.rows), read.own, encode(read.rows, IDENTITY)) == (0, [], [])


# --- records that do not fit ----------------------------------------------------------------------


def one_row(**columns: Any) -> ProfileRows:
    rows = ProfileRows.empty(["ann"], DIMENSIONS, MEMORY)
    rows.sums[0], rows.events[0], rows.recent[0] = range(5), 9, range(1, 5)
    rows.labels[0], rows.terms[0] = "tea", {"cup": 1.5}
    for name, value in columns.items():
        getattr(rows, name)[0] = value
    return rows


STATE, VECTOR, EVENTS = (
    part(1, bytes(96)),
    part(2, struct.pack("<5f", 1, 2, 3, 4, 5)),
    part(3, b""),
)


def reference(offset: int = 5, time: int = 6, identity: int = 7, weight: float = 1.0) -> bytes:
    return struct.pack("<qqQf", offset, time, identity, weight)


def referring(*parts: bytes) -> bytes:
    return framed(b"ann", STATE, VECTOR, EVENTS, *parts)


def faulty(value: bytes, key: bytes = b"ann") -> RecordError:
    """What is wrong with a record, found among sound ones; by itself it is found the same."""
    sound = encode(one_row(), IDENTITY)[0]
    with pytest.raises(RecordAtError) as among:
        decode([b"ann", key, b"ann"], [sound, value, b"{}"], IDENTITY, DIMENSIONS, MEMORY)
    assert among.value.number == 1
    return among.value.reason


@given(many_rows(), st.data())
def test_a_record_with_any_bit_changed_or_any_end_missing_is_refused(
    rows: ProfileRows, data: st.DataObject
) -> None:
    records = encode(rows, IDENTITY)
    if not records:
        return
    number = data.draw(st.integers(0, len(records) - 1))
    bits = data.draw(st.integers(0, 8 * len(records[number]) - 1))
    broken = bytearray(records[number])
    if data.draw(st.booleans()):
        broken[bits // 8] ^= 1 << bits % 8
    else:
        del broken[bits // 8 :]
    records[number] = bytes(broken)
    with pytest.raises(RecordAtError) as raised:
        decode(keys_of(rows), records, IDENTITY, DIMENSIONS, MEMORY)
    assert raised.value.number == number
    with pytest.raises(RecordError):
        read_profile(keys_of(rows)[number], records[number])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (framed(b"bob", STATE, VECTOR, EVENTS), "checksum does not fit: .* under another key"),
        (framed(b"ann", STATE, VECTOR, EVENTS, head=b"\xf5S\x01\x00"), "of the kind 'S', not 'P'"),
        (framed(b"ann", STATE, VECTOR), r"its section 3 \(events\) is missing"),
        (framed(b"ann", STATE, VECTOR, EVENTS, EVENTS), "its section 3 is there twice"),
        (framed(b"ann", STATE, VECTOR, EVENTS, b"\1\2"), "ends amid the head of a section"),
        (framed(b"ann", STATE, VECTOR, EVENTS, part(9, b"123")[:-1]), "9 says 3 bytes and has 2"),
        (framed(b"ann", part(1, bytes(95)), VECTOR, EVENTS), "its state has 95 bytes, not 96"),
        (framed(b"ann", STATE, part(2, b"123"), EVENTS), "ends? amid a number"),
        (framed(b"ann", STATE, VECTOR, part(3, bytes(8))), "more ids of events than events"),
        (framed(b"ann", STATE, VECTOR, EVENTS, part(4, b"\xff")), "its section 4 is not of the"),
        (framed(b"ann", STATE, VECTOR, EVENTS, part(5, b"\1")), "its section 5 is not of the"),
        (framed(b"ann", STATE, VECTOR, EVENTS, part(5, bytes(5))), "lengths of its words"),
        (framed(b"ann", STATE, VECTOR, EVENTS, part(6, bytes(25))), "lengths of its labels"),
        (referring(part(7, bytes(27))), "its section 7 is not of the form"),
        (referring(part(7, b"")), "its section of references has none"),
        (referring(part(7, reference()), part(7, reference())), "its section 7 is there twice"),
        (referring(part(7, reference()), part(4, b""), part(7, reference())), "7 is there twice"),
        (referring(part(7, reference() + reference(offset=-1))), "number of its references is out"),
        (referring(part(7, reference(identity=0))), "a number of its references is out of range"),
        (referring(part(7, reference(weight=np.nan))), "a number of its references is out of"),
        (referring(part(7, reference(time=2**62))), "a number of its references is out of range"),
        (referring(part(4, b""), part(7, reference(time=2**62))), "its references is out of range"),
        (referring(part(8, bytes(6))), "has none, or ends amid a number"),
        (referring(part(8, b"")), "its section of items has none, or ends amid a number"),
        (referring(part(8, bytes(4))), "a number of its items is 0"),
        (referring(part(8, b"\1\0\0\0" + bytes(4))), "a number of its items is 0"),
        (referring(part(4, b""), part(8, bytes(4))), "a number of its items is 0"),
        (referring(part(8, b"\1" * 4), part(4, b""), part(8, b"\1" * 4)), "8 is there twice"),
        (naive(one_row(weights=np.nan), 0), "its weight or its time is out of range"),
        (naive(one_row(weights=-1.0), 0), "its weight or its time is out of range"),
        (naive(one_row(reference=2**62), 0), "its weight or its time is out of range"),
        (naive(one_row(sequence=-1), 0), "its counts are below 0"),
        (naive(one_row(segments=-2), 0), "its counts are below 0"),
        (naive(one_row(label_since=-1), 0), "a number of its labels is below 0"),
        (naive(one_row(terms={"cup": np.inf}), 0), "a weight of its words is no finite number"),
        (b"\xf5P", "does not begin as a record of state does, or ends too early"),
        (b"ghost", "JSON"),
        (b"{}", "user_id"),
    ],
)
def test_a_record_that_does_not_fit_says_why_in_one_sentence(value: bytes, sentence: str) -> None:
    reason = faulty(value)
    with pytest.raises(RecordError, match=sentence):
        raise reason


@pytest.mark.parametrize(
    "value",
    [
        framed(b"ann", STATE, VECTOR, EVENTS, head=b"\xf5P\x02\x00"),
        framed(b"ann", STATE, part(2, bytes(10), 2), EVENTS),
        framed(b"ann", STATE, VECTOR, EVENTS, part(4, b"tea", 1)),
        b'{"schema_version": 2}',
    ],
)
def test_a_record_of_a_newer_version_is_told_from_a_damaged_one(value: bytes) -> None:
    assert isinstance(faulty(value), NewerRecordError)


def test_a_vector_of_another_length_is_refused_with_both_lengths():
    rows = ProfileRows.empty(["ann"], 3, MEMORY)
    assert "3 dimensions, this worker's embedding model has 5" in str(faulty(naive(rows, 0)))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [(b"\xff", "its key is not UTF-8"), (b"", "its key has 0 characters"), (b"x" * 257, "has 257")],
)
def test_a_record_whose_key_is_no_user_is_refused(key: bytes, sentence: str) -> None:
    assert sentence in str(faulty(framed(key, STATE, VECTOR, EVENTS), key))


def test_sections_that_are_not_known_are_written_again_as_they_were():
    known = encode(one_row(), IDENTITY)[0]
    later = part(70, b"\0\1mood", 5) + part(900, b"")
    record = framed(b"ann", known[4:-8], later)
    # Wherever they stand.
    amid = framed(b"ann", known[4:108], part(70, b"\0\1mood", 5), known[108:-8], part(900, b""))
    for value in (record, amid):
        rows = decode([b"ann"], [value], IDENTITY, DIMENSIONS, MEMORY).rows
        assert rows.extra == [later]
        assert encode(rows, IDENTITY) == [record]
        assert read_state(b"ann", value).rest.extra == later


def test_references_are_read_wherever_a_former_version_has_put_them():
    own = reference(1) + reference(2) + reference(3) + reference(4)
    first, last = part(7, own), part(77, b"") + part(7, own)
    for behind in (first, last, part(4, b"tea") + last):
        values = [referring(behind), referring()]
        rows = decode(
            [b"ann", b"ann"], values, IDENTITY, DIMENSIONS, MEMORY, references=REFERENCES
        ).rows
        assert rows.references["offset"].tolist() == [[1, 2, 3], [0, 0, 0]]
        found = read_profile(b"ann", values[0]).references
        assert [each.offset for each in found] == [1, 2, 3, 4]
        # Whoever keeps none writes none.
        none = decode([b"ann"], values[:1], IDENTITY, DIMENSIONS, MEMORY).rows
        assert read_profile(b"ann", encode(none, IDENTITY)[0]).references == []


def test_items_are_read_wherever_a_former_version_has_put_them():
    own = struct.pack("<4I", 9, 1, 2, 3)
    for behind in (part(8, own), part(77, b"") + part(8, own), part(4, b"tea") + part(8, own)):
        values = [referring(behind), referring()]
        keys = [b"ann", b"ann"]
        rows = decode(keys, values, IDENTITY, DIMENSIONS, MEMORY, items=2).rows
        assert rows.items.tolist() == [[9, 1, 2], [0, 0, 0]]
        found = read_profile(b"ann", values[0]).items
        assert found is not None
        assert found.shown == 9
        # Whoever keeps none writes none.
        none = decode([b"ann"], values[:1], IDENTITY, DIMENSIONS, MEMORY).rows
        assert read_profile(b"ann", encode(none, IDENTITY)[0]).items is None
        shown = decode([b"ann"], values[:1], IDENTITY, DIMENSIONS, MEMORY, items=0).rows
        assert shown.items.tolist() == [[9]]
