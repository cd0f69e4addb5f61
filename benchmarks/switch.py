"""Another embedding model for a group at work: what its processes hold, how long partitions wait.

    make bench-switch
    python -m benchmarks.switch --only engine

On a Kafka broker on this machine, with a trainer and the real models: `segmenter migrate --running`
takes a group from the default model to the multilingual one, and another group from ONNX Runtime to
OpenVINO, while events come. Before and after, workers are restarted by turns, so that they hold one
model, both, and one again. Of each step it is told how long it took, how long a partition stood
still though something waited in it, at most, and the memory of a worker, at most. See
docs/operations.md.

Exit codes: 0 done; 1 something was lost or doubled, or a process did not do what it should; 2 wrong
usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from benchmarks import machine, soak
from benchmarks.markdown import table
from benchmarks.restarts import await_shares
from benchmarks.shared import (
    DOCS,
    RESULTS,
    Figures,
    add_fields,
    parser,
    read,
    say,
    write,
    write_page,
)
from benchmarks.soaking.group import LOOK_SECONDS, Ends, Group, SoakError
from benchmarks.soaking.load import Stream
from benchmarks.soaking.running import failed, measured
from benchmarks.soaking.watching import Watcher
from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.demo.processes import Child
from consumer.wiring.embedder import make_models
from tests.faults.watch import Watch

OUTPUT = RESULTS / "switch.json"
PAGE = DOCS / "operations.md"
COMMAND = "command"
_SETTLE_SECONDS = 5.0
_GIVE_UP_SECONDS = 1_800.0

CHANGES: dict[str, tuple[str, Figures, Figures]] = {
    "model": (
        "`default` to `multilingual`",
        {"model": "multilingual"},
        {"model": "default"},
    ),
    "engine": (
        "`default`, from ONNX Runtime to OpenVINO",
        {"model": "default", "engine": "openvino"},
        {"model": "default", "engine": "onnxruntime"},
    ),
}
"""By name: for people, `embedding` of the next model, and of the former one."""


@dataclass(frozen=True)
class Options:
    """How large the group is, and under what load."""

    workers: int = field(default=2, metadata={"help": "workers"})
    partitions: int = field(
        default=4, metadata={"help": "partitions of the input, a multiple of the workers"}
    )
    users: int = field(default=300, metadata={"help": "users who write"})
    events: int = field(default=4, metadata={"help": "events of each user before the change"})
    rate: float = field(default=3.0, metadata={"help": "events a second meanwhile"})


@dataclass(frozen=True)
class Step:
    """What was done, and what was seen meanwhile.

    Attributes
    ----------
    seconds
        How long it took until nothing waited any more.
    longest_pause_seconds
        In which a partition stood still though something waited in it, at most.
    worker_mb, command_mb
        Memory (VmRSS) of a worker and of `segmenter migrate`, at most; 0 where there was none.
    """

    title: str
    seconds: float
    longest_pause_seconds: float
    worker_mb: float
    command_mb: float


# --- the runs -------------------------------------------------------------------------------


def measure(options: Options, folder: Path, logs: Path, names: Sequence[str]) -> Figures:
    """Do all changes, each to a group of its own; give what goes into the file of figures.

    Parameters
    ----------
    folder
        Empty, for the broker's data.
    logs
        For the processes' logs.
    names
        Of `CHANGES`.

    Raises
    ------
    SoakError, ChildError, BrokerError, VerifyError
        If something does not do what it should.
    """
    say("starting Kafka")
    with EmbeddedKafka(folder / "kafka") as kafka:
        groups = [
            of_group(kafka.bootstrap_servers, name, options, folder / name, logs / name)
            for name in names
        ]
    return {"machine": machine.facts(), "options": asdict(options), "groups": groups}


def settings_for(servers: str, name: str, options: Options) -> tuple[Settings, Settings, Settings]:
    """Give the settings of a group: before, while its workers hold both models, and after."""
    _, following, former = CHANGES[name]
    named = {"bootstrap_servers": servers, "group_id": f"{name}-switch"}
    topics = {"prefix": f"{name}-", "partitions": options.partitions}

    def having(**embedding: object) -> Settings:
        return Settings(kafka=named, topics=topics, embedding={"threads": 1, **embedding})

    return having(**former), having(**following, former=former), having(**following)


def of_group(servers: str, name: str, options: Options, folder: Path, logs: Path) -> Figures:
    """Take a group from one model to another under load."""
    before, both, after = settings_for(servers, name, options)
    for settings in (before, after):
        make_models(settings.embedding)
    create_topics(both)
    logs.mkdir(parents=True, exist_ok=True)
    title = CHANGES[name][0]
    with ExitStack() as stack:
        watcher = stack.enter_context(Watcher(0.2))
        group = stack.enter_context(Group(before, folder, logs, "consumer.cli.main", watcher))
        say(f"{title}: starting a trainer and {options.workers} workers")
        group.start(options.workers)
        ends = stack.enter_context(closing(Ends(before)))
        watch = stack.enter_context(closing(Watch(before, ends)))
        stream = Stream(options.users)
        run = soak.Run(before, soak.Options(), group, watch, ends, stream)
        run.fill(list(stream.each_user(options.events)))
        group.until(lambda: min(group.models()) > 0, "a segment model in all workers")
        steps = []
        with run.load(options.rate):
            await_shares(group)
            acts: list[tuple[str, Callable[[], object]]] = [
                ("under load, with the former model", lambda: None),
                ("restarted by turns, with both", lambda: rolled(group, both)),
                ("`segmenter migrate --running`", lambda: migrated(run, both, logs)),
                ("restarted by turns, with the next one", lambda: rolled(group, after)),
            ]
            for what, act in acts:
                steps.append(step(run, what, act))
                say(f"  {what}: {steps[-1].seconds:.0f} s")
        group.close()
        return {
            "name": name,
            "title": title,
            "steps": [asdict(each) for each in steps],
            **soak.outcome(run, []),
        }


def rolled(group: Group, settings: Settings) -> None:
    """Restart the workers by turns with other settings."""
    group.settings = settings
    group.roll()


def migrated(run: soak.Run, settings: Settings, logs: Path) -> None:
    """Run the command to its end.

    Raises
    ------
    SoakError
        If it ends with another code than 0, or not in time.
    """
    child = Child(COMMAND, ["migrate", "--running"], settings, logs)
    run.group.watcher.begin(COMMAND, child.pid)
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    try:
        while (code := child.code) is None:
            if time.monotonic() > deadline:
                raise SoakError(f"the model is not changed after {_GIVE_UP_SECONDS:.0f} s")
            run.wait(time.monotonic() + LOOK_SECONDS)
    finally:
        run.group.watcher.end(COMMAND)
        child.stop(signal.SIGKILL)
    if code:
        said = child.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SoakError(f"segmenter migrate ended with {code}:\n{said}")


def step(run: soak.Run, title: str, act: Callable[[], object]) -> Step:
    """Do something under load, and wait until all is as it should be."""
    run.watch.mark()
    begun = time.monotonic()
    act()
    await_shares(run.group)
    run.catch_up()
    ended = time.monotonic()
    run.wait(time.monotonic() + _SETTLE_SECONDS)
    pause = max(run.watch.stalls().values(), default=0.0)
    return Step(
        title,
        round(ended - begun, 1),
        round(pause, 1),
        round(most(run.group.watcher, run.group.workers, begun)),
        round(most(run.group.watcher, [COMMAND], begun)),
    )


def most(watcher: Watcher, names: Sequence[str], since: float) -> float:
    """Give the most memory in MB that a process of these names had since a time."""
    return max(
        (
            sample.memory_mb
            for name in names
            for life in watcher.of(name)
            for sample in life.samples
            # Whoever was there before and has been restarted since is of the step before.
            if sample.at >= since and life is watcher.of(name)[-1]
        ),
        default=0.0,
    )


# --- the report -----------------------------------------------------------------------------


def text(result: Figures) -> str:
    """Write the table, and under what it was measured."""
    options = result["options"]
    head = ["change", "step", "seconds", "longest pause of a partition, s", "a worker, MB"]
    lines = [
        [
            *(group["title"], step["title"], f"{step['seconds']:.0f}"),
            *(f"{step['longest_pause_seconds']:.1f}", f"{step['worker_mb']:,.0f}"),
            *(f"{step['command_mb']:,.0f}" if step["command_mb"] else "",),
            *(f"{group['lost']}", f"{group['doubled']}"),
        ]
        for group in result["groups"]
        for step in group["steps"]
    ]
    events = sum(group["events"] for group in result["groups"])
    return "\n\n".join(
        [
            table([*head, "the command, MB", "lost", "doubled"], lines, texts=2),
            f"{events:,} events of {options['users']:,} users in {len(result['groups'])} groups of "
            f"{options['workers']} workers and {options['partitions']} partitions, "
            f"{options['events']} of each user before the change and {options['rate']:g} a second "
            "meanwhile. Memory is VmRSS at most, pauses are the longest.",
        ]
    )


def failures(result: Figures) -> list[str]:
    """Say what is not as it should be."""
    said = []
    for group in result["groups"]:
        said += [
            f"{group['title']}: {group[name]:,} {name}"
            for name in ("lost", "doubled")
            if group[name]
        ]
        said += [f"{group['title']}: {sentence}" for sentence in group["wrong"]]
    return said


# --- the command ----------------------------------------------------------------------------


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", OUTPUT.name, page=True)
    add_fields(made, Options)
    made.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    made.add_argument("--logs", type=Path, help="keeps the processes' logs")
    found = made.parse_args(given)
    for each in fields(Options):
        if not 0 < getattr(found, each.name) < float("inf"):
            made.error(f"--{each.name} is {getattr(found, each.name)}: must be above 0")
    if found.partitions % found.workers:
        made.error(f"--partitions is {found.partitions}: no multiple of {found.workers} workers")
    return found


def main(given: Sequence[str] | None = None) -> int:
    arguments = parse(given)
    if not arguments.render:
        options = Options(**{each.name: getattr(arguments, each.name) for each in fields(Options)})
        result = measured(
            "switch",
            lambda folder: measure(
                options, folder, arguments.logs or folder / "logs", arguments.only
            ),
        )
        if isinstance(result, int):
            return result
        say(text(result))
        if failed("switch", failures(result)):
            return 1
        if arguments.output == OUTPUT and set(arguments.only) != set(CHANGES):
            say(f"a trial: nothing is written; --output says where to, {OUTPUT.name} is of all")
            return 0
        write(arguments.output, result)
    if arguments.render:
        write_page(PAGE, {"switch": text(read(arguments.output))})
    return 0


if __name__ == "__main__":
    sys.exit(main())
