"""Where a group is to read from after a reset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from consumer.kafka.cluster import Cluster


@dataclass(frozen=True)
class Target:
    """A place in the input.

    Attributes
    ----------
    kind
        The beginning, the end, the first record of a time or later, or so many records from where
        the group is now.
    at
        The time.
    shift
        The number of records; below 0 is back.
    """

    kind: Literal["earliest", "latest", "datetime", "shift"] = "earliest"
    at: datetime | None = None
    shift: int = 0

    def offsets(
        self, cluster: Cluster, topic: str, committed: Mapping[int, int | None]
    ) -> dict[int, int]:
        """Give the offset in each partition, within what is there.

        Parameters
        ----------
        cluster
            Is asked.
        topic
            The input.
        committed
            Where the group is, by partition; None where it never was.
        """
        spans = {number: cluster.watermarks(topic, number) for number in committed}
        if self.kind == "datetime" and self.at is not None:
            wanted = cluster.offsets_at(topic, committed, round(self.at.timestamp() * 1000))
        elif self.kind == "shift":
            wanted = {
                number: (spans[number][0] if now is None else now) + self.shift
                for number, now in committed.items()
            }
        else:
            place = {"earliest": 0, "latest": 1}[self.kind]
            wanted = {number: span[place] for number, span in spans.items()}
        return {number: min(max(wanted[number], low), end) for number, (low, end) in spans.items()}
