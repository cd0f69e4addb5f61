"""Users in several partitions: one cause, where each such user would break several promises.

A user's state is in the partition of the changelog that has the number of the input's. Where the
user's events come in several partitions, there are several profiles, each with a chain of its own,
and nothing of that user fits together. So these users are told of in one sentence, with the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consumer.contract.records import Record
from consumer.verify.report import Finding, ViolationKind
from schemas.partitioner import partition_of


def split_at_once(one: int, other: int) -> Iterator[Finding]:
    """Tell of the first such user, and in which partitions the user is."""
    yield (
        ViolationKind.SPLIT_USERS,
        f"events of one user are in several partitions, {one} and {other}, and so is the profile: "
        "producers with different partitioners write to it, or to partitions of their choice; "
        "'segmenter verify' counts such users and the records of each partitioner, 'segmenter "
        "intake' re-keys such an input. What else is wrong with these users, and others like them, "
        "is not listed",
    )


def split_users(
    count: int, of: int, events: Iterable[Record], partitions: int
) -> Iterator[Finding]:
    """Tell of all such users, and what the input's records say of the cause.

    Parameters
    ----------
    count, of
        Such users, and all whose partition is known.
    events
        Records of the input.
    partitions
        How many the input has.
    """
    yield (
        ViolationKind.SPLIT_USERS,
        f"the events of {count:,} of {of:,} users are in several partitions, and so are their "
        f"profiles; {_cause(events, partitions)}. Have all producers use one, or re-key the input "
        "with 'segmenter intake', and begin anew with another kafka.group_id and other topics; "
        "what else is wrong with these users follows from it and is not listed",
    )


def _cause(events: Iterable[Record], partitions: int) -> str:
    keyed = murmur2 = crc32 = either = 0
    for record in events:
        if not record.key:
            continue
        keyed += 1
        by_murmur2 = partition_of(record.key, partitions) == record.partition
        by_crc32 = partition_of(record.key, partitions, "crc32") == record.partition
        murmur2 += by_murmur2
        crc32 += by_crc32
        either += by_murmur2 or by_crc32
    if keyed and murmur2 == keyed:
        return "all records that are there now are where murmur2 puts their key: others were not"
    if keyed and either == keyed:
        return (
            f"{murmur2 / keyed:.0%} of the records are where murmur2 (Java's partitioner) puts "
            f"their key, {crc32 / keyed:.0%} where CRC-32 (librdkafka's default) does: "
            "producers with different partitioners write to it"
        )
    return (
        f"of {keyed:,} records with a key {murmur2:,} are where murmur2 (Java's partitioner) puts "
        f"it, {crc32:,} where CRC-32 (librdkafka's default) does, {keyed - either:,} where neither "
        "does: producers do not agree on a partitioner, or write to partitions of their choice"
    )
