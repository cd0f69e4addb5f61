"""The streams: Stack Exchange as it is, and with its users multiplied; and the table of vectors.

Multiplied, the stream comes again and again, its times spread over the same years, and each event
is one of its user's namesakes, drawn by hash: as busy as the user is, and of the same interest.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pipeline.checkouts import ROOT, Checkout

SHORT_WORDS = 40
SAMPLE = 3000
DIMENSIONS = 384
_LIKENESS = 0.5
"""Cosine of a text to the centre of its topic, about that of MiniLM's vectors."""

Event = dict[str, Any]


@dataclass(frozen=True)
class Stream:
    """A file of events, how many of its first ones only fill the profiles, and who is sampled."""

    path: Path
    filling: int
    events: int
    threshold: float


def read_events(data: Path, words: int | None) -> list[Event]:
    """Read the events, without their label, and with texts of so many words at most."""
    with gzip.open(data, "rt", encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    for event in events:
        if words is not None:
            event["text"] = " ".join(event["text"].split()[:words])
    return events


def line_of(event: Event) -> bytes:
    """Write an event as a line of a stream's file: key, tab, value; no producer knows a label."""
    value = json.dumps({k: v for k, v in event.items() if k != "label"}, ensure_ascii=False)
    return f"{event['user_id']}\t{value}\n".encode()


def draw(*parts: object) -> int:
    """Give a number that the parts decide."""
    name = ":".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")


def multiplied(events: Sequence[Event], users: int, first_pass: int = 0) -> Iterator[Event]:
    """Give the events of a stream of so many users, endlessly.

    Times run through the same years once in as many passes as there are namesakes.
    """
    copies = max(1, users // len({event["user_id"] for event in events}))
    times = [datetime.fromisoformat(event["occurred_at"]) for event in events]
    begin, span = min(times), max(times) - min(times)
    number = first_pass
    while True:
        for event, at in zip(events, times, strict=True):
            copy = draw(number, event["event_id"]) % copies
            when = begin + (number % copies * span + (at - begin)) / copies
            yield {
                **event,
                "event_id": f"{event['event_id']}-{number}",
                "user_id": f"{event['user_id']}-{copy}",
                "occurred_at": when.astimezone(UTC).isoformat(timespec="milliseconds"),
            }
        number += 1


def earlier(window: Sequence[Event], events: Sequence[Event], each: int = 2) -> list[Event]:
    """Give some earlier events of those users of a window who would have had some.

    In the whole stream of n events, a share u / n of events is a user's first.
    """
    own: dict[str, list[Event]] = {}
    for event in events:
        own.setdefault(event["user_id"], []).append(event)
    share = len(own) / len(events)
    made = []
    for user, event in {event["user_id"]: event for event in window}.items():
        if draw("new", user) / 2**64 < share:
            continue
        theirs = own[user.rsplit("-", 1)[0]]
        for number in range(each):
            before = theirs[draw(user, number) % len(theirs)]
            when = datetime.fromisoformat(event["occurred_at"]) - timedelta(days=each - number)
            made.append(
                {
                    **before,
                    "event_id": f"{before['event_id']}-before-{number}",
                    "user_id": user,
                    "occurred_at": when.isoformat(timespec="milliseconds"),
                }
            )
    made.sort(key=lambda event: draw("order", event["event_id"], event["user_id"]))
    return made


def million(folder: Path, data: Path, words: int | None, timed: int, users: int) -> Stream:
    """Write a window of the stream of so many users, with what filled their profiles before."""
    path = folder / f"users-{users}-{words or 'full'}-{timed}.tsv"
    events = read_events(data, words)
    passing = multiplied(events, users, first_pass=40)
    window = [next(passing) for _ in range(timed)]
    before = earlier(window, events)
    path.write_bytes(b"".join(map(line_of, (*before, *window))))
    return Stream(path, len(before), len(before) + len(window), min(1.0, SAMPLE / users))


def as_it_is(folder: Path, data: Path, words: int | None, timed: int) -> Stream:
    """Write the stream of 2,959 users, all of whom are in the sample."""
    path = folder / f"as-it-is-{words or 'full'}.tsv"
    events = read_events(data, words)
    path.write_bytes(b"".join(map(line_of, events)))
    return Stream(path, max(0, len(events) - timed), len(events), 1.0)


def make_table(folder: Path, data: Path) -> Path:
    """Make the table: for the texts of both lengths, as this version cleans them, a vector each.

    A vector leans to its event's label as much as those of a real model do.
    """
    kept = folder / f"table-2-{zlib.crc32(data.read_bytes()):08x}"
    if (kept / "texts.json").exists():
        return kept
    kept.mkdir(parents=True, exist_ok=True)
    texts: list[list[str]] = []
    with Checkout(ROOT) as checkout:
        for words in (SHORT_WORDS, None):
            events = read_events(data, words)
            path = kept / "events.tsv"
            path.write_bytes(b"".join(map(line_of, events)))
            clean = checkout.ask("texts", path=str(path))["texts"]
            texts = texts or [[] for _ in clean]
            for own, event, text in zip(texts, events, clean, strict=True):
                # Who does not clean asks for the text as it is.
                own.extend([event["text"]] if text is None else [event["text"], text])
    labels = sorted({event["label"] for event in events})
    random = np.random.default_rng(1)
    centres = np.linalg.qr(random.standard_normal((DIMENSIONS, len(labels))))[0].T
    rows = centres[[labels.index(event["label"]) for event in events]] * _LIKENESS
    noise = random.standard_normal(rows.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    rows += noise * np.sqrt(1 - _LIKENESS**2)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(kept / "vectors.npy", rows.astype(np.float32))
    np.save(kept / "centres.npy", centres * _LIKENESS)
    (kept / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    return kept
