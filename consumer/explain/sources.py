"""Where an explanation is read: from Kafka, or from a replay's folder and the file it replayed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from pydantic import ValidationError

from consumer.contract import folder as files
from consumer.contract.clock import wall_clock
from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster, OffsetGoneError, read_topic
from consumer.kafka.newest import newest
from consumer.kafka.topics import TopicError, partition_counts
from consumer.offline.files import read_records
from consumer.settings import Settings
from consumer.stages.shared.snapshots import load_model, read_model
from consumer.stages.training.versions import KeptVersions
from consumer.state.lookup import ProfileNotFoundError, find_in_file, find_profile
from models.profiles.rows import to_microseconds
from models.segments.model import SegmentModel
from schemas.changes import SegmentChange
from schemas.errors import first_problem
from schemas.intake import RefusedError
from schemas.partitioner import partition_of
from schemas.profiles import ProfileRecord

ReadEvents = Callable[[Sequence[int]], Mapping[int, Record]]


@dataclass(frozen=True, slots=True)
class Came:
    """What came to the input after a time, or from an offset on.

    Attributes
    ----------
    records
        Those that may be the user's, in their order; each tells itself.
    start
        The offset from which on it is all that came.
    whole
        Whether the input still has all that came since.
    """

    records: list[Record]
    start: int
    whole: bool


ReadLater = Callable[[datetime | int], Came]


class ExplainError(ExpectedError):
    """Nothing can be explained: there is nothing to explain, or nothing to do it with."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a user.

    Attributes
    ----------
    place
        Where it was found, for people.
    profile
        The user's state, of now; None where there is none any more.
    changes
        The user's, in their order, those of now included.
    model
        The segments, of now or of the time that is asked for; None before the first version.
    read
        Gives records of the input by their offsets, as far as they are there. None where there is
        no input to look into.
    later
        Gives what came to the input after a time, or from an offset on; None likewise.
    """

    place: str
    profile: ProfileRecord | None
    changes: list[SegmentChange]
    model: SegmentModel | None
    read: ReadEvents | None
    later: ReadLater | None = None


# --- Kafka ----------------------------------------------------------------------------------------


def from_kafka(settings: Settings, user: str, at: datetime | None = None) -> Evidence:
    """Read what is known of a user from the topics.

    Raises
    ------
    ProfileNotFoundError
        If nothing is known of the user.
    ExplainError
        If the input is not there.
    TopicError, ReadStalledError, StageError
        If a topic cannot be read.
    """
    topics, cluster = settings.topics, Cluster(settings.kafka)
    wanted = [topics.events, topics.changes, topics.memberships, topics.models]
    if at is not None:
        wanted.append(topics.model_versions)
    counts = partition_counts(settings, wanted, cluster)
    if topics.events not in counts:
        raise ExplainError(
            f"there is no topic {topics.events}, the input, or this client may not see it: is "
            "topics.events right?"
        )
    if missing := [name for name in wanted if name not in counts]:
        raise TopicError(
            f"there is no topic {', '.join(missing)} (or no right to see it): check the names in "
            "topics"
        )
    try:
        changes = _changes(settings, cluster, user, counts)
        model = _latest_model(cluster, topics.models) if at is None else _model_at(settings, at)
        try:
            found = find_profile(settings, user)
        except ProfileNotFoundError:
            if at is None or not changes:
                raise
            return Evidence(f"the topics of {topics.changes}", None, changes, model, None)
    except KafkaException as error:
        raise TopicError(f"the topics cannot be read: {words(error)}") from error
    partition = found.partition or 0
    return Evidence(
        found.place,
        found.record,
        changes,
        model,
        partial(_read, settings, cluster, partition),
        partial(_later, settings, cluster, partition, user),
    )


def _changes(
    settings: Settings, cluster: Cluster, user: str, counts: Mapping[str, int]
) -> list[SegmentChange]:
    """Give a user's changes in their order, of which the latest is a membership too."""
    topics, key = settings.topics, user.encode()
    found: dict[int, SegmentChange] = {}
    for topic in (topics.memberships, topics.changes):
        # Workers write them, and Kafka's own partitioner places them.
        partition = partition_of(key, counts[topic], "murmur2")
        for records in cluster.read_columns(
            topic,
            partition,
            no_progress_seconds=settings.restore.no_progress_seconds,
        ):
            for number, its_key in enumerate(records.keys):
                value = records.values[number]
                if its_key == key and value is not None:
                    change = _change(value, records.place(number))
                    found[change.sequence] = change
    return sorted(found.values(), key=lambda change: (change.changed_at, change.sequence))


