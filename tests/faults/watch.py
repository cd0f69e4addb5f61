"""Measures from outside: how long a partition stood still, and when a backlog was worked off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.kafka.groups import intake_group
from consumer.settings import Settings

SOURCE_PARTITIONS = 4
"""Of the foreign input, where intake has one."""

_EVERY_SECONDS = 0.1


class Watch:
    """Asks for the group's committed offsets ten times a second.

    Parameters
    ----------
    settings
        Whose group and input.
    ends
        Gives the offset after the last record produced, by partition.
    intake
        Whether to watch the group of intake, and its input.
    """

    def __init__(
        self,
        settings: Settings,
        ends: Callable[[], Mapping[int, int]],
        *,
        intake: bool = False,
    ) -> None:
        self.committed: dict[int, int] = {}
        self.went_back: list[str] = []
        """Committed offsets that became smaller, in words; there must be none."""
        self.may_go_back = False
        """Whether somebody sends the group back."""
        self.recoveries: list[float] = []
        """Seconds that the backlogs given to `follow` took to be worked off."""
        self._followed: list[tuple[float, dict[int, int]]] = []
        self._ends = ends
        self._topic = str(settings.topics.raw_events if intake else settings.topics.events)
        self._partitions = SOURCE_PARTITIONS if intake else settings.topics.partitions
        self._since: dict[int, float] = {}
        self._longest: dict[int, float] = {}
        self._stopping = threading.Event()
        group = intake_group(settings.kafka) if intake else settings.kafka.group_id
        asks = {**settings.kafka.client(), "group.id": group, "log_level": 0}
        # What is committed, without waiting for what is in an open transaction.
        self._client = Consumer({**asks, "isolation.level": "read_uncommitted"})
        self._waiting_client = Consumer({**asks, "isolation.level": "read_committed"})
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """Forget the stalls until now."""
        now = time.monotonic()
        self._since = dict.fromkeys(self._since, now)
        self._longest = {}

    def stalls(self) -> dict[int, float]:
        """Seconds, by partition, of the longest time without progress though there was work."""
        return dict(self._longest)

    def follow(self) -> None:
        """Measure how long it takes until all that is produced by now is committed."""
        self._followed.append((time.monotonic(), dict(self._ends())))

    def caught_up(self, ends: Mapping[int, int]) -> bool:
        """Whether all records below these ends are committed."""
        return all(self.committed.get(number, 0) >= end for number, end in ends.items())

    def behind(self) -> int:
        """Count the records that are produced and not committed."""
        ends = dict(self._ends())
        return sum(end - self.committed.get(number, 0) for number, end in ends.items())

    def begin_anew(self) -> None:
        """Forget the offsets: the topic is another one by now."""
        self.committed = {}

    def close(self) -> None:
        """Stop asking."""
        self._stopping.set()
        self._thread.join()
        self._client.close()
        self._waiting_client.close()

    def _run(self) -> None:
        places = [TopicPartition(self._topic, number) for number in range(self._partitions)]
        while not self._stopping.wait(_EVERY_SECONDS):
            try:
                answers = self._client.committed(places, timeout=2)
            except KafkaException:
                answers = []
            self._see(answers)

    def _stable(self, number: int) -> int | None:
        """Ask for a partition's offset once more, as a worker does that takes it over.

        A broker that has just become the coordinator answers with what it knows to be replicated,
        which may be less than its predecessor told. Only for who asks for stable offsets it waits
        until it has heard from the others.
        """
        try:
            (place,) = self._waiting_client.committed(
                [TopicPartition(self._topic, number)], timeout=10
            )
        except KafkaException:
            return None
        return None if place.error is not None or place.offset < 0 else place.offset

    def _see(self, answers: list[TopicPartition]) -> None:
        now, ends = time.monotonic(), dict(self._ends())
        for place in answers:
            number, before = place.partition, self.committed.get(place.partition, 0)
            if place.error is not None or place.offset < 0:
                continue
            if place.offset < before and not self.may_go_back:
                stable = self._stable(number)
                if stable is None or stable >= before:
                    continue
                self.went_back.append(f"partition {number} from {before} to {stable}")
            if place.offset != before:
                self._since[number] = now
            self.committed[number] = place.offset
        for number, end in ends.items():
            waiting = end > self.committed.get(number, 0)
            since = self._since.setdefault(number, now)
            if waiting:
                self._longest[number] = max(self._longest.get(number, 0.0), now - since)
            else:
                self._since[number] = now
        for entry in list(self._followed):
            begun, wanted = entry
            if self.caught_up(wanted):
                self._followed.remove(entry)
                self.recoveries.append(now - begun)
