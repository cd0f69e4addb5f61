"""The audit of a whole: what a replay's folder and topics up to a cut have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from consumer.verify import rules
from consumer.verify.decode import MalformedError, read
from consumer.verify.engine import Engine, Sums
from consumer.verify.report import Counts, VerifyResult, ViolationKind, Violations
from schemas.base import claimed_schema
from schemas.changes import SegmentChange
from schemas.segment_model import SEGMENT_MODEL_SCHEMA, SegmentModelRecord


class WholeAudit:
    """Feeds the engine to an end, then asks for what can be judged only then.

    Parameters
    ----------
    beginning_lost
        Whether retention has removed the first changes.
    begun_anew
        Partitions of the input that were made anew.
    """

    def __init__(
        self, *, beginning_lost: bool = False, begun_anew: Collection[int] = frozenset()
    ) -> None:
        # Of the changes alone, and of what lies between topics and needs one moment of all.
        self.in_changes = Violations()
        self.between = Violations()
        self.engine = Engine(self.in_changes, between=self.between, beginning_lost=beginning_lost)
        self.engine.begun_anew = begun_anew
        self.counts = Counts()
        self.unchecked: list[str] = []
        self.notes: list[str] = []

    def check_segments(self, value: bytes | None, subject: str, name: str, missing: str) -> _Model:
        """Hold the users' segments against the latest segment model.

        Parameters
        ----------
        value
            As it was found, None where there is none.
        subject
            Topic or file in which it is.
        name, missing
            What it is called in a sentence, and what is called missing where it is.

        Returns
        -------
        The model, None where there is none that can be read.
        """
        model = self._model(value, subject, name, missing)
        if model is not None:
            self.engine.embeddings.add_model(model.embedding, model.version, subject)
            self.engine.embeddings.add_centres(model.embedding, model.dimensions)
            if model.migrated_from is not None:
                self.engine.embeddings.add_migration(model.migrated_from, model.embedding)
            self._check_known(model)
        return model

    def _check_known(self, model: SegmentModelRecord) -> None:
        """Check that users moved by this version of the model are in segments that it has."""
        ledger = self.engine.ledger
        # None: a user may leave for no segment under any model.
        known = {None, *(segment.id for segment in model.segments)}
        later = 0
        for user, row in ledger.named():
            if (change := ledger.changes.at(row)) is None:
                continue
            version = ledger.version(row)
            if version > model.version:
                later += 1
            elif version == model.version and change.segment not in known:
                self.between.add_all(user, rules.unknown_segment(change, version))
        if later:
            self.unchecked.append(
                f"the segments of {later:,} users: they were decided by a later segment model than "
                f"the latest to be found, version {model.version}"
            )

    def _model(self, value: bytes | None, subject: str, name: str, missing: str) -> _Model:
        try:
            if value is not None:
                return read(SegmentModelRecord, value)
            reason = f"there is no {missing}"
        except MalformedError as error:
            reason = f"{name} cannot be read"
            if (schema := claimed_schema(value)) > SEGMENT_MODEL_SCHEMA:
                reason = f"{name} is of schema {schema}, this version knows {SEGMENT_MODEL_SCHEMA}"
            else:
                self.between.add(ViolationKind.MALFORMED, subject, f"{reason}: {error}")
        self.unchecked.append(f"that segments exist: {reason}")
        return None

    def finish(self, changes: Callable[[], Iterable[SegmentChange]]) -> Sums:
        """Judge what was fed, and count it; `changes` gives all once more, if they are needed."""
        engine = self.engine
        if engine.differing:
            for change in changes():
                engine.recall(change)
        sums = engine.finish()
        if left := engine.embeddings.to_be_taken_over:
            self.notes.append(
                f"{left:,} profiles still are of the embedding model that the group is leaving"
            )
        if later := engine.later.untold():
            self.unchecked.append(later)
        self.counts = replace(
            self.counts,
            accepted=sums.accepted,
            repeated=sums.repeated,
            refused=engine.dead_letters.count,
            changes=engine.changes,
            users=sums.users,
            members=sums.members,
        )
        return sums

    def balance(self, subject: str, records: int, sums: Sums) -> None:
        """Hold the input's records against what came of them."""
        self.counts = replace(self.counts, records=records)
        refused = self.engine.dead_letters.count
        self.between.add_all(subject, rules.balance(records, sums.accepted, sums.repeated, refused))

    def not_balanced(self, reason: str) -> None:
        """Say why the input's records cannot be held against it."""
        self.unchecked.append(f"that input = accepted + repeated + refused: {reason}")

    def result(
        self, source: str, *, inconclusive: str | None = None, in_changes_alone: bool = False
    ) -> VerifyResult:
        """Give the outcome; where the cut is not of one moment, of what is in changes alone."""
        violations = Violations()
        violations.extend(self.in_changes)
        if not in_changes_alone:
            violations.extend(self.between)
        return VerifyResult(
            source=source,
            counts=self.counts,
            violations=tuple(violations.first),
            violations_by_kind=dict(violations.by_kind),
            unchecked=tuple(self.unchecked),
            notes=tuple(self.notes),
            inconclusive=inconclusive,
        )


_Model = SegmentModelRecord | None
