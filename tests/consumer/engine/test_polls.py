"""How much is polled at once, where nobody knows beforehand how large records are."""

from __future__ import annotations

import pytest

from consumer.engine.batches import Batches
from tests.consumer.contract.scripted_loop import START, Message, Step, World, assign, nothing

STEP = 32


@pytest.fixture
def world() -> World:
    return World()


def polled(first: int, count: int, value: bytes = b"{}") -> Step:
    return lambda: [Message(0, START + first + n, value=value) for n in range(count)]


def test_small_records_are_polled_step_by_step_and_only_the_first_one_is_waited_for(
    world: World,
) -> None:
    batch = {"max_records": 100}
    steps = [polled(0, 1), polled(1, STEP), polled(1 + STEP, STEP), polled(65, 4)]
    world.run(assign(world, 0), *steps, batch=batch)
    assert world.rooms[1:6] == [1, STEP, STEP, STEP, 100 - 69]
    assert [timeout > 0 for timeout in world.timeouts[1:6]] == [True, *[False] * 4]


def test_while_a_batch_is_prepared_the_loop_waits_for_it_and_not_for_records(world: World) -> None:
    world.stage.prepare_gate.clear()
    waited: list[float] = []
    real = Batches.wait

    def wait(batches: Batches[object], seconds: float) -> bool:
        waited.append(seconds)
        world.stage.prepare_gate.set()
        return real(batches, 30)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Batches, "wait", wait)
        world.run(assign(world, 0), polled(0, 2), nothing, nothing)
    assert [keys for keys, _ in world.committed] == [["0@10", "0@11"]]
    assert waited[0] > 0
    assert world.timeouts[2] == 0  # what is there was taken before


def test_a_step_of_large_records_is_the_last_one_until_they_are_prepared(world: World) -> None:
    batch = {"max_records": 512, "max_bytes": 2_000}
    world.stage.prepare_gate.clear()
    under_way: list[int] = []

    def look() -> list[Message]:
        under_way.append(world.batches.bytes)
        world.stage.prepare_gate.set()
        return []

    world.run(assign(world, 0), polled(0, 1), polled(1, STEP, b"x" * 1_000), look, batch=batch)
    assert max(world.rooms) == STEP
    assert STEP * 1_000 <= under_way[0] < 2 * STEP * 1_000
