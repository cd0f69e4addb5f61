"""Bringing refused records back to the input that they came from, each of them once.

A transaction holds records for the input, and how far the redrive is, in a group of its own
(`consumer.letters.progress`). Nobody joins that group. What keeps a second redrive out is the
transactional id: the start of a producer of that name ends what the former one left open, and
fences it. Only then the progress is read. Where the outcome of a transaction is not known, or it
was aborted, the progress is read again and says which; where it says neither, somebody else is at
work.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple, get_args

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.contract.records import Output, lasting_timestamp
from consumer.engine.transactions import Outcome, Transactions
from consumer.kafka.asking import words
from consumer.kafka.clients import made, producer_config, reader_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.groups import redrive_group
from consumer.kafka.topic_limits import fit_topics, message_limits, retention_ms
from consumer.letters.choice import Choice, Letter, LetterError, find_topics, read_letters
from consumer.letters.originals import Originals
from consumer.letters.progress import Progress
from consumer.settings import Settings
from schemas.dead_letters import (
    DeadLetterHeaders,
    headers_size,
    original_headers,
    redrive_headers,
)

_AT_ONCE = 500
_BYTES_AT_ONCE = 4_000_000
_START_SECONDS = 60.0
_ATTEMPTS = 5
# More than a record has beside key, value and headers.
_BESIDE_BYTES = 1024
# Partitions whose offsets are committed anew at once: each may have 4 kB beside it.
_RENEWED_AT_ONCE = 100


Fate = Literal[
    "cut",  # something is missing in its dead letter
    "too_large",  # the input does not take it with the headers of a redrive
    "no_partition",  # its topic has its partition no more
    "gone",  # its dead letter does not hold it, and the input no more either
    "too_often",  # it was brought back as often as is allowed
    "elsewhere",  # its topic is none of our inputs
    "others",  # the run is to leave it out
    "unreadable",  # it has no headers of a dead letter
]
"""Why a record is not brought back."""

_NEVER: frozenset[Fate] = frozenset({"cut", "too_large", "no_partition", "gone"})
"""Done with all the same; the others stay, for a run that takes them."""


@dataclass
class Redriven:
    """What a run has done, or would do.

    Attributes
    ----------
    back
        Records that are brought back, by reason.
    counts
        Those that are not, by why and by reason.
    limited
        Whether it stopped at its limit, with more to bring back.
    first
        Whether nothing is known of earlier runs: there was none, or the brokers have forgotten.
    """

    back: Counter[str] = field(default_factory=Counter)
    counts: dict[Fate, Counter[str]] = field(
        default_factory=lambda: {fate: Counter() for fate in get_args(Fate)}
    )
    limited: bool = False
    first: bool = False


@dataclass(frozen=True)
class _Input:
    """A topic that records may be brought back to."""

    partitions: int
    most_bytes: int | None
    retention_ms: int | None


class _Step(NamedTuple):
    """How far a partition is before and after a transaction."""

    number: int
    before: Progress
    after: Progress


_Write = Callable[[list[Output], _Step], None]


class Redrive:
    """One run of the command.

    Parameters
    ----------
    settings
        Of the group.
    choice
        Which dead letters are meant.
    limit
        How many records are brought back at most; None for all.
    tries
        How often a record is brought back at most, over all runs.
    make
        Makes the producer.
    cluster
        Is asked.
    step
        Told every now and then how many more dead letters were read.
    """

    def __init__(
        self,
        settings: Settings,
        choice: Choice,
        *,
        limit: int | None = None,
        tries: int = 3,
        make: Callable[..., Transactions] = Transactions,
        cluster: Cluster | None = None,
        step: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._settings = settings
        self._topic = settings.topics.dead_letters
        self._choice = choice
        self._limit = limit
        self._tries = tries
        self._make = make
        self._step = step
        self._cluster = cluster or Cluster(settings.kafka)
        self._group = redrive_group(settings.kafka)
        self._inputs: Mapping[str, _Input] = {}
        self._limits: Mapping[str, int] = {}
        self.result = Redriven()

    def run(self, *, dry: bool) -> Redriven:
        """Bring back what is meant, or only count it.

        Raises
        ------
        LetterError
            If topics cannot be read, or another redrive is at work.
        FatalKafkaError
            If nothing can be written: fenced by another redrive, not allowed, ...
        """
        try:
            self._inputs = self._find_inputs()
            if dry:
                self.result.first = not self._known()
                self._over_all(lambda _outputs, _step: None)
                return self.result
            kafka = fit_topics(self._settings, self._limits).kafka
            producer = self._make(
                producer_config(kafka, self._group),
                kafka.transaction_timeout_seconds,
                _START_SECONDS,
                members_only=False,
            )
            # Only to name the group with the offsets: it subscribes to nothing.
            client = made(Consumer, {**reader_config(kafka), "group.id": self._group})
            with closing(client), closing(producer):
                self._renew(producer, client)
                self._over_all(partial(self._write, producer, client))
        except KafkaException as error:
            raise LetterError(f"dead letters cannot be brought back: {words(error)}") from error
        return self.result

    def _find_inputs(self) -> dict[str, _Input]:
        topics = self._settings.topics
        names = [each for each in (topics.events, topics.raw_events) if each is not None]
        # Without one of them its records would count as those of topics that are not ours.
        there = find_topics(self._settings, self._cluster, self._topic, *names)
        self._limits = message_limits(self._settings, names, self._cluster)
        self._originals = Originals(
            self._cluster,
            {name: there[name] for name in names},
            self._settings.restore.no_progress_seconds,
        )
        return {
            name: _Input(
                there[name],
                self._limits.get(name),
                retention_ms(self._settings, name, self._cluster),
            )
            for name in names
        }

    def _known(self) -> list[TopicPartition]:
        """Give what is committed, of the partitions that have an offset."""
        numbers = range(self._cluster.partitions(self._topic))
        places = self._cluster.committed(self._group, self._topic, numbers)
        return [place for place in places if place.offset >= 0]

    def _renew(self, producer: Transactions, client: Consumer) -> None:
        """Commit what is known once more, as it is.

        Brokers forget an offset of a group that nobody has joined offsets.retention.minutes after
        it was committed, each partition's by itself. One without new dead letters would be
        forgotten while the others are brought back, and all of it would go back again.
        """
        known = self._known()
        self.result.first = not known
        for start in range(0, len(known), _RENEWED_AT_ONCE):
            offsets = [
                TopicPartition(self._topic, place.partition, place.offset, place.metadata or "")
                for place in known[start : start + _RENEWED_AT_ONCE]
            ]
            # One that fails is there as before, and the next run renews it.
            if producer.write([], offsets, client) is Outcome.UNKNOWN:
                producer.reopen()

    def _progress(self, number: int) -> Progress:
        """Give what is committed of a partition, transactions that are being settled waited for."""
        place = self._cluster.committed(self._group, self._topic, [number])[0]
        return Progress.read(place.offset, place.metadata)

    def _over_all(self, write: _Write) -> None:
        for number, span in sorted(self._choice.spans(self._cluster, self._topic).items()):
            if self.result.limited:
                return
            self._over(number, span, write)

    def _over(self, number: int, span: tuple[int, int], write: _Write) -> None:
        """Go over a partition, writing every so often what has come together."""
        known = self._progress(number)
        low, high = self._cluster.watermarks(self._topic, number)
        if known.base > high:
            raise LetterError(
                f"group {self._group} is at offset {known.base} of {self._topic}[{number}], which "
                f"ends at {high}: the topic was made anew or truncated; delete that group, and all "
                "that is there is brought back"
            )
        begin, end = max(span[0], known.base), span[1]
        # What is left out before the beginning is not known to be done.
        contiguous = begin <= max(known.base, low)
        left: int | None = None if contiguous else known.base
        kinds: set[str] = set()
        outputs: list[Output] = []
        size, reached, written = 0, begin, known

        def commit() -> None:
            nonlocal written, outputs, size
            base = max(known.base, reached if left is None else min(left, reached))
            after = known.with_spans(base, ((kind, [(begin, reached)]) for kind in kinds))
            if outputs or after != written:
                write(outputs, _Step(number, written, after))
            written, outputs, size = after, [], 0

        letters = read_letters(
            *(self._settings, self._cluster, self._topic, number, (begin, end)), step=self._step
        )

        def wanted(letter: Letter) -> bool:
            return self._is_meant(letter) and not known.done(letter.kind, letter.record.offset)

        for letter, gone in self._originals.whole(letters, wanted):
            offset = letter.record.offset
            if known.done(letter.kind, offset):
                continue
            fate = self._fate(letter, gone=gone)
            if not isinstance(fate, Output) and fate not in _NEVER:
                left = offset if left is None else left
                continue
            if isinstance(fate, Output):
                if self._limit is not None and self.result.back.total() >= self._limit:
                    self.result.limited = True
                    reached = offset
                    break
                self.result.back[letter.said.reason if letter.said else ""] += 1
                outputs.append(fate)
                size += len(fate.value or b"")
            kinds.add(letter.kind)
            reached = offset + 1
            if len(outputs) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
                commit()
        else:
            reached = max(end, begin)
        commit()

    def _is_meant(self, letter: Letter) -> bool:
        """Tell whether a record would go back if it can."""
        said = letter.said
        return said is not None and self._choice.takes(said) and said.redrives < self._tries

    def _fate(self, letter: Letter, *, gone: bool) -> Output | Fate:
        """Say what becomes of a dead letter, and count it; a record to write is not counted yet."""
        said = letter.said
        if said is None or not self._choice.takes(said):
            fate: Fate = "unreadable" if said is None else "others"
            self.result.counts[fate][said.reason if said else ""] += 1
            return fate
        into = self._inputs.get(said.topic)
        found = _brought_back(letter, said, into, gone=gone) if into else "elsewhere"
        if found != "elsewhere" and said.redrives >= self._tries:
            found = "too_often"
        if not isinstance(found, Output):
            self.result.counts[found][said.reason] += 1
        return found

    def _write(
        self, producer: Transactions, client: Consumer, outputs: list[Output], step: _Step
    ) -> None:
        """Commit records together with the progress of a partition.

        Raises
        ------
        LetterError
            If another redrive has moved that, or the cluster aborts again and again.
        FatalKafkaError
            If no retry helps.
        """
        text = step.after.write()
        offsets = [TopicPartition(self._topic, step.number, step.after.base, text)]
        for attempt in range(_ATTEMPTS):
            outcome = producer.write(outputs, offsets, client)
            if outcome is Outcome.COMMITTED:
                return
            if outcome is Outcome.UNKNOWN:
                producer.reopen()
            found = self._progress(step.number)
            if found == step.after:
                return
            if found != step.before:
                raise LetterError(
                    f"another redrive of group {self._group} is at work; what this one has "
                    "committed stays, and is not brought back again"
                )
            time.sleep(0.1 * 2**attempt)
        raise LetterError(
            f"{_ATTEMPTS} transactions in a row failed; the lines before say why; run it again "
            "when that is mended: what is brought back stays, and is not brought back again"
        )


def _brought_back(
    letter: Letter, said: DeadLetterHeaders, into: _Input, *, gone: bool
) -> Output | Fate:
    """Give the record as it was: key, value, headers, partition, and its time where that lasts."""
    record = letter.record
    if said.cut:
        return "cut"
    if said.partition >= into.partitions:
        return "no_partition"
    if gone:
        return "gone"
    headers = (*original_headers(record.headers), *redrive_headers(said.redrives + 1, said.topic))
    size = len(record.value or b"") + len(record.key or b"") + headers_size(headers)
    if into.most_bytes is not None and size + _BESIDE_BYTES > into.most_bytes:
        return "too_large"
    return Output(
        said.topic,
        record.key,
        record.value,
        headers,
        # Whoever wrote it has chosen that for the key, by whatever partitioner.
        said.partition,
        lasting_timestamp(said.timestamp, int(time.time() * 1000), into.retention_ms),
    )
