"""Whether brokers answer, by statistics as librdkafka gives them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from consumer.kafka.broker_log import BrokerLog
from consumer.kafka.connection import Connection

AT = "127.0.0.1:9092"


class Member:
    """A connection on a clock of its own."""

    def __init__(self, protocol: str = "classic") -> None:
        self.now = 1000.0
        log = BrokerLog(lambda: self.now)
        self.connection = Connection(AT, 30, protocol, clock=lambda: self.now, log=log)

    def take(self, *idle: float, state: str = "UP", group: dict[str, Any] | None = None) -> None:
        brokers = {
            f"{AT}/{number}": {
                "nodename": AT,
                "nodeid": number,
                "state": state,
                "rxidle": -1 if seconds < 0 else round(seconds * 1e6),
            }
            for number, seconds in enumerate(idle)
        }
        self.connection.take(json.dumps({"brokers": brokers, "cgrp": group or {}}))


def test_nobody_has_answered_at_first() -> None:
    member = Member()
    assert not member.connection.connected
    member.take(-1, state="CONNECT")
    assert not member.connection.connected


def test_any_broker_that_has_answered_within_the_limit_will_do() -> None:
    member = Member()
    member.take(100, 29)
    assert member.connection.connected
    member.now += 2
    assert not member.connection.connected


def test_a_connection_that_looks_well_and_gives_nothing_does_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    member = Member()
    member.take(0.1)
    member.now += 40
    member.take(40)
    assert not member.connection.connected
    assert "no answer for 40 s" in caplog.text
    member.take(0.1)
    assert member.connection.connected


@pytest.mark.parametrize(
    ("protocol", "group", "steady"),
    [
        ("classic", {"join_state": "steady"}, True),
        ("classic", {"join_state": "init", "state": "up", "stateage": 9000}, False),
        ("classic", {"join_state": "wait-sync", "state": "up", "stateage": 9000}, False),
        ("consumer", {"join_state": "steady"}, True),
        ("consumer", {"join_state": "init", "state": "up", "stateage": 9000}, True),
        ("consumer", {"join_state": "init", "state": "up", "stateage": 100}, False),
        ("consumer", {"join_state": "init", "state": "wait-coord", "stateage": 9000}, False),
    ],
)
def test_a_member_that_stands_by_has_its_place_under_both_protocols(
    protocol: str, group: dict[str, Any], steady: bool
) -> None:
    member = Member(protocol)
    member.take(0.1, group=group)
    assert member.connection.steady is steady


def test_a_member_that_waits_for_one_that_was_killed_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    member = Member()
    for _ in range(20):
        member.take(0.1, group={"join_state": "wait-join"})
        member.now += 1
    told = [each for each in caplog.messages if "no partitions" in each]
    assert len(told) == 1
    assert "given up after kafka.session_timeout_seconds = 30" in told[0]
    member.take(0.1, group={"join_state": "steady"})
    for _ in range(7):  # a rebalance takes some seconds
        member.now += 1
        member.take(0.1, group={"join_state": "wait-join"})
    assert len([each for each in caplog.messages if "no partitions" in each]) == 1
