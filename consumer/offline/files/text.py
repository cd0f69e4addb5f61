"""Encodings: whatever a file is written in, what is read further on is UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import BinaryIO, cast

_CHUNK = 1 << 16

# Longer marks first: that of UTF-32 begins as that of UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def encoding_of(head: bytes) -> str | None:
    """Give the encoding that the first bytes tell, None for UTF-8.

    A file in UTF-16 without a mark is known by the zero in every other byte of its first letters:
    JSON and the header of a table begin with ASCII.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    start = head[:8]
    if len(start) >= 4 and len(start) % 2 == 0:
        if all(start[::2]) and not any(start[1::2]):
            return "utf-16-le"
        if all(start[1::2]) and not any(start[::2]):
            return "utf-16-be"
    return None


class _Transcoded(io.RawIOBase):
    """A stream in another encoding, as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            chunk = self._stream.read(_CHUNK)
            self._ended = not chunk
            # UnicodeDecodeError where it is cut in the middle of a character, too.
            self._ready = self._decoder.decode(chunk, final=self._ended).encode()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def as_utf8(head: bytes, stream: BinaryIO) -> BinaryIO:
    """Give a stream in UTF-8; a byte order mark at its beginning may be left."""
    encoding = encoding_of(head)
    if encoding is None:
        return stream
    return cast(BinaryIO, io.BufferedReader(_Transcoded(stream, encoding)))
