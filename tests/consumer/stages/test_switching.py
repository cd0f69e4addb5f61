"""A worker that goes from one embedding model to another while events come, with no broker.

Topics are lists here, and a transaction is what was appended to them with the offset. So a crash
can come anywhere, and what is judged is what a subscriber and a successor see.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from consumer.contract.errors import UsageError
from consumer.contract.figures import together
from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.segmentation.figures import figures
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.segmentation.switching import SwitchingStage, switching_sources
from consumer.wiring.switching_worker import make_stage
from models.profiles.sample import UserSample
from models.profiles.table import ProfileTable
from models.segments.carry_over import MemberSums, carry_over
from models.segments.model import SegmentModel
from schemas.changes import SegmentChange
from schemas.profiles import ProfileRecord
from schemas.states import read_profile
from tests.consumer.stages.stage_data import NOW, TOPICS, a_model, event
from tests.stubs import HashingEmbedder

FORMER, NEXT = HashingEmbedder(16), HashingEmbedder(24)
IDENTITIES = FORMER.identity, NEXT.identity
OLD = a_model(1)


def under_next(**changes: Any) -> SegmentModel:
    """The version that carries the segments of `OLD` over to where their texts are."""
    members = MemberSums(NEXT.dimensions)
    members.add(NEXT.embed(TOPICS).astype(np.float64), np.ones(2), np.arange(2))
    model = carry_over(OLD, members, UserSample(10), NEXT.identity)
    assert model is not None
    return replace(model, **changes)


def records_of(events: Sequence[dict[str, Any]], partitions: int) -> list[Record]:
    """The input: each user's events in a partition of the user's."""
    found, ends = [], dict.fromkeys(range(partitions), 0)
    for value in events:
        number = int(value["user_id"][1:]) % partitions
        key, bytes_of = value["user_id"].encode(), json.dumps(value).encode()
        found.append(Record("user-events", number, ends[number], -1, key, bytes_of))
        ends[number] += 1
    return found


@dataclass
class Cluster:
    """What outlasts a process: the input, the changelog, changes, and offsets."""

    input: list[Record]
    partitions: int = 2
    settings: Settings = field(default_factory=Settings)
    source: FixedModel = field(default_factory=lambda: FixedModel(OLD))
    log: dict[int, list[Record]] = field(default_factory=dict)
    changes: list[SegmentChange] = field(default_factory=list)
    samples: dict[str, bytes | None] = field(default_factory=dict)
    offsets: dict[int, int] = field(default_factory=dict)
    built_upto: dict[int, int] = field(default_factory=dict)
    asked: int = 0

    def of(self, number: int, start: int, end: int) -> list[Record]:
        own = [each for each in self.input if each.partition == number]
        return own[start:end]

    def build(self) -> None:
        """Have what `segmenter migrate --running` builds level with the group."""
        self.built_upto = {n: self.offsets.get(n, 0) for n in range(self.partitions)}

    # As the stage asks for what was built.

    def begin(self, partition: int) -> bool:
        self.asked += 1
        return self.asked % 2 == 0

    def forget(self, partition: int) -> None: ...

    def table(
        self, partition: int, offset: int, cancelled: Callable[[], bool], *, strictly: bool = False
    ) -> ProfileTable:
        if partition not in self.built_upto:
            raise StageError("nothing is built")
        stage = SegmentationStage(
            self.settings, NEXT, FixedModel(), clock=lambda: NOW, intake_clock=lambda: NOW
        )
        stage.assigned(partition, stage.restoration(partition))
        records = self.of(partition, 0, offset)
        if records:
            prepared = stage.prepare(records).accepting_only()
            stage.apply(prepared, frozenset({partition}))
            stage.committed()
        return stage.tables[partition]

    def commit(self, outputs: Sequence[Output], offsets: dict[int, int]) -> None:
        for output in outputs:
            if output.topic == "user-profiles":
                assert output.partition is not None
                log = self.log.setdefault(output.partition, [])
                log.append(
                    Record(output.topic, output.partition, len(log), -1, output.key, output.value)
                )
            elif output.topic == "segment-changes":
                self.changes.append(SegmentChange.model_validate_json(output.value or b""))
            elif output.topic == "profile-samples":
                self.samples[(output.key or b"").decode()] = output.value
        self.offsets.update(offsets)

    def profiles(self) -> dict[str, ProfileRecord]:
        return {
            (r.key or b"").decode(): read_profile(r.key or b"", r.value or b"")
            for log in self.log.values()
            for r in log
        }


class Process:
    """A worker that holds both models, and has all partitions."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        sources = switching_sources(cluster.source, IDENTITIES)
        stages = [
            SegmentationStage(
                cluster.settings, each, source, clock=lambda: NOW, intake_clock=lambda: NOW
            )
            for each, source in zip((FORMER, NEXT), sources, strict=True)
        ]
        self.stage = SwitchingStage(*stages, IDENTITIES, cluster.source, cluster, most_users=3)
        for number in range(cluster.partitions):
            self.restore(number)

    def restore(self, number: int) -> None:
        restoration = self.stage.restoration(number)
        for record in self.cluster.log.get(number, ()):
            restoration.load(record)
        restoration.complete(self.cluster.offsets.get(number, 0), lambda: False)
        self.stage.assigned(number, restoration)

    def batch(self, size: int, *, dies: bool = False) -> bool:
        """Take the next events of all partitions in; tell whether there were any."""
        ends = dict(self.cluster.offsets)
        records: list[Record] = []
        for number in range(self.cluster.partitions):
            start = ends.get(number, 0)
            some = self.cluster.of(number, start, start + size)
            records += some
            ends[number] = start + len(some)
        if not records:
            return False
        numbers = frozenset(range(self.cluster.partitions))
        outputs = list(self.stage.apply(self.stage.prepare(records), numbers))
        if not dies:
            self.cluster.commit(outputs, ends)
            self.stage.committed()
        return True

    def maintain(self, *, dies: bool = False) -> bool:
        outputs = self.stage.maintain(idle=True)
        if outputs is None:
            return False
        if not dies:
            self.cluster.commit(outputs, {})
            self.stage.committed()
        return True

    def read_back_next(self) -> None:
        if (number := self.stage.to_read_back(at_rest=True)) is not None:
            self.stage.revoked(number)
            self.restore(number)

    def settle(self) -> None:
        for _ in range(10_000):
            self.read_back_next()
            if not self.maintain() and self.stage.settled:
                return
        raise AssertionError("it does not settle")


