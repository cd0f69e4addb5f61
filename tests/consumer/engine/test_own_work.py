"""The stage's own work and batches by turns: who goes first, and how the time is shared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from consumer.contract.records import Output
from consumer.engine.transactions import Outcome
from tests.consumer.contract.scripted_loop import (
    START,
    Message,
    Step,
    World,
    assign,
    nothing,
    own_work,
    records,
)
from tests.consumer.contract.scripted_stage import ScriptedStage


class SharingStage(ScriptedStage):
    """Does pieces of its own work in the transactions of batches, and notes for how long."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def share(self, seconds: float) -> list[Output]:
        self.busy("shared")
        self.seconds.append(seconds)
        return [Output("changes", b"shared", b"{}")]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def sharing(world: World) -> SharingStage:
    world.stage = stage = SharingStage()
    return stage


def keys(world: World) -> list[list[str]]:
    return [keys for keys, _ in world.committed]


def full_load(world: World, turns: int) -> Iterator[Step]:
    """Polls of two records each: from the third on, two batches are prepared when one comes."""
    world.stage.prepare_gate.clear()

    def step(turn: int) -> Step:
        def polled() -> list[Message]:
            if turn >= 2:
                world.stage.prepare_gate.set()
                world.all_prepared()
            return [Message(0, START + 2 * turn), Message(0, START + 2 * turn + 1)]

        return polled

    return map(step, range(turns))


def test_a_batch_that_is_ready_goes_before_a_piece_of_the_stages_own_work(world: World) -> None:
    def work_comes() -> list[Message]:
        world.stage.own_work = own_work(2)
        return world.prepared()

    world.run(assign(world, 0), records((0, 10), (0, 11)), work_comes, nothing)
    assert keys(world) == [["0@10", "0@11"], ["piece 0"], ["piece 1"]]


def test_under_full_load_a_piece_comes_after_nine_times_its_own_time(world: World) -> None:
    world.stage.own_work = own_work(100)
    order: list[str] = []

    def busy(what: str) -> None:
        order.append(what)
        world.passed += 100.0 if what == "batch" else 210.0

    world.stage.busy = busy
    world.limits["silent_seconds"] = 1e9
    world.run(assign(world, 0), *full_load(world, 80), batch={"prepare_timeout_seconds": 86400})
    steady = "".join(what[0] for what in order).split("bbb", 1)[1].split("p")[1:-2]
    assert len(steady) >= 2
    assert {len(batches) for batches in steady} == {19}  # of 100 s each, to 210 s of a piece


def test_with_no_batch_ready_one_piece_follows_another_and_polls_do_not_wait(world: World) -> None:
    world.stage.own_work = own_work(4)
    world.run(assign(world, 0), nothing, nothing, nothing, nothing, nothing)
    assert keys(world) == [[f"piece {n}"] for n in range(4)]
    assert [timeout > 0 for timeout in world.timeouts[:7]] == [*[True] * 2, *[False] * 4, True]


def test_a_piece_that_has_nothing_to_write_is_done_without_a_transaction(world: World) -> None:
    world.stage.own_work = [[], [], *own_work(1)]
    world.run(assign(world, 0), *[nothing] * 5)
    assert world.attempts == 1
    assert world.stage.calls.count("committed") == 3


