"""What work leaves behind for Python's look for garbage."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from types import FunctionType

BATCHES = 12


def assert_nothing_is_left(work: Callable[[int], object]) -> None:
    """Do work for so many batches, each of which is told its number; none may leave a cycle.

    Threads of the tests' own may leave one now and then, which a batch does each time.
    """
    work(0)  # and what is made only once
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for number in range(1, BATCHES + 1):
            work(number)
        gc.collect()
        found = Counter(map(_kind, gc.garbage))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found.total() < BATCHES, f"after {BATCHES} batches only gc finds {found.most_common()}"


def _kind(found: object) -> str:
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    return f"{kind} {found.__qualname__}" if isinstance(found, FunctionType) else kind
