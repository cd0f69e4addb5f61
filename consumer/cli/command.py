"""A command: its settings, its log, its signals, and how its end is told."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, cast

import click

from consumer.cli.flags import setting_flags
from consumer.cli.values import GivenPath
from consumer.contract.errors import ExpectedError, UsageError, place, stack
from consumer.contract.extras import need
from consumer.process import ending
from consumer.process.logs import configure_logging
from consumer.settings import CONFIG_VARIABLE
from consumer.settings.commands import uses
from consumer.settings.sources import SETTINGS_ERRORS, environment_hints, explain

logger = logging.getLogger(__name__)

EXIT_FAILED = 3
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h

_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}

END_SECONDS = 13.0
"""On top of `kafka.revoke_seconds`, from a signal or an error until the end is forced.

Two seconds more are for telling the stacks: the end comes within 15.
"""


class Command(click.Command):
    """A command whose function is given the settings before its own parameters.

    Flags of settings that it does not use are accepted with a warning, and hidden from its help.
    The object of its context is the settings that were given by flag, by dotted name.

    Parameters
    ----------
    own_signals
        Whether it takes SIGTERM and SIGINT itself.
    loads
        Module to load while signals still end the process at once.
    extra
        Of the package, without which it can do nothing.
    """

    def __init__(
        self,
        *args: Any,
        own_signals: bool = False,
        loads: str | None = None,
        extra: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.epilog = "`segmenter config --help` lists the settings of all commands."
        self._own_signals = own_signals
        self._loads = loads
        self._extra = extra
        config = GivenPath(exists=True, dir_okay=False)
        self.params.append(click.Option(["--config"], type=config, help="TOML file of settings."))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give its own parameters, and the flags of settings: made when they are asked for."""
        return [*super().get_params(ctx), *setting_flags(_words(ctx))]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments; a flag that is none is told with the nearest that help shows."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            shown = [
                name
                for param in self.get_params(ctx)
                if isinstance(param, click.Option) and not param.hidden
                for name in param.opts
            ]
            near = sorted(get_close_matches(error.option_name, shown))
            raise click.NoSuchOption(error.option_name, possibilities=near, ctx=ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of each section of settings apart."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                name = param.opts[0].strip("-").rpartition(".")[0] or "Options"
                sections.setdefault(name, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> int:
        """Make the settings, and run; give the exit code."""
        code = exit_code(lambda: self._run(ctx))
        ending.leave_if_begun(code)
        return code

    def _run(self, ctx: click.Context) -> int | None:
        flags = setting_flags(_words(ctx))
        given = flags.take(ctx.params)
        if (config := ctx.params.pop("config")) is not None:
            os.environ[CONFIG_VARIABLE] = config
        hints = environment_hints(os.environ)
        try:
            settings = flags.settings(given)
        except SETTINGS_ERRORS as error:
            used = {name: flag for name, (flag, _) in given.items()}
            raise UsageError("\nsegmenter: ".join((explain(error, used), *hints))) from None
        configure_logging(settings.log)
        for name, (flag, _) in given.items():
            if not uses(_words(ctx), name):
                unused = f"{ctx.command_path} does not use that setting"
                hints.append(f"{flag} changes nothing: {unused}")
        for hint in hints:
            logger.warning(hint)
        if self._extra is not None:
            need(ctx.command_path, self._extra)
        if self._loads is not None:
            import_module(self._loads)
        if ctx.obj and not self._own_signals:  # in a process of its own
            ending.watch(settings.kafka.revoke_seconds + END_SECONDS)
        ctx.obj = given
        run = cast("Callable[..., int | None]", self.callback)
        result: int | None = ctx.invoke(run, settings, **ctx.params)
        return result


def _words(ctx: click.Context) -> str:
    return ctx.command_path.removeprefix("segmenter ")


def exit_code(run: Callable[[], int | None]) -> int:
    """Run what a command does; tell on standard error how it ended, and give its exit code."""
    try:
        return run() or 0
    except KeyboardInterrupt:
        ending.begin("interrupted")  # the thread that takes signals may not have come to it yet
        return ending.EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough (`segmenter ... | head`); Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        ending.begin(type(error).__name__)
        if (told := _expected(error)) is not None:
            sys.stderr.write(f"segmenter: {told}\n")
            logger.debug("stopped by %s", stack(error))
            return getattr(error, "exit_code", EXIT_FAILED)
        logger.critical(
            "stopped by %s %s: a defect of segmenter or of a library, please report it\n%s",
            type(error).__name__,
            place(error),
            stack(error),
        )
        return EXIT_DEFECT


def _expected(error: Exception) -> str | None:
    """Give the sentence of what the world did to a command; None for what the program did."""
    from confluent_kafka import KafkaException

    from consumer.kafka.asking import words
    from models.embedding.errors import EmbeddingError

    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}"
    if isinstance(error, KafkaException):
        return f"Kafka: {words(error)}"
    if isinstance(error, ExpectedError | EmbeddingError) or (
        isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
    ):
        return str(error)
    return None
