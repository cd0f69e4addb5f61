"""One user's latest state record, wherever it stands and in whatever form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from confluent_kafka import KafkaException

from consumer.contract import folder as files
from consumer.contract.errors import ExpectedError
from consumer.kafka.asking import REQUEST_SECONDS, words
from consumer.kafka.cluster import Cluster
from consumer.kafka.topics import TopicError, partition_counts
from consumer.settings import Settings
from schemas.binary import SECTION, NewerRecordError, RecordError, is_binary, sections_of
from schemas.keys import encode_key
from schemas.partitioner import partition_of
from schemas.profiles import ProfileRecord
from schemas.states import read_profile, read_state


class ProfileNotFoundError(ExpectedError):
    """There is no record of the user, or none that can be read."""


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """A user's record.

    Attributes
    ----------
    place
        Where it was found.
    record
        What it says.
    form
        How it is written, in words.
    partition
        Of the changelog, and so of the user's events; None for a file.
    """

    place: str
    record: ProfileRecord
    form: str
    partition: int | None = None


def find_profile(
    settings: Settings, user: str, *, seconds: float = REQUEST_SECONDS
) -> FoundProfile:
    """Look for the latest record of a user on `user-profiles`.

    It is read from the partition that `events.partitioner` puts the user's events in, from its
    beginning to its end; from all partitions where that is `any`. The cluster is asked which topics
    there are for so many seconds.

    Raises
    ------
    ProfileNotFoundError
        If there is no record, or the latest one is a tombstone or cannot be read.
    TopicError, ReadStalledError
        If the cluster cannot be reached, or the topic not be read.
    """
    topic, events = settings.topics.profiles, settings.events
    cluster = Cluster(settings.kafka)
    count = partition_counts(settings, [topic], cluster, seconds=seconds).get(topic)
    if count is None:
        raise ProfileNotFoundError(f"there is no topic {topic}: check topics.profiles")
    where = range(count)
    hint = ""
    if events.partitioner != "any":
        own = partition_of(encode_key(user, events.key), count, events.partitioner)
        where = range(own, own + 1)
        hint = "; with --events.partitioner any all partitions are looked at"
    try:
        latest = _latest(settings, cluster, where, user.encode())
    except KafkaException as error:
        raise TopicError(f"topic {topic} cannot be read: {words(error)}") from error
    places = topic if len(where) != 1 else f"{topic}[{where[0]}]"
    if latest is None:
        raise ProfileNotFoundError(f"{places} has no record of the user {user!r}{hint}")
    partition, place, value = latest
    if value is None:
        raise ProfileNotFoundError(f"the user {user!r} was removed from {topic}, by {place}")
    return replace(read_found(place, user, value), partition=partition)


def _latest(
    settings: Settings, cluster: Cluster, where: range, key: bytes
) -> tuple[int, str, bytes | None] | None:
    """Give partition, place and value of the last record under a key, None where there is none."""
    topic = settings.topics.profiles
    latest: tuple[int, str, bytes | None] | None = None
    for partition in where:
        for records in cluster.read_columns(
            topic,
            partition,
            no_progress_seconds=settings.restore.no_progress_seconds,
        ):
            for number, its_key in enumerate(records.keys):
                if its_key == key:
                    latest = partition, records.place(number), records.values[number]
    return latest


def find_in_file(path: Path, user: str) -> FoundProfile:
    """Look for a user's record in a replay's folder, in a file of JSON lines, or of one record.

    Of several lines the last one is the user's.

    Raises
    ------
    ProfileNotFoundError
        If there is none; that says so of the first line that cannot be read, where there is one.
    """
    file = path / files.PROFILES if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ProfileNotFoundError(f"cannot read {file}: {error.strerror}") from None
    if is_binary(data):
        return read_found(str(file), user, data)
    latest: FoundProfile | None = None
    unreadable: ProfileNotFoundError | None = None
    for place, line in _lines(file, data):
        try:
            found = read_found(place, user, line)
        except ProfileNotFoundError as error:
            unreadable = unreadable or error
        else:
            latest = found if found.record.user_id == user else latest
    if latest is not None:
        return latest
    raise unreadable or ProfileNotFoundError(f"{file} has no record of the user {user!r}")


def _lines(file: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            yield f"{file}, line {number}", line


def read_found(place: str, user: str, value: bytes) -> FoundProfile:
    """Read a record that was found under a user's name; raises ProfileNotFoundError."""
    key = user.encode()
    try:
        record = read_profile(key, value)
        form = "JSON"
        if is_binary(value):
            state = read_state(key, value)
            form = f"binary, {state.vector.dtype.name}"
            if extra := state.rest.extra:
                tags = ", ".join(
                    f"{each.tag} ({len(each.whole) - SECTION.size} bytes)"
                    for each in sections_of(extra)
                )
                form += f", with sections that this version does not know: {tags}"
    except NewerRecordError as error:
        raise ProfileNotFoundError(
            f"the record {place} was written by a newer version ({error}): use that one"
        ) from None
    except RecordError as error:
        raise ProfileNotFoundError(f"the record {place} cannot be read: {error}") from None
    return FoundProfile(place, record, f"{form}, {len(value):,} bytes")
