"""Replays a file under observation and computes the figures."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeVar

import numpy as np

from consumer.contract.errors import UsageError
from consumer.offline.evaluate.contents import (
    MINI_BATCH,
    OFFLINE,
    PRODUCT,
    Contingency,
    Evaluation,
    Figures,
    Flapping,
    Group,
    Lag,
    NumberFigures,
    Prequential,
    Row,
    SegmentFigures,
)
from consumer.offline.evaluate.observe import Observer, scored
from consumer.offline.evaluate.supervised import LabelWatch
from consumer.offline.evaluate.tracks import label_of
from consumer.offline.evaluate.users import LEAST_SCORED_USERS, Users
from consumer.offline.files import EventFile, event_file, read_records
from consumer.offline.outcome import Counts
from consumer.offline.replay import Progress, Replay
from consumer.report.user_map import UserMap
from consumer.settings import Settings
from consumer.stages.segmentation.prepared import PreparedBatch
from models.clustering.learner import numbers_looked_at
from models.distances import Ints
from models.embedding.runner_types import Embedder
from models.measures.agreement import Agreement, Confusion
from models.measures.internal import InternalMeasures, internal_measures
from models.measures.offline import Clustering, offline_kmeans, one_pass_kmeans
from models.segments.model import SegmentModel
from schemas.changes import ChangeCause, ChangeStatus
from schemas.segment_model import NO_SEGMENT

logger = logging.getLogger(__name__)

LEAST_EVENTS = (1, 5, 10)
"""Users with so many events or more are looked at: profiles of one text are mostly noise."""

PROBED_LINES = 1_000
"""Lines among which a label has to turn up: a misspelt field should not cost a whole run."""

SEEDS = 5
"""Seeds of each peer: one may find better clusters than another by a few hundredths."""

MOST_CHANGES = 12
"""Changes a user that are told apart in the histogram; the last bar holds the rest."""

_Measures = TypeVar("_Measures", Agreement, InternalMeasures)


def check_label(file: EventFile, label: str) -> None:
    """Refuse a label that no record at the beginning of a file has.

    Raises
    ------
    UsageError
        If that is so.
    EventFileError
        If the file cannot be read.
    """
    lines = list(islice(EventFile(file.path, name=file.name), PROBED_LINES))
    if lines and not any(label_of(line, label) for line in lines):
        raise UsageError(
            f"--label is {label!r}, which none of the first {len(lines):,} records of {file.name} "
            "has a value for: name a field of the source's objects, dotted where it lies deeper"
        )


def evaluate_file(
    path: Path | EventFile,
    settings: Settings,
    embedder: Embedder,
    *,
    label: str | None = None,
    model: SegmentModel | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = logger.info,
    tell: Callable[[Replay], None] = lambda _: None,
) -> Evaluation:
    """Evaluate segments on a file of events.

    Parameters
    ----------
    path
        As for `replay_file`.
    settings
        As for the worker and the trainer.
    embedder
        From text to vector.
    label
        Dotted path of the true label in the file's objects. Segments are compared with it and
        never learn from it; how well it can be learned itself is told beside. Without it only the
        measures that need no label are computed.
    model
        A segment model to keep; without one the trainer learns along.
    now
        What event times in the future are told by; the clock by default.
    progress
        Told the number of records done.
    say
        Told what is being computed after the replay.
    tell
        Shown the replay once it has ended, or was ended by too many refused records.

    Raises
    ------
    UsageError
        If the label is in none of the first records.
    EventFileError
        If the file cannot be read.
    StageError
        If a stage cannot go on.
    """
    file = path if isinstance(path, EventFile) else event_file(path, settings.events.intake())
    if label is not None:
        check_label(file, label)
    replay = Replay(settings, embedder, model, now or datetime.now(UTC))
    observer = Observer(settings.topics, label)
    labels = None
    if label is not None:
        seed = settings.training.seed
        labels = LabelWatch(settings.labels, embedder.identity, LEAST_EVENTS, seed)

    def watch(batch: PreparedBatch) -> None:
        observer.watch(batch)
        if labels is not None:
            _see_labels(labels, observer, replay, batch)
        used = replay.segmentation.model
        observer.mark(0 if used is None else len(used.ids))

    records = read_records(file, settings.topics.events, settings.events.intake())
    try:
        count = replay.run(records, observer.sink, progress, watch)
    finally:
        tell(replay)
    used = replay.segmentation.model
    observer.end(0 if used is None else len(used.ids))
    users = _users(replay, observer)
    groups = tuple(
        _group(users, least, used, settings.training.seed, say) for least in LEAST_EVENTS
    )
    stats = replay.segmentation.stats
    figures = Figures(
        file=file.path.name,
        label=label,
        settings={
            name: getattr(settings, name).model_dump(mode="json")
            for name in ("training", "assignment", "profile")
        },
        embedding=embedder.identity,
        counts=Counts(
            records=count,
            accepted=stats.accepted.total(),
            repeated=stats.repeated,
            refused=stats.refused.total(),
            users=len(users.ids),
        ),
        model_version=None if used is None else used.version,
        segments_found=model is None and settings.training.finds_number,
        segments=_segments(users, used),
        lifecycle=dict(sorted(replay.training.lifecycle.items())) if replay.training else {},
        prequential=None
        if label is None
        else Prequential(
            agreement=observer.prequential(),
            events=observer.events,
            without_label=observer.without_label,
            without_segment=observer.without_segment,
        ),
        groups=groups,
        flapping=tuple(_flapping(observer, least) for least in LEAST_EVENTS),
        lag=None if label is None else _lag(observer),
        users_by_label=None if label is None else _contingency(users, used),
        stream=tuple(observer.points),
        supervised=None if labels is None else labels.result(users, say),
        least_users=settings.training.least_users,
        numbers=()
        if model is not None or used is None
        else tuple(NumberFigures(*point) for point in numbers_looked_at(used)),
        refused_for=tuple(replay.refusals.counts()),
    )
    return Evaluation(
        figures,
        UserMap(
            users.vectors,
            users.segments,
            {segment.id: segment.label for segment in figures.segments},
            np.empty((0, embedder.dimensions)) if used is None else used.centres,
        ),
    )


def _see_labels(
    labels: LabelWatch, observer: Observer, replay: Replay, batch: PreparedBatch
) -> None:
    """Show the profiles that a batch has moved, each once, in the order of their events."""
    users = list(dict.fromkeys(batch.events.users))
    rows = replay.segmentation.tables[0].gather(users)
    for row, (user, vector) in enumerate(zip(users, rows.vectors(), strict=True)):
        if (label := observer.tracks[user].label) is not None:
            labels.see(user, vector, label, int(rows.events[row]))
    labels.end_of_batch(observer.events)


def _users(replay: Replay, observer: Observer) -> Users:
    table = replay.segmentation.tables[0]
    ids = table.users
    rows = table.gather(ids)
    return Users(
        ids=ids,
        vectors=rows.vectors(np.arange(len(rows))),
        segments=rows.segments.copy(),
        events=rows.events.copy(),
        labels=[observer.tracks[user].label for user in ids],
    )


def _group(
    users: Users, least: int, model: SegmentModel | None, seed: int, say: Callable[[str], None]
) -> Group:
    """Compare the product and its peers on the users with so many events."""
    members = np.flatnonzero(users.events >= least)
    vectors = users.vectors[members]
    segments = users.segments[members]
    labels = [users.labels[row] for row in members.tolist()]
    labelled = sum(label is not None for label in labels)

    own = None if model is None else Clustering(model.centres, model.rows_of(segments))
    # What needs no labels is measured of users who are in a segment, for the peers too.
    inside = np.ones(len(members), bool) if own is None else own.rows >= 0

    def row(name: str, asked: int, found: Sequence[Clustering]) -> Row:
        agreements = [scored(_confusion(labels, each.rows)) for each in found]
        measured = [
            internal_measures(vectors[inside], each.rows[inside], each.centres, seed=seed)
            for each in found
        ]
        v_measures = [each.v_measure for each in agreements if each is not None]
        return Row(
            name=name,
            asked=asked,
            agreement=_mean(agreements),
            internal=_mean(measured),
            seeds=len(found),
            v_measures=(min(v_measures), max(v_measures)) if v_measures else None,
        )

    rows = []
    counts = []
    if len(members) < LEAST_SCORED_USERS:
        own, labels = None, []
    if own is not None:
        counts.append(len(own.centres))
        rows.append(row(PRODUCT, len(own.centres), [own]))
    if known := len(set(labels) - {None}):
        counts.append(known)
    # As many clusters as the product has, and as there are labels: one of them is the fairer.
    for count in dict.fromkeys(counts):
        if not 1 < count < len(members):
            continue
        say(f"k-means offline: {len(members):,} users, {count} clusters, {SEEDS} seeds")
        for name, peer in ((OFFLINE, offline_kmeans), (MINI_BATCH, one_pass_kmeans)):
            rows.append(row(name, count, [peer(vectors, count, seed + n) for n in range(SEEDS)]))
    return Group(
        least_events=least,
        users=len(members),
        labelled=labelled,
        without_segment=int((segments == NO_SEGMENT).sum()),
        rows=tuple(rows),
    )


def _mean(found: Sequence[_Measures | None]) -> _Measures | None:
    """Give the means of measures over several seeds; counts are those of the first."""
    known = [each for each in found if each is not None]
    if not known:
        return None
    means: dict[str, Any] = {}
    for name, first in vars(known[0]).items():
        values = [value for each in known if (value := getattr(each, name)) is not None]
        means[name] = fmean(values) if isinstance(first, float) else first
    return replace(known[0], **means)


def _confusion(labels: Sequence[str | None], segments: Ints) -> Confusion:
    """Compare users who have a label; those in no segment are together in a segment of their own.

    So a model cannot gain by leaving users out.
    """
    confusion = Confusion()
    for label, segment in zip(labels, segments.tolist(), strict=True):
        if label is not None:
            confusion.add(label, segment)
    return confusion


def _segments(users: Users, model: SegmentModel | None) -> tuple[SegmentFigures, ...]:
    if model is None:
        return ()
    figures = []
    for row, segment in enumerate(model.ids.tolist()):
        members = np.flatnonzero(users.segments == segment).tolist()
        labels = Counter(label for i in members if (label := users.labels[i]) is not None)
        main = next(iter(labels.most_common(1)), None)
        figures.append(
            SegmentFigures(
                id=segment,
                label=model.labels[row],
                users=len(members),
                main_label=None if main is None else main[0],
                main_share=None if main is None else main[1] / labels.total(),
            )
        )
    return tuple(figures)


def _contingency(users: Users, model: SegmentModel | None) -> Contingency | None:
    """Count users by label and segment: labels by frequency, each segment beside its main label."""
    both = [
        (label, segment)
        for label, segment in zip(users.labels, users.segments.tolist(), strict=True)
        if label is not None and segment != NO_SEGMENT
    ]
    if model is None or not both:
        return None
    counts, totals = Counter(both), Counter(label for label, _ in both)
    labels = sorted(totals, key=lambda label: (-totals[label], label))
    table = np.array(
        [[counts[label, segment] for segment in model.ids.tolist()] for label in labels]
    )
    order = sorted(
        range(len(model.ids)), key=lambda j: (int(table[:, j].argmax()), -table[:, j].max())
    )
    return Contingency(
        labels=tuple(labels),
        segments=tuple(model.ids[order].tolist()),
        counts=tuple(tuple(row) for row in table[:, order].tolist()),
    )


def _flapping(observer: Observer, least: int) -> Flapping:
    users = observer.with_events(least)
    total: Counter[tuple[str, str]] = sum((track.changes for track in users), Counter())
    causes: Counter[tuple[str, str]] = sum((track.causes for track in users), Counter())
    switches = sum(
        count for (status, _), count in total.items() if status == ChangeStatus.SWITCHED.value
    )
    histogram = [0] * (MOST_CHANGES + 1)
    for track in users:
        histogram[min(track.changes.total(), MOST_CHANGES)] += 1
    return Flapping(
        least_events=least,
        users=len(users),
        changes_a_user=total.total() / max(len(users), 1),
        switches_a_user=switches / max(len(users), 1),
        switches_a_user_by_cause={
            cause.value: causes[ChangeStatus.SWITCHED.value, cause.value] / max(len(users), 1)
            for cause in (ChangeCause.USER, ChangeCause.MODEL)
        },
        by_reason={
            f"{status}, {reason}": total[status, reason] for status, reason in sorted(total)
        },
        users_by_changes=tuple(histogram),
    )


def _lag(observer: Observer) -> Lag:
    meaning = observer.confusion.best_labels()
    lags = [lag for track in observer.tracks.values() for lag in track.lags(meaning)]
    followed = [lag for lag in lags if lag is not None]
    return Lag(
        known=len(lags),
        followed=len(followed),
        median=float(median(followed)) if followed else None,
        mean=fmean(followed) if followed else None,
    )
