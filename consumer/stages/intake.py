"""The stage of `segmenter intake`: records of a foreign input under their users' keys.

It is for an input whose keys or partitions cannot be trusted. A record goes to `topics.events` as
it is, under its user's id, in the partition that the key belongs to; headers tell where it was. The
stage reads no more of it than the user id, so that all else is judged once, by the workers. What
has no user id is a dead letter.

There is no state: nothing to read back, and nothing that depends on the partitions of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from consumer.contract.clock import Clock, wall_clock
from consumer.contract.figures import Figures
from consumer.contract.records import Output, Record, RecordColumns, lasting_timestamp
from consumer.contract.stage import Changelog
from consumer.settings import Settings
from consumer.stages.shared.dead_letters import (
    DeadLetterLimit,
    DeadLetterLimitError,
    dead_letter_output,
)
from consumer.stages.shared.refusal_log import RefusalLog
from consumer.stages.shared.unexpected import Faults
from schemas.dead_letters import Refusal, RefusalReason, headers_size, redrives_of
from schemas.intake import RefusedError
from schemas.keys import encode_key
from schemas.origins import HEADER_PREFIX, Origin, origin_headers
from schemas.partitioner import Partitioner, partitions_of

KeyFate = Literal["kept", "changed", "missing"]
"""What became of a record's key: it was right, it was another one, there was none."""


# More than a batch has beside its record, and the headers that tell where that comes from.
_BESIDE_BYTES = 1024


@dataclass(slots=True)
class IntakeStats:
    """Totals since the start, of committed work only."""

    rekeyed: Counter[KeyFate] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Dead letters by reason."""
    refused_again: Counter[str] = field(default_factory=Counter)
    """Of these, those that `segmenter dead-letters redrive` had brought back."""

    @property
    def looked_at(self) -> Counter[str]:
        """What the limits look at: that an operator's redrive fails says nothing of the input."""
        return self.refused - self.refused_again

    def add(self, other: IntakeStats) -> None:
        """Add another's totals."""
        self.rekeyed.update(other.rekeyed)
        self.refused.update(other.refused)
        self.refused_again.update(other.refused_again)

    def figures(self) -> Figures:
        """Give them for the metrics."""
        yield "intake_records", {fate: self.rekeyed[fate] for fate in get_args(KeyFate)}
        yield "intake_dead_letters", {reason: self.refused[reason] for reason in RefusalReason}


@dataclass(frozen=True, slots=True)
class Identified:
    """A record and the key of its user, or why it has none."""

    record: Record
    outcome: bytes | Refusal


class NothingToRestore:
    """The state of a partition: none."""

    changelogs: Sequence[Changelog] = ()

    def load_many(self, records: RecordColumns) -> None:
        """Take records in."""
        for record in records:
            self.load(record)

    def load(self, record: Record) -> None:
        """Take no record in, as there is no changelog."""


