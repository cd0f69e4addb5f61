"""Drift in the trainer: the reference, the looks, the alarms, and what an alarm does.

The state is the latest text of each sampled user and the reference. Texts are read back from the
trainer's feed, the reference from `drift-reference`. Everything else follows from these two and the
published segments, so a look after a restart says what it would have said before.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_snapshot
from models.distances import nearest
from models.drift.check import DriftCheck, DriftReport, Texts, churn
from models.drift.latest import LatestText, LatestTexts
from models.drift.reference import DriftReference
from models.profiles.sample import UserSample, rank
from models.segments.model import SegmentModel
from schemas.drift import (
    DRIFT_REFERENCE_KEY,
    DRIFT_REFERENCE_SCHEMA,
    DriftReferenceRecord,
)
from schemas.samples import Sample

logger = logging.getLogger(__name__)

LARGEST_REFERENCE = 8_000_000
"""Bytes of the vectors in a reference at most: two thirds of what a record may have, in base64.
That is 10,000 users with 384 dimensions."""

PATIENCE = 4
"""A group in which so few users write that a reference stays short of users is waited for until so
many samples a user wanted have come."""

SLOWER = 2
"""Today's users may take so many times as long a stretch of the feed as those of the reference."""


def read_reference(record: Record, place: str) -> DriftReference | None:
    """Read a reference.

    Returns
    -------
    DriftReference or None
        None where the record is a tombstone.

    Raises
    ------
    StageError
        If it is none; NewerModelError if a newer version has written it.
    """
    if record.value is None:
        return None
    return read_snapshot(
        record.value,
        place,
        lambda value: DriftReference.from_record(DriftReferenceRecord.model_validate_json(value)),
        what="drift reference",
        schema=DRIFT_REFERENCE_SCHEMA,
    )


def latest_text(user: str, sample: Sample, offset: int, place: str) -> LatestText | None:
    """Take the user's latest text out of a sample; None where it has none.

    Raises
    ------
    StageError
        If it cannot be read.
    """
    if sample.latest is None:
        return None
    vector = sample.latest
    if len(vector) != (numbers := len(sample.vector)):
        raise StageError(
            f"{place} is no profile sample: its latest text has {len(vector)} numbers, its vector "
            f"{numbers}"
        )
    if not np.isfinite(vector).all():
        raise StageError(f"{place} is no profile sample: its latest text holds NaN or an infinity")
    return LatestText(user, offset, vector, sample.updated_at)


