"""`segmenter verify --follow` as a process: lines on standard output, metrics, signals."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

from consumer.process import ending
from consumer.settings import Settings
from consumer.telemetry.health import Health, serving
from consumer.telemetry.metrics import new_registry
from consumer.verify.follow import Follower
from consumer.verify.news import FollowReport, Line
from consumer.verify.report import Violation, escape

# On top of the transaction timeout: the broker looks for timed out transactions every 10 s, and the
# markers have to be written after that.
SETTLE_MARGIN_SECONDS = 30.0


def run_follow(
    settings: Settings,
    *,
    from_now: bool = False,
    every_seconds: float = 10.0,
    for_seconds: float | None = None,
    settle_seconds: float | None = None,
    stall_seconds: float = 60.0,
    as_json: bool = False,
) -> int:
    """Audit a running group until SIGTERM, SIGINT, or for a set time.

    Parameters
    ----------
    settings
        Of the workers.
    from_now, stall_seconds
        As of `Follower`.
    every_seconds
        From one line to the next; violations and warnings come at once.
    for_seconds
        When to end; None for never.
    settle_seconds
        As of `Follower`; None for the transaction timeout and 30 s.
    as_json
        Whether each line is a JSON object, of `type` "report", "violation" or "notice".

    Returns
    -------
    1 when something was violated, else 0.

    Raises
    ------
    VerifyError
        If the topics are not there or the cluster does not answer at the start.
    UsageError
        If it cannot listen on http.port.
    """
    if settle_seconds is None:
        settle_seconds = settings.kafka.transaction_timeout_seconds + SETTLE_MARGIN_SECONDS
    health = Health(settings.http.live_seconds)
    stopped = threading.Event()
    write = _write_json if as_json else _write_text
    follower = Follower(
        settings,
        from_now=from_now,
        settle_seconds=settle_seconds,
        stall_seconds=stall_seconds,
        on_turn=health.tick,
    )
    registry = new_registry(lambda: follower.glance().figures())
    with follower, ending.stopping_by(stopped.set), serving(settings.http, health, registry):
        began = time.monotonic()
        ends, due = (
            began + (math.inf if for_seconds is None else for_seconds),
            began + every_seconds,
        )

        def over() -> bool:
            return stopped.is_set() or time.monotonic() >= ends

        while not over():
            stopped.wait(max(0.0, min(0.5, every_seconds, ends - time.monotonic())))
            for line in follower.take_news():
                write(line)
            if time.monotonic() >= due and not over():  # else it is the last one, which follows
                due += every_seconds
                report = follower.report()
                health.ready = report.read_up
                write(report)
        for line in follower.take_news():
            write(line)
        last = follower.report()
        write(last)
    return last.exit_code


def _write_text(line: Line | FollowReport) -> None:
    match line:
        case FollowReport():
            text = line.render()
        case Violation():
            text = f"VIOLATION  {line.render()}"
        case _:
            text = escape(line)
    _put(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {text}")


def _write_json(line: Line | FollowReport) -> None:
    values: dict[str, Any]
    match line:
        case FollowReport():
            values = {"type": "report", **line.as_json()}
        case Violation():
            values = {
                "type": "violation",
                "kind": line.kind,
                "subject": line.subject,
                "detail": line.detail,
            }
        case _:
            values = {"type": "notice", "text": line}
    # ASCII only: the escapes also keep a terminal safe.
    _put(json.dumps({"time": datetime.now(UTC).isoformat(), **values}))


def _put(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
