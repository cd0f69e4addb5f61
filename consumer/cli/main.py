"""The command line: `segmenter COMMAND --help` tells the rest.

Exit codes: 0 done; 1 `verify` or `model verify` found violations; 2 wrong usage or settings (or,
from `verify`, no answer); 3 the process could not go on, or its end had
to be forced; 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import CliSettingsSource, SettingsError

from consumer.cli import arguments
from consumer.cli.demo import add_demo_command
from consumer.cli.evaluate import add_evaluate_command
from consumer.cli.model import add_model_commands
from consumer.cli.produce import add_produce_command
from consumer.cli.topics import add_topic_commands
from consumer.contract.errors import UsageError
from consumer.process import ending
from consumer.settings import CONFIG_VARIABLE, Settings, SettingsFileError, SettingsNameError
from consumer.settings.commands import add_flags, unused, uses
from consumer.settings.sources import environment_hints, explain, flag, nearest_flag

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130

END_SECONDS = 13.0
"""On top of `kafka.revoke_seconds`, from a signal or an error until the end is forced.

Two seconds more are for telling the stacks: the end comes within 15.
"""

_SETTINGS_ERRORS = (
    ValidationError,
    SettingsError,
    SettingsFileError,
    SettingsNameError,
)

_SHORTHANDS = {
    "bootstrap_servers": ("kafka.bootstrap_servers", "HOST:PORT", "brokers"),
    "segments": ("training.segments", "N|auto", "number of segments"),
}
_SHORT_OF = {setting: short for short, (setting, _, _) in _SHORTHANDS.items()}


def main(given: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    parser, sources = _parser()
    options, unknown = parser.parse_known_args(given)
    if unknown:
        options.parser.error(_unrecognized(options.parser, unknown))
    hints = environment_hints(os.environ)
    try:
        settings = _settings(options, sources[options.command_name])
    except _SETTINGS_ERRORS as error:
        sys.stderr.write(f"segmenter: {explain(error, _given_flags(options))}\n")
        sys.stderr.write("".join(f"segmenter: {hint}\n" for hint in hints))
        return EXIT_USAGE
    # Imported late: --help and usage errors should not wait for Kafka and ONNX Runtime.
    from consumer.wiring import app  # noqa: PLC0415

    app.configure_logging(settings.log)
    for hint in [*hints, *_unused_flags(options)]:
        logger.warning(hint)
    if given is None and not options.own_signals:
        ending.watch(settings.kafka.revoke_seconds + END_SECONDS)
    code = _run(settings, options)
    ending.leave_if_begun(code)
    return code


def _run(settings: Settings, options: argparse.Namespace) -> int:
    try:
        result: int = options.run(settings, options)
    except UsageError as error:
        sys.stderr.write(f"segmenter: {error}\n")
        return EXIT_USAGE
    except KeyboardInterrupt:
        ending.begin("interrupted")  # the thread that takes signals may not have come to it yet
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough (`segmenter ... | head`); Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        ending.begin(type(error).__name__)
        sys.stderr.write(f"segmenter: {error}\n")
        logger.debug("stopped", exc_info=True)
        return EXIT_FAILED
    return result


# --- commands -------------------------------------------------------------------------------


def _worker(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.wiring.app import run_worker  # noqa: PLC0415

    run_worker(settings, options.model)
    return 0


def _trainer(settings: Settings, _options: argparse.Namespace) -> int:
    from consumer.wiring.app import run_trainer  # noqa: PLC0415

    run_trainer(settings)
    return 0


def _intake(settings: Settings, _options: argparse.Namespace) -> int:
    from consumer.wiring.app import run_intake  # noqa: PLC0415

    if settings.topics.raw_events is None:
        raise UsageError(
            "topics.raw_events is not set: give the topic whose records are to be re-keyed into "
            f"{settings.topics.events}"
        )
    run_intake(settings)
    return 0


def _broker(_settings: Settings, options: argparse.Namespace) -> int:
    from consumer.tryout.broker import run_broker  # noqa: PLC0415

    return run_broker(options.data, brokers=options.brokers, port=options.port)


def _replay(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.cli.replay import run_replay  # noqa: PLC0415

    return run_replay(
        settings,
        options.file,
        options.output,
        model_file=options.model,
        label_model_file=options.label_model,
        user_labels=options.user_labels,
        now=options.now,
    )


def _verify(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.verify import VerifyError  # noqa: PLC0415

    try:
        return _audit(settings, options)
    except VerifyError as error:
        raise UsageError(str(error)) from error


def _audit(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.verify import verify_folder, verify_group  # noqa: PLC0415

    if options.follow:
        return _follow(settings, options)
    for name in _FOLLOWING:
        if getattr(options, name) not in {None, False}:
            raise UsageError(f"--{name.strip('_').replace('_', '-')} goes with --follow only")
    if options.folder is not None and options.against is not None:
        raise UsageError("--against compares topics with a folder: leave the other folder out")
    result = verify_folder(options.folder) if options.folder else verify_group(settings)
    sys.stdout.write(result.render().rstrip("\n") + "\n")
    if options.against is not None and result.exit_code == 0:
        return _against(settings, options.against)
    return result.exit_code


_FOLLOWING = ("from_now", "every", "for_", "settle", "stall", "json")


def _follow(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.verify.service import run_follow  # noqa: PLC0415

    if options.folder is not None or options.against is not None:
        raise UsageError("--follow audits topics without an end: leave FOLDER and --against out")
    return run_follow(
        settings,
        from_now=options.from_now,
        every_seconds=options.every or 10.0,
        for_seconds=options.for_,
        settle_seconds=options.settle,
        stall_seconds=options.stall or 60.0,
        as_json=options.json,
    )


def _against(settings: Settings, folder: Path) -> int:
    from consumer.verify.oracle import compare_with_replay  # noqa: PLC0415

    count, sentences = compare_with_replay(settings, folder)
    sys.stdout.write("".join(f"  {sentence}\n" for sentence in sentences))
    sys.stdout.write(f"{count:,} differences from the replay in {folder}\n")
    return 1 if count else 0


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.migrate import migrate  # noqa: PLC0415
    from consumer.wiring.app import load_embedder  # noqa: PLC0415

    migrate(
        settings,
        load_embedder(settings),
        dry_run=options.dry_run,
        accept_missing_history=options.accept_missing_history,
        say=sys.stdout.write,
    )
    return 0


def _config(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.settings.format import FORMATS  # noqa: PLC0415

    sys.stdout.write(FORMATS[options.format](settings.masked()))
    return 0


# --- arguments ------------------------------------------------------------------------------

Run = Callable[[Settings, argparse.Namespace], int]
_Sources = dict[str, CliSettingsSource[Settings]]


def _parser() -> tuple[argparse.ArgumentParser, _Sources]:
    parser = arguments.Parser(
        prog="segmenter",
        description="Turns a topic of user reviews and comments into a topic of segment changes.",
        epilog="Settings come from flags, the environment (SEGMENTER_KAFKA__GROUP_ID=...), a TOML "
        "file (--config) and defaults, the first wins.",
    )
    parser.add_argument("--version", action="version", version=f"segmenter {version('segmenter')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    sources: _Sources = {}

    def command(
        where: Any, name: str, run: Run, text: str, *, shorthands: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        full_name = f"{where._prog_prefix} {name}"
        words = full_name.removeprefix("segmenter ")
        added: argparse.ArgumentParser = where.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            usage=f"{where._prog_prefix} {name} [options]",
            formatter_class=arguments.HelpFormatter,
            epilog="The settings that this command uses; `segmenter config --help` lists all.",
        )
        added.add_argument("--config", type=arguments.file, help="TOML file of settings")
        for shorthand in ("bootstrap_servers", *shorthands):
            target, metavar, meaning = _SHORTHANDS[shorthand]
            shown = f"{meaning}; short for {flag(target)}"
            added.add_argument(
                f"--{shorthand.replace('_', '-')}",
                dest=f"shorthand:{target}",
                metavar=metavar,
                help=shown if uses(words, target) else argparse.SUPPRESS,
            )
        added.set_defaults(run=run, command_name=full_name, parser=added, own_signals=False)
        sources[full_name] = add_flags(added, words)
        return added

    worker = command(commands, "worker", _worker, "run a worker of the consumer group")
    worker.add_argument(
        "--model", type=arguments.file, help="keep this segment model, heed no trainer"
    )
    command(
        commands,
        "trainer",
        _trainer,
        "run a trainer; a second one stands by",
        shorthands=["segments"],
    )

    command(
        commands,
        "intake",
        _intake,
        "re-key an input whose keys or partitions cannot be trusted",
    )

    broker = command(commands, "broker", _broker, "run a real Apache Kafka, for tests and demos")
    broker.set_defaults(own_signals=True)
    broker.add_argument("--data", type=Path, required=True, help="folder that keeps its data")
    broker.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="how many")
    broker.add_argument("--port", type=int, default=9092, help="port of the first one")

    add_demo_command(commands, command)

    replay = command(
        commands,
        "replay",
        _replay,
        "run a file through the same stages, with no broker",
        shorthands=["segments"],
    )
    replay.add_argument("file", type=arguments.event_file, help=arguments.EVENT_FILE)
    replay.add_argument("--output", type=Path, required=True, help="folder for results")
    replay.add_argument(
        "--model", type=arguments.file, help="keep this segment model, learn nothing"
    )
    replay.add_argument(
        "--user-labels",
        type=arguments.event_file,
        help="labels of users, each taking effect at its time; labels.enabled is set",
    )
    replay.add_argument(
        "--label-model", type=arguments.file, help="keep this label model beside --model"
    )
    replay.add_argument(
        "--now",
        type=arguments.time,
        help="what event times in the future are told by; else the clock",
    )

    add_evaluate_command(commands, command)

    verify = command(commands, "verify", _verify, "check what must always hold")
    verify.add_argument(
        "folder", type=Path, nargs="?", help="a replay's output; without it the topics are read"
    )

    verify.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="compare the topics with this replay of the same input and model",
    )

    verify.add_argument(
        "--follow", action="store_true", help="audit the topics while workers write, for ever"
    )
    verify.add_argument(
        "--from-now", action="store_true", help="with --follow: begin at the present ends"
    )
    following = {
        "every": "from one line to the next; else 10",
        "for": "end after that time; else at SIGTERM or SIGINT",
        "settle": "what one transaction writes may be apart that long, and be open; else the "
        "transaction timeout and 30",
        "stall": "tell of partitions that stand still for that long; else 60",
    }
    for name, text in following.items():
        verify.add_argument(
            f"--{name}",
            dest="for_" if name == "for" else name,
            type=arguments.seconds,
            metavar="SECONDS",
            help=f"with --follow: {text}",
        )
    verify.add_argument("--json", action="store_true", help="with --follow: a JSON object a line")

    migrate = command(
        commands, "migrate", _migrate, "bring a stopped group to another embedding model"
    )
    migrate.add_argument(
        "--dry-run", action="store_true", help="say what there is to do, write nothing"
    )
    migrate.add_argument(
        "--accept-missing-history",
        action="store_true",
        help="go on where the input lacks events that profiles have counted",
    )

    add_topic_commands(commands, command)
    add_produce_command(commands, command)
    add_model_commands(commands, command)
    config = command(commands, "config", _config, "print the effective settings, secrets masked")
    config.add_argument(
        "--format",
        choices=("json", "toml", "env"),
        default="json",
        help="toml: what --config reads; env: variables, quoted for a shell",
    )
    return parser, sources


def _settings(options: argparse.Namespace, source: CliSettingsSource[Settings]) -> Settings:
    if options.config is not None:
        os.environ[CONFIG_VARIABLE] = str(options.config)
    return Settings(_cli_settings_source=source(parsed_args=argparse.Namespace(**_given(options))))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Give the settings among the arguments, shorthands under the names they stand for."""
    given = {
        name: value
        for name, value in vars(options).items()
        if name.partition(".")[0] in Settings.model_fields and value is not None
    }
    for name, value in vars(options).items():
        if name.startswith("shorthand:") and value is not None:
            given.setdefault(name.removeprefix("shorthand:"), value)
    return given


def _given_flags(options: argparse.Namespace) -> dict[str, str]:
    """Give the settings among the arguments, each with the flag that was used."""
    flags = {}
    for name in _given(options):
        own = getattr(options, name, None) is not None
        flags[name] = flag(name if own else _SHORT_OF[name])
    return flags


def _unused_flags(options: argparse.Namespace) -> list[str]:
    """Warn of settings given by flag that the command does not use: others may have been meant."""
    command = options.command_name.removeprefix("segmenter ")
    return [
        f"{flag(name)} changes nothing: {options.command_name} does not use that setting"
        for name in unused(command, _given(options))
    ]


def _unrecognized(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> str:
    """Name the arguments that are none, and for each flag the one that was probably meant."""
    known = [name for action in parser._actions for name in action.option_strings]
    sentence = f"unrecognized arguments: {' '.join(arguments)}"
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and (meant := nearest_flag(name, known)):
            sentence += f"; for {name}, did you mean {meant}?"
    return sentence


if __name__ == "__main__":
    sys.exit(main())
