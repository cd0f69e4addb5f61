"""JSON lines, and lines of Python literals as some old data sets have them."""

from __future__ import annotations

import ast
import codecs
import json
from collections.abc import Iterator
from typing import BinaryIO

from consumer.offline.files.errors import FormError

LONGEST_RECORD = 64_000_000
"""Bytes of one record at most: what is longer is no record, and must not fill the memory."""

Numbered = Iterator[tuple[int, bytes]]
"""Records with the number of the line that each begins on, from 1."""


def json_lines(stream: BinaryIO) -> Numbered:
    """Give the lines without their ends; blank ones are left out, spaces or not.

    A byte order mark is taken off every line: files are put together with `cat`.
    """
    number = 0
    while line := stream.readline(LONGEST_RECORD + 1):
        number += 1
        if len(line) > LONGEST_RECORD:
            raise FormError(f"line {number:,} is longer than {LONGEST_RECORD:,} bytes")
        stripped = line.rstrip(b"\r\n").removeprefix(codecs.BOM_UTF8)
        if stripped.strip():
            yield number, stripped


def literal_lines(stream: BinaryIO) -> Numbered:
    """Give lines such as ``{u'text': u'Fits well.'}`` as JSON; what cannot be read stays."""
    for number, line in json_lines(stream):
        try:
            found = ast.literal_eval(line.decode())
            yield number, json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            yield number, line
