"""The loop without a broker: rebalances, errors and aborts, each at a chosen moment."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError

from consumer.contract.records import Output
from consumer.engine.batches import PreparationHungError
from consumer.engine.pulse import SuspendedError
from consumer.engine.transactions import FatalKafkaError, Outcome
from consumer.kafka.cluster import TopicIdentity
from consumer.kafka.offset_metadata import LossReason, OffsetMetadata, read_inputs
from consumer.kafka.topics import TopicError
from consumer.state.positions import Position
from tests.consumer.contract.scripted_loop import (
    PARTITIONS,
    START,
    TOPIC,
    Message,
    World,
    assign,
    failing,
    nothing,
    own_work,
    records,
)


@pytest.fixture
def world() -> World:
    return World()


# --- the way of a batch -------------------------------------------------------------------------


def test_a_batch_is_committed_with_the_offsets_behind_it(world: World) -> None:
    world.run(assign(world, 0, 1), records((0, 10), (1, 10)), world.prepared)
    assert world.committed == [(["0@10", "1@10"], {0: 11, 1: 11})]
    assert world.stage.calls[:3] == ["assigned 0", "assigned 1", "committed"]


@pytest.mark.parametrize("go", [World.revoke, World.lose])
def test_figures_of_a_partition_are_told_while_it_is_here(world: World, go: Any) -> None:
    told: list[dict[str, set[str]]] = []

    def note() -> Sequence[Message]:
        told.append(
            {
                family.name: {sample.labels["partition"] for sample in family.samples}
                for metric in (world.metrics.lag, world.metrics.records)
                for family in metric.collect()
            }
        )
        return []

    def leave() -> Sequence[Message]:
        go(world, 1)
        return []

    world.run(assign(world, 0, 1), nothing, note, leave, note)
    before, after = told
    assert before["segmenter_lag_records"] == {"0", "1"}
    assert after["segmenter_lag_records"] == {"0"}
    assert world.metrics.input_partitions._value.get() == PARTITIONS


def test_a_partition_is_fetched_only_after_it_is_restored(world: World) -> None:
    world.run(assign(world, 0), nothing)
    expected = ["restore 0", "on_assign ended", "assign 0@10", "resume 0"]
    assert world.calls[: len(expected)] == expected


def test_a_stop_commits_the_batches_in_preparation_and_not_the_one_being_collected(
    world: World,
) -> None:
    gate = world.stage.prepare_gate
    gate.clear()

    def release() -> list[Message]:
        gate.set()
        return [Message(0, 14)]

    world.run(
        assign(world, 0),
        records((0, 10), (0, 11)),
        records((0, 12), (0, 13)),
        release,
        kafka={"revoke_seconds": 30},
    )
    assert [keys for keys, _ in world.committed] == [["0@10", "0@11"], ["0@12", "0@13"]]
    assert world.stage.calls[-1] == "revoked 0"


def test_what_preparing_raises_ends_the_loop(world: World) -> None:
    world.stage.prepare_error = ValueError("no vector")
    with pytest.raises(ValueError, match="no vector"):
        world.run(assign(world, 0), records((0, 10), (0, 11)), world.prepared)
    assert world.committed == []


def test_the_stages_own_work_is_committed_with_the_offsets_where_partitions_stand(
    world: World,
) -> None:
    world.stage.own_work = [[Output("changes", b"own", b"{}")]]
    world.run(assign(world, 0, 2), nothing)
    assert world.committed == [(["own"], {0: START, 2: START})]


def test_while_a_batch_takes_long_partitions_are_paused_and_polled(world: World) -> None:
    world.limits["patience_seconds"] = 0.01
    world.stage.prepare_gate.clear()

    def release() -> list[Message]:
        assert world.calls[-1] == "pause 0"
        world.stage.prepare_gate.set()
        return world.prepared()

    world.run(
        assign(world, 0),
        records((0, 10), (0, 11)),
        records((0, 12), (0, 13)),
        records((0, 14), (0, 15)),
        # Fetched before the pause took hold.
        records((0, 16)),
        release,
        world.prepared,
        world.prepared,
    )
    assert "resume 0" in world.calls[world.calls.index("pause 0", 3) :]
    assert [keys for keys, _ in world.committed] == [
        ["0@10", "0@11"],
        ["0@12", "0@13"],
        ["0@14", "0@15", "0@16"],
    ]


def test_a_partition_of_which_nothing_is_heard_is_read_anew(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.limits["silent_seconds"] = 0.0
    broker = {"rxidle": 0, "nodename": "b:1", "nodeid": 1, "state": "UP"}

    def answer() -> list[Message]:
        # Not while no broker answers: then there is nothing to be heard.
        assert not any(call.startswith("seek") for call in world.calls)
        world.membership.connection.take(json.dumps({"brokers": {"b": broker}}))
        return []

    world.run(assign(world, 0, 1), records((0, 10)), nothing, answer, records((1, 10)))
    assert [call for call in world.calls if call.startswith("seek")] == ["seek 1@10"]
    assert "nothing is heard of user-events[1]" in caplog.text


def test_a_batch_that_hangs_ends_the_loop(world: World) -> None:
    world.stage.prepare_gate.clear()
    with pytest.raises(PreparationHungError):
        world.run(
            assign(world, 0),
            records((0, 10), (0, 11)),
            lambda: time.sleep(0.05) or [],
            batch={"prepare_timeout_seconds": 0.01},
        )
    world.stage.prepare_gate.set()
    assert world.committed == []


def test_a_stop_while_brokers_do_not_answer_commits_nothing_and_starts_no_producer(
    world: World,
) -> None:
    world.outcomes = [Outcome.UNKNOWN]

    def stop() -> list[Message]:
        world.loop.stop()
        return world.prepared()

    world.run(assign(world, 0), records((0, 10), (0, 11)), stop)
    assert world.committed == []
    assert "unknown" in world.calls
    assert "reopen" not in world.calls
    assert "restore 0" not in world.calls[world.calls.index("unknown") :]


def test_after_a_stop_that_left_a_batch_uncommitted_no_other_commit_is_begun(world: World) -> None:
    # The producer is of no use any more, and none is started.
    world.outcomes = [Outcome.UNKNOWN]

    def stop() -> list[Message]:
        world.loop.stop()
        return [*world.prepared(), end(1, 15)]

    world.run(assign(world, 0, 1), records((0, 10), (0, 11)), stop)
    assert world.attempts == 1


# --- errors while polling -----------------------------------------------------------------------


def test_a_fatal_error_that_comes_with_the_loss_of_partitions_is_raised(world: World) -> None:
    """Once it was dropped with the records of that poll, and the dead member polled for ever."""

    def lost_and_fatal() -> list[Message]:
        world.lose(0)
        return [failing(KafkaError._FATAL, "fenced by another member")]

    with pytest.raises(FatalKafkaError, match="fenced by another member"):
        world.run(assign(world, 0), nothing, lost_and_fatal, nothing)
    assert world.committed == []


def held() -> list[Message]:
    """What KIP-848 says to a static member whose predecessor's session is not over."""
    reason = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()
    return [failing(KafkaError._FATAL, f"Fatal error: {reason}: heartbeat")]


