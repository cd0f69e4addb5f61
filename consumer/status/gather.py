"""Asks Kafka how a group stands. Reads and never writes, and joins no group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import KafkaException

from consumer.contract.clock import Timer
from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster, Standing
from consumer.kafka.groups import (
    intake_group,
    recommender_group,
    rules_group,
    trainer_group,
)
from consumer.kafka.newest import Newest, NewestOf
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import TopicError, TopicsMissingError
from consumer.settings import Settings
from consumer.stages.training.control import ModelControl
from consumer.status.attention import attention
from consumer.status.endpoints import ask_endpoints
from consumer.status.facts import (
    Drift,
    EmbeddingSwitch,
    Frozen,
    Group,
    Member,
    Model,
    Partition,
    Refused,
    Status,
)
from schemas.dead_letters import HEADER_PREFIX
from schemas.drift import DriftReferenceRecord
from schemas.segment_model import SegmentModelRecord

REFUSED = 5
"""Refused records that are told of."""

_PEEK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Places:
    """Offsets at one moment: committed and ends, by partition."""

    at: float
    committed: Mapping[int, int | None]
    ends: Mapping[int, int]
    beside: Mapping[int, OffsetMetadata]

    @property
    def resetting(self) -> bool:
        """Whether a reset was begun and is not done."""
        return any(known.resetting for known in self.beside.values())


class Gatherer:
    """Asks again and again, with one set of clients.

    Parameters
    ----------
    settings
        Of the group.
    endpoints
        Addresses, host:port, of processes to ask as well. All addresses of a name are asked.
    timer
        What passes between two questions.
    """

    def __init__(
        self, settings: Settings, endpoints: Iterable[str] = (), timer: Timer = time
    ) -> None:
        self._settings = settings
        self._endpoints = tuple(endpoints)
        self._cluster = Cluster(settings.kafka)
        self._timer = timer
        topics = settings.topics
        self._models = NewestOf(self._cluster, topics.models, SegmentModelRecord)
        # All of it, which is little: the state may lie before orders that wait.
        self._control = Newest(self._cluster, topics.model_control, None)
        self._references = NewestOf(self._cluster, topics.drift_reference, DriftReferenceRecord)
        self._letters = Newest(self._cluster, topics.dead_letters, REFUSED)

    def gather(self, seconds: float, meanwhile: Callable[[float], None] | None = None) -> Status:
        """Ask, twice so many seconds apart, so that rates can be told.

        Parameters
        ----------
        seconds
            How far apart.
        meanwhile
            Takes that time, in place of the timer's sleep.

        Raises
        ------
        TopicError
            If the cluster does not answer, or what is asked for is not allowed.
        """
        try:
            return self._gather(seconds, meanwhile or self._timer.sleep)
        except KafkaException as error:
            raise TopicError(f"the group's state cannot be read: {words(error)}") from error

    def _gather(self, seconds: float, meanwhile: Callable[[float], None]) -> Status:
        topics, kafka = self._settings.topics, self._settings.kafka
        there = self._cluster.topics()
        roles = [
            ("worker", kafka.group_id, topics.events),
            ("trainer", trainer_group(kafka), topics.samples),
        ]
        if self._settings.recommendations.enabled:
            roles.append(("recommender", recommender_group(kafka), topics.item_events))
        if topics.raw_events is not None:
            roles.append(("intake", intake_group(kafka), topics.raw_events))
        if self._settings.rules.enabled:
            roles.append(("rules", rules_group(kafka), topics.events))
        missing = [topic for _, _, topic in roles if topic not in there]
        if missing:
            raise TopicsMissingError(
                missing,
                f"there is no topic {', '.join(missing)}: check the names in topics, or run "
                "'segmenter topics create'",
            )
        with ExitStack() as clients:
            looks = [
                clients.enter_context(self._cluster.standing(group, topic, range(there[topic])))
                for _, group, topic in roles
            ]
            first = [self._places(look()) for look in looks]
            meanwhile(seconds)
            now = [self._places(look()) for look in looks]
        groups = [
            self._group(*role, *places) for role, *places in zip(roles, first, now, strict=True)
        ]
        status = Status(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            cluster_id=self._cluster.identity(topics.events).cluster_id,
            groups=groups,
            model=self._model() if topics.models in there else None,
            frozen=self._frozen() if topics.model_control in there else None,
            embedding_switch=_switch(now[0].beside),
            refused=self._refused() if topics.dead_letters in there else [],
            drift=self._drift() if topics.drift_reference in there else None,
            endpoints=ask_endpoints(self._endpoints),
            attention=[],
        )
        return status.model_copy(update={"attention": attention(status)})

    # --- groups -----------------------------------------------------------------------------

    def _places(self, found: Standing) -> _Places:
        places = found.committed
        committed = {
            place.partition: place.offset if place.offset >= 0 else None for place in places
        }
        beside = {place.partition: OffsetMetadata.read(place.metadata) for place in places}
        return _Places(self._timer.monotonic(), committed, found.ends, beside)

    def _group(self, role: str, group: str, topic: str, before: _Places, now: _Places) -> Group:
        described = self._cluster.group(group)
        members = sorted(
            (
                Member(
                    name=member.group_instance_id or member.member_id,
                    host=member.host.lstrip("/"),
                    partitions=sorted(
                        place.partition
                        for place in member.assignment.topic_partitions
                        if place.topic == topic
                    ),
                )
                for member in described.members
            ),
            key=lambda member: member.name,
        )
        owners = {number: each.name for each in members for number in each.partitions}
        lags = {
            number: max(end - (now.committed[number] or 0), 0) for number, end in now.ends.items()
        }
        waits = self._waits(topic, now, lags)
        took = now.at - before.at
        records = _rate(before.committed, now.committed, took)
        written = _rate(before.ends, now.ends, took)
        lag = sum(lags.values())
        known = [each for each in waits.values() if each is not None]
        return Group(
            role=role,
            group_id=group,
            state=described.state.name.lower(),
            topic=topic,
            members=members,
            partitions=[
                Partition(
                    number=number,
                    member=owners.get(number),
                    committed=now.committed[number],
                    end=end,
                    lag_records=lags[number],
                    waits_seconds=waits[number],
                )
                for number, end in sorted(now.ends.items())
            ],
            records_per_second=records,
            written_per_second=written,
            lag_records=lag,
            waits_seconds=max(known) if len(known) == len(waits) else None,
            seconds_to_go=seconds_to_go(lag, records, written),
            resetting=now.resetting,
        )

    def _waits(self, topic: str, now: _Places, lags: Mapping[int, int]) -> dict[int, float | None]:
        behind = {n: now.committed[n] or 0 for n, lag in lags.items() if lag}
        firsts = {
            record.partition: record.timestamp
            for record in self._cluster.peek(topic, behind, 1, _PEEK_SECONDS)
        }
        found: dict[int, float | None] = dict.fromkeys(lags, 0.0)
        for number in behind:
            timestamp = firsts.get(number, -1)
            found[number] = _ago(timestamp)
        return found

    # --- what is in topics ------------------------------------------------------------------

    def _model(self) -> Model | None:
        found = self._models.look()
        if found is None:
            return None
        model, timestamp = found
        return Model(
            version=model.version,
            segments=len(model.segments),
            published_seconds=_ago(timestamp),
            rollback_of=model.rollback_of,
        )

    def _frozen(self) -> Frozen | None:
        control = ModelControl(self._settings)
        try:
            for record in reversed(self._control.look()):
                control.load(record)
            control.check()
        except StageError:
            return None  # of a newer version: what reads it says so
        state = control.state
        return Frozen(frozen=state.frozen, since=state.since, cause=state.cause)

    def _drift(self) -> Drift | None:
        found = self._references.look()
        if found is None:
            return None
        reference, _ = found
        set_at = reference.set_at.isoformat() if reference.set_at is not None else None
        return Drift(reference_set=set_at, model_version=reference.model_version)

    def _refused(self) -> list[Refused]:
        return [_refused(record) for record in self._letters.look()]


def _switch(beside: Mapping[int, OffsetMetadata]) -> EmbeddingSwitch | None:
    """Tell how far partitions have gone over to another embedding model, as offsets say."""
    both = {known.held for known in beside.values() if len(known.held) == 2}
    if len(both) != 1:
        return None  # nobody holds two, or not all the same ones, as in a rolling restart
    ((former, following),) = both
    return EmbeddingSwitch(
        former=former,
        next=following,
        held=[number for number, known in sorted(beside.items()) if known.held],
        switched=[n for n, known in sorted(beside.items()) if known.embedding == following],
        partitions=len(beside),
    )


def _refused(record: Record) -> Refused:
    said = {
        name.removeprefix(HEADER_PREFIX): value.decode(errors="replace")
        for name, value in record.headers
        if name.startswith(HEADER_PREFIX)
    }

    def number(name: str) -> int:
        return int(said[name]) if said.get(name, "").lstrip("-").isdecimal() else -1

    return Refused(
        reason=said.get("reason", "unknown"),
        field=said.get("field") or None,
        topic=said.get("topic", ""),
        partition=number("partition"),
        offset=number("offset"),
        seconds=_ago(record.timestamp),
    )


def _ago(timestamp: int) -> float | None:
    """Give the seconds since a time in milliseconds since 1970; None where it is not known."""
    return None if timestamp < 0 else max(time.time() - timestamp / 1000, 0.0)


def _rate(
    before: Mapping[int, int | None], now: Mapping[int, int | None], seconds: float
) -> float | None:
    """Give how much was added a second, over the partitions; None where no time has passed."""
    if seconds <= 0:
        return None
    added = sum(max((now[n] or 0) - (before.get(n) or 0), 0) for n in now if n in before)
    return added / seconds


def seconds_to_go(lag: int, read: float | None, written: float | None) -> float | None:
    """Give the seconds until a lag is worked off; None where it never is, or is not known.

    Parameters
    ----------
    lag
        Records.
    read, written
        Records a second.
    """
    if lag == 0:
        return 0.0
    if read is None or written is None or read <= written:
        return None
    return lag / (read - written)