def test_pieces_are_done_while_the_batch_being_collected_is_full(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.stage.prepare_gate.clear()

    def release() -> list[Message]:
        world.stage.prepare_gate.set()
        return world.prepared()

    def work_comes() -> list[Message]:
        world.stage.own_work = own_work(3)
        return [Message(0, 14), Message(0, 15)]

    world.limits["patience_seconds"] = 30.0
    full = [records((0, 10), (0, 11)), records((0, 12), (0, 13)), work_comes]
    # Only when the own work is done the loop waits for the batch, and the gate opens.
    real = world.stage.maintain

    def maintain(*, idle: bool) -> object:
        outputs = real(idle=idle)
        if outputs is None and not world.stage.own_work and world.attempts == 3:
            world.stage.prepare_gate.set()
        return outputs

    world.stage.maintain = maintain  # type: ignore[method-assign,assignment]
    world.run(assign(world, 0), *full, release, world.prepared, world.prepared)
    assert keys(world)[:3] == [["piece 0"], ["piece 1"], ["piece 2"]]
    assert keys(world)[3:] == [["0@10", "0@11"], ["0@12", "0@13"], ["0@14", "0@15"]]
    assert "takes long to prepare" not in caplog.text


def test_own_work_that_is_aborted_lets_the_batches_be_read_again(world: World) -> None:
    world.stage.own_work = own_work(1)
    world.outcomes = [Outcome.ABORTED]
    world.run(
        assign(world, 0), records((0, 10), (0, 11)), records((0, 10), (0, 11)), world.prepared
    )
    assert keys(world) == [["0@10", "0@11"]]


def test_a_stage_with_work_and_no_partitions_does_not_keep_the_loop_turning(world: World) -> None:
    world.stage.own_work = own_work(5)

    def revoke() -> list[Message]:
        world.revoke(0)
        return []

    world.run(assign(world, 0), nothing, revoke, assign(world), nothing, nothing)
    assert all(timeout > 0 for timeout in world.timeouts[-2:])


def test_while_events_are_under_way_a_piece_rests_for_four_times_what_the_last_one_took(
    world: World,
) -> None:
    world.stage.prepare_gate.clear()
    began: list[float] = []

    def busy(what: str) -> None:
        if what == "piece":
            began.append(world.passed)
            world.passed += 30.0

    def later() -> list[Message]:
        world.passed += 10.0
        return []

    def release() -> list[Message]:
        world.stage.prepare_gate.set()
        return world.prepared()

    world.stage.busy = busy
    world.limits["silent_seconds"] = 1e9
    world.stage.own_work = own_work(4)
    world.run(
        assign(world, 0),
        records((0, 10), (0, 11)),
        *[later] * 14,
        release,
        batch={"prepare_timeout_seconds": 86400},
    )
    resting = [after - before for before, after in pairwise(began)]
    assert 150.0 in resting  # a piece of 30 s, and twelve polls of 10 s
    assert len(keys(world)) == 5


def test_a_batch_has_a_piece_in_its_transaction_and_the_offsets_of_all_partitions(
    world: World, sharing: SharingStage
) -> None:
    sharing.own_work = own_work(1000)

    def later() -> list[Message]:
        world.passed += 1.0
        return world.prepared()

    world.run(assign(world, 0, 1), records((0, 10), (0, 11)), later)
    assert (["0@10", "0@11", "shared"], {0: 12, 1: START}) in world.committed


def test_a_batch_has_no_piece_in_it_where_the_stage_has_nothing_to_do_or_no_time_is_left(
    world: World, sharing: SharingStage
) -> None:
    def revoke() -> list[Message]:
        sharing.own_work = own_work(1000)
        world.revoke(0)
        return []

    world.run(
        assign(world, 0),
        *(records((0, 10), (0, 11)), world.prepared),
        *(records((0, 12), (0, 13)), revoke),
    )
    assert keys(world) == [["0@10", "0@11"], ["0@12", "0@13"]]
    assert sharing.seconds == []


def test_pieces_in_batches_have_a_tenth_of_the_time_and_keep_others_two_seconds_apart(
    world: World, sharing: SharingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "monotonic", lambda: world.passed)
    sharing.own_work = own_work(1000)
    times: list[tuple[str, float]] = []

    def busy(what: str) -> None:
        world.passed += {"batch": 0.04, "shared": 0.005, "piece": 0.01}[what]
        times.append((what, world.passed))

    sharing.busy = busy

    def step(turn: int) -> Step:
        def polled() -> list[Message]:
            world.prepared()
            return [Message(0, START + 2 * turn), Message(0, START + 2 * turn + 1)]

        return polled

    world.run(assign(world, 0), *map(step, range(400)))
    steady = times[[what for what, _ in times].index("shared") :]
    allowed = sharing.seconds[1:]  # before the first one nothing had been done for long
    for (_, ended), (what, at) in pairwise(steady):
        if what == "shared":
            assert allowed.pop(0) == pytest.approx(0.04 / 10)
            assert at - ended == pytest.approx(0.005)
    *own, _ = [at for what, at in steady if what == "piece"]  # the last one when polls are over
    assert len(own) >= 3
    assert all(2.0 < after - before < 2.1 for before, after in pairwise(own))


def test_under_full_load_pieces_in_batches_have_as_much_of_the_time(
    world: World, sharing: SharingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "monotonic", lambda: world.passed)
    sharing.own_work = own_work(1000)

    def busy(what: str) -> None:
        world.passed += {"batch": 0.018, "shared": 0.005, "piece": 0.01}[what]

    sharing.busy = busy
    world.run(assign(world, 0), *full_load(world, 80))
    assert sharing.seconds[3:15] == pytest.approx([2 * 0.018 / 10] * 12)  # of every second batch
