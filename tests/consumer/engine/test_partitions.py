"""Where partitions stand, and which records of them are void."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.contract.records import Record
from consumer.engine.partitions import Assignment
from consumer.kafka.offset_metadata import LossReason, OffsetMetadata
from consumer.state.positions import Position
from tests.consumer.contract.scripted_clock import Clock

TOPIC = "user-events"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class ScriptedConsumer:
    """A stand-in for confluent_kafka.Consumer that notes calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int | None]] = []
        self.seek_errors: list[int] = []
        self.epochs: list[int | None] = []

    def seek(self, place: TopicPartition) -> None:
        assert place.topic == TOPIC
        self.calls.append(("seek", place.partition, place.offset))
        self.epochs.append(place.leader_epoch)
        if self.seek_errors:
            raise KafkaException(KafkaError(self.seek_errors.pop(0)))

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self.calls += [("assign", place.partition, place.offset) for place in places]
        self.epochs += [place.leader_epoch for place in places]

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        self.calls += [("unassign", place.partition, None) for place in places]

    def pause(self, places: list[TopicPartition]) -> None:
        self.calls += [("pause", place.partition, None) for place in places]

    def resume(self, places: list[TopicPartition]) -> None:
        self.calls += [("resume", place.partition, None) for place in places]


def collect(assignment: Assignment, one: Record, leader_epoch: int | None = None) -> int | None:
    """Count a record and give its epoch; None for one that is void."""
    taken = assignment.collect([one], [leader_epoch])
    return assignment.epoch(one.partition) if taken else None


@pytest.fixture
def consumer() -> ScriptedConsumer:
    return ScriptedConsumer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def assignment(consumer: ScriptedConsumer, clock: Clock) -> Assignment:
    """Partitions 0 at offset 10 and 1 at offset 20; 2 is not restored."""
    made = Assignment(consumer, TOPIC, 12, timer=clock)  # type: ignore[arg-type]
    for number in range(3):
        made.add(number)
    made.restored(0, {TOPIC: Position(10)})
    made.restored(1, {TOPIC: Position(20)})
    consumer.calls.clear()
    return made


def record(partition: int, offset: int) -> Record:
    return Record(TOPIC, partition, offset, -1, b"u", b"{}")


# --- partitions come and go ---------------------------------------------------------------------


def test_a_new_partition_is_held_but_not_active(assignment: Assignment) -> None:
    assert len(assignment) == 3
    assert list(assignment) == [0, 1, 2]
    assert 2 in assignment
    assert 3 not in assignment
    assert assignment.active == [0, 1]
    assert assignment.positions(2) == {}


def test_the_client_gets_to_know_of_a_partition_once_it_is_known_where_from(
    assignment: Assignment, consumer: ScriptedConsumer
) -> None:
    assignment.restored(2, {TOPIC: Position(5)})
    assert consumer.calls == [("assign", 2, 5), ("resume", 2, None)]
    assert assignment.positions(2) == {TOPIC: 5}
    assert assignment.active == [0, 1, 2]


def test_a_partition_to_be_restored_again_is_not_fetched_and_its_records_are_void(
    assignment: Assignment, consumer: ScriptedConsumer
) -> None:
    epoch = collect(assignment, record(0, 10))
    assert epoch is not None
    assignment.unrestored(0)
    assert consumer.calls == [("unassign", 0, None)]
    assert assignment.active == [1]
    assert assignment.current([(0, epoch)]) == frozenset()
    assert collect(assignment, record(0, 11)) is None


def test_removing_tells_which_were_there(
    assignment: Assignment, consumer: ScriptedConsumer
) -> None:
    assert assignment.remove([0, 2, 7]) == [0, 2]
    # The client never knew of the one that was not restored, and would complain.
    assert consumer.calls == [("unassign", 0, None)]
    assert assignment.remove([0]) == []
    assert list(assignment) == [1]


def test_the_partitions_may_go_while_they_are_walked_through(assignment: Assignment) -> None:
    for number in assignment:
        assignment.remove([number])
    assert len(assignment) == 0


