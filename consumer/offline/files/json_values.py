"""JSON that is not a record a line: arrays, an array inside of an object, objects over lines.

Read piece by piece with the standard library's decoder, so that one record and not the file has to
fit into memory. A record is given as it is written in the file, byte for byte.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import BinaryIO

from consumer.offline.files.errors import FormError
from consumer.offline.files.lines import LONGEST_RECORD, Numbered

_CHUNK = 1 << 16
_BLANK = " \t\r\n\ufeff"
_QUOTED_CHARS = 40
_LONGEST_LITERAL = len("-Infinity")
_OPEN_STRING = "Unterminated string"  # as the decoder has it

# Numbers are only passed by: as text they have no limit of digits.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)


def end_of_value(text: str, begin: int = 0) -> int | None:
    """Give where a JSON value ends, None where the text ends before it.

    Raises
    ------
    json.JSONDecodeError
        If there is none, however the text may go on.
    RecursionError
        If it is nested too deep.
    """
    try:
        return _DECODER.raw_decode(text, begin)[1]
    except json.JSONDecodeError as error:
        if error.msg.startswith(_OPEN_STRING):
            return None
        if error.pos >= len(text.rstrip()) - _LONGEST_LITERAL:  # true or an escape, cut in two
            return None
        raise


class _Window:
    """The part of a stream that is being read, as text.

    Bytes that are no UTF-8 are carried along as they are, so that a record with some is refused by
    itself, as on Kafka.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text = ""
        self._at = 0
        self._ended = False
        self.line = 1

    def next(self) -> str:
        """Pass blanks; give the character behind them without taking it, "" at the end."""
        while True:
            for place in range(self._at, len(self._text)):
                if self._text[place] not in _BLANK:
                    self._move(place)
                    return self._text[place]
            self._move(len(self._text))
            if not self._more():
                return ""

    def take(self, expected: str, where: str) -> None:
        """Take one character.

        Raises
        ------
        FormError
            If another one is there.
        """
        if (found := self.next()) != expected:
            what = "ends" if not found else f"is no valid JSON: {expected!r} is missing"
            raise FormError(f"line {self.line:,} {what} {where}")
        self._move(self._at + 1)

    def value(self) -> bytes:
        """Take one JSON value.

        Raises
        ------
        FormError
            If there is none, or it is too long.
        """
        while True:
            end = self._end_of_value()
            # A number at the end of what was read may go on.
            if end is not None and (end < len(self._text) or self._ended):
                found = self._text[self._at : end].encode("utf-8", "surrogateescape")
                self._move(end)
                return found
            if len(self._text) - self._at > LONGEST_RECORD:
                raise FormError(
                    f"line {self.line:,} begins a record of more than {LONGEST_RECORD:,} characters"
                )
            if not self._more():
                raise FormError(f"it is cut short, in the record that line {self.line:,} begins")

    def _end_of_value(self) -> int | None:
        try:
            return end_of_value(self._text, self._at)
        except RecursionError:
            raise FormError(f"line {self.line:,} begins a record that is nested too deep") from None
        except json.JSONDecodeError as error:
            line = self.line + self._text.count("\n", self._at, error.pos)
            raise FormError(
                f"line {line:,} is no valid JSON ({error.msg}), in the record that line "
                f"{self.line:,} begins"
            ) from None

    def _more(self) -> bool:
        """Read on, twice as much as is there, so that a long record is not begun over and over."""
        if self._ended:
            return False
        left = self._text[self._at :]
        chunk = self._stream.read(max(_CHUNK, len(left)))
        self._ended = not chunk
        self._text = left + self._decode(chunk, final=self._ended)
        self._at = 0
        return True

    def _move(self, place: int) -> None:
        self.line += self._text.count("\n", self._at, place)
        self._at = place


def array_elements(stream: BinaryIO) -> Numbered:
    """Give the elements of an array, or of several ones that follow one another."""
    window = _Window(stream)
    while window.next():
        window.take("[", "where an array should begin: something follows the array")
        yield from _elements(window)


def objects(stream: BinaryIO) -> Numbered:
    """Give objects that follow one another, each over as many lines as it likes."""
    window = _Window(stream)
    while window.next():
        line = window.line
        yield line, window.value()


def array_inside(stream: BinaryIO) -> Numbered:
    """Give the elements of the one array of objects among the members of an object.

    Raises
    ------
    FormError
        If there is another one: which of them holds the records cannot be known.
    """
    window = _Window(stream)
    window.take("{", "where an object should begin")
    found: str | None = None
    while window.next() != "}":
        name = _text_of(window.value())
        window.take(":", "behind a member's name")
        if window.next() == "[":
            window.take("[", "")
            if window.next() == "{":
                if found is not None:
                    raise several_arrays(found, name)
                found = name
                yield from _elements(window)
            else:
                for _ in _elements(window):
                    pass
        else:
            window.value()
        if window.next() != "}":
            window.take(",", "between two members of the object")
    window.take("}", "in the object")
    if found is None:
        raise FormError("it is one JSON object, with no array of records in it")
    if window.next():
        raise FormError(f"line {window.line:,} goes on behind the object that holds the records")


def _elements(window: _Window) -> Iterator[tuple[int, bytes]]:
    """Give the elements of an array whose bracket was taken, and take the one that closes it."""
    if window.next() == "]":
        window.take("]", "")
        return
    while True:
        window.next()
        line = window.line
        yield line, window.value()
        if window.next() != ",":
            break
        window.take(",", "")
    window.take("]", "in the array: it is cut short, or a comma is missing")


def several_arrays(first: str, second: str) -> FormError:
    """Say that there is more than one array that could hold the records."""
    return FormError(
        f"it is an object of several arrays, {_short(first)} and {_short(second)}: give the one "
        "that holds the records in a file of its own"
    )


def _text_of(written: bytes) -> str:
    return str(json.loads(written.decode("utf-8", "replace"), strict=False))


def _short(name: str) -> str:
    return name if len(name) <= _QUOTED_CHARS else name[: _QUOTED_CHARS - 1] + "…"
