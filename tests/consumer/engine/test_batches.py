"""The batch that is collected and those that are prepared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import pytest

from consumer.contract.clock import Timer
from consumer.contract.records import Record
from consumer.engine.batches import Batch, Batches, PreparationHungError
from consumer.settings import BatchSettings
from consumer.settings.batch import USUAL_RECORDS
from tests.consumer.contract.scripted_clock import Clock

WAIT_SECONDS = 10.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def record(offset: int, partition: int = 0) -> Record:
    return Record("user-events", partition, offset, -1, b"u", b"{}")


def offsets(records: Sequence[Record]) -> list[int]:
    return [record.offset for record in records]


class Bench:
    """Batches whose preparing is under control."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.takes: Callable[[], None] = lambda: None
        self._begun = threading.Semaphore(0)
        self._made: list[Batches[list[int]]] = []

    def batches(
        self, timer: Timer = time, close_seconds: float = 2.0, **settings: Any
    ) -> Batches[list[int]]:
        given = {"max_records": 3, "max_wait_seconds": 60, **settings}
        made = Batches(self.prepare, BatchSettings(**given), close_seconds, timer)
        self._made.append(made)
        return made

    def prepare(self, records: Sequence[Record]) -> list[int]:
        self.begun.set()
        self._begun.release()
        assert self.gate.wait(60)
        self.takes()
        self.seen.append(offsets(records))
        if self.error is not None:
            raise self.error
        return offsets(records)

    def begun_by(self, threads: int) -> None:
        for _ in range(threads):
            assert self._begun.acquire(timeout=WAIT_SECONDS)

    def close(self) -> None:
        self.gate.set()
        for made in self._made:
            made.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def fill(batches: Batches[list[int]], *numbers: int, partition: int = 0, epoch: int = 1) -> None:
    for number in numbers:
        batches.collect([record(number, partition)], lambda _: epoch)


def ready(batches: Batches[list[int]]) -> Batch[list[int]]:
    """Give the batch in preparation when it is done."""
    assert batches.wait(WAIT_SECONDS)
    batch = batches.advance()
    assert batch is not None
    return batch


# --- collecting ---------------------------------------------------------------------------------


def test_a_batch_fills(bench: Bench) -> None:
    batches = bench.batches()
    assert (batches.empty, batches.room) == (True, 3)
    fill(batches, 0, 1)
    assert (batches.empty, batches.room) == (False, 1)
    assert batches.advance() is None
    assert not bench.begun.is_set()
    fill(batches, 2)
    assert batches.room == 0
    assert batches.advance() is None
    assert (batches.empty, batches.room) == (False, 3)
    batch = ready(batches)
    assert batch.future.result() == [0, 1, 2]
    assert batches.empty


def test_a_batch_is_due_so_long_after_the_beginning_of_the_one_before(
    bench: Bench, clock: Clock
) -> None:
    batches = bench.batches(clock, max_wait_seconds=2)
    assert batches.due_in is None
    fill(batches, 0)
    assert batches.due_in == 2
    clock.now = 101.5
    fill(batches, 1)
    assert batches.due_in == 0.5
    assert batches.advance() is None
    assert batches.room == 1
    clock.now = 103.0
    assert batches.due_in == 0
    batches.advance()
    assert batches.due_in is None
    assert ready(batches).records == [record(0), record(1)]
    fill(batches, 2)
    clock.now = 104.5  # 1.5 s after the beginning
    fill(batches, 3)
    assert batches.due_in == 0.5


def test_a_record_that_comes_after_a_while_is_due_at_once(bench: Bench, clock: Clock) -> None:
    batches = bench.batches(clock, max_wait_seconds=2)
    clock.now += 2
    fill(batches, 0)
    assert batches.due_in == 0
    batches.advance()
    assert ready(batches).records == [record(0)]


