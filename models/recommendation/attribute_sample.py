"""Users by attribute and segment, counted on a sample of users that is uniform and bounded.

The sample is that of the trainer: users whose rank, a hash of the id, is at most a threshold
(`models.profiles.sample`). Of each the attributes of the latest event that had any and the segment
of now are known, so each counts once, wherever the user came from: nothing is counted twice and
nothing has to fade. With all users in the sample the counts are exact. Else the share of a segment
among the n sampled users with an attribute is that of a draw of n users without replacement: its
standard error is at most 1 / (2 sqrt(n)), and the users whom a count stands for are the count
divided by the threshold.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Mapping

from schemas.attribute_table import AttributeTable, AttributeUsers, SegmentUsers
from schemas.segment_model import NO_SEGMENT

MOST_USERS = 20_000
"""Users kept, those of lowest rank: shares among all are told to a third of a percent."""
MOST_ATTRIBUTES = 1_000
"""Attributes told, those that most users have."""


class AttributeSample:
    """What is known of sampled users.

    What it holds depends on the latest records alone, never on their order among users.

    Parameters
    ----------
    most
        Users kept.
    """

    def __init__(self, most: int = MOST_USERS) -> None:
        self.upto = 1.0
        self._most = most
        self._ranked: list[float] = []
        self._segments: dict[float, int] = {}
        self._attributes: dict[float, Mapping[str, str]] = {}

    def __len__(self) -> int:
        return len(self._ranked)

    @property
    def sampled(self) -> float:
        """Rank up to which all users are kept."""
        if len(self) < self._most:
            return self.upto
        return min(self.upto, self._ranked[self._most - 1])

    @property
    def _kept(self) -> int:
        return min(self._most, bisect_right(self._ranked, self.upto))

    def put(
        self,
        rank: float,
        *,
        segment: int | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Note a user's segment, or attributes, in place of the former."""
        self._note(rank)
        if segment is not None:
            self._segments[rank] = segment
        if attributes is not None:
            self._attributes[rank] = attributes

    def drop(self, rank: float, what: str) -> None:
        """Forget a user's `segment` or `attributes`."""
        (self._segments if what == "segment" else self._attributes).pop(rank, None)
        if rank not in self._segments and rank not in self._attributes:
            place = bisect_right(self._ranked, rank) - 1
            if place >= 0 and self._ranked[place] == rank:
                del self._ranked[place]

    def leaving(self) -> list[tuple[float, str]]:
        """Give what is known of users who are sampled no more, or too many, as `drop` takes it."""
        return [
            (rank, what)
            for rank in self._ranked[self._kept :]
            for what, known in (("attributes", self._attributes), ("segment", self._segments))
            if rank in known
        ]

    def table(self, parts_end: int = 0, most: int = MOST_ATTRIBUTES) -> AttributeTable:
        """Count the users that stay.

        Parameters
        ----------
        parts_end
            To be told.
        most
            Attributes told.
        """
        everybody: Counter[int] = Counter()
        by_attribute: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        for rank in self._ranked[: self._kept]:
            segment = self._segments.get(rank, NO_SEGMENT)
            if segment == NO_SEGMENT:
                continue
            everybody[segment] += 1
            for attribute in self._attributes.get(rank, {}).items():
                by_attribute[attribute][segment] += 1
        order = sorted(by_attribute.items(), key=lambda each: (-each[1].total(), each[0]))
        return AttributeTable(
            users=everybody.total(),
            sampled=self.sampled,
            segments=_by_id(everybody),
            attributes=[
                AttributeUsers(
                    name=name, value=value, users=counts.total(), segments=_by_id(counts)
                )
                for (name, value), counts in order[:most]
            ],
            left_out=max(len(order) - most, 0),
            parts_end=parts_end,
        )

    def _note(self, rank: float) -> None:
        if rank not in self._segments and rank not in self._attributes:
            insort(self._ranked, rank)


def _by_id(counts: Mapping[int, int]) -> list[SegmentUsers]:
    return [SegmentUsers(segment=segment, users=users) for segment, users in sorted(counts.items())]
