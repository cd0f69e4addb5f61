"""What goes out with a version of the segments, beside the version itself, as records to write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from consumer.contract.records import Output
from consumer.settings import TopicSettings
from models.segments.model import SegmentModel
from schemas.lifecycle import LifecycleEvent, TransitionType, lifecycle_headers
from schemas.segment_model import SEGMENT_MODEL_KEY, is_provisional
from schemas.segments import SegmentState


def version_outputs(
    model: SegmentModel,
    previous: SegmentModel | None,
    told: Iterable[LifecycleEvent],
    topics: TopicSettings,
    source: str,
) -> list[Output]:
    """Give the records of the transaction that publishes a version.

    Parameters
    ----------
    model
        The version.
    previous
        The one that was published before, if there was one.
    told
        What became of segments, as `lifecycle_events` gives it.
    topics
        Where they go: the version, what became of segments, and the segments there are, each in one
        partition, the latter two under the segment's id as the key.
    source
        The CloudEvents source: the group's id.
    """
    value = model.to_record().model_dump_json().encode()
    return [
        Output(topics.models, SEGMENT_MODEL_KEY, value, partition=0),
        *(
            Output(
                topics.lifecycle,
                str(event.segment).encode(),
                event.model_dump_json().encode(),
                tuple(lifecycle_headers(event, source)),
                partition=0,
            )
            for event in told
        ),
        *_states(model, previous, topics.segments),
    ]


def lifecycle_events(
    model: SegmentModel, previous: SegmentModel | None, at: datetime
) -> list[LifecycleEvent]:
    """Give the events of one version: those of its snapshot in their order, then new names."""
    told = [
        LifecycleEvent(**transition.model_dump(), version=model.version, at=at)
        for transition in model.history.transitions
    ]
    return told + ([] if previous is None else list(_renamed(model, previous, at)))


def _renamed(model: SegmentModel, previous: SegmentModel, at: datetime) -> Iterator[LifecycleEvent]:
    sizes = dict(zip(previous.ids.tolist(), previous.sizes.tolist(), strict=True))
    for row, segment in enumerate(model.ids.tolist()):
        former, label = previous.label_of(segment), model.labels[row]
        if former is not None and former != label:
            yield LifecycleEvent(
                type=TransitionType.RENAMED,
                segment=segment,
                label=label,
                previous_label=former,
                parents=[],
                children=[],
                successor=None,
                size_before=sizes[segment],
                size=int(model.sizes[row]),
                flows=[],
                version=model.version,
                at=at,
            )


def _states(model: SegmentModel, previous: SegmentModel | None, topic: str) -> Iterator[Output]:
    """Give the state of each segment, and tombstones of those that are no more."""
    for row, segment in enumerate(model.ids.tolist()):
        state = SegmentState(
            id=segment,
            name=model.labels[row],
            words=list(model.words[row]),
            users=int(model.sizes[row]),
            since=model.since[row],
            version=model.version,
            provisional=is_provisional(model.learner),
        )
        yield Output(topic, str(segment).encode(), state.model_dump_json().encode(), partition=0)
    gone = set() if previous is None else {*previous.ids.tolist()} - {*model.ids.tolist()}
    for segment in sorted(gone):
        yield Output(topic, str(segment).encode(), None, partition=0)