@pytest.mark.parametrize(
    ("took", "waits"), [(0.125, 0.5), (0.375, 1.5), (0.5, 2), (100, 2), (0, 0.4)]
)
def test_batches_begin_four_transactions_apart_and_a_fifth_of_what_is_set_or_all_of_it(
    bench: Bench, clock: Clock, took: float, waits: float
) -> None:
    batches = bench.batches(clock, max_wait_seconds=2)
    fill(batches, 0, 1, 2)
    batches.advance()
    assert ready(batches).records == [record(0), record(1), record(2)]
    batches.committed(took)
    fill(batches, 3)
    assert batches.due_in == pytest.approx(waits)
    fill(batches, 4, 5)
    batches.advance()  # a full one does not wait
    assert ready(batches).records == [record(3), record(4), record(5)]


def test_what_is_as_large_as_usual_begins_at_once_where_nothing_else_is_prepared(
    bench: Bench, clock: Clock
) -> None:
    batches = bench.batches(clock, max_records=5000)
    fill(batches, *range(USUAL_RECORDS - 1))
    assert batches.due_in == 60
    fill(batches, USUAL_RECORDS - 1)
    assert batches.due_in == 0
    batches.advance()
    assert len(ready(batches).records) == USUAL_RECORDS


@pytest.mark.parametrize(
    ("seconds", "most"), [(0, 5000), (0.1, 1024), (0.2, USUAL_RECORDS), (9, USUAL_RECORDS)]
)
def test_the_next_batch_fills_up_to_what_is_prepared_in_a_fifth_of_a_second(
    bench: Bench, clock: Clock, seconds: float, most: int
) -> None:
    bench.takes = lambda: clock.sleep(seconds)
    batches = bench.batches(clock, max_records=5000)
    assert batches.room == USUAL_RECORDS
    fill(batches, *range(USUAL_RECORDS))
    batches.advance()
    ready(batches)
    assert batches.room == most


def test_while_one_is_prepared_the_next_does_not_begin_before_it_is_as_large_as_it_may_be(
    bench: Bench, clock: Clock
) -> None:
    batches = bench.batches(clock, max_records=USUAL_RECORDS + 2)
    fill(batches, *range(USUAL_RECORDS))
    batches.advance()
    ready(batches)
    bench.gate.clear()
    fill(batches, *range(USUAL_RECORDS))
    batches.advance()
    fill(batches, *range(USUAL_RECORDS))
    batches.advance()
    assert batches.room == 2
    fill(batches, 0, 1)
    batches.advance()
    assert (batches.room, batches.crowded) == (USUAL_RECORDS + 2, True)


def test_a_batch_remembers_under_which_epochs_it_was_read(bench: Bench) -> None:
    batches = bench.batches()
    fill(batches, 0, epoch=4)
    fill(batches, 7, 8, partition=5, epoch=9)
    batches.advance()
    assert ready(batches).epochs == {0: 4, 5: 9}


def test_records_of_partitions_that_are_left_out_do_not_count(bench: Bench) -> None:
    batches = bench.batches()
    fill(batches, 0, partition=0)
    fill(batches, 7, partition=1)
    batches.leave_out(frozenset({0, 3}))
    assert batches.room == 2
    fill(batches, 8, 9, partition=1)
    batches.advance()
    assert ready(batches).records == [record(n, 1) for n in (7, 8, 9)]


def test_with_all_left_out_nothing_is_due(bench: Bench) -> None:
    batches = bench.batches()
    fill(batches, 0, 1)
    batches.leave_out(frozenset({0}))
    assert batches.empty
    assert batches.due_in is None


# --- bytes --------------------------------------------------------------------------------------


def large(offset: int, size: int, partition: int = 0) -> Record:
    """A record of so many bytes, half of them in a header."""
    half = (size - 2) // 2
    headers = (("h", bytes(half)),)
    return Record(
        "user-events", partition, offset, -1, b"u", bytes(size - half - 2), headers=headers
    )