class DriftMonitor:
    """Watches the sampled users' latest texts.

    Parameters
    ----------
    settings
        Sections `drift`, `topics` and the seed of `training`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.drift
        self._topic = settings.topics.drift_reference
        self._seed = settings.training.seed
        self.report: DriftReport | None = None
        """What the latest look has found; None while there is nothing to compare."""
        self.churn: float | None = None
        """Share of the reference's users whose segment is another one now."""
        self.age: timedelta | None = None
        """Event time between the reference's latest event and the latest of today."""
        self.alarms: Counter[str] = Counter()
        """By test, how often it went over its threshold."""
        self.detections: Counter[str] = Counter()
        """By detector, how often it found a change that the look before did not."""
        self.retrainings = 0
        self._texts = LatestTexts()
        self._reference: DriftReference | None = None
        self._check: DriftCheck | None = None
        self._since_look = 0
        self._was: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._found: list[Callable[[], None]] = []

    # --- state ------------------------------------------------------------------------------

    def assigned(
        self, reference: DriftReference | None, texts: LatestTexts, sample: UserSample
    ) -> None:
        """Go on from what was read back."""
        texts.keep(sample)
        self._texts, self._reference, self._check = texts, reference, None
        # So that the first pause has a look, and there are figures again.
        self._since_look = min(1, len(texts))
        self._found = []

    def revoked(self) -> None:
        """Stand by, with nothing to show."""
        self.assigned(None, LatestTexts(), UserSample(1))
        self.report, self.churn, self.age = None, None, None

    def observe(self, user: str, text: LatestText | None) -> None:
        """Take in a sampled user's latest text; None where the record has none."""
        self._since_look += 1
        if text is None:
            self._texts.discard(user)
        else:
            self._texts.put(text)

    def forget(self, user: str) -> None:
        """Take a user out who is no longer in the sample."""
        self._texts.discard(user)

    def committed(self) -> None:
        """Show what the latest look has found."""
        for show in self._found:
            show()
        self._found = []

    def aborted(self) -> None:
        """Forget what the latest look has found; the loop reads the state back."""
        self._found = []

    # --- looks ------------------------------------------------------------------------------

    def look(
        self,
        sample: UserSample,
        model: SegmentModel | None,
        retrain: Callable[[], object] | None,
        *,
        now: bool = False,
    ) -> list[Output]:
        """Compare today's users with the reference, when it is time to.

        Parameters
        ----------
        sample
            The sampled users.
        model
            The published segments; nothing is compared without.
        retrain
            Looks for better segments; called on an alarm, where the settings say so. None while
            no new ones are wanted: the alarm stays then.
        now
            Look although few samples have come since the last time.

        Returns
        -------
        list of Output
            The reference, where it is another one.
        """
        wanted = 1 if now else self._settings.every
        if not self._settings.enabled or model is None or self._since_look < wanted:
            return []
        self._since_look = 0
        before = self._reference
        reference = self._current_reference(model.embedding)
        if reference.collecting:
            reference = self._collected(reference, sample, model)
            self._show(None, None, None)
        else:
            reference = self._compared(reference, sample, model, retrain)
        if reference is before:
            return []
        self._reference, self._check = reference, None
        if before is None and reference.collecting and not reference.begin:
            return []  # what a trainer takes for granted without a record
        value = reference.to_record().model_dump_json().encode()
        return [Output(self._topic, DRIFT_REFERENCE_KEY, value, partition=0)]

    def _current_reference(self, embedding: str) -> DriftReference:
        """Give the reference, or one to collect where there is none that can be used."""
        reference, epoch = self._reference, self._settings.reference_epoch
        if reference is None or reference.embedding != embedding:
            return DriftReference(embedding, epoch)
        if reference.epoch != epoch:
            logger.info("drift: a new reference is collected, for drift.reference_epoch %d", epoch)
            return reference.begun_at(self._texts.next_offset, epoch)
        return reference

    def _collected(
        self, reference: DriftReference, sample: UserSample, model: SegmentModel
    ) -> DriftReference:
        """Set the reference if enough users have come since it was begun."""
        wanted = min(self._settings.users, LARGEST_REFERENCE // (2 * model.dimension))
        texts = self._texts.since(reference.begin, wanted)
        patient = self._texts.next_offset - reference.begin < PATIENCE * wanted
        if len(texts) < (wanted if patient else min(wanted, self._settings.min_users)):
            return reference
        return self._set(reference, texts, sample, model)

    def _set(
        self,
        reference: DriftReference,
        texts: list[LatestText],
        sample: UserSample,
        model: SegmentModel,
    ) -> DriftReference:
        """Make texts the reference."""
        segments = _segments_of(texts, sample, model)
        logger.info("drift: the reference is set, %d users", len(texts))
        return replace(
            reference,
            begin=texts[0].offset,
            end=self._texts.next_offset,
            users=np.array([rank(text.user) for text in texts]),
            vectors=np.stack([text.vector for text in texts]),
            segments=np.array(segments, np.int64),
            set_at=max(text.at for text in texts),
            model_version=model.version,
        )

    def _compared(
        self,
        reference: DriftReference,
        sample: UserSample,
        model: SegmentModel,
        retrain: Callable[[], object] | None,
    ) -> DriftReference:
        """Compare, and give the reference for the next look."""
        stretch = SLOWER * reference.stretch
        count = len(reference.users)
        texts = self._texts.since(max(reference.end, self._texts.next_offset - stretch), count)
        if len(texts) < count and (
            len(texts) < self._settings.min_users
            or self._texts.next_offset - reference.end < stretch
        ):
            self._show(None, self._churn(reference, sample, model), _age(reference, texts))
            return reference
        self._check = self._check or DriftCheck(reference.texts, self._settings, self._seed)
        ranks = np.array([rank(text.user) for text in texts])
        vectors = np.stack([text.vector for text in texts]).astype(np.float64)
        report = self._check.look(Texts(ranks, vectors), model)
        age = _age(reference, texts)
        self._show(report, self._churn(reference, sample, model), age)
        if report.alarms and self._settings.retrain and retrain is not None:
            retrain()
            self._found.append(self._count_retraining)
            logger.warning("drift: segments are looked for again, and a new reference collected")
            return reference.begun_at(self._texts.next_offset, reference.epoch)
        days = self._settings.reference_days
        if days is not None and age is not None and age > timedelta(days=days):
            return self._set(reference, texts, sample, model)
        return reference

    def _churn(
        self, reference: DriftReference, sample: UserSample, model: SegmentModel
    ) -> float | None:
        """Share of the reference's users, of those still sampled, who are in another segment."""
        users = {rank(user): row for row, user in enumerate(sample.users())}
        kept = [i for i, user in enumerate(reference.users.tolist()) if user in users]
        if not kept:
            return None
        rows = [users[reference.users[i]] for i in kept]
        now = model.ids[nearest(sample.vectors()[rows], model.centres)[0]]
        return churn(reference.segments[kept].tolist(), now.tolist())

    # --- what is shown ----------------------------------------------------------------------

    def _show(self, report: DriftReport | None, moved: float | None, age: timedelta | None) -> None:
        """Have the figures shown when what belongs to them is committed."""

        def show() -> None:
            self.report, self.churn, self.age = report, moved, age
            self._count(report)

        self._found.append(show)

    def _count_retraining(self) -> None:
        self.retrainings += 1

    def _count(self, report: DriftReport | None) -> None:
        """Count and tell what was not so at the look before."""
        alarms = frozenset(report.alarms if report else ())
        detectors = frozenset(
            name for name, found in (report.detections if report else {}).items() if found
        )
        known, detected = self._was
        self._was = (alarms, detectors)
        self.alarms.update(alarms - known)
        self.detections.update(detectors - detected)
        if report is None:
            return
        for name in sorted(alarms - known):
            outcome = report.tests[name]
            logger.warning(
                "drift: %s is %.4g, over its threshold of %.4g; segments that drifted: %s",
                name,
                outcome.statistic,
                outcome.threshold,
                ", ".join(map(str, report.drifted_segments)) or "none by itself",
            )
        if known and not alarms:
            logger.info("drift: every test is below its threshold again")
        for name in sorted(detectors - detected):
            logger.warning("drift: %s finds that texts lie at another distance from segments", name)

    @property
    def reference_users(self) -> int:
        """Users in the reference; 0 while it is collected."""
        return 0 if self._reference is None else len(self._reference.users)


def _age(reference: DriftReference, texts: list[LatestText]) -> timedelta | None:
    if reference.set_at is None:
        return None
    latest: datetime = max([reference.set_at, *(text.at for text in texts)])
    return latest - reference.set_at


def _segments_of(texts: list[LatestText], sample: UserSample, model: SegmentModel) -> list[int]:
    """Give the segment of each user's profile."""
    place = {user: row for row, user in enumerate(sample.users())}
    rows = [place[text.user] for text in texts]
    found: list[int] = model.ids[nearest(sample.vectors()[rows], model.centres)[0]].tolist()
    return found