class IntakeStage:
    """Brings records to the partition of their users.

    Parameters
    ----------
    settings
        Topics, mapping and limits.
    source
        The foreign input.
    partitions
        Partitions of `topics.events`.
    clock
        What timestamps in the future are told by.
    max_record_bytes
        What `topics.events` takes, where that is known; a longer record is refused.
    retention_ms
        How long `topics.events` keeps records, where that is bounded and known.
    """

    restore_after_abort = False
    fixed_partitions = False

    def __init__(
        self,
        settings: Settings,
        source: str,
        partitions: int,
        clock: Clock = wall_clock,
        *,
        max_record_bytes: int | None = None,
        retention_ms: int | None = None,
    ) -> None:
        self._max_record_bytes = max_record_bytes
        self._retention_ms = retention_ms
        self.inputs = (source,)
        self.stats = IntakeStats()
        self._partitions = partitions
        self._clock = clock
        self._events = settings.topics.events
        self._dead_letters = settings.topics.dead_letters
        self._max_bytes = settings.dead_letters.most_bytes
        intake = settings.events.intake()
        self._find_user, self._key = intake.user_finder(), intake.key
        partitioner = settings.events.partitioner
        self._partitioner: Partitioner = "murmur2" if partitioner == "any" else partitioner
        self._limit = DeadLetterLimit(settings.dead_letters, "topics.raw_events")
        self._refusals = RefusalLog()
        self._faults = Faults()
        self._pending = IntakeStats()

    # --- no state ---------------------------------------------------------------------------

    def restoration(self, partition: int) -> NothingToRestore:  # noqa: ARG002
        """Give what there is to read back: nothing."""
        return NothingToRestore()

    def assigned(self, partition: int, restoration: NothingToRestore) -> None:
        """Take over a partition."""

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""

    def maintain(self, *, idle: bool) -> None:  # noqa: ARG002
        """Say that there is no other work."""
        return

    # --- the way of a record ----------------------------------------------------------------

    def prepare(self, records: Sequence[Record]) -> list[Identified]:
        """Find the users."""
        return [Identified(record, self._identify(record)) for record in records]

    def _identify(self, record: Record) -> bytes | Refusal:
        try:
            key = encode_key(self._find_user(record.value), self._key)
            self._check_size(record, key)
            return key
        except RefusedError as error:
            return error.refusal
        except Exception as error:
            return self._faults.refusal(error)

    def _check_size(self, record: Record, key: bytes) -> None:
        most = self._max_record_bytes
        if most is None:
            return
        size = len(record.value or b"") + len(key) + headers_size(record.headers)
        if size + _BESIDE_BYTES > most:
            raise RefusedError(
                RefusalReason.RECORD_TOO_LARGE,
                f"key, value and headers have {size:,} bytes, and topic {self._events} takes "
                f"records of {most:,} (max.message.bytes), {_BESIDE_BYTES:,} for where a record "
                "comes from included",
            )

    def apply(self, prepared: Sequence[Identified], partitions: frozenset[int]) -> list[Output]:
        """Give the records under their new keys, in their order, and the dead letters."""
        now = int(self._clock().timestamp() * 1000)
        own = [each for each in prepared if each.record.partition in partitions]
        keys = [each.outcome for each in own if isinstance(each.outcome, bytes)]
        places = iter(partitions_of(keys, self._partitions, self._partitioner).tolist())
        outputs = []
        for each in own:
            record, outcome = each.record, each.outcome
            if isinstance(outcome, bytes):
                fate: KeyFate = "changed" if record.key else "missing"
                self._pending.rekeyed["kept" if record.key == outcome else fate] += 1
                outputs.append(self._rekeyed(record, outcome, next(places), now))
                continue
            self._pending.refused[outcome.reason] += 1
            self._pending.refused_again[outcome.reason] += redrives_of(record.headers) > 0
            self._refusals.note(record, outcome, self._dead_letters)
            outputs.append(dead_letter_output(self._dead_letters, record, outcome, self._max_bytes))
        try:
            pending = self._pending
            self._limit.check(accepted=pending.rekeyed.total(), refused=pending.looked_at)
        except DeadLetterLimitError:
            self._refusals.stopped()
            raise
        return outputs

    def _rekeyed(self, record: Record, key: bytes, partition: int, now: int) -> Output:
        origin = Origin(record.topic, record.partition, record.offset, record.timestamp)
        others = [each for each in record.headers if not each[0].startswith(HEADER_PREFIX)]
        return Output(
            self._events,
            key,
            record.value,
            (*others, *origin_headers(origin)),
            partition,
            lasting_timestamp(record.timestamp, now, self._retention_ms),
        )

    def committed(self) -> None:
        """Count the batch."""
        self.stats.add(self._pending)
        self._limit.commit(accepted=self._pending.rekeyed.total(), refused=self._pending.looked_at)
        self._refusals.committed()
        self._pending = IntakeStats()

    def aborted(self) -> None:
        """Forget the batch."""
        self._refusals.aborted()
        self._pending = IntakeStats()
