"""Where a group goes on, on scripted answers of the brokers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from consumer.kafka.cluster import TopicIdentity
from consumer.kafka.offset_metadata import LossReason, OffsetMetadata
from consumer.settings import Settings
from consumer.state.positions import (
    CERTAIN_SECONDS,
    Hints,
    Log,
    LostRecordsError,
    Position,
    Positions,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOPIC = "user-events"
KNOWN = OffsetMetadata(partitions=4, topic_id="a", first=0)


@dataclass
class Brokers:
    """What they answer; of logs one after the other, the last for good."""

    logs: list[Log]
    offset: int = OFFSET_INVALID
    metadata: str | None = None
    leader_epoch: int | None = None
    epoch_end: int = 0
    now: float = 0.0
    asked: list[TopicPartition] = field(default_factory=list)

    @property
    def log(self) -> Log:
        return self.logs[0]

    def committed(self, *_: object, **__: object) -> list[TopicPartition]:
        place = TopicPartition(TOPIC, 0, self.offset, self.metadata or "")
        if self.leader_epoch is not None:
            place = TopicPartition(TOPIC, 0, self.offset, self.metadata, self.leader_epoch)
        return [place]

    def watermarks(self, *_: object) -> tuple[int, int]:
        log = self.logs.pop(0) if len(self.logs) > 1 else self.log
        return log.low, log.end

    def identity(self, *_: object) -> TopicIdentity:
        return TopicIdentity(self.log.cluster_id, self.log.topic_id, 4)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def end_of_epoch(self, place: TopicPartition) -> int:
        self.asked.append(place)
        return self.epoch_end

    def monotonic(self) -> float:
        return self.now

    def positions(self, **kafka: Any) -> Positions:
        return self.positions_of(Settings(kafka=kafka))

    def positions_of(self, settings: Settings, command: str | None = None) -> Positions:
        return Positions(
            self,  # type: ignore[arg-type]
            "g",
            settings,
            command=command,
            clock=lambda: NOW,
            timer=self,
        )


def find(
    brokers: Brokers, begin: str = "earliest", hints: Hints | None = None, **kafka: Any
) -> Position:
    return brokers.positions(**kafka).find(TOPIC, 0, begin, hints or Hints())


@pytest.mark.parametrize(("begin", "offset"), [("earliest", 60), ("latest", 90)])
def test_a_group_without_an_offset_begins_where_it_is_told(begin: str, offset: int) -> None:
    position = find(Brokers([Log(60, 90, "a")]), begin)
    metadata = OffsetMetadata(topic_id="a", first=offset)
    assert position == Position(offset, metadata, committed=False, begins=True)


def test_an_offset_that_is_there_is_gone_on_from() -> None:
    brokers = Brokers([Log(0, 90, "a")], 30, KNOWN.write(), leader_epoch=3)
    assert find(brokers, "latest") == Position(30, KNOWN, leader_epoch=3)


@pytest.mark.parametrize("offset", [60, 90])
def test_the_first_and_the_last_offset_are_there(offset: int) -> None:
    brokers = Brokers([Log(60, 90, "a")], offset, KNOWN.write())
    assert find(brokers).offset == offset


def test_an_offset_of_an_earlier_version_takes_the_topics_id_on() -> None:
    position = find(Brokers([Log(0, 90, "a")], 30, "partitions=4"))
    assert position == Position(30, OffsetMetadata(partitions=4, topic_id="a"), committed=False)


@pytest.mark.parametrize("begin", ["earliest", "latest"])
def test_where_retention_has_passed_the_offset_the_beginning_is_gone_on_from_and_the_loss_counted(
    begin: str, caplog: pytest.LogCaptureFixture
) -> None:
    brokers = Brokers([Log(60, 90, "a")], 30, KNOWN.write())
    position = find(brokers, begin)
    assert position == Position(60, KNOWN.with_loss(LossReason.RETENTION, 30, NOW), committed=False)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "the group 'g' stands at offset 30 of user-events[0], which begins at 60" in warning
    assert "removed 30 records" in warning


def test_a_topic_made_anew_is_read_from_its_beginning(caplog: pytest.LogCaptureFixture) -> None:
    # Longer than the former one was read: by its offsets nobody could tell.
    brokers = Brokers([Log(5, 900, "b")], 30, KNOWN.write())
    position = find(brokers, hints=Hints(unread=7))
    now_on = KNOWN.model_copy(update={"topic_id": "b", "first": 5})
    assert position == Position(5, now_on.with_loss(LossReason.RECREATED, 7, NOW), committed=False)
    assert "topic id a before, b now" in caplog.text


def test_a_topic_made_anew_whose_offsets_went_with_it_is_told_from_a_group_that_begins() -> None:
    position = find(Brokers([Log(0, 9, "b")]), "latest", Hints(KNOWN))
    assert (position.offset, position.begins) == (0, False)
    assert position.metadata.lost["recreated"].times == 1
    # The same topic: the offsets have expired.
    position = find(Brokers([Log(0, 9, "a")]), "latest", Hints(KNOWN))
    assert (position.offset, position.begins) == (9, True)


def test_a_topic_that_was_copied_to_another_cluster_with_the_groups_offsets_is_not_made_anew() -> (
    None
):
    known = KNOWN.model_copy(update={"cluster_id": "here"})
    brokers = Brokers([Log(0, 90, "b", "there")], 30, known.write(), leader_epoch=3)
    now_on = OffsetMetadata(partitions=4, topic_id="b", cluster_id="there")
    # Epochs of leaders are each cluster's own, too.
    assert find(brokers) == Position(30, now_on, committed=False)
    # In the same cluster it is another topic.
    brokers.logs = [Log(0, 90, "b", "here")]
    assert find(brokers).offset == 0


def test_a_state_that_was_copied_to_another_cluster_without_offsets_is_of_a_group_that_begins() -> (
    None
):
    # So the start is refused, as that of every state without offsets is.
    former = KNOWN.model_copy(update={"cluster_id": "here"})
    brokers = Brokers([Log(0, 90, "b", "there")])
    assert find(brokers, hints=Hints(former)).begins


def test_what_the_brokers_forget_with_the_topic_is_remembered_by_the_process() -> None:
    brokers = Brokers([Log(0, 90, "a")], 30, KNOWN.write())
    find(brokers)
    made = brokers.positions()
    made.find(TOPIC, 0, "earliest")
    brokers.logs, brokers.offset, brokers.metadata = [Log(0, 9, "b")], OFFSET_INVALID, None
    assert made.find(TOPIC, 0, "latest").metadata.lost["recreated"].times == 1


def test_a_log_that_ends_before_the_offset_is_read_from_where_its_leaders_records_end() -> None:
    brokers = Brokers([Log(0, 25, "a")], 30, KNOWN.write(), leader_epoch=3, epoch_end=20)
    position = find(brokers)
    assert position == Position(20, KNOWN.with_loss(LossReason.TRUNCATED, 0, NOW), committed=False)
    assert [(place.offset, place.leader_epoch) for place in brokers.asked] == [(25, 3)]


def test_a_log_that_has_grown_again_behind_a_truncation_is_found_by_the_epoch() -> None:
    brokers = Brokers([Log(0, 90, "a")], 30, KNOWN.write(), leader_epoch=3, epoch_end=20)
    assert find(brokers).offset == 30
    # Only where the client has complained; asking costs time.
    assert brokers.asked == []
    assert find(brokers, hints=Hints(suspect=True)).offset == 20
    brokers.epoch_end = 30
    position = find(brokers, hints=Hints(suspect=True))
    assert position == Position(30, KNOWN, leader_epoch=3)


def test_without_an_epoch_the_end_is_gone_on_from() -> None:
    assert find(Brokers([Log(0, 25, "a")], 30, KNOWN.write())).offset == 25


def test_an_offset_of_an_earlier_version_beyond_the_end_counts_as_of_another_topic() -> None:
    position = find(Brokers([Log(0, 25, "a")], 30, "partitions=4"))
    assert position.offset == 0
    assert position.metadata.lost["recreated"].times == 1


@pytest.mark.parametrize("stale", [Log(0, 25, "a"), Log(0, 20, "b"), Log(0, 90, "b")])
def test_a_broker_that_was_away_and_tells_of_the_past_sends_nobody_back(stale: Log) -> None:
    brokers = Brokers([stale] * 4 + [Log(0, 90, "a")], 30, KNOWN.write())
    assert find(brokers) == Position(30, KNOWN)


def test_of_a_topic_made_anew_one_partition_makes_sure_for_all() -> None:
    brokers = Brokers([Log(0, 90, "b")], 30, KNOWN.write())
    find(brokers)
    made = brokers.positions()
    waits = []
    for partition in range(3):
        before = brokers.now
        assert made.find(TOPIC, partition, "earliest").offset == 0
        waits.append(brokers.now - before)
    assert waits[0] >= CERTAIN_SECONDS
    assert waits[1:] == [0, 0]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (Log(60, 90, "a"), "removed 30 records"),
        (Log(0, 90, "b"), "was made anew"),
        (Log(0, 25, "a"), "was truncated"),
    ],
)
def test_a_loss_is_refused_where_that_is_set(log: Log, told: str) -> None:
    brokers = Brokers([log], 30, KNOWN.write())
    with pytest.raises(LostRecordsError, match=rf"{told}.*kafka\.fail_on_data_loss = true"):
        find(brokers, fail_on_data_loss=True)
    # It concerns no group that begins.
    assert find(Brokers([log]), fail_on_data_loss=True).begins


# --- settings that the group's members need alike -------------------------------------------------

FORMER = KNOWN.model_copy(update={"settings": {"profile.half_life_days": "30.0"}})


def taken_over(known: OffsetMetadata, settings: Settings, partitions: int = 1) -> list[Position]:
    """What a worker with these settings finds where another one left off."""
    positions = Brokers([Log(0, 90, "a")], 30, known.write()).positions_of(settings, "worker")
    return [positions.find(TOPIC, number, "earliest") for number in range(partitions)]


def test_who_takes_over_from_a_member_with_other_settings_says_so_once_with_both_values(caplog):
    found = taken_over(FORMER, Settings(profile={"precision": "float16"}), partitions=3)
    [told] = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert told.startswith(
        "in the worker of the group 'g' that had user-events[0] before, "
        "profile.half_life_days is 30.0 (here 180.0), "
        'profile.precision is "float32" (here "float16"): all members of a group need these alike'
    )
    metadata = KNOWN.model_copy(update={"settings": {"profile.precision": '"float16"'}})
    assert found == [Position(30, metadata, committed=False)] * 3


def test_who_takes_over_from_a_member_with_the_same_settings_says_nothing(caplog):
    [position] = taken_over(FORMER, Settings(profile={"half_life_days": 30}))
    assert position == Position(30, FORMER)
    assert caplog.records == []


def test_what_an_earlier_version_has_committed_gets_the_settings_without_a_word(caplog):
    [position] = taken_over(KNOWN, Settings())
    metadata = KNOWN.model_copy(update={"settings": {}})
    assert position == Position(30, metadata, committed=False)
    assert caplog.records == []


def test_a_group_that_begins_has_its_settings_committed_with_its_place():
    positions = Brokers([Log(0, 90, "a")]).positions_of(
        Settings(assignment={"margin_share": 0.1}), "worker"
    )
    found = positions.find(TOPIC, 0, "earliest")
    assert found.metadata.settings == {"assignment.margin_share": "0.1"}
    assert found.begins
    assert not found.committed
