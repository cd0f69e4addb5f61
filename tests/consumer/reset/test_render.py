"""What a reset says before it does anything."""

from __future__ import annotations

import pytest

from consumer.reset.command import render
from consumer.reset.run import Plan
from consumer.settings import Settings


@pytest.mark.parametrize(
    ("enabled", "target", "warned"), [(True, 3, True), (False, 3, False), (True, 10, False)]
)
def test_that_items_count_twice_is_said_where_events_of_them_are_read_again(
    enabled: bool, target: int, warned: bool
) -> None:
    plan = Plan({0: 10}, {0: target}, users=1, samples=0, members={}, unfinished=False)
    said = render(plan, Settings(recommendations={"enabled": enabled}))
    assert ("items count twice" in said) is warned
