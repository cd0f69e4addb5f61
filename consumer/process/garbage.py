"""How often Python looks for garbage that refers to itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Objects more than were let go of, since the last look: some batches' worth of records and outputs.
_YOUNG = 50_000


@contextmanager
def looked_for_rarely() -> Iterator[None]:
    """Look for cycles rarely, and never among what is there at the beginning.

    What a batch makes goes with its last reference and has no cycles, yet Python looks through it
    each time that 700 objects more are there than before; and through all modules and models, in
    the end. Measured through Kafka with short texts: 3 µs of the 80 to 100 that an event takes;
    none are left. A cycle in each batch would keep the texts and vectors of thousands of them: that
    stages make none is tested (`tests/consumer/stages/test_cycles.py`). Others, as of errors that
    hold their frames, wait a little longer.
    """
    former = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *former[1:])
    try:
        yield
    finally:
        gc.set_threshold(*former)
        gc.unfreeze()