# --- epochs -------------------------------------------------------------------------------------


def test_whatever_makes_records_void_counts_the_epochs_up(assignment: Assignment) -> None:
    seen = [assignment.epochs]
    assignment.add(3)
    seen.append(assignment.epochs)
    assignment.restored(3, {TOPIC: Position(0)})
    seen.append(assignment.epochs)
    assignment.unrestored(3)
    seen.append(assignment.epochs)
    assignment.rewind()
    seen.append(assignment.epochs)
    assignment.remove([3])
    seen.append(assignment.epochs)
    assert seen == sorted(set(seen))


def test_nothing_else_does(assignment: Assignment) -> None:
    before = assignment.epochs
    collect(assignment, record(0, 10))
    assignment.advance([((TOPIC, 0), 11)])
    assignment.pause()
    assignment.resume()
    assignment.remove([7])
    assert assignment.epochs == before


def test_a_partition_that_went_and_came_back_has_another_epoch(assignment: Assignment) -> None:
    former = collect(assignment, record(0, 10))
    assert former is not None
    assignment.remove([0])
    assignment.add(0)
    assert assignment.current([(0, former)]) == frozenset()
    assignment.restored(0, {TOPIC: Position(10)})
    assert assignment.current([(0, former)]) == frozenset()


def test_current_gives_the_partitions_whose_epoch_is_the_given_one(assignment: Assignment) -> None:
    epochs = {number: collect(assignment, record(number, 50)) or -1 for number in (0, 1)}
    assert assignment.current(epochs.items()) == {0, 1}
    assert assignment.current([(0, epochs[1]), (1, epochs[1]), (9, epochs[0])]) == {1}
    assignment.remove([1])
    assert assignment.current(epochs.items()) == {0}


# --- records ------------------------------------------------------------------------------------


def test_records_are_taken_in_the_order_of_their_offsets(assignment: Assignment) -> None:
    assert collect(assignment, record(0, 10)) is not None
    # Markers of transactions take offsets, so there are gaps.
    assert collect(assignment, record(0, 15)) is not None
    assert collect(assignment, record(1, 20)) is not None


def test_a_record_below_what_was_fetched_is_void(assignment: Assignment) -> None:
    assert collect(assignment, record(0, 9)) is None
    assert collect(assignment, record(0, 12)) is not None
    assert collect(assignment, record(0, 12)) is None
    assert collect(assignment, record(0, 11)) is None


def test_a_record_of_a_partition_that_is_not_held_or_not_restored_is_void(
    assignment: Assignment,
) -> None:
    assert collect(assignment, record(2, 0)) is None
    assert collect(assignment, record(7, 0)) is None


def test_of_records_that_come_together_those_that_are_void_are_left_out(
    assignment: Assignment,
) -> None:
    came = [(0, 10), (0, 11), (2, 0), (1, 30), (0, 11), (0, 10), (0, 12), (1, 29), (1, 31), (7, 0)]
    records = [record(number, offset) for number, offset in came]
    leaders = [None if number == 1 else offset for number, offset in came]
    taken = assignment.collect(records, leaders)
    expected = [(0, 10), (0, 11), (1, 30), (0, 12), (1, 31)]
    assert [(each.partition, each.offset) for each in taken] == expected
    offsets = {place.partition: place for place in assignment.offsets([0, 1], {})}
    assert (offsets[0].leader_epoch, offsets[1].leader_epoch) == (12, None)
    assert collect(assignment, record(0, 13)) is not None
    assert collect(assignment, record(1, 31)) is None


def test_a_rewind_seeks_every_restored_partition_to_its_position(
    assignment: Assignment, consumer: ScriptedConsumer
) -> None:
    former = collect(assignment, record(0, 10))
    for offset in (20, 21, 22):
        collect(assignment, record(1, offset))
    assert former is not None
    assignment.advance([((TOPIC, 1), 22)])
    assignment.rewind()
    assert consumer.calls == [("seek", 0, 10), ("seek", 1, 22)]
    assert assignment.current([(0, former)]) == frozenset()
    # What was collected comes again, and what is committed does not.
    assert collect(assignment, record(0, 10)) not in (None, former)
    assert collect(assignment, record(1, 21)) is None
    assert collect(assignment, record(1, 22)) is not None


