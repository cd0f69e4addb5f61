"""The command line: `segmenter COMMAND --help` tells the rest.

Exit codes: 0 done; 1 `verify`, `model verify`, `topics check` or `doctor` found something wrong; 2
wrong usage or settings (or, from `verify`, no answer); 3 the process could not go on, or its end
had to be forced; 70 a defect, with its stack in the log; 75 `doctor` found what may pass by itself;
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from consumer.process.ending import EXIT_INTERRUPTED

# A command is the attribute of this name in the module of this name, hyphens apart, which is
# imported when it is asked for.
COMMANDS = {
    "worker": "Run a worker of the consumer group.",
    "trainer": "Run a trainer; a second one stands by.",
    "recommender": "Run a recommender: the items that lead in each segment.",
    "intake": "Re-key an input whose keys or partitions cannot be trusted.",
    "rules": "Segments that somebody has put into words: follow users under them, try them.",
    "broker": "Run a real Apache Kafka, for tests and demos.",
    "demo": "Run everything on this machine and show what comes out.",
    "replay": "Run a file through the same stages, with no broker.",
    "evaluate": "Replay a file and measure how good the segments, or recommendations, are.",
    "report": "Write a page on what the segments are, who is in them and what changed.",
    "verify": "Check what must always hold.",
    "status": "Tell how the group stands: members, lag, rates, model, refusals, drift.",
    "watch": "Watch a group at work in the terminal.",
    "changes": "Print the changes of users' segments, a line each.",
    "doctor": "Tell whether a process could start here, and what to do where not.",
    "profile": "Show a user's latest state record as JSON.",
    "explain": "Tell why a user is in a segment, and what would move the user.",
    "dead-letters": "Look at refused records, and bring them back.",
    "reset": "Empty the profiles of a stopped group, and have it read its input again.",
    "migrate": "Bring a group, stopped or at work, to another embedding model.",
    "topics": "Manage the topics.",
    "produce": "Send the events of a file to the input topic.",
    "models": "Look at versions of the segment model, freeze it, roll it back.",
    "model": "Manage the embedding model.",
    "config": "Print the effective settings, secrets masked.",
}


class _Commands(click.Group):
    """Lists commands by their table, and loads the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            module = name.replace("-", "_")
            command = getattr(import_module(f"consumer.cli.{module}"), module)
        return name, command, rest


@click.group(
    cls=_Commands,
    commands={name: click.Command(name, help=text) for name, text in COMMANDS.items()},
    epilog="Settings come from flags, the environment (SEGMENTER_KAFKA__GROUP_ID=...), a TOML "
    "file (--config) and defaults, the first wins.",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="segmenter", message="%(prog)s %(version)s")
def segmenter() -> None:
    """Turn a topic of user reviews and comments into a topic of segment changes."""


def main(given: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code.

    Parameters
    ----------
    given
        Its arguments; None for those of this process, whose signals are then taken too.
    """
    try:
        code: int = segmenter.main(
            given, prog_name="segmenter", standalone_mode=False, obj=given is None
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
