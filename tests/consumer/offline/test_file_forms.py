"""The same events in every form that is read, and a sentence for every form that is not."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sqlite3
import tarfile
import tempfile
import threading
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from consumer.offline.files import EventFile, EventFileError, json_values, read_records, spooled
from schemas.mapping import EventMapping
from tests.schemas.intakes import an_intake

EVENTS = [
    {"event_id": "1", "user_id": "ä", "text": 'It said "no",\nand\tno; ☃ 🙂'},
    {"event_id": "2", "user_id": "b", "text": "]}{[ \\ / é"},
    {"event_id": "3", "user_id": "c", "text": "plain"},
]
LINES = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in EVENTS)


def table(delimiter: str, **options) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, EVENTS[0].keys(), delimiter=delimiter, **options)
    writer.writeheader()
    writer.writerows(EVENTS)
    return written.getvalue()


def zipped(**files: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def parquet(rows: list[dict]) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written)
    return written.getvalue()


COMPACT = json.dumps(EVENTS)
WRAPPED = {"count": 3, "tags": [[1], ["x"]], "page": {"next": [{"a": 1}]}, "reviews": EVENTS}
FORMS = {
    "JSON lines": LINES,
    "a JSON array": COMPACT,
    "a JSON array, a line each": "[\n" + ",\n".join(map(json.dumps, EVENTS)) + "\n]\n",
    "a JSON array, pretty": json.dumps(EVENTS, indent=2),
    "a JSON array inside of an object": json.dumps(WRAPPED),
    "a JSON array inside of an object, pretty": json.dumps(WRAPPED, indent=4),
    "a JSON array inside of an object, a line each": '{"reviews": [\n'
    + ",\n".join(map(json.dumps, EVENTS))
    + "\n]}\n",
    "JSON objects over several lines": "\n".join(json.dumps(each, indent=1) for each in EVENTS),
    "lines of Python literals": "".join(f"{event!r}\n" for event in EVENTS),
    "CSV": table(","),
    "CSV, all quoted": table(",", quoting=csv.QUOTE_ALL),
    "CSV with semicolons": table(";"),
    "CSV with bars": table("|"),
    "TSV": table("\t"),
}
PACKED = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
    "zip": lambda data: zipped(**{"__MACOSX/._e": b"x", "folder/": b"", "folder/e": data}),
}


def read(tmp_path: Path, content: bytes | str) -> EventFile:
    path = tmp_path / "events"  # a name that tells nothing
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return EventFile(path)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_events_come_out_of_every_form(tmp_path, form):
    file = read(tmp_path, FORMS[form])
    assert [json.loads(value) for value in file] == EVENTS
    assert file.form == form.partition(", ")[0]


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("form", ["JSON lines", "a JSON array", "CSV"])
def test_every_form_may_be_packed(tmp_path, form, packing):
    file = read(tmp_path, PACKED[packing](FORMS[form].encode()))
    assert [json.loads(value) for value in file] == EVENTS
    assert file.form == f"{form} in {packing}"


def test_what_is_packed_twice_is_unpacked_twice(tmp_path):
    file = read(tmp_path, zipped(a=gzip.compress(FORMS["CSV"].encode())))
    assert [json.loads(value) for value in file] == EVENTS
    assert file.form == "CSV in gzip in zip"


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "BOM utf-16-be"]
)
@pytest.mark.parametrize("form", ["JSON lines", "a JSON array, pretty", "CSV", "TSV"])
def test_every_form_may_be_in_another_unicode(tmp_path, form, encoding):
    mark = "\ufeff" if encoding.startswith("BOM ") else ""
    content = (mark + FORMS[form]).encode(encoding.removeprefix("BOM "))
    assert [json.loads(value) for value in read(tmp_path, content)] == EVENTS
    assert [json.loads(value) for value in read(tmp_path, gzip.compress(content))] == EVENTS


def test_a_byte_order_mark_costs_no_event_where_files_were_put_together(tmp_path):
    marked = LINES.encode("utf-8-sig")
    assert [json.loads(value) for value in read(tmp_path, marked * 2)] == EVENTS * 2


def test_parquet_is_read_and_what_is_null_is_absent(tmp_path):
    at = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows = [
        {"user_id": "a", "rating": 4.5, "at": at, "naive": at.replace(tzinfo=None), "raw": b"x"},
        {"user_id": "b", "rating": float("nan"), "at": None, "author": {"id": 7, "tags": ["x"]}},
    ]
    file = read(tmp_path, parquet(rows[:1]))
    assert [json.loads(value) for value in file] == [
        {
            "user_id": "a",
            "rating": 4.5,
            "at": "2024-01-02T03:04:05+00:00",
            "naive": "2024-01-02T03:04:05",
            "raw": "x",
        }
    ]
    assert file.form == "Parquet"
    (value,) = read(tmp_path, gzip.compress(parquet(rows[1:])))
    assert json.loads(value) == {"user_id": "b", "author": {"id": 7, "tags": ["x"]}}


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.text() | st.integers() | st.lists(st.none())),
        max_size=5,
    ),
    st.sampled_from([None, 1]),
    st.integers(1, 9),
)
def test_arrays_are_read_whatever_the_pieces_that_they_come_in(values, indent, size):
    for written in (json.dumps(values, indent=indent), json.dumps(values, ensure_ascii=False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_values, "_CHUNK", size)
            found = [value for _, value in json_values.array_elements(io.BytesIO(written.encode()))]
        assert [json.loads(value) for value in found] == values
        assert all(value.decode() in written for value in found)


def test_a_long_array_is_read_without_holding_it(tmp_path):
    path = tmp_path / "long.json"
    element = json.dumps({"user_id": "a", "text": "x" * 1_000})
    with path.open("w") as out:
        out.write('{"reviews": [')
        out.writelines(f"{element}," for _ in range(30_000))
        out.write(element + "]}")
    tracemalloc.start()
    assert sum(1 for _ in EventFile(path)) == 30_001
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 30_000_000
    assert most < 10_000_000


# --- what stands for itself alone -------------------------------------------------------------


def test_lines_of_blanks_are_no_records_and_are_counted_as_lines(tmp_path):
    file = read(tmp_path, b'{"user_id": "a"}\n  \t\r\n\n{"user_id": "b"}\r\n{"user_id": "c"}')
    assert len(list(file)) == 3
    assert [file.line_of(record) for record in range(3)] == [1, 4, 5]


def test_a_record_of_several_lines_is_on_the_line_that_it_begins_on(tmp_path):
    file = read(tmp_path, "user_id,text\na,one\n" + 'b,"two\nlines"\n\nc,three\n')
    assert len(list(file)) == 3
    assert [file.line_of(record) for record in range(3)] == [2, 3, 6]
    file = read(tmp_path, json.dumps([{"a": 1}, {"b": 2}], indent=1))
    assert len(list(file)) == 2
    assert [file.line_of(record) for record in range(2)] == [2, 5]


def test_one_object_is_a_record_if_it_has_a_user_and_else_what_records_lie_in(tmp_path):
    event = {"user_id": "a", "pictures": [{"url": "x"}]}
    assert list(read(tmp_path, json.dumps(event))) == [json.dumps(event).encode()]
    path = tmp_path / "mapped"
    path.write_text(json.dumps({"who": "a", "pictures": [{"url": "x"}]}, indent=1))
    intake = an_intake(EventMapping(fields={"user_id": ["who"]}))
    (record,) = read_records(path, "topic", intake)
    assert record.key == b"a"
    (record,) = read_records(path, "topic", an_intake())
    assert json.loads(record.value or b"") == {"url": "x"}


def test_a_damaged_record_costs_itself_only(tmp_path):
    lines = [b'{"user_id": "a", "tex', b'{"user_id": "\xff"}', b"garbage", b'{"user_id": "b"}']
    assert list(read(tmp_path, b"\n".join(lines))) == lines
    assert list(read(tmp_path, b"\n".join(lines[::-1]))) == lines[::-1]
    array = b'[{"user_id": "\xff"}, 7, {"user_id": "b"}]'
    assert list(read(tmp_path, array)) == [lines[1], b"7", lines[3]]
    rows = read(tmp_path, b"user_id,text\na,\xff\nb\nc,d,e\nf,g\n")
    assert list(rows) == [
        b'{"user_id":"a","text":"\xff"}',
        b'["b"]',
        b'["c","d","e"]',
        b'{"user_id":"f","text":"g"}',
    ]


def test_an_empty_cell_is_absent_and_a_column_without_a_name_is_left_out(tmp_path):
    file = read(tmp_path, ",user_id,author.id,text\n0,a,,x\n1,,7,\n,,,\n")
    assert [json.loads(value) for value in file] == [
        {"user_id": "a", "text": "x"},
        {"author.id": "7"},
    ]


def test_quotes_in_a_table_with_tabs_may_be_letters_like_others(tmp_path):
    file = read(tmp_path, 'user_id\ttext\na\t"Great" shoes\nb\t5" wide\nc\t"all ""of"" it"\n')
    assert [json.loads(value)["text"] for value in file] == [
        '"Great" shoes',
        '5" wide',
        'all "of" it',
    ]


# --- what is refused as a whole ---------------------------------------------------------------


def tar() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return written.getvalue()


def database(tmp_path: Path) -> bytes:
    path = tmp_path / "db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a)")
    connection.close()
    return path.read_bytes()


WORKBOOK = zipped(**{"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"})
USELESS = {
    "Excel workbook": WORKBOOK,
    "office document": zipped(**{"mimetype": b"application/x", "content.xml": b"<x/>"}),
    "old Excel": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    "zip of 2 files": zipped(a=LINES.encode(), b=LINES.encode()),
    "zip of 0 files": zipped(**{"folder/": b""}),
    "tar archive": gzip.compress(tar()),
    "Avro": b"Obj\x01\x04\x14avro.codec",
    "ORC": b"ORC\x08\x03",
    "Arrow": b"ARROW1\x00\x00\xff",
    "HDF5": b"\x89HDF\r\n\x1a\n\x00",
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "lz4": bytes.fromhex("04224d18") + b"abc",
    "pickle": b"\x80\x04\x95\x10",
    "XML": b"\n<?xml version='1.0'?><reviews/>",
    "HTML": b"<!DOCTYPE html><html></html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    "binary": bytes(range(256)),
    "neither a JSON object nor the header": b"Dear all,\nI would buy it again.\n",
    "neither": b"B00,12,5.0,1370000000\nB01,13,4.0,1370000001\n",
    "more than 4 times": gzip.compress(
        gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"{}"))))
    ),
    "several arrays, users and reviews": b'{"users": [{"id": 1}], "reviews": [{"text": "x"}]}',
    "names the column 'text' twice": b"user_id,text,text\na,b,c\n",
}


@pytest.mark.parametrize("kind", [*USELESS, "SQLite"])
def test_what_holds_no_events_is_named_in_one_sentence_and_gives_no_record(tmp_path, kind):
    content = database(tmp_path) if kind == "SQLite" else USELESS[kind]
    file = read(tmp_path, content)
    with pytest.raises(EventFileError, match=kind) as raised:
        list(file)
    sentence = str(raised.value)
    assert sentence.startswith(f"cannot read the events of {file.path}: it")
    assert "\n" not in sentence
    assert "buy" not in sentence


DAMAGED = {
    "gzip": (gzip.compress(os.urandom(9_000) + LINES.encode())[:5_000], "cut short"),
    "xz": (lzma.compress(LINES.encode())[:-20], "cut short"),
    "bz2": (bz2.compress(LINES.encode())[:-20], "cut short"),
    "zip": (zipped(a=LINES.encode())[:-30], "not a zip file"),
    "array": (COMPACT[:-20].encode(), "cut short, in the record that line 1 begins"),
    "array without its end": (COMPACT[:-1].encode(), "line 1 ends in the array: it is cut short"),
    "pretty array": (
        json.dumps(EVENTS, indent=1).replace('"3",', '"3"').encode(),
        r"line 14 is no valid JSON \(.*\), in the record that line 12 begins",
    ),
    "two values": (COMPACT.encode() + b'{"user_id": "x"}', "something follows the array"),
    "open quote": (b'user_id,text\na,b\nc,"d\ne,f\n', "the row that begins on line 3 is no CSV"),
    "bare quote": (b'user_id,text\na,b\nc,"d" e\n', "line 3 is no CSV"),
    "utf-16": (LINES.encode("utf-16")[:-1], "not valid in the encoding"),
    "parquet": (parquet(EVENTS)[:-9], "Parquet is damaged or cut short"),
    "zstd": (zstd.compress(LINES.encode())[:-9], "cut short"),
    "zstd frame": (zstd.compress(LINES.encode()) + bytes.fromhex("28b52ffd"), "cut short"),
    "zstd and more": (
        zstd.compress(LINES.encode()) + b"tail",
        "Unable to decompress Zstandard data",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_file_that_ends_early_is_told_with_the_place_and_never_taken_for_whole(tmp_path, kind):
    content, said = DAMAGED[kind]
    file = read(tmp_path, content)
    with pytest.raises(EventFileError, match=said) as raised:
        list(file)
    if file.records:
        assert f"{file.records} records were read before that, which are not the whole file" in str(
            raised.value
        )


@pytest.mark.parametrize(
    "kind", [*PACKED, "Parquet", *(form for form in FORMS if form.startswith("a JSON array"))]
)
def test_wherever_a_file_is_cut_it_is_not_taken_for_whole(tmp_path, kind):
    if kind in PACKED:
        content = PACKED[kind](LINES.encode())
    else:
        content = parquet(EVENTS) if kind == "Parquet" else FORMS[kind].strip().encode()
    # Before the first record an object around an array may as well be a damaged line.
    least = content.index(b"event_id") if "inside of an object" in kind else 1
    for cut in range(least, len(content)):
        with pytest.raises(EventFileError):
            list(read(tmp_path, content[:cut]))


@pytest.mark.parametrize(("form", "module"), [("zstd", "backports"), ("Parquet", "pyarrow")])
def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch, form, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setitem(__import__("sys").modules, f"{module}.parquet", None)
    content = zstd.compress(LINES.encode()) if form == "zstd" else parquet(EVENTS)
    with pytest.raises(EventFileError, match=rf"{form}.* wants .*pip install 'segmenter\[files\]'"):
        list(read(tmp_path, content))


# Beginnings that lead into every reader.
BEGINNINGS = [
    b"", b"[", b'{"a": [{', b"{\n", b"a,b\n", b"a\tb\n1\t", b"{'a'", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"PAR1", b"{\0",
]  # fmt: skip


@given(
    st.sampled_from([*BEGINNINGS, *(each.encode() for each in FORMS.values())]),
    st.binary(max_size=40) | st.text('[]{}",:\t\n 1a').map(str.encode),
)
def test_whatever_a_file_holds_it_gives_records_or_one_error(beginning, rest):
    with tempfile.NamedTemporaryFile() as file:
        file.write(beginning + rest)
        file.flush()
        reading = EventFile(Path(file.name))
        sentence = ""
        try:
            assert all(value.strip() for value in reading)
        except EventFileError as error:
            sentence = str(error)
        assert "\n" not in sentence


# --- pipes ------------------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path):
    """Make a named pipe that somebody writes to."""
    writers = []

    def make(content: bytes) -> Path:
        path = tmp_path / f"pipe-{len(writers)}"
        os.mkfifo(path)
        writers.append(threading.Thread(target=path.write_bytes, args=(content,)))
        writers[-1].start()
        return path

    yield make
    for writer in writers:
        writer.join()


@pytest.mark.parametrize("packing", ["plain", *PACKED])
def test_a_pipe_is_read_like_a_file(pipe, packing):
    content = LINES.encode() if packing == "plain" else PACKED[packing](LINES.encode())
    file = EventFile(pipe(content))
    assert [json.loads(value) for value in file] == EVENTS
    assert file.expected() == 3


def test_parquet_comes_out_of_a_pipe_too(pipe):
    assert [json.loads(value) for value in EventFile(pipe(parquet(EVENTS)))] == EVENTS


def test_a_pipe_that_is_read_twice_is_kept_and_a_file_is_not(pipe, tmp_path):
    with spooled(pipe(LINES.encode())) as path:
        assert [list(EventFile(path)), list(EventFile(path))] == [LINES.encode().splitlines()] * 2
    assert not path.exists()
    own = tmp_path / "own"
    own.write_text(LINES)
    with spooled(own) as path:
        assert path == own


def test_a_folder_is_told_as_one(tmp_path):
    with pytest.raises(EventFileError, match="it is a folder: name one file in it"):
        list(EventFile(tmp_path))


def test_how_many_records_are_to_come_is_estimated_by_the_bytes_read(tmp_path):
    lines = "".join(json.dumps({"user_id": os.urandom(490).hex()}) + "\n" for _ in range(5_000))
    for name, pack in {"plain": bytes, **PACKED}.items():
        file = read(tmp_path, pack(lines.encode()))
        assert file.expected() is None
        reading = iter(file)
        for _ in range(500):
            next(reading)
        # The others are read in large blocks: as rough as that is what is known.
        rough = 500 if name in {"plain", "gzip"} else 2_500
        assert abs((file.expected() or 0) - 5_000) <= rough, name
        assert len(list(reading)) == 4_500
        assert file.expected() == 5_000


def test_of_a_zip_within_something_it_is_not_known_how_far_it_is(tmp_path):
    file = read(tmp_path, gzip.compress(PACKED["zip"](LINES.encode())))
    reading = iter(file)
    next(reading)
    assert file.expected() is None


def test_the_rows_of_parquet_are_known_beforehand(tmp_path):
    file = read(tmp_path, parquet(EVENTS))
    reading = iter(file)
    next(reading)
    assert file.expected() == 3