def batches_of_rest(batches: Batches[list[int]]) -> list[list[int]]:
    """Offsets of all that is under way, by batch, in the order in which batches come out."""
    found = []
    deadline = time.monotonic() + WAIT_SECONDS
    while not batches.empty:
        assert time.monotonic() < deadline
        if batches.wait(0.05) and (batch := batches.advance()) is not None:
            found.append(offsets(batch.records))
    return found


def test_what_is_too_many_bytes_for_a_batch_makes_the_next_one(bench: Bench) -> None:
    batches = bench.batches(max_records=100, max_bytes=1024, max_wait_seconds=0.001)
    batches.collect([large(number, 400) for number in range(7)], lambda _: 1)
    assert batches.bytes == 2800
    assert batches.room == 0
    bench.gate.clear()
    batches.advance()
    assert batches.room == 0
    bench.gate.set()
    assert batches.wait(WAIT_SECONDS)
    first = batches.advance()
    assert first is not None
    rest = batches_of_rest(batches)
    assert [offsets(first.records), *rest] == [[0, 1], [2, 3], [4, 5], [6]]


def test_a_batch_has_the_epochs_of_its_own_records_partitions(bench: Bench) -> None:
    batches = bench.batches(max_records=100, max_bytes=1024, max_wait_seconds=0.001)
    poll = [large(number, 400, partition=number // 2) for number in range(4)]
    batches.collect(poll, lambda partition: 7 + partition)
    batches.advance()
    assert batches.wait(WAIT_SECONDS)
    first = batches.advance()
    assert first is not None
    assert first.epochs == {0: 7}
    assert batches.touches(frozenset([1]))
    assert not batches.touches(frozenset([0]))


def test_a_record_that_is_larger_than_a_batch_may_be_is_one_by_itself(bench: Bench) -> None:
    batches = bench.batches(max_records=100, max_bytes=1024, max_wait_seconds=0.001)
    sizes = enumerate((100, 5000, 100, 100))
    batches.collect([large(number, size) for number, size in sizes], lambda _: 1)
    assert batches_of_rest(batches) == [[0], [1], [2, 3]]


def test_less_is_asked_for_where_records_are_large(bench: Bench) -> None:
    batches = bench.batches(max_records=100, max_bytes=10_000, max_wait_seconds=0.001)
    assert batches.room == 100
    batches.collect([large(0, 1000)], lambda _: 1)
    assert batches.room == 9
    assert batches_of_rest(batches) == [[0]]
    assert batches.room == 10  # by the batch before
    batches.collect([large(1, 9_500)], lambda _: 1)
    assert batches.room == 0  # another one of this size does not fit


def test_bytes_of_partitions_that_are_left_out_do_not_count(bench: Bench) -> None:
    batches = bench.batches(max_records=100, max_bytes=1024, max_wait_seconds=0.001)
    for number in range(4):
        batches.collect([large(number, 500, partition=number // 2)], lambda _: 1)
    batches.leave_out(frozenset([0]))
    assert batches.bytes == 1000
    assert batches_of_rest(batches) == [[2, 3]]


# --- preparing ----------------------------------------------------------------------------------


def test_the_next_batch_is_prepared_when_the_one_before_is_given_out(bench: Bench) -> None:
    batches = bench.batches()
    fill(batches, 0, 1, 2)
    batches.advance()
    fill(batches, 3, 4, 5)
    assert ready(batches).records == [record(n) for n in (0, 1, 2)]
    assert ready(batches).records == [record(n) for n in (3, 4, 5)]
    assert batches.advance() is None
    assert bench.seen == [[0, 1, 2], [3, 4, 5]]


def test_two_batches_are_prepared_at_a_time(bench: Bench) -> None:
    bench.gate.clear()
    batches = bench.batches()
    for numbers in ((0, 1, 2), (3, 4, 5), (6, 7, 8)):
        fill(batches, *numbers)
        assert batches.advance() is None
    assert not batches.wait(0.01)
    assert batches.room == 0
    assert batches.crowded
    bench.gate.set()
    for number in (0, 3, 6):
        assert ready(batches).records[0] == record(number)
    assert batches.empty
    assert not batches.crowded


def test_batches_come_out_in_their_order_whichever_is_done_first(bench: Bench) -> None:
    gates = {0: threading.Event(), 3: threading.Event()}

    def prepare(records: Sequence[Record]) -> list[int]:
        assert gates[records[0].offset].wait(60)
        return offsets(records)

    batches = Batches(prepare, BatchSettings(max_records=3, max_wait_seconds=60))
    for number in (0, 3):
        fill(batches, number, number + 1, number + 2)
        batches.advance()
    gates[3].set()
    assert not batches.wait(0.05)
    assert batches.advance() is None
    gates[0].set()
    assert ready(batches).future.result() == [0, 1, 2]
    assert ready(batches).future.result() == [3, 4, 5]
    batches.close()


def test_a_batch_that_is_not_full_goes_on_filling_while_another_is_prepared(
    bench: Bench, clock: Clock
) -> None:
    bench.gate.clear()
    batches = bench.batches(clock, max_wait_seconds=2)
    fill(batches, 0)
    clock.now += 3
    batches.advance()
    fill(batches, 1)
    clock.now += 3
    assert batches.advance() is None
    assert batches.room == 2
    bench.gate.set()
    assert ready(batches).records == [record(0)]  # and the second one begins
    assert ready(batches).records == [record(1)]


def test_waiting_without_a_batch_in_preparation_is_over_at_once(bench: Bench) -> None:
    batches = bench.batches()
    assert batches.wait(WAIT_SECONDS * 100)
    fill(batches, 0)
    assert batches.wait(WAIT_SECONDS * 100)


def test_touches_looks_at_the_batches_in_preparation_only(bench: Bench) -> None:
    batches = bench.batches()
    fill(batches, 0, 1, partition=2)
    assert not batches.touches(frozenset({2}))
    fill(batches, 7, partition=3)
    batches.advance()
    assert batches.touches(frozenset({2, 9}))
    assert batches.touches(frozenset({3}))
    assert not batches.touches(frozenset({0, 9}))
    fill(batches, 1, 2, 3, partition=9)
    assert not batches.touches(frozenset({9}))
    batches.advance()  # the first one is given out or not: this one is in preparation
    assert batches.touches(frozenset({9}))


def test_the_batch_in_preparation_is_given_away_once(bench: Bench) -> None:
    batches = bench.batches()
    fill(batches, 0, 1, 2)
    batches.advance()
    taken = batches.take()
    assert taken is not None
    assert taken.records == [record(n) for n in (0, 1, 2)]
    assert batches.take() is None
    assert not batches.touches(frozenset({0}))


def test_what_preparing_raises_comes_out_with_the_batch(bench: Bench) -> None:
    bench.error = ValueError("no vector")
    batches = bench.batches()
    fill(batches, 0, 1, 2)
    batches.advance()
    batch = ready(batches)
    with pytest.raises(ValueError, match="no vector"):
        batch.future.result()
    # The thread goes on.
    bench.error = None
    fill(batches, 3, 4, 5)
    batches.advance()
    again = ready(batches)
    assert again.future.result() == [3, 4, 5]


def test_dropped_batches_are_not_prepared(bench: Bench) -> None:
    bench.gate.clear()
    batches = bench.batches()
    for number in (0, 3):
        fill(batches, number, number + 1, number + 2)
        batches.advance()
    bench.begun_by(2)
    batches.drop()
    fill(batches, 6, 7, 8)
    batches.advance()  # queued behind one under way, which cannot be stopped
    fill(batches, 9)
    (queued,) = batches._preparing
    batches.drop()
    assert batches.empty
    assert batches.due_in is None
    bench.gate.set()
    fill(batches, 10, 11, 12)
    batches.advance()
    assert ready(batches).records == [record(n) for n in (10, 11, 12)]
    batches.close()
    assert sorted(bench.seen) == [[0, 1, 2], [3, 4, 5], [10, 11, 12]]
    with pytest.raises(CancelledError):
        queued.future.result(0)


# --- devices that hang --------------------------------------------------------------------------


def test_a_preparation_that_hangs_raises_and_names_the_setting(bench: Bench) -> None:
    bench.gate.clear()
    batches = bench.batches(prepare_timeout_seconds=0.05)
    fill(batches, 0, 1, 2)
    batches.advance()
    with pytest.raises(PreparationHungError) as raised:
        until_raised(batches.advance)
    message = str(raised.value)
    assert message.startswith("a batch of 3 records is not prepared after 0.05 s")
    assert message.endswith(
        "(batch.prepare_timeout_seconds): does this process get any time, or does it hang?"
    )


def test_a_preparation_that_hangs_is_told_with_what_may_be_to_blame(clock: Clock) -> None:
    gate = threading.Event()
    settings = BatchSettings(max_records=3, max_wait_seconds=60, prepare_timeout_seconds=10)
    batches = Batches(
        lambda _: gate.wait(60), settings, timer=clock, suspect=lambda: "is 4711 stopped?"
    )
    fill(batches, 0, 1, 2)
    batches.advance()
    clock.now += 11
    with pytest.raises(PreparationHungError, match=r"timeout_seconds\): is 4711 stopped\?$"):
        batches.advance()
    gate.set()
    batches.close()


def until_raised(call: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        call()
        time.sleep(0.01)


def test_a_slow_preparation_that_ends_in_the_last_moment_counts(bench: Bench, clock: Clock) -> None:
    batches = bench.batches(clock, prepare_timeout_seconds=1)
    fill(batches, 0, 1, 2)
    batches.advance()
    assert batches.wait(WAIT_SECONDS)
    clock.now += 100
    assert ready(batches).records[0] == record(0)


def test_the_time_of_a_batch_counts_from_when_it_is_the_first(clock: Clock) -> None:
    gates = {0: threading.Event(), 3: threading.Event()}

    def prepare(records: Sequence[Record]) -> None:
        assert gates[records[0].offset].wait(60)

    settings = BatchSettings(max_records=3, max_wait_seconds=60, prepare_timeout_seconds=10)
    batches = Batches(prepare, settings, timer=clock)
    for number in (0, 3):
        fill(batches, number, number + 1, number + 2)
        batches.advance()
    clock.now += 9
    gates[0].set()
    assert batches.wait(WAIT_SECONDS)
    assert batches.advance() is not None
    clock.now += 9
    assert batches.advance() is None
    clock.now += 2
    with pytest.raises(PreparationHungError):
        batches.advance()
    gates[3].set()
    batches.close()


def test_closing_does_not_wait_for_a_call_that_hangs(bench: Bench) -> None:
    bench.gate.clear()
    batches = bench.batches(close_seconds=0.05)
    fill(batches, 0, 1, 2)
    batches.advance()
    assert bench.begun.wait(WAIT_SECONDS)
    batches.close()
    # It came back although the call did not; nor does the interpreter's end wait for the thread.
    assert bench.seen == []
    threads = [thread for pool in batches._threads for thread in pool._threads]
    assert any(thread.is_alive() for thread in threads)
    assert all(thread.daemon for thread in threads)


def test_closing_waits_for_a_call_that_ends(bench: Bench) -> None:
    batches = bench.batches()
    fill(batches, 0, 1, 2)
    batches.advance()
    assert bench.begun.wait(WAIT_SECONDS)
    batches.close()
    assert bench.seen == [[0, 1, 2]]
    assert not any(each.is_alive() for pool in batches._threads for each in pool._threads)
