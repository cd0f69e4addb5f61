"""From a path to the bytes inside: pipes and files, gzip, bz2, xz, zstd and a zip of one file.

How a file is packed and encoded is told by its first bytes, never by its name.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from consumer.contract.extras import wants
from consumer.offline.files.errors import STANDARD_INPUT, FormError
from schemas.encodings import encoding_of

HEAD_BYTES = 1 << 20
"""Bytes that are looked at before it is said what a file is: more than the longest first record."""

_MOST_LAYERS = 4  # a gzip in a zip, say; a file that unpacks to itself must not be followed
_CHUNK = 1 << 16
# Dumps of long windows (zstd --long=31) ask for 2 GB of memory; others for 8 MB or less.
_ZSTD_WINDOW_LOG = 31


class Pieces(io.RawIOBase):
    """A stream of the pieces of bytes that an iterator gives, none of them empty.

    Attributes
    ----------
    taken, given
        Bytes that were taken from the iterator, and that were read of this.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")
        self.taken = self.given = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from one piece."""
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
            self.taken += len(self._left)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        self.given += count
        return count


def open_raw(path: Path, stack: ExitStack) -> io.FileIO:
    """Open a file, a pipe or the standard input.

    Raises
    ------
    OSError, FormError
        If it is not to be had, or is a folder.
    """
    if path.is_dir():
        raise FormError("it is a folder: name one file in it")
    if str(path) in STANDARD_INPUT:
        return stack.enter_context(io.FileIO(0, "rb", closefd=False))
    return stack.enter_context(io.FileIO(path, "rb"))


def size_of(raw: io.FileIO) -> int | None:
    """Give the bytes of a regular file, None for a pipe."""
    status = os.fstat(raw.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def look(stream: BinaryIO) -> tuple[bytes, Pieces]:
    """Give the first `HEAD_BYTES` of a stream, and all of it."""
    pieces, wanted = [], HEAD_BYTES
    while wanted > 0 and (piece := stream.read1(wanted)):  # type: ignore[attr-defined]
        pieces.append(piece)
        wanted -= len(piece)
    head = b"".join(pieces)
    rest = iter(lambda: stream.read1(_CHUNK), b"")  # type: ignore[attr-defined]
    return head, Pieces(chain([head], rest))


def as_utf8(head: bytes, stream: BinaryIO) -> BinaryIO:
    """Give a stream in UTF-8, by what its first bytes tell; a byte order mark may be left."""
    encoding = encoding_of(head)
    if encoding is None:
        return stream
    # UnicodeDecodeError where it is cut in the middle of a character, too.
    texts = codecs.iterdecode(iter(lambda: stream.read(_CHUNK), b""), encoding)
    return cast(BinaryIO, io.BufferedReader(Pieces(map(str.encode, texts))))


def unpack(raw: io.FileIO, stack: ExitStack) -> tuple[bytes, BinaryIO, list[str]]:
    """Take off all layers of packing.

    Returns
    -------
    tuple
        The first `HEAD_BYTES` of what is inside, all of it as a stream, and the names of the
        layers.

    Raises
    ------
    FormError
        If a layer is of no use: a zip of many files, say.
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile
        If it is damaged.
    """
    layers: list[str] = []
    stream = cast(BinaryIO, stack.enter_context(io.BufferedReader(raw)))
    while True:
        head, whole = look(stream)
        stream = cast(BinaryIO, io.BufferedReader(whole))
        for magic, (name, opened) in _PACKERS.items():
            # A workbook is a zip too, and is named as what it is.
            if head.startswith(magic):
                if len(layers) == _MOST_LAYERS:
                    raise FormError(f"it is packed more than {_MOST_LAYERS} times")
                layers.append(name)
                stream = opened(stream if layers[1:] else from_start(raw, stream, stack), stack)
                break
        else:
            return head, stream, layers


def from_start(raw: io.FileIO, stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    """Give a regular file from its start, so that it can be sought in; of a pipe the stream."""
    if size_of(raw) is None:
        return stream
    raw.seek(0)
    return cast(BinaryIO, stack.enter_context(io.BufferedReader(raw)))


def seekable(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    """Give a stream that can be sought in: a file as it is, else a temporary copy."""
    if isinstance(getattr(stream, "raw", None), io.FileIO) and stream.seekable():
        return stream
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by the stack
    shutil.copyfileobj(stream, file)
    file.seek(0)
    return cast(BinaryIO, file)


def _gzip(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    return cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=stream)))


def _bz2(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    return cast(BinaryIO, stack.enter_context(bz2.BZ2File(stream)))


def _xz(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    return cast(BinaryIO, stack.enter_context(lzma.LZMAFile(stream)))


def _zstd(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    try:
        from backports import zstd  # noqa: PLC0415 - compression.zstd as of Python 3.14
    except ImportError:
        raise FormError(wants("it is packed with zstd, which", "files")) from None
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return cast(BinaryIO, stack.enter_context(zstd.ZstdFile(stream, options=options)))


def _zip(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    archive = stack.enter_context(zipfile.ZipFile(seekable(stream, stack)))
    names = [
        each
        for each in archive.infolist()
        # What macOS and others add beside the file.
        if not (each.is_dir() or each.filename.startswith(("__MACOSX/", ".")))
    ]
    if kind := _office({each.filename for each in names}):
        raise FormError(f"it is {kind}: save the table as CSV, UTF-8")
    if len(names) != 1:
        raise FormError(f"it is a zip of {len(names):,} files: unpack it and name one of them")
    if names[0].flag_bits & 1:
        raise FormError("it is a zip with a password: unpack it first")
    try:
        return cast(BinaryIO, stack.enter_context(archive.open(names[0])))
    except NotImplementedError:
        raise FormError(
            "it is a zip of a kind that Python cannot unpack: unpack it first"
        ) from None


def _office(names: set[str]) -> str | None:
    if "xl/workbook.xml" in names:
        return "an Excel workbook"
    if "[Content_Types].xml" in names or "mimetype" in names:
        return "an office document"
    return None


_PACKERS: dict[bytes, tuple[str, Callable[[BinaryIO, ExitStack], BinaryIO]]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"BZh": ("bz2", _bz2),
    b"\xfd7zXZ\x00": ("xz", _xz),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    b"PK\x03\x04": ("zip", _zip),
}