def a_history(draw: random.Random, users: int, count: int) -> list[dict[str, Any]]:
    counts = [0] * users
    events = []
    for _ in range(count):
        user = draw.randrange(users)
        repeated = counts[user] and draw.random() < 0.1
        number = counts[user] - bool(repeated)
        counts[user] += not repeated
        text = TOPICS[(user + number // 4) % 2]
        events.append(event(f"u{user}", number, text))
    return events


def judge(cluster: Cluster) -> None:
    """Hold what subscribers saw, and what is known of users, against what they should be."""
    last: dict[str, SegmentChange] = {}
    for change in cluster.changes:
        before = last.get(change.user_id)
        assert change.sequence == (before.sequence + 1 if before else 1)
        assert change.previous_segment == (before.segment if before else None)
        assert change.segment is not None, "a user is without a segment"
        assert change.model.version >= (before.model.version if before else 0)
        if change.reason == "model_update":
            assert (change.cause, change.model.embedding) == ("operator", NEXT.identity)
        last[change.user_id] = change
    found = cluster.profiles()
    wanted: dict[str, ProfileRecord] = {}
    for number in range(cluster.partitions):
        table = cluster.table(number, len(cluster.input), lambda: False)
        for user in table.users:
            wanted[user] = table.gather([user]).to_record(0, NEXT.identity)
    assert found.keys() == wanted.keys() == last.keys()
    made = ("embedding", "vector", "weight", "reference_time", "events", "repeats")
    made += ("recent_events", "references")
    for user, profile in found.items():
        assert [getattr(profile, n) for n in made] == [getattr(wanted[user], n) for n in made], user
        assert last[user].segment is not None
        assert profile.segment == last[user].segment.id
        assert profile.sequence == last[user].sequence


# --- the switch -----------------------------------------------------------------------------------


def test_a_partition_goes_over_when_the_next_segments_are_there_and_users_stay_where_they_are():
    cluster = Cluster(records_of([event(f"u{n}", 0, TOPICS[n % 2]) for n in range(10)], 2))
    process = Process(cluster)
    process.batch(100)
    cluster.build()
    before = list(cluster.changes)
    assert process.stage.mark(0) == (FORMER.identity, IDENTITIES)
    process.settle()
    assert process.stage.switched == []
    cluster.source.model = under_next()
    process.settle()
    assert process.stage.switched == [0, 1]
    assert process.stage.mark(1) == (NEXT.identity, IDENTITIES)
    assert cluster.changes == before
    judge(cluster)
    assert set(cluster.samples) == {f"u{n}" for n in range(10)}


def test_whom_the_next_model_sees_elsewhere_is_moved_by_the_operator_and_their_chain_goes_on():
    cluster = Cluster(records_of([event(f"u{n}", 0, TOPICS[n % 2]) for n in range(10)], 2))
    process = Process(cluster)
    process.batch(100)
    cluster.build()
    model = under_next()
    cluster.source.model = replace(model, centres=model.centres[::-1])
    process.settle()
    moved = cluster.changes[10:]
    assert len(moved) == 10
    assert {(c.sequence, c.status, c.reason, c.cause) for c in moved} == {
        (2, "switched", "model_update", "operator")
    }
    judge(cluster)


@pytest.mark.parametrize("seed", range(24))
def test_nothing_is_lost_doubled_or_broken_wherever_a_process_dies(seed: int):
    draw = random.Random(seed)
    cluster = Cluster(records_of(a_history(draw, 9, 120), 2))
    process = Process(cluster)
    switched_at, done = draw.randrange(5, 40), 0
    centres = under_next().centres
    while True:
        done += 1
        if done == switched_at:
            cluster.build()
            cluster.source.model = under_next(centres=centres[:: draw.choice((1, -1))])
        step = draw.randrange(5)
        dies = draw.random() < 0.15
        if step == 0 and not process.batch(draw.randrange(1, 6), dies=dies) and done > switched_at:
            break
        if step == 1:
            process.maintain(dies=dies)
        if step == 2:
            process.read_back_next()
        if step == 3 and draw.random() < 0.1:
            process.stage.aborted()
        if dies:
            process = Process(cluster)
    process.settle()
    assert {p.embedding for p in cluster.profiles().values()} == {NEXT.identity}
    judge(cluster)


def test_events_are_embedded_by_the_model_of_their_partition():
    cluster = Cluster(records_of([event(f"u{n}", i) for i in range(2) for n in range(4)], 2))
    process = Process(cluster)
    process.batch(2)
    cluster.build()
    cluster.source.model = under_next()
    process.maintain()
    while process.stage.mark(0).embedding != NEXT.identity:
        process.read_back_next()
    assert process.stage.mark(1).embedding == FORMER.identity
    process.batch(2)
    by_partition = {
        number: [read_profile(r.key or b"", r.value or b"").embedding for r in log[-2:]]
        for number, log in cluster.log.items()
    }
    assert by_partition == {0: [NEXT.identity] * 2, 1: [FORMER.identity] * 2}


# --- what it refuses ------------------------------------------------------------------------------


def test_a_partition_of_both_models_is_refused_where_nothing_was_built():
    cluster = Cluster(records_of([event(f"u{n}", 0) for n in range(8)], 2))
    Process(cluster).batch(100)
    cluster.source.model = under_next()
    with pytest.raises(StageError, match="nothing is built"):
        Process(cluster)


def test_records_and_segments_of_a_third_model_are_refused():
    cluster = Cluster(records_of([event("u0", 0)], 2))
    Process(cluster).batch(1)
    cluster.source.model = replace(under_next(), embedding="c" * 64)
    with pytest.raises(StageError, match="give the models that the group has"):
        Process(cluster)
    other = HashingEmbedder(8)
    stranger = SegmentationStage(Settings(), other, FixedModel(), clock=lambda: NOW)
    stranger.assigned(0, stranger.restoration(0))
    strange = list(stranger.apply(stranger.prepare(cluster.input), frozenset({0})))
    cluster.source.model = OLD
    cluster.commit(strange, {})
    with pytest.raises(StageError, match="profiles of two models cannot be mixed"):
        Process(cluster)


def test_the_same_model_twice_is_no_change():
    with pytest.raises(UsageError, match="one and the same embedding model"):
        make_stage(Settings(), FORMER, HashingEmbedder(16), FixedModel())


def test_users_whose_history_is_gone_keep_counts_and_segment_and_are_told(
    caplog: pytest.LogCaptureFixture,
):
    cluster = Cluster(records_of([event("u0", n) for n in range(3)], 1), partitions=1)
    process = Process(cluster)
    process.batch(10)
    cluster.build()
    kept, cluster.input = cluster.profiles()["u0"], []
    cluster.source.model = under_next()
    process.settle()
    after = cluster.profiles()["u0"]
    assert (after.events, after.segment, after.sequence) == (3, kept.segment, kept.sequence)
    assert (after.weight, after.reference_time) == (0, kept.reference_time)
    assert "of 1 of 1 users have counted" in caplog.text
    assert after.embedding == NEXT.identity


def test_figures_are_those_of_both_stages_together():
    cluster = Cluster(records_of([event(f"u{n}", 0) for n in range(4)], 2))
    process = Process(cluster)
    process.batch(100)
    process.settle()
    told = dict(together(figures(process.stage.former, 5.0), figures(process.stage.following, 5.0)))
    assert told["events"]["review"] == 4
    assert told["users"]["0"] == 4
    assert (told["model_version"], told["model_timestamp_seconds"]) == (1, 5.0)
    assert told["settled"]
