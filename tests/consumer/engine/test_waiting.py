"""Since when the oldest record waits, by what was read alone."""

from __future__ import annotations

from consumer.engine.waiting import Waiting


def test_nothing_is_known_before_the_first_answer():
    assert Waiting().since(10) is None


def test_the_oldest_is_the_first_record_of_the_run_that_is_not_committed():
    waiting = Waiting()
    waiting.read(20, 1000, 1500)
    waiting.read(30, 2000, 2500)
    waiting.read(40, 3000, 3500)  # from 32 on, behind markers of transactions
    assert waiting.since(10) == 1000
    assert waiting.since(20) == 2000
    # Amid a run: its first record is near, and never younger than the one that waits.
    assert waiting.since(25) == 2000
    assert waiting.since(30) == 3000


def test_what_is_not_read_is_taken_to_be_as_old_as_its_neighbour():
    waiting = Waiting()
    waiting.read(20, 1000, 1500)
    assert waiting.since(20) == 1500


def test_the_first_record_for_a_long_time_is_not_as_old_as_the_one_before():
    waiting = Waiting()
    waiting.read(11, 1000, 1000)
    waiting.nothing(90_000)
    assert waiting.since(11) == 90_000
    waiting.read(12, 89_990, 89_990)
    assert waiting.since(11) == 89_990


def test_what_goes_back_keeps_its_age():
    waiting = Waiting()
    waiting.read(20, 1000, 1500)
    waiting.read(30, 2000, 2500)
    waiting.go_back(20)
    assert waiting.since(20) == 2000
    waiting.read(23, 2000, 2100)
    assert waiting.since(20) == 2000
    waiting.go_back(23)  # all that was read is committed
    assert waiting.since(23) == 2100


def test_records_without_a_time_tell_nothing():
    waiting = Waiting()
    waiting.read(12, -1, -1)
    assert waiting.since(10) is None
    waiting.nothing(5000)
    waiting.read(14, -1, -1)
    assert waiting.since(12) == 5000
