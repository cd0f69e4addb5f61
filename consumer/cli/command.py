"""A command: its settings, its log, its signals, and how its end is told."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, cast

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from consumer.cli.flags import SettingFlag, nested, setting_flags, taken
from consumer.contract.errors import ExpectedError, UsageError, place, stack
from consumer.process import ending
from consumer.process.logs import configure_logging
from consumer.settings import CONFIG_VARIABLE, Settings, SettingsFileError
from consumer.settings.commands import uses
from consumer.settings.sources import environment_hints, explain

logger = logging.getLogger(__name__)

EXIT_FAILED = 3
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130

_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}

END_SECONDS = 13.0
"""On top of `kafka.revoke_seconds`, from a signal or an error until the end is forced.

Two seconds more are for telling the stacks: the end comes within 15.
"""


class Command(click.Command):
    """A command whose function is given the settings before its own parameters.

    Flags of settings that it does not use are accepted with a warning, and hidden from its help.
    The object of its context (`click.pass_obj`) is the settings that were given by flag, by dotted
    name.

    Parameters
    ----------
    own_signals
        Whether it takes SIGTERM and SIGINT itself.
    """

    def __init__(self, *args: Any, own_signals: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.epilog = "`segmenter config --help` lists the settings of all commands."
        self._own_signals = own_signals
        self._flags: list[SettingFlag] = []
        config = click.Path(exists=True, dir_okay=False)
        self.params.append(click.Option(["--config"], type=config, help="TOML file of settings."))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give its own parameters, and the flags of settings: made when they are asked for."""
        self._flags = self._flags or list(setting_flags(_words(ctx)))
        return [*super().get_params(ctx), *self._flags]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of each section of settings apart."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                name = param.opts[0].strip("-").rpartition(".")[0] or "Options"
                sections.setdefault(name, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> int:
        """Make the settings, and run; give the exit code."""
        used = taken(self._flags, ctx.params)
        if (config := ctx.params.pop("config")) is not None:
            os.environ[CONFIG_VARIABLE] = config
        hints = environment_hints(os.environ)
        try:
            settings = Settings(**nested({name: value for name, (_, value) in used.items()}))
        except (ValidationError, SettingsError, SettingsFileError) as error:
            flags = {name: flag for name, (flag, _) in used.items()}
            for sentence in (explain(error, flags), *hints):
                click.echo(f"segmenter: {sentence}", err=True)
            return UsageError.exit_code
        configure_logging(settings.log)
        for name, (flag, _) in used.items():
            if not uses(_words(ctx), name):
                hints.append(
                    f"{flag} changes nothing: {ctx.command_path} does not use that setting"
                )
        for hint in hints:
            logger.warning(hint)
        if ctx.obj and not self._own_signals:  # in a process of its own
            ending.watch(settings.kafka.revoke_seconds + END_SECONDS)
        ctx.obj = used
        run = cast("Callable[..., int | None]", self.callback)
        code = exit_code(lambda: ctx.invoke(run, settings, **ctx.params))
        ending.leave_if_begun(code)
        return code


def _words(ctx: click.Context) -> str:
    return ctx.command_path.removeprefix("segmenter ")


def exit_code(run: Callable[[], int | None]) -> int:
    """Run what a command does; tell on standard error how it ended, and give its exit code."""
    try:
        return run() or 0
    except KeyboardInterrupt:
        ending.begin("interrupted")  # the thread that takes signals may not have come to it yet
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough (`segmenter ... | head`); Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        ending.begin(type(error).__name__)
        if _is_expected(error):
            sys.stderr.write(f"segmenter: {error}\n")
            logger.debug("stopped by %s", stack(error))
            return getattr(error, "exit_code", EXIT_FAILED)
        what = f"{type(error).__name__} {place(error)}"
        logger.critical(
            "stopped by %s: a defect of segmenter or of a library, please report it\n%s",
            what,
            stack(error),
        )
        return EXIT_DEFECT


def _is_expected(error: Exception) -> bool:
    """Tell what the world did to a command from what the program did.

    A file that cannot be had, a full disk and the like are the world's.
    """
    from confluent_kafka import KafkaException

    from models.embedding.errors import EmbeddingError

    if isinstance(error, OSError):
        return error.filename is not None or error.errno in _OF_THE_MACHINE
    return isinstance(error, ExpectedError | KafkaException | EmbeddingError)