def test_a_start_waits_for_the_place_of_its_predecessor(world: World) -> None:
    world.run(held, held, assign(world, 0), records((0, 10), (0, 11)), world.prepared)
    assert world.committed == [(["0@10", "0@11"], {0: 12})]
    assert world.pauses == [1.0, 1.0]


def test_a_name_that_stays_taken_or_is_taken_later_ends_the_process(world: World) -> None:
    with pytest.raises(FatalKafkaError, match="instance ID is still used"):
        world.run(assign(world, 0), nothing, held, nothing)
    world.member_limits["held_sessions"] = 0
    with pytest.raises(FatalKafkaError, match="instance ID is still used"):
        world.run(held, nothing)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    ],
)
def test_an_input_that_cannot_be_read_is_raised_and_named(world: World, code: int) -> None:
    world.member_limits["new_topic_seconds"] = 0  # it has run for longer than that
    with pytest.raises(FatalKafkaError, match=f"cannot read {TOPIC}: closed"):
        world.run(lambda: [failing(code, "closed")])


def test_a_topic_that_a_broker_has_not_heard_of_yet_is_waited_for(world: World) -> None:
    def unknown() -> list[Message]:
        return [failing(KafkaError.UNKNOWN_TOPIC_OR_PART), Message(0, 10)]

    world.run(assign(world, 0), unknown, records((0, 11)), world.prepared)
    assert world.committed == [(["0@10", "0@11"], {0: 12})]


