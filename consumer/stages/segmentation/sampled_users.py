"""What a worker tells of sampled users: of it the recommender counts users by attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from consumer.contract.records import Output
from consumer.settings import TopicSettings
from consumer.stages.segmentation.prepared import PreparedBatch
from models.profiles.sample import rank
from schemas.sampled_users import SampledUser, encode_sampled_user, sampled_key
from schemas.segment_model import NO_SEGMENT

Rows = NDArray[np.int64]

HOME = 0
"""Partition of `recommendation-parts` that all of it is on: one recommender counts."""


@dataclass(frozen=True, slots=True)
class SampledUserWriter:
    """Gives the records of sampled users, whose rank is at most `upto`.

    Parameters
    ----------
    topics
        Names of the outputs.
    """

    topics: TopicSettings

    def of_events(
        self, batch: PreparedBatch, counted: Rows, segments: Rows, upto: float
    ) -> list[Output]:
        """Give attributes and segment of each user with an event that has attributes.

        Parameters
        ----------
        batch
            What the events say.
        counted
            Those that count, by their rows in the batch and in the order of each user's events,
            int64 (k,).
        segments
            The user's segment behind each, int64 (k,).
        """
        events = batch.events
        latest: dict[float, tuple[Mapping[str, str], int]] = {}
        for place, row in enumerate(counted.tolist()):
            attributes = events.attributes[row]
            if attributes and (own := float(events.ranks[row])) <= upto:
                latest[own] = attributes, int(segments[place])
        outputs = []
        for own, (attributes, segment) in latest.items():
            outputs.append(self._output(own, SampledUser(upto, attributes=attributes)))
            outputs.append(self._output(own, SampledUser(upto, segment=segment)))
        return outputs

    def of_changes(self, outputs: Sequence[Output], upto: float) -> list[Output]:
        """Give the segment of each sampled user whose membership is among outputs.

        A user who is let go, whose membership is withdrawn, is told of no more.
        """
        topic = self.topics.memberships
        latest = {each.key: each.value for each in outputs if each.topic == topic and each.key}
        told = []
        for key, value in latest.items():
            own = rank((key or b"").decode())
            if own > upto:
                continue
            if value is None:
                told += [
                    Output(self.topics.recommendation_parts, sampled_key(own, what), None, (), HOME)
                    for what in ("attributes", "segment")
                ]
                continue
            segment = from_json(value)["segment"]
            now = NO_SEGMENT if segment is None else segment["id"]
            told.append(self._output(own, SampledUser(upto, segment=now)))
        return told

    def _output(self, own: float, user: SampledUser) -> Output:
        key, value = encode_sampled_user(own, user)
        return Output(self.topics.recommendation_parts, key, value, (), HOME)