def test_pausing_concerns_restored_partitions_only(
    assignment: Assignment, consumer: ScriptedConsumer
) -> None:
    # One that is being restored stays paused whatever happens.
    assignment.pause()
    assignment.resume()
    assert [call[:2] for call in consumer.calls] == [
        ("pause", 0),
        ("pause", 1),
        ("resume", 0),
        ("resume", 1),
    ]


# --- offsets ------------------------------------------------------------------------------------


def test_offsets_are_the_advanced_ones_else_where_the_partitions_stand(
    assignment: Assignment,
) -> None:
    places = assignment.offsets([0, 1, 2], {(TOPIC, 1): 33})
    assert [(p.topic, p.partition, p.offset) for p in places] == [(TOPIC, 0, 10), (TOPIC, 1, 33)]
    # Nothing moves before the commit.
    assert assignment.positions(1) == {TOPIC: 20}
    assignment.advance([((TOPIC, 1), 33)])
    assert assignment.positions(1) == {TOPIC: 33}


def test_offsets_tell_how_many_partitions_the_input_has(assignment: Assignment) -> None:
    metadata = [OffsetMetadata.read(place.metadata) for place in assignment.offsets([0, 1], {})]
    assert metadata == [OffsetMetadata(partitions=12)] * 2


def test_offsets_keep_what_was_found_out_about_them(
    assignment: Assignment, consumer: ScriptedConsumer
) -> None:
    known = OffsetMetadata(topic_id="t", first=3).with_loss(LossReason.RETENTION, 7, NOW)
    assignment.restored(2, {TOPIC: Position(5, known, leader_epoch=4)})
    (place,) = assignment.offsets([2], {(TOPIC, 2): 6})
    assert OffsetMetadata.read(place.metadata) == known.model_copy(update={"partitions": 12})
    assert (place.offset, place.leader_epoch) == (6, 4)
    # With the epoch the client notices when the log was truncated behind the offset.
    assert consumer.epochs[-1] == 4
    collect(assignment, record(2, 6), 9)
    assert assignment.offsets([2], {})[0].leader_epoch == 9


# --- markers and aborted records behind the last record -----------------------------------------


def test_behind_the_last_record_the_end_that_was_found_is_reached(assignment: Assignment) -> None:
    collect(assignment, record(0, 12))
    assignment.passed(TOPIC, 0, 15)
    assert assignment.reach(TOPIC, 0, 13) == 15
    # The batch before is not the last one.
    assert assignment.reach(TOPIC, 0, 11) == 11
    assert assignment.idle_advance() == {}
    assignment.advance([((TOPIC, 0), 13)])
    assert assignment.idle_advance() == {(TOPIC, 0): 15}
    assignment.advance([((TOPIC, 0), 15)])
    assert assignment.idle_advance() == {}


def test_a_record_behind_the_markers_is_waited_for(assignment: Assignment) -> None:
    assignment.passed(TOPIC, 0, 15)
    assert assignment.idle_advance() == {(TOPIC, 0): 15}
    assert collect(assignment, record(0, 15)) is not None
    assert assignment.idle_advance() == {}
    assert assignment.reach(TOPIC, 0, 10) == 10


def test_a_rewind_forgets_the_end_that_was_found(assignment: Assignment) -> None:
    collect(assignment, record(0, 12))
    assignment.passed(TOPIC, 0, 15)
    assignment.rewind()
    assert assignment.idle_advance() == {}
    assert collect(assignment, record(0, 12)) is not None


def test_the_end_of_a_partition_that_is_not_restored_is_no_news(assignment: Assignment) -> None:
    assignment.passed(TOPIC, 2, 15)
    assignment.passed(TOPIC, 7, 15)
    assignment.passed(TOPIC, 0, 9)
    assert assignment.idle_advance() == {}


