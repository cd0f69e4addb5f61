"""Whether brokers answer the group's member, by the client's own statistics.

Each of them says of every broker how long ago something came from it. A member always hears
something, if only the answers to its heartbeats. What the operating system thinks of a connection
does not count: one whose other end is cut off looks as good as before.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from consumer.kafka.broker_log import BrokerLog, broker_log

logger = logging.getLogger(__name__)

_INTERVAL_MS = 1000
_TELL_SECONDS = 8.0
# Since the coordinator is known. The first heartbeat goes out at once and tells what is given.
_SETTLED_MS = 3000


class Connection:
    """Takes the statistics of the group's member.

    Parameters
    ----------
    servers
        The bootstrap servers, for the log.
    limit_seconds
        How long nothing may come from any broker before they count as away.
    protocol
        `kafka.group_protocol`.
    clock
        Seconds that do not go back.
    log
        Told who answers.

    Attributes
    ----------
    steady
        Whether the member has its place in the group, with partitions or without.
    """

    def __init__(
        self,
        servers: str,
        limit_seconds: float,
        protocol: str = "classic",
        *,
        clock: Callable[[], float] = time.monotonic,
        log: BrokerLog = broker_log,
    ) -> None:
        self._servers = servers
        self._limit = limit_seconds
        self._clock = clock
        self._log = log
        self._incremental = protocol == "consumer"
        self._heard: float | None = None
        self._waiting: float | None = None
        self.steady = False

    def config(self) -> dict[str, Any]:
        """Give what the member's client needs for it."""
        return {"stats_cb": self.take, "statistics.interval.ms": _INTERVAL_MS}

    @property
    def connected(self) -> bool:
        """Whether any broker has answered within the limit."""
        return self._heard is not None and self._clock() - self._heard <= self._limit

    def take(self, statistics: str) -> None:
        """Take statistics as librdkafka gives them, in JSON."""
        values = json.loads(statistics)
        now = self._clock()
        brokers = list(values["brokers"].values())
        # Microseconds; -1 where nothing has come yet.
        idle = [broker["rxidle"] / 1e6 for broker in brokers if broker["rxidle"] >= 0]
        if idle:
            self._heard = now - min(idle)
        self.steady = self._has_place(values.get("cgrp", {}))
        self._tell_of_waiting(now)
        up = {
            broker["nodename"]
            for broker in brokers
            if broker["state"] == "UP" and 0 <= broker["rxidle"] / 1e6 <= self._limit
        }
        self._log.sample(up, {each["nodename"] for each in brokers if each["nodeid"] >= 0})
        if self._heard is not None and now - self._heard > self._limit:
            self._log.silent(self._servers, now - self._heard)

    def _tell_of_waiting(self, now: float) -> None:
        """Say why a member has nothing to do that brokers answer, once for each time."""
        if self.steady or not self.connected:
            self._waiting = None
        elif self._waiting is None:
            self._waiting = now
        elif now - self._waiting >= _TELL_SECONDS:
            self._waiting = math.inf
            logger.info(
                "no partitions after %.0f s: the group waits for other members to answer; one that "
                "was killed is given up after kafka.session_timeout_seconds = %g",
                _TELL_SECONDS,
                self._limit,
            )

    def _has_place(self, group: dict[str, Any]) -> bool:
        """Tell whether the member has its place in the group, with partitions or without."""
        state = group.get("join_state")
        if self._incremental and state == "init":
            # Under KIP-848 a member that is given nothing stays so, for as long as it stands by.
            settled: bool = group["state"] == "up" and group["stateage"] >= _SETTLED_MS
            return settled
        return bool(state == "steady")