def test_a_passing_error_is_logged_and_the_records_beside_it_are_read(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def mixed() -> list[Message]:
        return [Message(0, 10), failing(KafkaError._TRANSPORT, "broker away"), Message(0, 11)]

    world.run(assign(world, 0), mixed, world.prepared)
    assert world.committed == [(["0@10", "0@11"], {0: 12})]
    assert "broker away" in caplog.text


def test_a_fatal_error_of_the_client_is_raised_after_the_poll_and_another_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def passing() -> list[Message]:
        world.config["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN, "all away"))
        return []

    def fatal() -> list[Message]:
        world.config["error_cb"](KafkaError(KafkaError._FATAL, "the end", fatal=True))
        return [Message(0, 10), Message(0, 11)]

    with pytest.raises(FatalKafkaError, match="the end"):
        world.run(assign(world, 0), passing, fatal, world.prepared)
    assert "all away" in caplog.text
    assert world.committed == []


# --- rebalances ---------------------------------------------------------------------------------


def test_what_a_callback_raises_does_not_leave_the_poll_but_is_raised_after_it(
    world: World,
) -> None:
    world.stage.revoke_error = ValueError("no table")
    ended = False

    def revoke() -> list[Message]:
        nonlocal ended
        world.revoke(0)
        ended = True
        return [Message(1, 10), Message(1, 11)]

    with pytest.raises(ValueError, match="no table"):
        world.run(assign(world, 0, 1), nothing, revoke, world.prepared)
    assert ended
    assert world.committed == []


def test_the_first_of_several_errors_is_raised(world: World) -> None:
    def both() -> list[Message]:
        world.stage.revoke_error = ValueError("the cause")
        world.revoke(0)
        world.stage.revoke_error = ValueError("what came of it")
        world.revoke(1)
        return []

    with pytest.raises(ValueError, match="the cause"):
        world.run(assign(world, 0, 1), nothing, both)


def test_a_partition_that_was_not_there_at_the_start_is_refused(world: World) -> None:
    with pytest.raises(TopicError) as raised:
        world.run(assign(world, 1, PARTITIONS), nothing)
    message = str(raised.value)
    assert message.startswith(
        f"topic {TOPIC} has {PARTITIONS + 1} partitions, this group's state was made with "
        f"{PARTITIONS}"
    )
    assert "begin anew with a new kafka.group_id" in message
    assert not any(call.startswith(("restore", "resume")) for call in world.calls)


def test_a_stage_to_which_the_number_of_partitions_is_nothing_takes_a_new_one(
    world: World,
) -> None:
    world.stage.fixed_partitions = False
    new = PARTITIONS
    world.run(assign(world, 0, new), records((new, 10), (new, 11)), nothing, world.prepared)
    assert world.committed == [([f"{new}@10", f"{new}@11"], {new: 12})]
    assert world.metrics.input_partitions._value.get() == PARTITIONS + 1


def test_partitions_that_are_revoked_have_their_prepared_batch_committed_before_they_go(
    world: World,
) -> None:
    def revoke() -> list[Message]:
        world.revoke(0)
        return []

    second_round = assign(world)
    world.run(
        assign(world, 0, 1),
        records((0, 10), (1, 10)),
        revoke,
        second_round,
        kafka={"revoke_seconds": 30},
    )
    assert world.committed == [(["0@10", "1@10"], {0: 11, 1: 11})]
    after = [call for call in world.calls if call in ("committed", "unassign 0")]
    assert after == ["committed", "unassign 0"]
    assert world.stage.calls[2:4] == ["committed", "revoked 0"]
    # Under the deadline of the revocation.
    (within,) = world.withins
    assert within is not None
    assert within <= 30


@pytest.mark.parametrize(("partition", "at_once"), [(0, 1), (1, 2)])
def test_of_batches_in_preparation_those_up_to_the_last_revoked_record_are_committed(
    world: World, partition: int, at_once: int
) -> None:
    world.stage.prepare_gate.clear()
    committed: list[int] = []

    def revoke() -> list[Message]:
        world.stage.prepare_gate.set()
        world.revoke(partition)
        committed.append(world.attempts)
        return []

    second_round = assign(world)
    world.run(
        assign(world, 0, 1),
        records((0, 10), (0, 11)),
        records((1, 10), (1, 11)),
        revoke,
        second_round,
        kafka={"revoke_seconds": 30},
    )
    assert committed == [at_once]
    assert world.committed == [(["0@10", "0@11"], {0: 12}), (["1@10", "1@11"], {1: 12})]


def test_a_batch_without_records_of_the_revoked_partitions_goes_its_usual_way(
    world: World,
) -> None:
    def revoke() -> list[Message]:
        world.revoke(0)
        assert world.attempts == 0
        return []

    world.run(assign(world, 0, 1), records((1, 10), (1, 11)), revoke, world.prepared)
    assert world.committed == [(["1@10", "1@11"], {1: 12})]


def test_a_worker_that_is_stopped_amid_a_rebalance_takes_part_in_its_second_round(
    world: World,
) -> None:
    def revoke() -> list[Message]:
        world.revoke(1)
        world.loop.stop()
        return []

    second_round = assign(world)
    world.run(assign(world, 0, 1), revoke, nothing, second_round, kafka={"revoke_seconds": 30})
    assert world.steps == []
    assert world.committed == []


def test_a_batch_that_is_not_prepared_in_time_is_left_to_the_successor(world: World) -> None:
    world.stage.prepare_gate.clear()

    def revoke() -> list[Message]:
        world.revoke(0)
        assert world.attempts == 0
        world.stage.prepare_gate.set()
        return world.prepared()

    world.run(
        assign(world, 0, 1), records((0, 10), (1, 10)), revoke, kafka={"revoke_seconds": 0.01}
    )
    # The rest of it is not the successor's.
    assert world.committed == [(["1@10"], {1: 11})]


def test_of_partitions_that_are_lost_nothing_is_committed(world: World) -> None:
    def lose() -> list[Message]:
        world.prepared()
        world.lose(0)
        return []

    world.run(assign(world, 0, 1), records((0, 10), (0, 11)), lose, nothing)
    assert world.attempts == 0
    assert "revoked 0" in world.stage.calls


def test_records_of_lost_partitions_are_left_out_of_both_batches(world: World) -> None:
    world.stage.prepare_gate.clear()

    def lose() -> list[Message]:
        world.lose(0)
        world.stage.prepare_gate.set()
        return world.prepared()

    world.run(
        assign(world, 0, 1),
        records((0, 10), (1, 10)),
        records((0, 11)),
        lose,
        records((1, 11), (1, 12)),
        world.prepared,
    )
    assert world.committed == [(["1@10"], {1: 11}), (["1@11", "1@12"], {1: 13})]


def test_records_of_a_poll_in_which_a_rebalance_happened_are_read_again(world: World) -> None:
    def rebalance() -> list[Message]:
        # The partition goes and comes back within one poll: these are of before or of after.
        world.lose(0)
        world.assign(0)
        return [Message(0, 12), Message(1, 10)]

    world.run(
        assign(world, 0, 1),
        nothing,
        rebalance,
        nothing,
        records((0, 10), (1, 10)),
        world.prepared,
    )
    assert world.committed == [(["0@10", "1@10"], {0: 11, 1: 11})]
    after = world.calls[len(world.calls) - world.calls[::-1].index("on_lost ended") :]
    assert "seek 1@10" in after


def test_what_was_collected_before_such_a_poll_is_read_again_once(world: World) -> None:
    def rebalance() -> list[Message]:
        world.assign(2)
        return [Message(1, 11)]

    world.run(
        assign(world, 1),
        records((1, 10)),
        rebalance,
        records((1, 10), (1, 11)),
        world.prepared,
    )
    assert world.committed == [(["1@10", "1@11"], {1: 12})]


def test_what_was_collected_of_a_partition_that_came_back_counts_once(world: World) -> None:
    def come_back() -> list[Message]:
        world.lose(0)
        world.assign(0)
        return []

    world.run(
        assign(world, 0),
        records((0, 10)),
        come_back,
        records((0, 10), (0, 11)),
        world.prepared,
    )
    assert world.committed == [(["0@10", "0@11"], {0: 12})]


def test_an_empty_assignment_changes_nothing(world: World) -> None:
    world.run(assign(world, 0), records((0, 10)), assign(world), records((0, 11)), world.prepared)
    assert world.committed == [(["0@10", "0@11"], {0: 12})]


# --- where a partition goes on ------------------------------------------------------------------


def gone(partition: int, topic: str = TOPIC) -> Message:
    error = KafkaError(KafkaError._AUTO_OFFSET_RESET, "offset out of range")
    return Message(partition, -1, error, topic)


def end(partition: int, offset: int) -> Message:
    return Message(partition, offset, KafkaError(KafkaError._PARTITION_EOF))


def test_where_a_group_begins_is_committed_before_anything_is_read(world: World) -> None:
    world.found[0] = Position(7, committed=False, begins=True)
    world.run(assign(world, 0, 1), nothing, nothing)
    assert world.committed == [([], {0: 7})]


def test_it_is_committed_again_where_that_was_aborted(world: World) -> None:
    world.found[0] = Position(7, committed=False, begins=True)
    world.outcomes = [Outcome.ABORTED]
    world.run(assign(world, 0), nothing, nothing, nothing)
    assert world.committed == [([], {0: 7})]
    assert "seek 0@7" in world.calls[world.calls.index("aborted") :]


def test_a_position_that_the_client_finds_gone_is_found_anew_by_a_restore(world: World) -> None:
    def lose() -> list[Message]:
        world.found[0] = Position(60, committed=False)
        return [gone(0)]

    world.run(
        assign(world, 0, 1),
        records((0, 10)),
        lose,
        nothing,
        records((0, 60), (0, 61)),
        world.prepared,
    )
    after = world.calls[world.calls.index("unassign 0") :]
    # It has given up fetching, and would refuse to seek.
    assert after[:2] == ["unassign 0", "restore 0"]
    assert "assign 0@60" in after
    assert world.asked[-1] == (0, {TOPIC: 0}, frozenset([TOPIC]))
    # What was collected at the place that is gone is not applied.
    assert world.committed == [([], {0: 60}), (["0@60", "0@61"], {0: 62})]
    assert world.stage.calls.count("revoked 0") == 2  # by this, and at the end


def test_of_a_place_that_is_found_gone_before_it_was_committed_nothing_is_committed(
    world: World,
) -> None:
    world.found[0] = Position(7, committed=False, begins=True)
    world.run(assign(world, 0), lambda: [gone(0)], nothing, nothing)
    assert world.committed == [([], {0: 7})]
    assert world.calls.index("committed") > world.calls.index("unassign 0")


def test_of_a_partition_that_is_being_restored_the_client_says_nothing_new(world: World) -> None:
    def early() -> list[Message]:
        world.assign(0)
        return [gone(0)]

    world.run(early, nothing)
    assert world.calls.count("restore 0") == 1


@pytest.mark.parametrize("now", ["b", "a", None])
def test_a_topic_made_anew_while_it_is_read_is_found_by_its_id(
    world: World, now: str | None
) -> None:
    world.found[0] = Position(10, OffsetMetadata(topic_id="a"))

    def made_anew() -> list[Message]:
        world.watch.identities = {TOPIC: TopicIdentity("c", now, PARTITIONS)}
        world.found[0] = Position(0, OffsetMetadata(topic_id="b"), committed=False)
        return [Message(0, 11), Message(0, 12)]

    world.run(assign(world, 0), nothing, made_anew, nothing, records((0, 0), (0, 1)), nothing)
    if now == "b":
        assert world.calls.count("restore 0") == 2
        assert world.committed[0] == ([], {0: 0})
    else:
        assert world.calls.count("restore 0") == 1


def test_a_topic_made_anew_with_other_partitions_ends_the_loop(world: World) -> None:
    world.found[0] = Position(10, OffsetMetadata(topic_id="a"))

    def made_anew() -> list[Message]:
        world.watch.identities = {TOPIC: TopicIdentity("c", "b", 2)}
        return []

    with pytest.raises(TopicError, match=f"has 2 partitions.* made with {PARTITIONS}"):
        world.run(assign(world, 0), made_anew, nothing)


def test_losses_are_told_by_whoever_has_the_partition(world: World) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    lost = OffsetMetadata().with_loss(LossReason.RETENTION, 30, at)
    world.found[1] = Position(60, lost)
    told: list[dict[str, float]] = []

    def look() -> list[Message]:
        losses = world.metrics.losses
        samples = [
            sample
            for gauge in (losses.records, losses.times, losses.last)
            for sample in next(iter(gauge.collect())).samples
        ]
        told.append(
            {f"{s.name}/{s.labels['partition']}/{s.labels['reason']}": s.value for s in samples}
        )
        return []

    def leave() -> list[Message]:
        world.revoke(1)
        return []

    world.run(assign(world, 0, 1), nothing, look, leave, look)
    before, after = told
    assert before["segmenter_lost_records/1/retention"] == 30
    assert before["segmenter_lost_positions/1/retention"] == 1
    assert before["segmenter_lost_position_timestamp_seconds/1/retention"] == at.timestamp()
    # The others are there from the start, so that their first count is a step.
    assert before["segmenter_lost_records/0/recreated"] == 0
    assert after
    assert not [name for name in after if "/1/" in name]


# --- markers behind the last record -------------------------------------------------------------


def test_a_batch_that_ends_at_the_end_is_committed_with_the_markers_behind_it(
    world: World,
) -> None:
    world.run(
        assign(world, 0), lambda: [Message(0, 10), Message(0, 12), end(0, 15)], world.prepared
    )
    assert world.committed == [(["0@10", "0@12"], {0: 15})]


def test_once_the_input_is_read_up_markers_are_committed_and_once_only(world: World) -> None:
    world.run(
        assign(world, 0),
        records((0, 10), (0, 12)),
        world.prepared,
        lambda: [end(0, 15)],
        *[nothing] * 3,
        lambda: [end(0, 17)],
        *[nothing] * 3,
    )
    assert world.committed == [(["0@10", "0@12"], {0: 13}), ([], {0: 15}), ([], {0: 17})]


def test_markers_ahead_of_a_record_that_waits_are_committed_with_it_only(world: World) -> None:
    world.run(
        assign(world, 0),
        lambda: [end(0, 15), Message(0, 15)],
        nothing,
        records((0, 16)),
        world.prepared,
    )
    assert world.committed == [(["0@15", "0@16"], {0: 17})]


def test_an_end_that_came_in_a_poll_with_a_rebalance_is_of_no_use(world: World) -> None:
    def rebalance() -> list[Message]:
        world.lose(0)
        world.assign(0)
        return [end(0, 99)]

    world.run(assign(world, 0), rebalance, nothing, nothing)
    assert world.committed == []


def test_lag_is_what_can_be_read(world: World) -> None:
    world.high = 15
    lags: list[float] = []

    def note() -> list[Message]:
        lags.append(world.metrics.lag.labels(0)._value.get())
        return []

    world.run(
        assign(world, 0),
        nothing,
        note,
        lambda: [Message(0, 10), Message(0, 12), end(0, 15)],
        note,
        world.prepared,
        nothing,
        note,
    )
    assert lags == [5, 5, 0]


def test_the_age_of_what_waits_is_told_until_it_is_committed(world: World) -> None:
    world.high = 13
    ages: list[float | None] = []
    begun = time.time()
    hour_ago, minute_ago = round((begun - 3600) * 1000), round((begun - 60) * 1000)

    def note() -> list[Message]:
        ages.append(dict(world.metrics._figures())["lag_seconds"].get("0"))
        return []

    def first_two() -> list[Message]:
        return [Message(0, 10, timestamp=hour_ago), Message(0, 11, timestamp=hour_ago)]

    def release() -> list[Message]:
        world.stage.prepare_gate.set()
        return world.prepared()

    world.outcomes = [Outcome.ABORTED]
    world.stage.prepare_gate.clear()
    world.run(
        *(assign(world, 0), nothing, note),  # the client has told nothing yet
        *(first_two, lambda: [Message(0, 12, timestamp=minute_ago)], note),
        *(release, nothing, note),  # what has to be read again keeps its age
        # The third record is not read again yet: its neighbour's time stands.
        *(first_two, nothing, world.prepared, nothing, note),
        *(lambda: [Message(0, 12, timestamp=minute_ago)], nothing, note),
    )
    expected = [None, 3600, 3600, 3600, 60]
    assert [None if age is None else round(age, -1) for age in ages] == expected


def test_a_partition_in_which_nothing_waits_has_no_age(world: World) -> None:
    world.high = 10
    ages: list[Any] = []

    def note() -> list[Message]:
        ages.append(dict(world.metrics._figures())["lag_seconds"])
        return []

    # Before the client has found the end, it is not known either.
    world.run(assign(world, 0), nothing, note, lambda: [end(0, 10)], nothing, note)
    assert ages == [{}, {"0": 0.0}]


def test_of_a_batch_that_has_lost_a_partition_only_the_rest_is_counted(world: World) -> None:
    def lose() -> list[Message]:
        world.lose(1)
        return []

    world.run(assign(world, 0, 1), records((0, 10), (1, 10)), lose, world.prepared)
    counted = {
        sample.labels["partition"]: sample.value
        for metric in world.metrics.records.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {"0": 1, "1": 0}
    assert world.metrics.batch_records._sum.get() == 1


# --- the changelog tells of the inputs ----------------------------------------------------------


def test_the_last_state_record_of_a_transaction_tells_of_the_inputs(world: World) -> None:
    known = OffsetMetadata(topic_id="a", first=3)
    world.found[0] = Position(10, known)
    world.logs = [("profiles", 0)]
    world.stage.own_work = [
        [
            Output("profiles", b"u", b"{}", partition=0),
            Output("profiles", b"v", b"{}", partition=0),
            Output("profiles", b"w", b"{}", partition=3),
            Output("changes", b"v", b"{}"),
        ]
    ]
    world.run(assign(world, 0), nothing)
    told = [read_inputs(output.headers) for output in world.outputs]
    assert told == [{}, {TOPIC: known.model_copy(update={"partitions": PARTITIONS})}, {}, {}]


# --- transactions that fail ---------------------------------------------------------------------


def test_after_an_abort_every_partition_is_read_again_from_its_position(world: World) -> None:
    world.outcomes = [Outcome.COMMITTED, Outcome.ABORTED]
    world.run(
        assign(world, 0, 1),
        records((0, 10), (1, 10)),
        world.prepared,
        records((0, 11), (0, 12)),
        records((1, 11)),
        world.prepared,  # aborted; the one record being collected goes, too
        records((0, 11), (0, 12)),
        world.prepared,
    )
    after = world.calls[world.calls.index("aborted") :]
    assert after[:3] == ["aborted", "seek 0@11", "seek 1@11"]
    assert [keys for keys, _ in world.committed] == [["0@10", "1@10"], ["0@11", "0@12"]]
    assert world.stage.calls[2:5] == ["committed", "aborted", "committed"]
    assert "reopen" not in world.calls
    assert "restore 0" not in after


def test_a_prepared_batch_is_dropped_by_the_abort_of_the_one_before(world: World) -> None:
    world.outcomes = [Outcome.ABORTED]
    world.run(
        assign(world, 0),
        records((0, 10), (0, 11)),
        lambda: [*world.prepared(), Message(0, 12), Message(0, 13)],
        world.prepared,
        records((0, 10), (0, 11)),
        world.prepared,
    )
    assert [keys for keys, _ in world.committed] == [["0@10", "0@11"]]


def test_after_an_unknown_outcome_the_producer_is_made_anew_and_all_state_read_back(
    world: World,
) -> None:
    world.outcomes = [Outcome.UNKNOWN]
    world.run(
        assign(world, 0, 1),
        records((0, 10), (1, 10)),
        world.prepared,
        records((0, 10), (1, 10)),
        world.prepared,
    )
    after = world.calls[world.calls.index("unknown") :]
    assert after[1:6] == ["reopen", "unassign 0", "restore 0", "unassign 1", "restore 1"]
    assert after[6:10] == ["assign 0@10", "resume 0", "assign 1@10", "resume 1"]
    assert world.stage.calls[2:7] == [
        "aborted",
        "revoked 0",
        "revoked 1",
        "assigned 0",
        "assigned 1",
    ]
    assert world.committed == [(["0@10", "1@10"], {0: 11, 1: 11})]


def test_what_was_collected_before_an_unknown_outcome_is_read_again_once(world: World) -> None:
    world.outcomes = [Outcome.UNKNOWN]
    world.run(
        assign(world, 0),
        records((0, 10), (0, 11)),
        lambda: [*world.prepared(), Message(0, 12)],
        records((0, 10), (0, 11)),
        world.prepared,
    )
    assert world.committed == [(["0@10", "0@11"], {0: 12})]


def test_a_stage_that_an_abort_spoils_is_read_back_by_the_same_producer(world: World) -> None:
    world.stage.restore_after_abort = True
    world.outcomes = [Outcome.ABORTED]
    world.run(assign(world, 0), records((0, 10), (0, 11)), world.prepared, nothing)
    after = world.calls[world.calls.index("aborted") :]
    assert after[:3] == ["aborted", "unassign 0", "restore 0"]
    assert "reopen" not in after


def test_twenty_aborts_in_a_row_end_the_loop(world: World) -> None:
    world.stage.own_work = own_work(100)
    world.outcomes = [Outcome.ABORTED] * 100
    with pytest.raises(FatalKafkaError, match="20 transactions in a row were aborted"):
        world.run(assign(world, 0), *[nothing] * 50)
    assert world.attempts == 20
    # Tried less and less often, and the last time not at all.
    assert len(world.pauses) == 19
    assert world.pauses == sorted(world.pauses)
    assert world.pauses[-1] == 1.0


def test_a_commit_in_between_begins_the_count_of_aborts_anew(world: World) -> None:
    some = [Outcome.ABORTED] * 19
    world.stage.own_work = own_work(40)
    world.outcomes = [*some, Outcome.COMMITTED, *some, Outcome.COMMITTED]
    world.run(assign(world, 0), *[nothing] * 45)
    assert world.attempts == 40


def test_a_process_that_stood_still_commits_nothing(world: World) -> None:
    def suspended() -> list[Message]:
        world.prepared()
        # SIGSTOP and SIGCONT amid the turn, before its commit.
        world.now += 3600
        return []

    with pytest.raises(SuspendedError):
        world.run(assign(world, 0), records((0, 10), (0, 11)), suspended)
    assert world.attempts == 0