# --- where partitions stand ---------------------------------------------------------------------


def test_what_is_not_committed_yet_is_unsettled_until_it_is(assignment: Assignment) -> None:
    assert assignment.unsettled == []
    assignment.restored(2, {TOPIC: Position(5, committed=False)})
    assert assignment.unsettled == [2]
    assignment.settle([0, 2])
    assert assignment.unsettled == []


def test_partitions_of_a_topic_with_another_id_are_told(assignment: Assignment) -> None:
    assignment.restored(1, {TOPIC: Position(5, OffsetMetadata(topic_id="a"))})
    assert assignment.of_another(TOPIC, "b") == [1]
    # A topic of the same id; brokers that know none; offsets from before ids were committed.
    assert assignment.of_another(TOPIC, "a") == assignment.of_another(TOPIC, None) == []
    assert assignment.of_another("labels", "b") == []


# --- seeking ------------------------------------------------------------------------------------


def test_a_seek_waits_until_the_fetcher_is_up(
    assignment: Assignment, consumer: ScriptedConsumer, clock: Clock
) -> None:
    assignment.remove([1])
    consumer.calls.clear()
    consumer.seek_errors = [KafkaError._STATE] * 3
    assignment.rewind()
    assert consumer.calls == [("seek", 0, 10)] * 4
    assert len(clock.pauses) == 3


def test_a_seek_that_never_succeeds_raises(
    assignment: Assignment, consumer: ScriptedConsumer, clock: Clock
) -> None:
    consumer.seek_errors = [KafkaError._STATE] * 1000
    with pytest.raises(KafkaException):
        assignment.rewind()
    assert clock.slept == pytest.approx(5, abs=0.2)


def test_another_error_of_a_seek_raises_at_once(
    assignment: Assignment, consumer: ScriptedConsumer, clock: Clock
) -> None:
    consumer.seek_errors = [KafkaError._UNKNOWN_PARTITION]
    with pytest.raises(KafkaException):
        assignment.rewind()
    assert consumer.calls == [("seek", 0, 10)]
    assert clock.pauses == []


# --- partitions of which nothing is heard -------------------------------------------------------


def test_a_partition_is_silent_until_a_record_or_the_end_comes(
    clock: Clock, consumer: ScriptedConsumer
) -> None:
    made = Assignment(consumer, TOPIC, 12, timer=clock)  # type: ignore[arg-type]
    for number in range(3):
        made.add(number)
        made.restored(number, {TOPIC: Position(10)})
    collect(made, record(0, 10))
    made.passed(TOPIC, 1, 10)
    clock.now += 14
    assert made.silent(15) == []
    clock.now += 1
    assert made.silent(15) == [(TOPIC, 2)]
    # It is a beginning again wherever the client is sent to, and once fetching was paused.
    made.rewind()
    clock.now += 10
    assert made.silent(15) == []
    made.resume()
    clock.now += 14
    assert made.silent(15) == []
    clock.now += 1
    assert made.silent(15) == [(TOPIC, 0), (TOPIC, 1), (TOPIC, 2)]


def test_a_silent_partition_is_sought_anew_without_the_leaders_epoch(
    clock: Clock, consumer: ScriptedConsumer
) -> None:
    made = Assignment(consumer, TOPIC, 12, timer=clock)  # type: ignore[arg-type]
    made.add(0)
    made.restored(0, {TOPIC: Position(10, leader_epoch=7)})
    clock.now += 20
    made.ask_again((TOPIC, 0))
    assert consumer.calls[-1] == ("seek", 0, 10)
    assert consumer.epochs == [7, None]
    assert made.silent(15) == []
    # What is committed tells the epoch all the same, and its records are not void.
    assert made.offsets([0], {})[0].leader_epoch == 7
    assert collect(made, record(0, 10)) is not None
    # One that was taken away meanwhile is left alone.
    made.remove([0])
    made.ask_again((TOPIC, 0))
    assert consumer.calls[-1] == ("unassign", 0, None)
