"""What a new version of the segments made of the former ones, as records to write."""

from __future__ import annotations

from datetime import datetime

from consumer.contract.records import Output
from models.segments.model import SegmentModel
from schemas.lifecycle import LifecycleEvent, lifecycle_headers


def lifecycle_events(model: SegmentModel, at: datetime) -> list[LifecycleEvent]:
    """Give the events of one version, in the order of its snapshot."""
    return [
        LifecycleEvent(**transition.model_dump(), version=model.version, at=at)
        for transition in model.history.transitions
    ]


def lifecycle_outputs(model: SegmentModel, topic: str, source: str, at: datetime) -> list[Output]:
    """Give the records that go into the transaction of a snapshot.

    Parameters
    ----------
    model
        The version that is published.
    topic
        Where they go, in one partition, under the segment's id as the key.
    source
        The CloudEvents source: the group's id.
    at
        When the version was made.
    """
    return [
        Output(
            topic,
            str(event.segment).encode(),
            event.model_dump_json().encode(),
            tuple(lifecycle_headers(event, source)),
            partition=0,
        )
        for event in lifecycle_events(model, at)
    ]
