"""Python looks for garbage rarely while a process is at work."""

from __future__ import annotations

import gc

from consumer.process.garbage import looked_for_rarely


class Loop:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own = self


def looks() -> int:
    return sum(each["collections"] for each in gc.get_stats())


def test_a_batch_of_objects_is_looked_through_only_where_nothing_says_otherwise() -> None:
    before = looks()
    kept = [[] for _ in range(5_000)]
    assert looks() > before
    with looked_for_rarely():
        before = looks()
        kept += [[] for _ in range(5_000)]
        assert looks() == before
        assert gc.get_freeze_count() > 0
    before = looks()
    kept += [[] for _ in range(5_000)]
    assert looks() > before
    assert gc.get_freeze_count() == 0


def test_garbage_that_refers_to_itself_goes_all_the_same() -> None:
    with looked_for_rarely():
        for _ in range(200_000):
            Loop()
        gone = sum(type(each) is Loop for each in gc.get_objects())
    assert gone < 100_000
