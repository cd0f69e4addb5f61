"""Workers tell of records that lie in another partition than their key belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest
from confluent_kafka import Message, Producer

from consumer.contract.records import Record
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.placement import Placement
from consumer.stages.segmentation.stage import SegmentationStage
from schemas.partitioner import Partitioner, partition_of
from tests.consumer.stages.stage_data import EMBEDDER, event, records

PARTITIONS = 4
EVENTS = records(event(f"u{number}", 0) for number in range(40))


def by(partitioner: Partitioner) -> list[Record]:
    return [
        replace(each, partition=partition_of(each.key or b"", PARTITIONS, partitioner))
        for each in EVENTS
    ]


def stage_of(partitioner: str = "murmur2", partitions: int | None = PARTITIONS):
    settings = Settings(events={"partitioner": partitioner}, dead_letters={"max_share": 1})
    stage = SegmentationStage(settings, EMBEDDER, FixedModel(), input_partitions=partitions)
    for number in range(PARTITIONS):
        stage.assigned(number, stage.restoration(number))
    return stage


def run(stage: SegmentationStage, batch: Sequence[Record], *, commit: bool = True) -> None:
    stage.apply(stage.prepare(batch), frozenset(range(PARTITIONS)))
    if commit:
        stage.committed()
    else:
        stage.aborted()


def misplaced(stage: SegmentationStage) -> int:
    assert stage.placement is not None
    return stage.placement.misplaced


def test_records_that_another_partitioner_has_placed_are_counted_and_told_of_once(caplog) -> None:
    stage = stage_of()
    run(stage, by("murmur2"))
    assert not caplog.messages
    elsewhere = len(set(by("crc32")) - set(by("murmur2")))
    run(stage, by("crc32"), commit=False)
    assert (misplaced(stage), caplog.messages) == (0, [])
    run(stage, by("crc32"))
    run(stage, by("crc32"))
    assert misplaced(stage) == 2 * elsewhere > 0
    (line,) = caplog.messages
    assert f"{elsewhere} of the first 80 records" in line
    assert "segmenter intake" in line
    assert "u1" not in line


@pytest.mark.parametrize(("partitioner", "placed_by"), [("murmur2",) * 2, ("crc32",) * 2])
def test_records_that_one_partitioner_has_placed_are_all_right(
    partitioner: Partitioner, placed_by: Partitioner, caplog
) -> None:
    stage = stage_of(partitioner)
    run(stage, by(placed_by))
    assert (misplaced(stage), caplog.messages) == (0, [])


def test_of_many_records_the_first_are_looked_at_and_then_every_sixteenth() -> None:
    placement = Placement("murmur2", PARTITIONS)
    elsewhere = [replace(EVENTS[0], partition=(by("murmur2")[0].partition + 1) % PARTITIONS)] * 800
    while placement.records < 10_000:
        before = placement.records
        placement.look(elsewhere)
        placement.committed()
        assert placement.misplaced == placement.records == before + 800
    for size, looked_at in ((800, 50), (17, 2), (1, 1), (0, 0)):
        before = placement.records
        placement.look(elsewhere[:size])
        placement.committed()
        assert placement.misplaced == placement.records == before + looked_at


def test_a_record_without_a_key_belongs_nowhere() -> None:
    stage = stage_of()
    run(stage, [replace(each, key=key) for each in EVENTS[:4] for key in (None, b"")])
    assert misplaced(stage) == 0


def test_nobody_looks_where_any_partitioner_will_do_or_there_are_no_partitions() -> None:
    assert stage_of("any").placement is None
    assert stage_of(partitions=None).placement is None


@pytest.mark.parametrize(
    ("configured", "partitioner"),
    [("murmur2_random", "murmur2"), ("consistent_random", "crc32"), (None, "crc32")],
)
def test_a_real_client_puts_keys_where_we_say(
    configured: str | None, partitioner: Partitioner
) -> None:
    # Where a record goes is decided in the client: its own stand-in of a cluster will do.
    config = {} if configured is None else {"partitioner": configured}
    producer = Producer({"test.mock.num.brokers": 1, **config})
    went: dict[bytes, set[int]] = defaultdict(set)

    def delivered(error: object, message: Message) -> None:
        assert error is None
        key, partition = message.key(), message.partition()
        assert isinstance(key, bytes)
        assert partition is not None
        went[key].add(partition)

    keys = [b"u%d" % number for number in range(300)] + ["飲料".encode(), b'"u1"', b"\xff" * 33]
    for key in keys:
        producer.produce("t", b"", key, on_delivery=delivered)
    assert producer.flush(30) == 0
    count = 1 + max(max(partitions) for partitions in went.values())
    assert count > 1
    assert went == {key: {partition_of(key, count, partitioner)} for key in keys}
