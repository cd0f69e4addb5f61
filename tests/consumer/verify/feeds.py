"""The three ways into the engine: a replay's folder, topics read whole, topics that are followed.

Each takes a history as a replay's files, spoiled or not, and says what is found. So a test of a
rule is written once and run through all three; no Kafka is needed: records are made of the files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from consumer.contract import folder as names
from consumer.contract.records import Record
from consumer.settings import Settings
from consumer.verify import ViolationKind, verify_folder
from consumer.verify.cut import Cut, Span
from consumer.verify.follow import Follower
from consumer.verify.report import Violation
from consumer.verify.topics import _TopicAudit
from consumer.verify.watch import GroupWatch, ReadUp
from schemas.dead_letters import HEADER_PREFIX
from schemas.partitioner import partition_of
from schemas.segment_model import SEGMENT_MODEL_KEY
from tests.consumer.verify.histories import PARTITIONS, ReplayFiles

TOPICS = Settings().topics
SUBJECTS = {
    TOPICS.changes: names.CHANGES,
    TOPICS.memberships: names.MEMBERSHIPS,
    TOPICS.profiles: names.PROFILES,
    TOPICS.dead_letters: names.DEAD_LETTERS,
    TOPICS.lifecycle: names.LIFECYCLE,
    TOPICS.models: names.MODEL,
    TOPICS.segments: names.SEGMENTS,
    TOPICS.events: names.SUMMARY,
}
"""The file in which a replay has what a topic holds."""


@dataclass(frozen=True)
class Found:
    """What was found, whichever way the records took; topics are named by the replay's files."""

    first: Sequence[Violation]
    unchecked: Sequence[str] = ()

    @property
    def kinds(self) -> dict[tuple[ViolationKind, str], int]:
        """Violations by kind and subject, the sums left out: of topics without an end are none."""
        sums = {ViolationKind.SUMMARY_DIFFERS, ViolationKind.BALANCE}
        found = (each for each in self.first if each.kind not in sums)
        return dict(Counter((each.kind, _subject(each.subject)) for each in found))

    @property
    def everything(self) -> dict[tuple[ViolationKind, str], int]:
        """The same with the sums."""
        return dict(Counter((each.kind, _subject(each.subject)) for each in self.first))

    def detail(self, kind: ViolationKind) -> str:
        (found,) = (each for each in self.first if each.kind is kind)
        return found.detail


def _subject(subject: str) -> str:
    return SUBJECTS.get(subject, subject)


class Feed(Protocol):
    def __call__(self, files: ReplayFiles, folder: Path) -> Found: ...


def as_folder(files: ReplayFiles, folder: Path) -> Found:
    result = verify_folder(files.write(folder))
    return Found(result.violations, result.unchecked)


def as_topics(files: ReplayFiles, _: Path) -> Found:
    records = records_of(files)
    reader = _ScriptedReader(records)
    spans = reader.spans(records, stable=False)
    audit = _TopicAudit(
        reader,  # type: ignore[arg-type]
        Settings(),
        Cut({0: len(records[TOPICS.events])}, spans),
    )
    audit.run()
    result = audit.outcome()
    return Found(result.violations, result.unchecked)


def as_followed(files: ReplayFiles, _: Path) -> Found:
    records = records_of(files)
    follower = Follower(Settings(), settle_seconds=1.0)
    topics = (TOPICS.changes, TOPICS.memberships, TOPICS.profiles, TOPICS.dead_letters)
    follower._read_up = ReadUp(
        {(topic, n): 0 for topic in topics for n in _partitions(topic)}, now=0.0
    )
    follower._watch = GroupWatch(
        TOPICS.events, {}, stall_seconds=9, violations=follower._news, tell=print, now=0.0
    )
    for topic in topics:
        for record in records[topic]:
            follower._take(record, 0.0)
    # Twice: who agreed on what was waited for and moved on since is waited for anew.
    for now in (5.0, 10.0):
        follower._engine.settle(now, now)
    assert follower._engine.settled
    return Found(follower.violations)


WHOLE = (as_folder, as_topics)
FEEDS = (*WHOLE, as_followed)


class _ScriptedReader:
    def __init__(self, records: Mapping[str, Sequence[Record]]) -> None:
        self._records = records

    def read(self, topic: str, spans: Mapping[int, Span]) -> Iterator[Record]:
        return (each for each in self._records[topic] if each.offset < spans[each.partition].end)

    def spans(self, topics: Iterable[str], *, stable: bool) -> dict[str, dict[int, Span]]:
        return {
            topic: dict.fromkeys(_partitions(topic), Span(0, len(self._records[topic])))
            for topic in topics
        }


def _partitions(topic: str) -> range:
    return range(PARTITIONS if topic in _BY_USER else 1)


_BY_USER = {TOPICS.changes, TOPICS.memberships, TOPICS.profiles}


def records_of(files: ReplayFiles) -> dict[str, list[Record]]:
    """Give the records of the topics that workers would have written; a string is taken as is."""
    letters = [
        (b"refused", b"", {f"{HEADER_PREFIX}{name}": str(value) for name, value in each.items()})
        for each in files.dead_letters
    ]
    events: list[_Triple] = [(b"user", b"event", {})] * int(files.summary["records"])
    model = [] if files.model is None else [(SEGMENT_MODEL_KEY, _bytes(files.model), {})]
    found: dict[str, list[_Triple]] = {
        TOPICS.changes: [_event(each, "user_id") for each in files.changes],
        TOPICS.memberships: [_state(each) for each in files.memberships],
        TOPICS.profiles: [_state(each) for each in files.profiles],
        TOPICS.dead_letters: letters,
        TOPICS.events: events,
        TOPICS.lifecycle: [_event(each, "segment") for each in files.lifecycle],
        TOPICS.models: model,
    }
    return {
        topic: [_record(topic, offset, *triple) for offset, triple in enumerate(triples)]
        for topic, triples in found.items()
    }


def _record(topic: str, offset: int, key: bytes, value: bytes, headers: dict[str, str]) -> Record:
    partition = partition_of(key, PARTITIONS, "crc32") if topic in _BY_USER else 0
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    return Record(topic, partition, offset, -1, key, value, pairs)


_Triple = tuple[bytes, bytes, dict[str, str]]


def _event(event: Any, key: str) -> _Triple:
    if isinstance(event, str):
        return b"?", event.encode(), {}
    headers = {f"ce_{name}": value for name, value in event.items() if isinstance(value, str)}
    del headers["ce_datacontenttype"]
    headers["content-type"] = event["datacontenttype"]
    return str(event["data"].get(key)).encode(), _bytes(event["data"]), headers


def _state(record: Any) -> _Triple:
    return record["user_id"].encode(), _bytes(record), {}


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
