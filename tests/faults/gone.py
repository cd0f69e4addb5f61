"""Faults of the input itself: the place where the group goes on is not there any more."""

from __future__ import annotations

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.kafka.cluster import Cluster
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import create_topics
from consumer.verify import VerifyResult, verify_topics
from tests.faults.rig import PARTITIONS, Rig, expect


def retention(rig: Rig, trials: int) -> int:
    """Retention passes the group's offsets while all workers are away."""
    rig.start()
    # Workers may be up before the load has come to every partition.
    rig.until(lambda: len(rig.load.ends) == PARTITIONS, "a load on all partitions", 60)
    rig.recover(measure=False)
    topic = rig.settings.topics.events
    admin = AdminClient({**rig.settings.kafka.client(), "log_level": 0})
    # It is not what a setting for groups without offsets is about.
    latest = rig.settings.kafka.model_copy(update={"auto_offset_reset": "latest"})
    rig.settings = rig.settings.model_copy(update={"kafka": latest})
    for _ in range(trials):
        for name in ("w0", "w1", "w2"):
            rig.supervisor.stop(name)
        ends = {number: end + 20 for number, end in rig.load.ends.items()}
        rig.until(lambda e=ends: all(rig.load.ends[n] >= e[n] for n in e), "a backlog", 60)
        places = _committed(rig)
        lows = {place.partition: place.offset + rig.draw.randint(1, 15) for place in places}
        cut = [TopicPartition(topic, number, low) for number, low in lows.items()]
        for future in admin.delete_records(cut).values():
            future.result(30)
        before = {place.partition: place.offset for place in places}
        rig.gone |= {
            index
            for index, (number, offset) in dict(rig.load.places).items()
            if before[number] <= offset < lows[number]
        }
        for name in ("w0", "w1", "w2"):
            rig.start_worker(name)
        rig.recover()
    lost = _told(rig).counts.lost
    expect(lost == len(rig.gone), f"{len(rig.gone)} records are gone, verify tells of {lost}")
    rig.notes.append(f"{lost} records were gone before they were read, and are told")
    return trials


def made_anew(rig: Rig, trials: int) -> int:
    """The topic is deleted and made anew under workers that go on reading."""
    rig.start()
    topic = rig.settings.topics.events
    admin = AdminClient({**rig.settings.kafka.client(), "log_level": 0})
    for number in range(1, trials + 1):
        rig.until(
            lambda: len(rig.load.ends) == PARTITIONS and min(rig.load.ends.values()) > 100,
            "positions that the new topic will not have soon",
            60,
        )
        rig.load.hold()
        rig.recover(measure=False)
        admin.delete_topics([topic])[topic].result(30)
        rig.until(lambda: create_topics(rig.settings)[topic], "the topic is made anew", 60)
        # The coordinator forgets the former offsets a little later.
        rig.until(lambda: all(_is_new(place) for place in _committed(rig)), "offsets are gone", 60)
        rig.watch.begin_anew()
        rig.load.go_on()
        rig.until(lambda: len(rig.load.ends) == PARTITIONS, "a load on all partitions", 60)
        rig.recover()
        times = [_times(place) for place in _committed(rig)]
        expect(times == [number] * PARTITIONS, f"made anew {number} times, counted {times}")
    notes = [note for note in _told(rig).notes if "the topic was made anew" in note]
    expect(len(notes) == PARTITIONS, f"verify tells of {len(notes)} partitions")
    return trials


def _is_new(place: TopicPartition) -> bool:
    """Whether an offset is of no topic, or of the new one."""
    return place.offset < 0 or place.offset <= 1


def _times(place: TopicPartition) -> int:
    lost = OffsetMetadata.read(place.metadata).lost
    return sum(loss.times for loss in lost.values())


def _committed(rig: Rig) -> list[TopicPartition]:
    kafka = rig.settings.kafka
    topic = rig.settings.topics.events
    return Cluster(kafka).committed(kafka.group_id, topic, range(PARTITIONS))


def _told(rig: Rig) -> VerifyResult:
    rig.load.hold()
    rig.recover(measure=False)
    return verify_topics(rig.settings)
