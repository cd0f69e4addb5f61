"""Audits a group at work, for as long as it is left on: `segmenter verify --follow`.

Two threads. This one reads the outputs read_committed, in no group, and judges (`engine`, `watch`);
the other one asks the cluster for offsets, which may take its time. Both go on through broker
failures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from consumer.contract.records import Record
from consumer.kafka.broker_log import broker_log
from consumer.kafka.messages import as_record
from consumer.process import ending
from consumer.settings import Settings
from consumer.verify import decode
from consumer.verify.beside import Beside
from consumer.verify.decode import State, V
from consumer.verify.engine import Engine
from consumer.verify.ledger import UNREADABLE_MEMBERSHIP, UNREADABLE_PROFILE
from consumer.verify.lookups import Lookups, open_consumer, outputs_of, partitions_of, places
from consumer.verify.news import FollowReport, Line, News
from consumer.verify.open_transactions import in_inputs, in_outputs
from consumer.verify.report import Violation, ViolationKind
from consumer.verify.watch import GroupWatch, Place, ReadUp, Sample
from models.daemon_pool import DaemonPool

logger = logging.getLogger(__name__)

_TURN_SECONDS = 0.5
_BATCH = 1000

# What was fetched and not yet looked at: the only large thing in memory.
_READING = {"queued.max.messages.kbytes": 8192}

# The offset is no longer there, or not yet: what retention and a topic made anew lead to.
_STOP_SECONDS = 5.0
_REMOVED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}


class Follower:
    """An audit that runs in a thread while the context is open.

    Parameters
    ----------
    settings
        Of the workers. Their group is neither joined nor changed. Of what its processes read
        besides the events only transactions that stay open are told.
    from_now
        Whether to begin at the present ends; else at the beginnings. A user's chain is then taken
        up at the first change that is seen, and not checked against anything before it.
    settle_seconds
        How long the records of one transaction may be apart. Longer than the workers' transaction
        timeout.
    stall_seconds
        How long a partition with records to read may stand still before that is told, and how
        long a producer's transaction may be open.
    hang_seconds
        How long a transaction may be open in the outputs; None for `settle_seconds`.
    sample_seconds
        How often the cluster is asked for offsets.
    request_seconds
        How long to wait for one answer.
    on_turn
        Called at each turn of the loop, at least every second or so.

    Raises
    ------
    VerifyError
        On entering the context, if the topics are not there or the cluster does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        from_now: bool = False,
        settle_seconds: float = 40.0,
        stall_seconds: float = 60.0,
        hang_seconds: float | None = None,
        sample_seconds: float = 1.0,
        request_seconds: float = 5.0,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._topics = topics = settings.topics
        self._from_now = from_now
        self._stall_seconds = stall_seconds
        self._sample_seconds = sample_seconds
        self._request_seconds = request_seconds
        self._on_turn = on_turn
        self._clock = time.monotonic
        self._news = News()
        self._engine = Engine(
            self._news,
            settle_seconds=settle_seconds,
            input_topic=topics.events,
            tell=self._news.tell,
        )
        self._beside = Beside(
            settings, self._news, settle_seconds=settle_seconds, whole=not from_now
        )
        self._names = (*outputs_of(topics), *self._beside.topics)
        self._open = in_outputs(
            self._names,
            settle_seconds if hang_seconds is None else hang_seconds,
            self._news,
        )
        others = (topics.raw_events, topics.labels if settings.labels.enabled else None)
        self._inputs = (topics.events, *(name for name in others if name is not None))
        self._blocked = in_inputs(self._inputs, stall_seconds, self._news.tell)
        # Everything below the lock is written by the thread and read by whoever asks.
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._trouble: str | None = None
        self._began = self._reported_at = 0.0
        self._reported_changes = 0

    # --- life -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        group_id = self._settings.kafka.group_id
        lookups = Lookups(self._settings, group_id)
        reader: Consumer | None = None
        try:
            self._beside.open()
            names = (*self._inputs, *self._names)
            there = partitions_of(self._settings, names, seconds=self._request_seconds)
            partitions = {name: there[name] for name in names}
            self._outputs = {name: partitions[name] for name in self._names}
            lows, starts = self._starts(lookups, partitions)
            now = self._began = self._reported_at = self._clock()
            self._read_up = ReadUp(starts, now)
            self._watch = GroupWatch(
                self._topics.events,
                {n: lows[self._topics.events, n] for n in partitions[self._topics.events]},
                stall_seconds=self._stall_seconds,
                violations=self._news,
                tell=self._news.tell,
                now=now,
            )
            # In a name of its own: its offsets are nobody's.
            reader = open_consumer(self._settings, f"{group_id}-follower", _READING)
            reader.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
        except BaseException:
            lookups.close()
            self._beside.close()
            if reader is not None:
                reader.close()
            raise
        self._consumer, self._lookups, self._partitions = reader, lookups, partitions
        self._asking = DaemonPool(1, "sampler")
        self._asked: Future[Sample] | None = None
        self._asked_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            ending.begin(kind.__name__)
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)
        self._asking.close(_STOP_SECONDS)
        if self._thread.is_alive():
            return
        self._consumer.close()
        if self._asked is None or self._asked.done():
            self._lookups.close()
            self._beside.close()

    def _starts(
        self, lookups: Lookups, partitions: Mapping[str, list[int]]
    ) -> tuple[dict[Place, int], dict[Place, int]]:
        """Give the first offsets of all topics, and where to begin to read the outputs."""
        ask, seconds = lookups.all_offsets, self._stall_seconds
        firsts = (self._topics.changes, self._topics.rule_changes)
        changes = {name: n for name, n in self._outputs.items() if name in firsts}
        others = {name: n for name, n in self._outputs.items() if name not in changes}
        events = {self._topics.events: partitions[self._topics.events]}
        lows = ask({**events, **self._outputs}, OffsetSpec.earliest(), seconds)
        if not self._from_now:
            self._lost = {n for n in changes[self._topics.changes] if lows[self._topics.changes, n]}
            self._engine.beginning_lost = bool(self._lost)
            self._beside.begin(lows)
            return lows, {place: lows[place] for place in places(self._outputs)}
        self._lost = set(changes[self._topics.changes])
        self._engine.beginning_lost = True
        self._beside.begin(None)
        # Of a transaction whose change is read, the membership and the profile are read too: it is
        # open now, or begins later, so that nothing of it lies before the last stable offset.
        starts = ask(others, OffsetSpec.latest(), seconds, stable=True)
        return lows, starts | ask(changes, OffsetSpec.latest(), seconds)

    # --- what others ask --------------------------------------------------------------------

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The first violations, at most `MAX_KEPT`; `report` counts all."""
        with self._lock:
            return tuple(self._news.first)

    def take_news(self) -> list[Line]:
        """Give violations and warnings since the last time, in their order."""
        with self._lock:
            return self._news.take()

    def report(self) -> FollowReport:
        """Say where the audit stands; `rate` is of the time since the report before.

        Raises
        ------
        Exception
            What ended the thread, if something did.
        """
        report = self.glance()
        self._reported_at = self._began + report.seconds
        self._reported_changes = report.changes
        return report

    def glance(self) -> FollowReport:
        """Give what `report` gives, without beginning a new rate; raises as that."""
        with self._lock:
            if self._error is not None:
                raise self._error
            now, engine = self._clock(), self._engine
            passed = now - self._reported_at
            rate = (engine.changes - self._reported_changes) / passed if passed > 0 else 0.0
            return FollowReport(
                seconds=now - self._began,
                changes=engine.changes,
                memberships=engine.memberships,
                profiles=engine.profiles,
                dead_letters=engine.dead_letters.count,
                rate=rate,
                users=engine.users,
                unsettled=engine.unsettled + self._beside.unsettled,
                rule_changes=self._beside.rule_changes,
                item_events=self._beside.item_events,
                violations=dict(self._news.by_kind),
                lag=self._watch.lag,
                behind=self._read_up.behind,
                read_up=self._read_up.caught_up > self._began,
                stalled=tuple(f"{self._topics.events}[{n}]" for n in self._watch.stalled),
                hanging=self._open.hanging,
                blocked=self._blocked.hanging,
                trouble=self._trouble,
                lost=self._watch.lost,
            )

    def wait_settled(self, seconds: float) -> bool:
        """Wait until all that is committed now is read and agrees, or was reported.

        Returns
        -------
        Whether it came to that within `seconds`.
        """
        asked = self._clock()
        while self._clock() < asked + seconds:
            with self._lock:
                if self._error is not None:
                    raise self._error
                settled = self._engine.settled and self._beside.settled
                if self._read_up.caught_up >= asked and settled:
                    return True
            time.sleep(0.1)
        return False

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                turn = min(_TURN_SECONDS, self._sample_seconds)
                messages = self._consumer.consume(_BATCH, turn)
                with self._lock:
                    self._turn(messages)
                self._on_turn()
        except Exception as error:
            self._error = error

    def _turn(self, messages: list[Message]) -> None:
        now = self._clock()
        for message in messages:
            if error := message.error():
                self._take_error(message, error, now)
            else:
                self._take(as_record(message), now)
        if self._asked is not None and self._asked.done():
            self._take_sample(self._asked.result(), now)
            self._asked = None
        if self._asked is None and now >= self._asked_at + self._sample_seconds:
            self._asked_at = now
            events, seconds = self._topics.events, self._request_seconds
            question = partial(self._lookups.sample, events, self._partitions, seconds)
            self._asked = self._asking.submit(partial(self._ask, question))
        self._engine.settle(self._read_up.caught_up, now)
        self._beside.settle(self._read_up.caught_up, now, self._engine.begun_anew)

    def _ask(self, question: Callable[[], Sample]) -> Sample:
        sample = question()
        self._beside.ask(self._partitions, self._request_seconds)
        return sample

    def _take(self, record: Record, now: float) -> None:
        topics, news, engine = self._topics, self._news, self._engine
        topic, partition = record.topic, record.partition
        if topic == topics.changes:
            if told := decode.change_in(record, news):
                source = told.event.source
                engine.change(
                    told,
                    record.value or b"",
                    now,
                    partition=source.partition if source else None,
                    beginning_lost=engine.beginning_lost and partition in self._lost,
                )
        elif topic == topics.memberships:
            if membership := self._state(record, decode.membership_head, UNREADABLE_MEMBERSHIP):
                engine.membership(membership.user, membership.facts, now)
        elif topic == topics.profiles:
            if profile := self._state(record, decode.profile_head, UNREADABLE_PROFILE):
                engine.profile(profile.user, profile.facts, now, partition)
        elif topic == topics.dead_letters:
            place = record.place
            read = partial(decode.refused_in, record)
            refused = decode.attempt(read, place, topic, news)
            engine.dead_letters.add(refused, topic, now, partition)
        elif topic in self._beside.topics:
            self._beside.take(record, now)
        else:
            self._probed(partition, record=True, position=record.offset, now=now)
            return
        self._read_up.at((topic, partition), record.offset + 1)

    def _state(self, record: Record, read: decode.ReadState[V], unreadable: V) -> State[V] | None:
        state = decode.state_in(record, read, unreadable, self._news)
        if state is not None and state.fault is not None:
            self._news.add(ViolationKind.MALFORMED, record.topic, state.fault)
        return state

    def _take_error(self, message: Message, error: KafkaError, now: float) -> None:
        topic, partition = message.topic() or "", message.partition() or 0
        offset = message.offset() or 0
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            # The end of what is stable, transaction markers included: `offset` comes next.
            if topic == self._topics.events:
                self._probed(partition, record=False, position=offset, now=now)
            else:
                self._read_up.at((topic, partition), offset)
        elif code in _REMOVED and topic == self._topics.events:
            # Whatever the group finds in their place, it has not come to it.
            self._probed(partition, record=True, position=offset, now=now)
        elif code in _REMOVED:
            self._news.tell(
                f"records of {topic}[{partition}] were removed before they were read: chains are "
                "taken up anew where they are seen next"
            )
            self._engine.restart()
            self._beside.restart()
            self._lost = set(self._outputs[self._topics.changes])
            place = TopicPartition(topic, partition, OFFSET_BEGINNING)
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([place])
        else:
            # A client that has lost its brokers goes on by itself when they are back.
            broker_log.error(error.name(), f"reading {topic}[{partition}]: {error.str()}")

    def _take_sample(self, sample: Sample, now: float) -> None:
        if sample.trouble is not None and self._trouble is None:
            self._news.tell(f"the cluster does not answer everything: {sample.trouble}")
        elif sample.trouble is None and self._trouble is not None:
            self._news.tell("the cluster answers again")
        self._trouble = sample.trouble
        self._read_up.sample(sample)
        self._beside.sampled()
        self._open.sample(sample)
        self._blocked.sample(sample)
        self._watch.sample(sample)
        self._engine.begun_anew = self._watch.begun_anew
        if suspects := self._watch.suspects(now):
            topic = self._topics.events
            wanted = [TopicPartition(topic, n, offset) for n, offset in suspects.items()]
            self._consumer.incremental_assign(wanted)
        for place in self._consumer.position(
            [TopicPartition(*place) for place in places(self._outputs)]
        ):
            # Markers and aborted records move the position and give no message.
            self._read_up.at((place.topic, place.partition), place.offset)

    def _probed(self, partition: int, *, record: bool, position: int, now: float) -> None:
        place = TopicPartition(self._topics.events, partition)
        if place not in self._consumer.assignment():
            return  # the rest of what was fetched with the first one
        self._consumer.incremental_unassign([place])
        self._watch.probed(partition, record, position, now)
