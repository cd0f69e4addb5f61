"""Where a worker gets models from: the topics that the trainer publishes to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from consumer.contract.records import Record
from consumer.kafka.follower import Follower
from consumer.settings import Settings
from consumer.stages.shared.snapshots import NewerModelError, read_label_model, read_model
from models.labels.model import LabelModel
from models.segments.model import SegmentModel

logger = logging.getLogger(__name__)

# From one warning that there is no model to the next.
_WARNING_SECONDS = 600.0


class Versioned(Protocol):
    """A model of which there are versions."""

    @property
    def version(self) -> int:
        """1 for the first, one more for each later one."""
        ...


Model = TypeVar("Model", bound=Versioned)


class Feed(Generic[Model]):
    """Follows a topic of snapshots, in no group: every worker reads all of it.

    The constructor reads to the topic's end, so that a worker that starts does not decide by an old
    model first.

    A trainer may be upgraded before its workers. A worker that has a model keeps it when one comes
    in a format that it does not know; one that starts then is refused, since it would decide by
    another model than the group.

    Parameters
    ----------
    settings
        How to reach the cluster, and how long to wait.
    topic
        Of one partition.
    read
        Reads a value; told its place, for an error.
    what
        What it is a model of, for the log.

    Raises
    ------
    StageError
        If the latest record is no model that this version can read.
    """

    def __init__(
        self, settings: Settings, topic: str, read: Callable[[bytes, str], Model], what: str
    ) -> None:
        self._read = read
        self._what = what
        self._model: Model | None = None
        self._published_at: float | None = None
        self._follower = Follower(settings, topic, self._begin)

    def latest(self) -> Model | None:
        """Give the newest model published, without waiting."""
        for record in self._follower.came():
            try:
                self._take(record)
            except NewerModelError as newer:
                known = self._model.version if self._model else "none"
                logger.warning("keeping version %s of the %s: %s", known, self._what, newer)
        return self._model

    def close(self) -> None:
        """Stop following."""
        self._follower.close()

    @property
    def version(self) -> int:
        """Version of the newest model read; 0 before the first."""
        return self._model.version if self._model else 0

    @property
    def published_at(self) -> float | None:
        """When that was published, as its record says, in seconds since 1970.

        0 before the first; None where it is not known.
        """
        return self._published_at if self._model else 0.0

    @property
    def age_seconds(self) -> float | None:
        """Time since that was published; None where it is not known."""
        if not self._published_at:
            return None
        return round(max(time.time() - self._published_at, 0.0), 1)

    def _begin(self, records: Iterable[Record]) -> None:
        newer: NewerModelError | None = None
        for record in records:
            try:
                self._take(record)
                newer = None
            except NewerModelError as error:
                newer = error
        if newer is not None:
            raise newer

    def _take(self, record: Record) -> None:
        if record.value is None:
            return
        model = self._read(record.value, record.place)
        if self._model is None or model.version > self._model.version:
            self._model = model
            # -1 where a record has no time.
            self._published_at = record.timestamp / 1000 if record.timestamp > 0 else None


class ModelFeed(Feed[SegmentModel]):
    """Follows `segment-models`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.topics.models, read_model, "segments")
        self._warned = float("-inf")
        self._warn_of_none()

    def latest(self) -> SegmentModel | None:
        """Give the newest model published, without waiting; warn now and then while there is none.

        A group without a model looks well: it reads, commits, and says nothing of anybody.
        """
        model = super().latest()
        self._warn_of_none()
        return model

    def _warn_of_none(self) -> None:
        if self._model is None and time.monotonic() - self._warned >= _WARNING_SECONDS:
            self._warned = time.monotonic()
            logger.warning(
                "no segment model has ever been published to %s: profiles grow, and no user is in "
                "a segment until a trainer (segmenter trainer) has seen enough users "
                "(training.warmup_users)",
                self._follower.topic,
            )


class LabelModelFeed(Feed[LabelModel]):
    """Follows `label-models`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.topics.label_models, read_label_model, "labels")
