"""Workers of one group whose profiles are kept in another precision read each other's records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consumer.contract.records import Output, Record
from tests.consumer.stages.stage_data import (
    TOPICS,
    Worker,
    a_model,
    changes_in,
    event,
    of,
    records,
)

USERS = [f"u{n}" for n in range(20)]


def sections(precision: str) -> dict[str, dict[str, Any]]:
    return {
        "profile": {"precision": precision},
        "assignment": {"dwell_events": 0, "margin_share": 0},
    }


def day(number: int, topic: int) -> list[Record]:
    return records(
        event(user, number, TOPICS[(topic + n) % len(TOPICS)]) for n, user in enumerate(USERS)
    )


def taken_over(written: list[Output], precision: str) -> Worker:
    """A worker that has read what another one wrote."""
    worker = Worker(a_model(), partitions=(), **sections(precision))
    restoration = worker.stage.restoration(0)
    for offset, output in enumerate(of(written, "user-profiles")):
        restoration.load(Record(output.topic, 0, offset, -1, output.key, output.value))
    worker.stage.assigned(0, restoration)
    worker.maintain()
    return worker


def sums(worker: Worker) -> np.ndarray:
    return worker.stage.tables[0].gather(USERS).sums


@pytest.mark.parametrize("first", ["float32", "float16"])
def test_who_takes_over_goes_on_with_what_was_held_up_to_its_own_precision(first: str) -> None:
    then = {"float32": "float16", "float16": "float32"}[first]
    before = Worker(a_model(), **sections(first))
    written = before.run(day(0, 0)) + before.run(day(1, 0))
    after = taken_over(written, then)
    held = sums(before)
    if then == "float16":
        np.testing.assert_array_equal(sums(after), held.astype(np.float16).astype(np.float32))
    else:
        np.testing.assert_array_equal(sums(after), held)
    # What follows is what would have followed, but for the last digits.
    again = taken_over(written, first)
    went_on = [
        changes_in([out for n in range(2, 6) for out in each.run(day(n, 1))])
        for each in (after, again)
    ]
    mine, its = ([(each.user_id, each.segment, each.sequence) for each in made] for made in went_on)
    assert mine == its != []
    np.testing.assert_allclose(sums(after), sums(again), rtol=4e-3, atol=1e-3)
