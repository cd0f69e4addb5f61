"""The texts of a measurement: real events, chosen evenly over a file, cleaned as a worker does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

from consumer.offline.files import read_lines
from consumer.settings import Settings
from models.text import LoneSurrogateError, prepare_text
from schemas.intake import RefusedError

Mix = Literal["posts", "short"]

SHORT_WORDS = 60
"""Longest text of the mix ``short``, in words: about what a product review has."""


class SampleError(ValueError):
    """A file that no texts can be taken from."""


@dataclass(frozen=True)
class Sample:
    """Events that a worker accepts, in the file's order, and their texts as the model gets them.

    Attributes
    ----------
    lines
        The events as they stand in the file.
    texts
        One cleaned text an event, none empty, none twice.
    """

    lines: list[bytes]
    texts: list[str]

    def write(self, folder: Path) -> None:
        """Leave both for the contenders' processes."""
        (folder / TEXTS_FILE).write_text(json.dumps(self.texts), encoding="utf-8")
        (folder / EVENTS_FILE).write_bytes(b"\n".join(self.lines) + b"\n")


TEXTS_FILE = "texts.json"
EVENTS_FILE = "events.jsonl"


def read_sample(path: Path, count: int, mix: Mix = "posts") -> Sample:
    """Take `count` texts, evenly spaced over a file of events.

    The file is cut into `count` stretches, and each gives its first usable text; so there are fewer
    where a stretch has none. Texts that occurred before are left out: the engine would embed them
    once, which is not the question here.

    Parameters
    ----------
    path
        JSON lines, plain or gzip.
    count
        Texts wanted.
    mix
        ``posts`` takes texts of any length, ``short`` those of at most `SHORT_WORDS` words.

    Raises
    ------
    SampleError
        If no text can be used.
    EventFileError
        If the file cannot be read.
    """
    lines = list(read_lines(path))
    seen: dict[str, bytes] = {}
    for start, end in pairwise(i * len(lines) // count for i in range(count + 1)):
        for line, text in _usable(lines[start:end]):
            if text not in seen and (mix == "posts" or len(text.split()) <= SHORT_WORDS):
                seen[text] = line
                break
    if not seen:
        raise SampleError(f"{path} has no usable text for the mix {mix!r}: give a file of events.")
    return Sample(list(seen.values()), list(seen))


def _usable(lines: list[bytes]) -> Iterator[tuple[bytes, str]]:
    intake, now = Settings().events.intake(), datetime.now(UTC)
    for line in lines:
        try:
            event = intake.read(line, (intake.user_id(line) or "").encode(), now)
            text = prepare_text(event.text or "", event.language)
        except (RefusedError, LoneSurrogateError):
            continue
        if text.has_words:
            yield line, text.text
