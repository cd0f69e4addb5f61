"""Items for single users: chosen where a batch has moved their profiles."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Output
from consumer.settings.recommendations import RecommendationSettings
from models.profiles.items import list_digest
from models.profiles.rows import from_microseconds
from models.profiles.table import ProfileRows
from models.recommendation.cold_start import Used
from models.recommendation.for_users import (
    REASONS,
    Candidates,
    ItemList,
    evidence_of,
    rank_users,
)
from schemas.recommendations import USER_RECOMMENDATIONS_SCHEMA, SegmentRecommendations
from schemas.segment_model import NO_SEGMENT

Rows = NDArray[np.int64]

# As strings that an array may be indexed by: a score's four digits, and what comes behind it.
_STEPS = 10_000
_SCORES = np.array([f"{number / _STEPS:.4f}" for number in range(_STEPS + 1)], object)
_ENDINGS = np.array([f',"reason":"{reason}"}}' for reason in REASONS], object)


@dataclass(frozen=True, slots=True, eq=False)
class PublishedList:
    """A record of `segment-recommendations`: its `as_of`, and the items."""

    as_of: datetime
    leading: ItemList

    @classmethod
    def of(cls, record: SegmentRecommendations) -> PublishedList:
        """Take a record apart.

        Raises
        ------
        ValueError
            If its vectors are of several lengths.
        """
        items = record.items
        told = [each.vector and base64.b64decode(each.vector) for each in items]
        lengths = {len(each) // 2 for each in told if each}
        if len(lengths) > 1:
            raise ValueError(f"its vectors are of {len(lengths)} lengths")
        vectors = np.zeros((len(items), max(lengths, default=0)), np.float32)
        for row, each in enumerate(told):
            if each:
                vectors[row] = np.frombuffer(each, "<f2")
        return cls(
            record.as_of,
            ItemList(
                tuple(each.item_id for each in items),
                np.array([each.score for each in items], np.float64),
                np.array([each.popularity for each in items], np.float64),
                record.popularity,
                np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0),
            ),
        )


Lists = Mapping[int | None, PublishedList]
"""By segment; None is all users."""


class ListSource(Protocol):
    """Where the items of segments come from."""

    def latest(self) -> Lists:
        """Give the latest of each segment, without waiting."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """Candidates of one segment, with what each record of its users says."""

    own: PublishedList | None
    everybody: PublishedList
    candidates: Candidates
    openings: NDArray[np.object_]
    lists: str


class UserRecommender:
    """Writes items for users whose profiles have moved.

    Parameters
    ----------
    topic
        Its name.
    settings
        The section `recommendations`.
    source
        Where the items of segments come from.
    """

    def __init__(self, topic: str, settings: RecommendationSettings, source: ListSource) -> None:
        self._topic = topic
        self._settings = settings
        self._source = source
        # By segment; None for those of which there is no list.
        self._choices: dict[int | None, _Choice] = {}

    def outputs(self, rows: ProfileRows, moved: Rows, partition: int) -> list[Output]:
        """Choose items, and write those that are others than were published last.

        Parameters
        ----------
        rows
            States behind the batch; what is published is noted in them.
        moved
            Rows of the users whose profiles have moved, int64 (k,).
        partition
            Of the input.
        """
        if not len(moved):
            return []
        lists = self._source.latest()
        if (everybody := lists.get(None)) is None or not everybody.leading.items:
            return self.withdrawn(rows, moved, partition)
        segments, which = np.unique(rows.segments[moved], return_inverse=True)
        if len(self._choices) > len(lists):
            self._choices.clear()  # of segments that are no more
        choices = [
            self._choice(number, lists.get(number), everybody) for number in segments.tolist()
        ]
        order = np.argsort(which, kind="stable")
        return self._of_segments(rows, moved[order], which[order], choices, partition)

    def follow(self) -> None:
        """Take in the items of segments that have come, between batches."""
        self._source.latest()

    def withdrawn(self, rows: ProfileRows, users: Rows, partition: int) -> list[Output]:
        """Take back what is published for users, of whom nothing can be said any more."""
        published = users[rows.items[users, 0] != 0]
        rows.items[published, 0] = 0
        return [
            Output(self._topic, rows.users[row].encode(), None, (), partition)
            for row in published.tolist()
        ]

    def _choice(self, segment: int, own: PublishedList | None, everybody: PublishedList) -> _Choice:
        key = None if own is None else segment
        known = self._choices.get(key)
        if known is not None and known.own is own and known.everybody is everybody:
            return known
        leading = None if own is None else own.leading
        candidates = Candidates.of(leading, everybody.leading, self._settings.prior_weight)
        used = [] if own is None else [{"segment": segment, "as_of": _text(own.as_of)}]
        used.append({"segment": None, "as_of": _text(everybody.as_of)})
        openings = np.array(
            [f'{{"item_id":{encode_basestring(item)},"score":' for item in candidates.items], object
        )
        made = _Choice(own, everybody, candidates, openings, json.dumps(used))
        self._choices[key] = made
        return made

    def _of_segments(
        self,
        rows: ProfileRows,
        users: Rows,
        which: Rows,
        choices: Sequence[_Choice],
        partition: int,
    ) -> list[Output]:
        """Do so for users in the order of the choices that they have."""
        events = rows.events[users]
        known = np.array([each.own is not None for each in choices], np.bool_)
        ranked = rank_users(
            [each.candidates for each in choices],
            which,
            evidence_of(events, known=known[which], policy=self._settings),
            rows.sums[users],
            events,
            rows.items[users, 1:],
            self._settings,
            self._settings.user_top,
        )
        shown = np.empty(len(users), np.uint32)
        for row, (number, count, own) in enumerate(
            zip(which.tolist(), ranked.counts.tolist(), ranked.places, strict=True)
        ):
            shown[row] = list_digest(choices[number].candidates.digests[own[:count]])
        others = np.flatnonzero(rows.items[users, 0] != shown)
        rows.items[users, 0] = shown
        scores = _SCORES[np.rint(ranked.scores[others] * _STEPS).astype(np.int64)]
        endings = scores + _ENDINGS[ranked.reasons[others]]
        outputs = []
        for number, row, places, ends, count in zip(
            which[others].tolist(),
            users[others].tolist(),
            ranked.places[others],
            endings,
            ranked.counts[others].tolist(),
            strict=True,
        ):
            items = choices[number].openings[places[:count]] + ends[:count]
            value = _written(rows, row, choices[number], ",".join(items.tolist()))
            outputs.append(Output(self._topic, rows.users[row].encode(), value, (), partition))
        return outputs


def _written(rows: ProfileRows, row: int, choice: _Choice, items: str) -> bytes:
    """Write a record. By hand: to make an object of each item would take ten times as long."""
    events, segment = int(rows.events[row]), int(rows.segments[row])
    used = Used.GLOBAL
    if choice.own is not None:
        used = Used.FIRST_EVENT if events <= 1 else Used.MIXTURE
    return (
        f'{{"schema_version":{USER_RECOMMENDATIONS_SCHEMA},'
        f'"user_id":{encode_basestring(rows.users[row])},'
        f'"segment":{"null" if segment == NO_SEGMENT else segment},"used":"{used}",'
        f'"events":{events},"profile_at":"{_text(from_microseconds(int(rows.reference[row])))}",'
        f'"lists":{choice.lists},"items":[{items}]}}'
    ).encode()


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
