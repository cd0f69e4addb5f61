"""The command `segmenter demo`, as the command line sees it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.cli import arguments

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from consumer.settings import Settings


def add_demo_command(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command; `command` is how the command line makes one with its settings."""
    demo = command(
        commands,
        "demo",
        _demo,
        "run everything on this machine and show what comes out",
        shorthands=["segments"],
    )
    demo.add_argument(
        "--input", type=arguments.event_file, help="events, as for replay; else made up"
    )
    demo.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for results")
    demo.add_argument(
        "--model", type=arguments.file, help="keep this segment model, run no trainer"
    )
    demo.add_argument("--workers", type=int, default=2, help="worker processes")
    demo.add_argument("--users", type=int, default=400, help="users of the stream that is made up")


def _demo(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.tryout.demo.run import run_demo  # noqa: PLC0415

    given = {options.__dict__.get(name) for name in _BROKERS}
    return run_demo(
        settings,
        input_file=options.input,
        output=options.output,
        model=options.model,
        workers=options.workers,
        users=options.users,
        own_broker=given == {None},
    )


# Either flag: the demo starts no broker of its own.
_BROKERS = ("kafka.bootstrap_servers", "shorthand:kafka.bootstrap_servers")
