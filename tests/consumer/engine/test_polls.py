"""How much is polled at once, where nobody knows beforehand how large records are."""

from __future__ import annotations

import pytest

from tests.consumer.contract.scripted_loop import START, Message, Step, World, assign

STEP = 32


@pytest.fixture
def world() -> World:
    return World()


def polled(first: int, count: int, value: bytes = b"{}") -> Step:
    return lambda: [Message(0, START + first + n, value=value) for n in range(count)]


def test_small_records_are_polled_step_by_step_and_only_the_first_step_is_waited_for(
    world: World,
) -> None:
    batch = {"max_records": 100}
    world.run(assign(world, 0), polled(0, STEP), polled(STEP, STEP), polled(64, 5), batch=batch)
    assert world.rooms[1:5] == [STEP, STEP, STEP, 100 - 69]
    assert [timeout > 0 for timeout in world.timeouts[1:5]] == [True, False, False, True]


def test_a_step_of_large_records_is_the_last_one_until_they_are_prepared(world: World) -> None:
    batch = {"max_records": 512, "max_bytes": 2_000}
    world.stage.prepare_gate.clear()
    under_way: list[int] = []

    def look() -> list[Message]:
        under_way.append(world.batches.bytes)
        world.stage.prepare_gate.set()
        return []

    world.run(assign(world, 0), polled(0, STEP, b"x" * 1_000), look, batch=batch)
    assert max(world.rooms) == STEP
    assert STEP * 1_000 <= under_way[0] < 2 * STEP * 1_000
