"""Named places at which a test may stop, kill or delay the process.

Nothing can be set from outside: no setting, no variable of the environment. A test's own program
installs a hook in the process that it starts; without one, passing a point costs a comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

CrashPoint = Literal[
    "before_begin",  # a batch is applied, no transaction is open
    "begun",  # a transaction is open and empty
    "produced",  # outputs are handed to the client; offsets are not
    "offsets_sent",  # outputs and offsets are with the brokers; the end is not asked for
    "committed",  # the broker has said so; the state in memory is the old one
    "merged",  # the state in memory is the new one
    "revoking",  # a rebalance takes partitions away
]
Hook = Callable[[CrashPoint], None]

_hook: Hook | None = None


def install(hook: Hook | None) -> None:
    """Have a hook called at every point, in the thread that passes it; None takes it out."""
    global _hook  # noqa: PLW0603 - one process, one hook
    _hook = hook


def reached(point: CrashPoint) -> None:
    """Say that the process is at a point."""
    if _hook is not None:
        _hook(point)
