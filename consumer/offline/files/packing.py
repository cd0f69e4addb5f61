"""From a path to the bytes inside: pipes and files, gzip, bz2, xz, zstd and a zip of one file.

How a file is packed is told by its first bytes, never by its name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

from consumer.offline.files.errors import STANDARD_INPUT, FormError

HEAD_BYTES = 1 << 20
"""Bytes that are looked at before it is said what a file is: more than the longest first record."""

_MOST_LAYERS = 4  # a gzip in a zip, say; a file that unpacks to itself must not be followed
# Dumps of long windows (zstd --long=31) ask for as much memory as this; others for 8 MB or less.
_ZSTD_WINDOW = 1 << 31
_ZSTD_CHUNK = 1 << 14  # little, since all that comes out of it is held


class Rewound(io.RawIOBase):
    """A stream whose first bytes were read, with these put back.

    Attributes
    ----------
    taken, given
        Bytes that were read of the stream, the first ones included, and that were read of this.
    """

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest
        self.taken = len(head)
        self.given = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the head first, then from the rest."""
        if self._head:
            count = min(len(buffer), len(self._head))
            buffer[:count] = self._head[:count]
            self._head = self._head[count:]
        else:
            piece = self._rest.read1(len(buffer))  # type: ignore[attr-defined]
            count = len(piece)
            buffer[:count] = piece
            self.taken += count
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


def look(stream: BinaryIO) -> tuple[bytes, Rewound]:
    """Give the first `HEAD_BYTES` of a stream, and the stream with them put back."""
    pieces, wanted = [], HEAD_BYTES
    while wanted > 0 and (piece := stream.read1(wanted)):  # type: ignore[attr-defined]
        pieces.append(piece)
        wanted -= len(piece)
    head = b"".join(pieces)
    return head, Rewound(head, stream)


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
        head, rewound = look(stream)
        stream = cast(BinaryIO, io.BufferedReader(rewound))
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


def _zstd(stream: BinaryIO, _stack: ExitStack) -> BinaryIO:
    try:
        import zstandard  # noqa: PLC0415
    except ImportError:
        raise FormError(
            "it is packed with zstd, which needs the extra files: pip install 'segmenter[files]' "
            "(in a checkout: pip install -e '.[files]')"
        ) from None
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    return cast(
        BinaryIO, io.BufferedReader(_Zstd(stream, unpacker.decompressobj, zstandard.ZstdError))
    )


class _Zstd(io.RawIOBase):
    """The frames of a stream unpacked.

    The package's own reader takes a frame that is cut short for a whole one.
    """

    def __init__(
        self, stream: BinaryIO, new_frame: Callable[[], Any], error: type[Exception]
    ) -> None:
        self._stream = stream
        self._new_frame = new_frame
        self._error = error
        self._frame = new_frame()
        self._packed = self._ready = b""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            packed = self._packed or self._stream.read(_ZSTD_CHUNK)
            self._packed = b""
            if not packed:
                if self._begun:
                    raise EOFError
                return 0
            try:
                self._ready = self._frame.decompress(packed)
            except self._error as error:
                raise OSError(f"the zstd data is damaged: {error}") from error
            self._begun = not self._frame.eof
            if self._frame.eof:
                self._packed = self._frame.unused_data
                self._frame = self._new_frame()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


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
