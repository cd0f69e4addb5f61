"""Users in several partitions: one cause, where each such user would break several promises.

A user's state is in the partition of the changelog that has the number of the input's. Where the
user's events come in several partitions, there are several profiles, each with a chain of its own,
and nothing of that user fits together. So these users are told of in one sentence, with the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from confluent_kafka import Message

from consumer.verify.report import ViolationKind, Violations
from schemas.partitioner import partition_of


class SplitUsers:
    """Looks at the partitions in which users have profiles, as these are read."""

    def __init__(self) -> None:
        self.users: set[str] = set()
        """Those who have, or once had, profiles in several partitions."""
        self._partitions: dict[str, int] = {}

    def watch(self, profiles: Iterable[Message]) -> Iterator[Message]:
        """Pass records of the changelog on, and look at them."""
        for message in profiles:
            key, partition = message.key(), message.partition()
            if partition is not None and key is not None and message.value() is not None:
                user = key if isinstance(key, str) else key.decode("utf-8", "replace")
                if self._partitions.setdefault(user, partition) != partition:
                    self.users.add(user)
            yield message

    def report(
        self, events: Iterable[Message], topic: str, partitions: int, violations: Violations
    ) -> None:
        """Tell of the split users, and what the input's records say of the cause.

        Parameters
        ----------
        events
            Records of the input.
        topic, partitions
            Its name, and how many partitions it has.
        violations
            Where the finding goes.
        """
        keyed = murmur2 = crc32 = either = 0
        for message in events:
            key = message.key()
            key = key.encode() if isinstance(key, str) else key
            if not key:
                continue
            keyed += 1
            by_murmur2 = partition_of(key, partitions) == message.partition()
            by_crc32 = partition_of(key, partitions, "crc32") == message.partition()
            murmur2 += by_murmur2
            crc32 += by_crc32
            either += by_murmur2 or by_crc32
        if keyed and murmur2 == keyed:
            cause = (
                "all records that are there now are where murmur2 puts their key: others were not"
            )
        elif keyed and either == keyed:
            cause = (
                f"{murmur2 / keyed:.0%} of the records are where murmur2 (Java's partitioner) puts "
                f"their key, {crc32 / keyed:.0%} where CRC-32 (librdkafka's default) does: "
                "producers with different partitioners write to it"
            )
        else:
            cause = (
                f"of {keyed:,} records with a key {murmur2:,} are where murmur2 (Java's "
                f"partitioner) puts it, {crc32:,} where CRC-32 (librdkafka's default) does, "
                f"{keyed - either:,} where neither does: producers do not agree on a partitioner, "
                "or write to partitions of their choice"
            )
        violations.add(
            ViolationKind.SPLIT_USERS,
            topic,
            f"the events of {len(self.users):,} of {len(self._partitions):,} users are in several "
            f"partitions, and so are their profiles; {cause}. Have all producers use one, or "
            "re-key the input with 'segmenter intake', and begin anew with another kafka.group_id "
            "and other topics; what else is wrong with these users follows from it and is not "
            "listed",
        )
