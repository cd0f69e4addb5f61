"""The same stages over a file, with no broker: `segmenter replay`.

It is as fast as the machine allows and deterministic: same input, settings and seed, same bytes. So
it is also the oracle that runs over Kafka are compared with.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from consumer.contract import folder as files
from consumer.contract.errors import ExpectedError
from consumer.contract.records import Output, Record
from consumer.offline.files import EventFile, read_records, with_labels
from consumer.offline.files.errors import told
from consumer.offline.observed import Observed
from consumer.offline.recommended import ReplayedRecommender
from consumer.offline.refusals import Refusals, RefusedCount
from consumer.settings import BatchSettings, Settings
from consumer.stages.segmentation.labelling import FixedLabelModel
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.shared.snapshots import read_label_model, read_model
from consumer.stages.training.stage import TrainingStage
from models.daemon_pool import DaemonPool
from models.embedding.runner_types import Embedder
from models.labels.model import LabelModel
from models.profiles.table import from_microseconds
from models.segments.model import SegmentModel
from schemas.attribute_table import ATTRIBUTES_KEY
from schemas.changes import SegmentChange, structured_cloudevent
from schemas.dead_letters import DeadLetter, read_dead_letter_headers, to_base64
from schemas.lifecycle import LifecycleEvent, structured_lifecycle_event
from schemas.segment_model import NO_SEGMENT

logger = logging.getLogger(__name__)

Progress = Callable[[int], None]
Watch = Callable[[PreparedBatch], None]

# Batches prepared at the same time: one is embedded, the next one cleaned.
_AHEAD = 2

EVENTS_AT_ONCE = 64
"""Events, refused ones too, that are applied before the trainer learns from them, unless batches
are set to be smaller. What it learns depends on where the stream is cut: so on this and on the
stream, and neither on `batch.max_records` nor on labels, which come between events."""

# So many labels between two events end a batch, for the memory that they take.
_MOST_RECORDS = 10_000


def events_at_once(batch: BatchSettings) -> int:
    """Give the events that a replay applies at once."""
    return min(EVENTS_AT_ONCE, batch.usual_records)


class ReplayOutputError(ExpectedError):
    """An output folder that cannot be written to."""


@dataclass(slots=True)
class EventClock:
    """Event time as the clock, so that two runs write the same: the latest event time so far."""

    latest: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Give the time for `changed_at`."""
        return self.latest

    def see(self, batch: PreparedBatch) -> None:
        """Move on to the events of a batch."""
        if len(batch.events):
            self.latest = max(self.latest, from_microseconds(int(batch.events.times.max())))


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """A segment at the end and its users; None stands for no segment."""

    id: int | None
    label: str
    users: int


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay counted; the same in summary.json."""

    records: int
    accepted: int
    repeated: int
    refused: int
    users: int
    changes: int
    lifecycle_events: int
    segments: int
    model_version: int | None
    refused_for: list[RefusedCount]
    """The commonest reason first; records of labels too."""
    sizes: list[SegmentSize]
    """The largest first."""
    edited: int
    """Of the repeated ones, those that came with a later time than all before."""
    left_out: dict[str, int]
    """Values left out of events, by field."""
    let_go: dict[str, int]
    """Users who fell silent and were let go, and of those the events accepted and repeated."""


@dataclass(slots=True)
class Replay:
    """Runs both stages, batch by batch, and collects what they write.

    Parameters
    ----------
    settings
        As for the worker and the trainer.
    embedder
        From text to vector.
    model
        A segment model to keep; without one the trainer learns along.
    now
        Against which event times in the future are told.
    label_model
        A label model to keep beside a segment model that is kept.
    """

    settings: Settings
    embedder: Embedder
    model: SegmentModel | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    label_model: LabelModel | None = None
    segmentation: SegmentationStage = field(init=False)
    training: TrainingStage | None = field(init=False)
    changes: int = field(init=False, default=0)
    refusals: Refusals = field(init=False, default_factory=Refusals)
    _source: FixedModel = field(init=False)
    _label_source: FixedLabelModel = field(init=False)
    _clock: EventClock = field(init=False)
    _offsets: dict[str, int] = field(init=False, default_factory=dict)
    _sink: Callable[[Output], None] = field(init=False)

    def __post_init__(self) -> None:
        self._source = FixedModel(self.model)
        self._label_source = FixedLabelModel(self.label_model)
        self._clock = EventClock()
        # English and East Asian texts are counted in full, so a share of the others would mislead.
        events = self.settings.events.model_copy(update={"language_share": 1.0})
        self.segmentation = SegmentationStage(
            self.settings.model_copy(update={"events": events}),
            self.embedder,
            self._source,
            clock=self._clock,
            intake_clock=lambda: self.now,
            label_models=self._label_source,
            log_refusals=False,
        )
        self.segmentation.assigned(0, self.segmentation.restoration(0))
        self.training = None
        if self.model is None:
            self.training = TrainingStage(self.settings, clock=self._clock)
            self.training.assigned(0, self.training.restoration(0))

    def run(
        self,
        records: Iterable[Record],
        sink: Callable[[Output], None],
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> int:
        """Run all records through; give their number.

        Parameters
        ----------
        records
            Of one partition, in order; those of `segment-labels` stand where they take effect.
        sink
            Gets every output of the segmentation stage but the samples, and what the trainer tells
            of segments.
        progress
            Told the number of records done, after each batch.
        watch
            Shown each batch once the sink has its outputs, before the users look at what the
            trainer has learned from it.
        """
        self._sink = sink
        self._maintain(idle=False)
        done = 0
        for prepared in self._prepared(records):
            self._clock.see(prepared)
            prepared = self.segmentation.without_late(prepared, frozenset({0}))  # noqa: PLW2901
            self.refusals.watch(prepared)
            self._forward(self.segmentation.apply(prepared, frozenset({0})))
            if watch is not None:
                watch(prepared)
            self._maintain(idle=False)
            done += len(prepared)
            if progress is not None:
                progress(done)
        self._maintain(idle=True)
        return done

    def sizes(self) -> list[SegmentSize]:
        """Count the users of each segment, the largest first."""
        model, table = self.segmentation.model, self.segmentation.tables[0]
        if model is None:
            return []
        users = Counter(table.gather(table.users).segments.tolist())
        outside = users.pop(NO_SEGMENT, 0)
        found = [
            SegmentSize(segment, label, users[segment])
            for segment, label in zip(model.ids.tolist(), model.labels, strict=True)
        ]
        found.sort(key=lambda each: -each.users)
        return found + ([SegmentSize(None, "no segment", outside)] if outside else [])

    @property
    def users_known(self) -> int:
        """Users from whom segments can be learned."""
        return 0 if self.training is None else self.training.sampled_users

    def _prepared(self, records: Iterable[Record]) -> Iterator[PreparedBatch]:
        """Clean a batch while the one before is embedded and the one before that is applied."""
        batches = self._cut(records)
        coming: deque[Future[PreparedBatch]] = deque()
        with closing(DaemonPool(_AHEAD, "prepare")) as pool:

            def submit() -> None:
                if batch := next(batches, None):
                    coming.append(pool.submit(lambda: self.segmentation.prepare(batch)))

            for _ in range(_AHEAD):
                submit()
            while coming:
                ready = coming.popleft().result()
                submit()
                yield ready

    def _cut(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        """Cut the stream into batches by the number of events."""
        size, events = events_at_once(self.settings.batch), 0
        batch: list[Record] = []
        for record in records:
            batch.append(record)
            events += record.topic == self.settings.topics.events
            if events == size or len(batch) == _MOST_RECORDS:
                yield batch
                batch, events = [], 0
        if batch:
            yield batch

    def _forward(self, outputs: Sequence[Output]) -> None:
        """Commit the segmentation stage's batch and hand its samples to the trainer."""
        self.segmentation.committed()
        samples = []
        for output in outputs:
            if output.topic == self.settings.topics.samples:
                samples.append(self._as_record(output))
                continue
            if output.topic == self.settings.topics.changes:
                self.changes += 1
            self._sink(output)
        if self.training is not None and samples:
            published = self.training.apply(self.training.prepare(samples), frozenset({0}))
            self.training.committed()
            self._take_model(published)

    def _maintain(self, *, idle: bool) -> None:
        if idle and self.training is not None:
            published = self.training.maintain(idle=True, ended=True)
            self.training.committed()
            self._take_model(published or ())
        while (outputs := self.segmentation.maintain(idle=idle)) is not None:
            self._forward(outputs)

    def _take_model(self, published: Sequence[Output]) -> None:
        for output in published:
            if output.topic == self.settings.topics.models and output.value is not None:
                self._source.model = read_model(output.value, output.topic)
            elif output.topic == self.settings.topics.label_models and output.value is not None:
                self._label_source.model = read_label_model(output.value, output.topic)
            elif output.topic in {self.settings.topics.lifecycle, self.settings.topics.segments}:
                self._sink(output)

    def _as_record(self, output: Output) -> Record:
        offset = self._offsets.get(output.topic, 0)
        self._offsets[output.topic] = offset + 1
        return Record(output.topic, 0, offset, -1, output.key, output.value)