def _change(value: bytes | str, place: str) -> SegmentChange:
    try:
        return SegmentChange.model_validate_json(value)
    except ValidationError as error:
        raise ExplainError(
            f"{place} is no change that this version can read: {first_problem(error)}"
        ) from None


def _latest_model(cluster: Cluster, topic: str) -> SegmentModel | None:
    for record in newest(cluster, topic, 1):
        if record.value is not None:
            return read_model(record.value, record.place)
    return None


def _model_at(settings: Settings, at: datetime) -> SegmentModel | None:
    """Give the version that was in force at a time, as far as versions are kept."""
    kept, latest = KeptVersions(settings), None
    for record in read_topic(settings, settings.topics.model_versions):
        kept.load(record)
    for number in kept.numbers:
        entry = kept.find(number)
        if entry is not None and entry.at is not None and entry.at <= at:
            latest = entry
    return None if latest is None else SegmentModel.from_record(latest.model)


def _read(
    settings: Settings, cluster: Cluster, partition: int, offsets: Sequence[int]
) -> dict[int, Record]:
    topic = settings.topics.events
    try:
        return cluster.read_at(
            topic,
            partition,
            offsets,
            no_progress_seconds=settings.restore.no_progress_seconds,
        )
    except KafkaException as error:
        raise TopicError(f"topic {topic} cannot be read: {words(error)}") from error


def _later(
    settings: Settings, cluster: Cluster, partition: int, user: str, since: datetime | int
) -> Came:
    """Give what came after a time, by the records' own, or from an offset on."""
    topic, may_be, start = settings.topics.events, _names(user), 0
    try:
        if isinstance(since, int):
            start = since
        else:
            later = math.floor(since.timestamp() * 1000) + 1
            start = cluster.offsets_at(topic, [partition], later)[partition]
        low, end = cluster.watermarks(topic, partition)
        found = [
            record
            for record in cluster.read(
                topic,
                partition,
                end,
                start=start,
                no_progress_seconds=settings.restore.no_progress_seconds,
            )
            if may_be(record)
        ]
    except OffsetGoneError:
        return Came([], start, whole=False)
    except KafkaException as error:
        raise TopicError(f"topic {topic} cannot be read: {words(error)}") from error
    # Where it begins with what came later, there may have been more of that.
    return Came(found, start, whole=low == 0 or start > low or isinstance(since, int))


def _names(user: str) -> Callable[[Record], bool]:
    """Give what tells whether a record may be a user's, at little cost: most are others'."""
    written = {user.encode(), json.dumps(user)[1:-1].encode()}

    def may_be(record: Record) -> bool:
        both = (record.key or b"") + b"\n" + (record.value or b"")
        # Whoever writes a letter of the id as an escape writes a backslash.
        return b"\\" in both or any(each in both for each in written)

    return may_be


# --- a replay -------------------------------------------------------------------------------------


