"""Which segments a user is believed to be of, from as much or as little as is known.

    q(s) = e [s is the user's segment] + (1 - e) q0(s),         e = n / (n + k)

with n events of the user. What is believed before any event, q0, comes from the user's attributes,
or else from related users. With neither there is no q0, and the mixture is with the popularity
among all users instead: the rest of q, up to 1, is `everybody`.

Attributes are taken for independent of each other within a segment (naive Bayes), each smoothed
towards the share P(s) of the segment among all users with a prior of m users:

    P(s | a) = (n_as + m P(s)) / (n_a + m),        q0(s) ~ P(s) prod_a P(s | a) / P(s)

Related users' segments are counted and smoothed alike.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.recommendation.policy import RecommendationPolicy
from models.recommendation.ranking import evidence
from schemas.attribute_table import AttributeTable
from schemas.segment_model import NO_SEGMENT

F64 = NDArray[np.float64]

PRIOR_USERS = 10.0
"""m: of how many users the share among all counts in that of an attribute."""


class Used(StrEnum):
    """What an answer rests on; the plainest that applies is said."""

    GLOBAL = "global"
    """Popularity among all users: nothing is known of this one."""
    ATTRIBUTES = "attributes"
    """The segments of users with the same attributes."""
    RELATED = "related_users"
    """The segments of the users that this one is related to."""
    FIRST_EVENT = "first_event"
    """The segment that the first event's text lies in, and that text alone."""
    MIXTURE = "mixture"
    """The user's segment, mixed with what was believed before by the number of events."""


@dataclass(frozen=True)
class Belief:
    """Segments of a user with their probabilities, and that of being like everybody.

    All together are 1.
    """

    segments: dict[int, float]
    everybody: float
    used: Used


class AttributeCounts:
    """Users by segment, and by attribute and segment; bounded.

    An attribute is a name and a value. When there are too many, the one that was met least recently
    goes; users who have it are believed by their other attributes.

    Parameters
    ----------
    most
        Attributes kept.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._users: dict[int, int] = {}
        self._attributes: OrderedDict[tuple[str, str], dict[int, int]] = OrderedDict()

    @classmethod
    def of(cls, table: AttributeTable) -> AttributeCounts:
        """Take over what is published."""
        found = cls(max(len(table.attributes), 1))
        found._users = {each.segment: each.users for each in table.segments}
        for each in table.attributes:
            own = {one.segment: one.users for one in each.segments}
            found._attributes[each.name, each.value] = own
        return found

    def __len__(self) -> int:
        return len(self._attributes)

    def move(self, attributes: Mapping[str, str], before: int, after: int) -> None:
        """Count a user in another segment than before; NO_SEGMENT for none, as when it is new."""
        _count(self._users, before, after)
        for attribute in sorted(attributes.items()):
            counts = self._attributes.setdefault(attribute, {})
            self._attributes.move_to_end(attribute)
            _count(counts, before, after)
        while len(self._attributes) > self._most:
            self._attributes.popitem(last=False)

    def by_segment(self, segments: Sequence[int]) -> F64:
        """Give P(s), float64 (S,): equal for all where no user is counted in any of them."""
        return _shares(self._users, segments)

    def by_attributes(self, attributes: Mapping[str, str], segments: Sequence[int]) -> F64 | None:
        """Give q0, float64 (S,); None where none of the attributes is known."""
        base = self.by_segment(segments)
        known = [
            counts
            for each in sorted(attributes.items())
            if (counts := self._attributes.get(each))
            and any(counts.get(segment) for segment in segments)
        ]
        if not known:
            return None
        with np.errstate(divide="ignore"):
            logs = np.log(base)
        found = logs.copy()
        for counts in known:
            own = smoothed_shares(counts, segments, base)
            with np.errstate(divide="ignore", invalid="ignore"):
                found += np.where(base > 0, np.log(own) - logs, 0.0)
        likely: F64 = np.exp(found - found.max())
        return np.asarray(likely / likely.sum(), np.float64)


def smoothed_shares(counts: Mapping[int, float], segments: Sequence[int], base: F64) -> F64:
    """Give the shares of counts, smoothed towards `base` by `PRIOR_USERS` users, float64 (S,)."""
    own = np.array([counts.get(segment, 0) for segment in segments], np.float64)
    shares: F64 = (own + PRIOR_USERS * base) / (own.sum() + PRIOR_USERS)
    return shares


def believe(
    segments: Sequence[int],
    policy: RecommendationPolicy,
    *,
    segment: int = NO_SEGMENT,
    events: float = 0.0,
    counts: AttributeCounts | None = None,
    attributes: Mapping[str, str] | None = None,
    related: Iterable[int] = (),
) -> Belief:
    """Say of which segments a user is believed to be.

    Parameters
    ----------
    segments
        Ids of the segments there are.
    policy
        Gives k.
    segment
        The user's segment, NO_SEGMENT for none; with one event that of the event's text.
    events
        Events known of the user.
    counts, attributes
        Users by attributes, and this one's.
    related
        Segments of the related users, NO_SEGMENT for those without.
    """
    before, used = _before_events(segments, counts, attributes or {}, related)
    known = segment in segments
    if not known or events <= 0:
        return Belief(before, max(0.0, 1.0 - math.fsum(before.values())), used)
    # The first text says all there is to say of a user of whom nothing else is known.
    if events <= 1 and not before:
        return Belief({segment: 1.0}, 0.0, Used.FIRST_EVENT)
    own = evidence(events, policy)
    mixed = {each: (1.0 - own) * share for each, share in before.items()}
    mixed[segment] = mixed.get(segment, 0.0) + own
    rest = 0.0 if before else 1.0 - own
    return Belief(dict(sorted(mixed.items())), rest, Used.MIXTURE)


def mixed_popularity(belief: Belief, by_segment: Mapping[int, F64], overall: F64) -> F64:
    """Give sum_s q(s) p(i | s) + q(everybody) p(i) of n items, float64 (n,).

    A segment of which nothing is counted stands for everybody.
    """
    mixed: F64 = belief.everybody * overall
    for segment, share in belief.segments.items():
        mixed = mixed + share * by_segment.get(segment, overall)
    return mixed


def _before_events(
    segments: Sequence[int],
    counts: AttributeCounts | None,
    attributes: Mapping[str, str],
    related: Iterable[int],
) -> tuple[dict[int, float], Used]:
    ids = list(segments)
    if counts is not None and ids:
        found = counts.by_attributes(attributes, ids)
        if found is not None:
            return _named(ids, found), Used.ATTRIBUTES
    near: dict[int, float] = {}
    for each in related:
        if each in ids:
            near[each] = near.get(each, 0) + 1
    if near:
        base = np.full(len(ids), 1 / len(ids)) if counts is None else counts.by_segment(ids)
        return _named(ids, smoothed_shares(near, ids, base)), Used.RELATED
    return {}, Used.GLOBAL


def _named(segments: Sequence[int], shares: F64) -> dict[int, float]:
    return dict(zip(segments, shares.tolist(), strict=True))


def _shares(counts: Mapping[int, int], segments: Sequence[int]) -> F64:
    own = np.array([counts.get(segment, 0) for segment in segments], np.float64)
    return own / own.sum() if own.sum() > 0 else np.full(len(own), 1 / max(len(own), 1))


def _count(counts: dict[int, int], before: int, after: int) -> None:
    if before != NO_SEGMENT:
        counts[before] = max(0, counts.get(before, 0) - 1)
        if not counts[before]:
            del counts[before]
    if after != NO_SEGMENT:
        counts[after] = counts.get(after, 0) + 1