_NOT_ALWAYS_WRITTEN = (
    files.SUMMARY,
    files.DETAILS,
    files.MODEL,
    files.LABEL_MODEL,
    files.RECOMMENDATIONS,
    files.ATTRIBUTES,
)


class FolderSink:
    """Writes a replay's outputs as JSON lines, and the final state when it is closed."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in _NOT_ALWAYS_WRITTEN:
                # An earlier replay's would pass for those of this one, should it end early.
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise ReplayOutputError(f"cannot write a replay to {folder}: {told(error)}") from error
        self._folder = folder
        self._topics = settings.topics
        self._source = settings.kafka.group_id
        self._files = ExitStack()
        self._changes = self._open(files.CHANGES)
        self._dead_letters = self._open(files.DEAD_LETTERS)
        self._lifecycle = self._open(files.LIFECYCLE)
        self._label_dead_letters = (
            self._open(files.LABEL_DEAD_LETTERS) if settings.labels.enabled else None
        )
        self._recommender = (
            ReplayedRecommender(settings) if settings.recommendations.enabled else None
        )
        self.memberships: dict[str, bytes] = {}
        self._segments: dict[int, bytes] = {}
        self._lifecycle_events = 0

    def __enter__(self) -> FolderSink:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def _open(self, name: str) -> IO[str]:
        return self._files.enter_context((self._folder / name).open("w", encoding="utf-8"))

    def __call__(self, output: Output) -> None:
        """Write one output."""
        if output.topic == self._topics.changes and output.value is not None:
            change = SegmentChange.model_validate_json(output.value)
            _write_line(self._changes, structured_cloudevent(change, self._source))
        elif output.topic == self._topics.memberships and output.key:
            if output.value is None:
                self.memberships.pop(output.key.decode(), None)
            else:
                self.memberships[output.key.decode()] = output.value
        elif output.topic == self._topics.segments and output.key:
            if output.value is None:
                self._segments.pop(int(output.key), None)
            else:
                self._segments[int(output.key)] = output.value
        elif output.topic == self._topics.lifecycle and output.value is not None:
            event = LifecycleEvent.model_validate_json(output.value)
            self._lifecycle_events += 1
            _write_line(self._lifecycle, structured_lifecycle_event(event, self._source))
        elif output.topic == self._topics.dead_letters:
            self._dead_letters.write(_dead_letter(output).model_dump_json() + "\n")
        elif output.topic == self._topics.label_dead_letters and self._label_dead_letters:
            self._label_dead_letters.write(_dead_letter(output).model_dump_json() + "\n")
        elif self._recommender is not None:
            self._recommender(output)

    def finish(self, replay: Replay, records: int, observed: Observed) -> ReplayResult:
        """Write memberships, segments, what leads in them, profiles, model, details and summary."""
        with self._open(files.MEMBERSHIPS) as file:
            for user in sorted(self.memberships):
                file.write(self.memberships[user].decode() + "\n")
        with self._open(files.SEGMENTS) as file:
            for segment in sorted(self._segments):
                file.write(self._segments[segment].decode() + "\n")
        if self._recommender is not None:
            with self._open(files.RECOMMENDATIONS) as file:
                published = self._recommender.finish()
                counted = published.pop(ATTRIBUTES_KEY, None)
                for value in published.values():
                    file.write(value.decode() + "\n")
            if counted is not None:
                (self._folder / files.ATTRIBUTES).write_bytes(counted + b"\n")
        users = accepted = repeated = 0
        with self._open(files.PROFILES) as file:
            table = replay.segmentation.tables[0]
            for user in sorted(table.users):
                record = table.gather([user]).to_record(0, replay.embedder.identity)
                file.write(record.model_dump_json() + "\n")
                users, accepted = users + 1, accepted + record.events
                repeated += record.repeats
        model = replay.segmentation.model
        if model is not None:
            (self._folder / files.MODEL).write_text(
                model.to_record().model_dump_json(indent=1) + "\n", encoding="utf-8"
            )
        labels = replay.segmentation.labels.model
        if labels is not None:
            (self._folder / files.LABEL_MODEL).write_text(
                labels.to_record().model_dump_json(indent=1) + "\n", encoding="utf-8"
            )
        drift = replay.training.drift if replay.training else None
        details = observed.details(replay.segmentation, drift)
        (self._folder / files.DETAILS).write_text(
            details.model_dump_json(indent=1) + "\n", encoding="utf-8"
        )
        stats = replay.segmentation.stats
        result = ReplayResult(
            records=records - stats.labels - stats.labels_refused.total(),
            accepted=accepted + stats.let_go["accepted"],
            repeated=repeated + stats.let_go["repeated"],
            refused=replay.segmentation.stats.refused.total(),
            users=users,
            changes=replay.changes,
            lifecycle_events=self._lifecycle_events,
            segments=len(model.ids) if model else 0,
            model_version=model.version if model else None,
            refused_for=replay.refusals.counts(),
            sizes=replay.sizes(),
            edited=stats.edited,
            left_out=dict(sorted(stats.left_out.items())),
            let_go=dict(stats.let_go),
        )
        (self._folder / files.SUMMARY).write_text(
            json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        return result


def replay_file(
    file: Path | EventFile,
    folder: Path,
    settings: Settings,
    embedder: Embedder,
    *,
    model: SegmentModel | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
    labels: Path | None = None,
    label_model: LabelModel | None = None,
) -> ReplayResult:
    """Replay a file of events, and one of labels in between, into a folder.

    Raises
    ------
    EventFileError
        If a file cannot be read.
    ReplayOutputError
        If the folder cannot be written to.
    StageError
        If a stage cannot go on.
    """
    replay = Replay(settings, embedder, model, now or datetime.now(UTC), label_model)
    return replay_into(folder, replay, file, progress=progress, labels=labels)


def replay_into(
    folder: Path,
    replay: Replay,
    file: Path | EventFile,
    *,
    progress: Progress | None = None,
    labels: Path | None = None,
) -> ReplayResult:
    """Run a replay, not begun yet, over a file and write what comes out; as `replay_file`."""
    settings = replay.settings
    records = read_records(file, settings.topics.events, settings.events.intake())
    if labels is not None:
        records = with_labels(records, labels, settings)
    observed = Observed()
    with FolderSink(folder, settings) as sink:
        count = replay.run(
            records, sink, progress, lambda batch: observed.watch(batch, replay.segmentation.model)
        )
        return sink.finish(replay, count, observed)


def _write_line(file: IO[str], value: dict[str, Any]) -> None:
    file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def _dead_letter(output: Output) -> DeadLetter:
    said = read_dead_letter_headers(output.headers)
    return DeadLetter(
        refusal=said.refusal,
        topic=said.topic,
        partition=said.partition,
        offset=said.offset,
        timestamp=said.timestamp,
        key=to_base64(output.key),
        value=to_base64(output.value),
        truncated_from=said.truncated_from,
        key_truncated_from=said.key_truncated_from,
        value_bytes=said.value_bytes,
    )
