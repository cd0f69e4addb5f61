"""Kinds of file that are known by their first bytes and hold no events that can be read."""

from __future__ import annotations

_UNPACK = "unpack it and name one file"
_CONVERT = "convert it to JSON lines, CSV or Parquet"

_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF", _CONVERT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", "save the table as CSV"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"Obj\x01", "Avro", _CONVERT),
    (b"ORC", "ORC", _CONVERT),
    (b"ARROW1", "Arrow (Feather)", _CONVERT),
    (b"FEA1", "Feather", _CONVERT),
    (b"\x89HDF\r\n\x1a\n", "HDF5", _CONVERT),
    (b"\x93NUMPY", "a NumPy array", _CONVERT),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"PK\x05\x06", "a zip of no file", _UNPACK),
    (b"PK\x07\x08", "a zip in several parts", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed with lz4", "unpack it first"),
    (b"\x1f\x9d", "packed with compress (.Z)", "unpack it first"),
    (b"\x89LZO", "packed with lzop", "unpack it first"),
    (b"\xff\x06\x00\x00sNaPpY", "packed with snappy", "unpack it first"),
    (b"\x89PNG", "a picture", "name a file of events"),
    (b"\xff\xd8\xff", "a picture", "name a file of events"),
    (b"GIF8", "a picture", "name a file of events"),
    (b"\x7fELF", "a program", "name a file of events"),
    (b"{\\rtf", "an RTF document", _CONVERT),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "run git lfs pull"),
)

_MARKUP = ((b"<?xml", "XML"), (b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"))

_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def useless(head: bytes) -> str | None:
    """Say in a sentence what a file is and what to do, where it is of a kind that is not read.

    Parameters
    ----------
    head
        Its first bytes, unpacked.
    """
    for magic, kind, remedy in _KINDS:
        if head.startswith(magic):
            return f"it is {kind}: {remedy}"
    if head[257:262] == b"ustar":
        return f"it is a tar archive: {_UNPACK}"
    if head.startswith(_PICKLES):
        return f"it is a Python pickle: {_CONVERT}"
    start = head[:1000].lstrip().lower()
    for magic, kind in _MARKUP:
        if start.startswith(magic):
            return f"it is {kind}: {_CONVERT}"
    return None