def from_folder(
    settings: Settings, folder: Path, events: Path | None, user: str, at: datetime | None = None
) -> Evidence:
    """Read what is known of a user from what `segmenter replay` wrote.

    Parameters
    ----------
    settings
        How the file of events is read.
    folder
        The replay's.
    events
        The file that was replayed, for its texts.
    user
        The user's id.
    at
        What was known then, rather than at the end.

    Raises
    ------
    ProfileNotFoundError
        If nothing is known of the user.
    ExplainError
        If the folder is not a replay's.
    EventFileError, StageError
        If a file cannot be read.
    """
    if not (folder / files.SUMMARY).is_file():
        raise ExplainError(
            f"{folder} is no folder of a replay that has ended: it has no {files.SUMMARY}"
        )
    changes = list(_lines(folder / files.CHANGES, user))
    path = folder / files.MODEL
    model = load_model(path) if path.is_file() else None
    if at is not None and model is not None and not _was_in_force(folder, model.version, at):
        model = None  # a replay keeps its last version alone
    try:
        found = find_in_file(folder, user)
    except ProfileNotFoundError:
        if at is None or not changes:
            raise
        return Evidence(str(folder), None, changes, model, None)
    if events is None:
        return Evidence(found.place, found.record, changes, model, None)
    return Evidence(
        found.place,
        found.record,
        changes,
        model,
        partial(_of_file, settings, events),
        partial(_later_of_file, settings, events, user),
    )


def _was_in_force(folder: Path, version: int, at: datetime) -> bool:
    """Tell whether anybody was decided on under a version by then; changes come in time order."""
    try:
        with (folder / files.CHANGES).open("rb") as file:
            for line in file:
                if b'"version":%d' % version not in line:
                    continue
                data = json.loads(line)["data"]
                if data["model"]["version"] == version:
                    return datetime.fromisoformat(data["changed_at"]) <= at
    except (OSError, ValueError, KeyError, TypeError):
        return False  # `_lines` says what is wrong with the file
    return False


def _lines(path: Path, user: str) -> Iterator[SegmentChange]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                # Most lines are others'.
                if json.dumps(user, ensure_ascii=False).encode() in line:
                    place = f"{path}, line {number}"
                    try:
                        data = json.loads(line)["data"]
                    except (ValueError, KeyError, TypeError):
                        raise ExplainError(f"{place} is no CloudEvent") from None
                    change = _change(json.dumps(data), place)
                    if change.user_id == user:
                        yield change
    except OSError as error:
        raise ExplainError(f"cannot read {path}: {error.strerror}") from None


def _of_file(settings: Settings, path: Path, offsets: Sequence[int]) -> dict[int, Record]:
    wanted, found = set(offsets), {}
    for record in read_records(path, settings.topics.events, settings.events.intake()):
        if record.offset in wanted:
            found[record.offset] = record
            if len(found) == len(wanted):
                break
    return found


def _later_of_file(settings: Settings, path: Path, user: str, since: datetime | int) -> Came:
    """Give what came after a time, a replay's clock being the latest event time so far."""
    intake, now, may_be = settings.events.intake(), wall_clock(), _names(user)
    passed, start, found = False, 0, []
    for record in read_records(path, settings.topics.events, intake):
        if isinstance(since, int):
            passed = record.offset >= since
        elif not passed:
            try:
                event, _ = intake.sift(record.value, record.key, now)
            except RefusedError:
                continue  # it tells no time
            passed = event.microseconds > to_microseconds(since)
        if not passed:
            start = record.offset + 1
        elif may_be(record):
            found.append(record)
    return Came(found, start, whole=True)


def check_known(evidence: Evidence, user: str, *, now: bool = True) -> None:
    """Make sure that there is something to explain, of now or of a time.

    Raises
    ------
    ProfileNotFoundError
        If nothing was known of the user.
    ExplainError
        If there were no segments.
    """
    if evidence.profile is None and not evidence.changes:
        raise ProfileNotFoundError(f"nothing was known of the user {user!r}")
    if now and evidence.profile is not None and evidence.model is None:
        raise ExplainError(
            "there is no segment model yet: the trainer publishes the first version when it knows "
            "enough users, see 'segmenter status'"
        )
