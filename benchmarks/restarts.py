"""Restarts and scaling as a StatefulSet does them, under load: what the group notices.

    make bench-restarts
    python -m benchmarks.restarts --rounds 1

For each of the group's two protocols, on a Kafka broker on this machine, with the live model of a
trainer: three workers with lasting names and local checkpoints are restarted by turns, the last one
first, and the next one when its successor says that it is ready; then, in topics and a group of
their own, two workers become four, and two again. Events come all the while. Of each step it is
told how long a partition stood still though something waited in it, at most, and how often the
group shared its partitions out anew, by the numbers that its coordinator keeps: generations of a
classic group, epochs of one by KIP-848.

Exit codes: 0 done; 1 something was lost or doubled, a rolling restart rebalanced the group, or a
process did not do what it should; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks import machine, soak
from benchmarks.markdown import table
from benchmarks.shared import (
    DOCS,
    RESULTS,
    ROOT,
    Figures,
    add_fields,
    parser,
    read,
    say,
    write,
    write_page,
)
from benchmarks.soaking.generations import Generation, generations, rebalances
from benchmarks.soaking.group import Ends, Group
from benchmarks.soaking.load import Stream
from benchmarks.soaking.running import failed, measured
from benchmarks.soaking.watching import Watcher
from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.wiring.embedder import make_models
from tests.faults.watch import Watch

PROTOCOLS = ("classic", "consumer")
OUTPUT = RESULTS / "restarts.json"
PAGE = DOCS / "reliability.md"
DEPLOYED = ROOT / "deploy/k8s/base/segmenter.toml"
_ROLLED, _SCALED = 3, (2, 4, 2)
_SETTLE_SECONDS = 5.0


@dataclass(frozen=True)
class Options:
    """How often, and under what."""

    rounds: int = field(default=3, metadata={"help": "rolling restarts of all workers"})
    rate: float = field(default=60.0, metadata={"help": "events a second"})
    users: int = field(default=1000, metadata={"help": "users who write"})
    partitions: int = field(
        default=12, metadata={"help": "partitions of the input, a multiple of the workers"}
    )
    session_seconds: float = field(
        default=tomllib.loads(DEPLOYED.read_text(encoding="utf-8"))["kafka"][
            "session_timeout_seconds"
        ],
        metadata={"help": "after which a member that says nothing is dead; as it is deployed"},
    )


class Step(NamedTuple):
    """What was done to a group."""

    title: str
    begun: float
    """By the wall clock, as Kafka's timestamps are."""
    ended: float
    """When each worker had its share of the partitions, and nothing waited any more."""
    pause: float
    """Seconds that a partition stood still though something waited in it, at most."""


Plan = Sequence[tuple[str, Callable[[Group], object]]]


def plans(options: Options) -> list[tuple[int, Plan]]:
    """Give what is done to each group: workers in the beginning, and the steps."""
    rolls: Plan = [("rolling restart", Group.roll)] * options.rounds
    scales: Plan = [
        (f"{before} to {after} workers", lambda group, after=after: group.scale(after))
        for before, after in pairwise(_SCALED)
    ]
    return [(_ROLLED, rolls), (_SCALED[0], scales)]


# --- the runs -------------------------------------------------------------------------------


def settings_for(servers: str, options: Options, protocol: str, workers: int) -> Settings:
    """Give what all processes of a group have in common; its names are its own."""
    own = f"{protocol}-{workers}-"
    kafka: Figures = {
        "bootstrap_servers": servers,
        "group_id": f"{own}restarts",
        "group_protocol": protocol,
        "session_timeout_seconds": options.session_seconds,
    }
    topics: Figures = {"prefix": own, "partitions": options.partitions}
    embedding: Figures = {"threads": 1}
    return Settings(kafka=kafka, topics=topics, embedding=embedding)


def broker_properties(options: Options) -> dict[str, str]:
    """Give the broker's session and heartbeat for KIP-848, which has them there; Kafka's own."""
    session = round(1000 * options.session_seconds)
    return {
        "group.consumer.session.timeout.ms": str(session),
        "group.consumer.max.session.timeout.ms": str(max(session, 60_000)),
        "group.consumer.heartbeat.interval.ms": str(min(5_000, session // 3)),
    }


def measure(
    options: Options, folder: Path, logs: Path, *, stand_in: bool, protocols: Iterable[str]
) -> Figures:
    """Do all that is planned, on a broker of its own; give what goes into the file of figures.

    Parameters
    ----------
    folder
        Empty, for the broker's data and the checkpoints.
    logs
        For the processes' logs.
    stand_in
        Whether the tests' cheap embedder takes the model's place.
    protocols
        Of the group.

    Raises
    ------
    SoakError, ChildError, BrokerError, VerifyError
        If something does not do what it should.
    """
    if not stand_in:
        make_models(Settings().embedding)
    say("starting Kafka")
    with EmbeddedKafka(folder / "kafka", properties=broker_properties(options)) as kafka:
        groups = [
            of_group(
                settings_for(kafka.bootstrap_servers, options, protocol, workers),
                options,
                (workers, plan),
                folder,
                logs,
                module="benchmarks.worker" if stand_in else "consumer.cli.main",
            )
            for protocol in protocols
            for workers, plan in plans(options)
        ]
    return {
        "machine": machine.facts(),
        "options": asdict(options),
        "embedder": "stand-in" if stand_in else "the default model",
        "groups": groups,
    }


def of_group(  # noqa: PLR0917 - what a run takes
    settings: Settings,
    options: Options,
    planned: tuple[int, Plan],
    folder: Path,
    logs: Path,
    module: str,
) -> Figures:
    """Do to a group what is planned for it."""
    workers, plan = planned
    name = settings.kafka.group_id
    create_topics(settings)
    with ExitStack() as stack:
        own = logs / name
        own.mkdir(parents=True)
        nobody = Watcher(60)  # it is not started
        group = stack.enter_context(Group(settings, folder / name, own, module, nobody))
        say(f"{name}: starting a trainer and {workers} workers")
        group.start(workers)
        ends = stack.enter_context(closing(Ends(settings)))
        watch = stack.enter_context(closing(Watch(settings, ends)))
        stream = Stream(options.users)
        run = soak.Run(settings, soak.Options(), group, watch, ends, stream)
        run.fill(list(stream.each_user(1)))
        group.until(lambda: min(group.models()) > 0, "a segment model in all workers")
        steps = []
        with run.load(options.rate):
            await_shares(group)
            for title, act in plan:
                run.wait(time.monotonic() + _SETTLE_SECONDS)
                steps.append(step(run, title, act))
                say(f"  {title}: {steps[-1].ended - steps[-1].begun:.0f} s")
            run.wait(time.monotonic() + _SETTLE_SECONDS)
        group.close()
        found = generations(settings)
        return {
            "protocol": settings.kafka.group_protocol,
            "workers": workers,
            "steps": told(steps, found),
            "rebalances_of_others": group.rebalances,
            **soak.outcome(run, []),
        }


def step(run: soak.Run, title: str, act: Callable[[Group], object]) -> Step:
    """Do something to a group under load, and wait until all is as it should be."""
    run.watch.mark()
    begun = time.time()
    act(run.group)
    await_shares(run.group)
    run.catch_up()
    return Step(title, begun, time.time(), max(run.watch.stalls().values(), default=0.0))


def await_shares(group: Group) -> None:
    """Wait until all workers have as many partitions, which all are read back."""

    def shared() -> bool:
        metrics = [group.children[name].metrics() for name in group.workers]
        shares = [each["segmenter_assigned_partitions"] for each in metrics]
        return (
            len(set(shares)) == 1
            and sum(shares) == metrics[0]["segmenter_input_partitions"] > 0
            and not any(each["segmenter_restoring_partitions"] for each in metrics)
        )

    group.until(shared, "all workers with their share of the partitions")


def told(steps: Sequence[Step], found: Sequence[Generation]) -> list[Figures]:
    """Tell of steps, each with what the group's coordinator noted meanwhile."""
    # What follows of a step comes before the next one begins.
    ends = [*(each.begun for each in steps[1:]), float("inf")]
    return [
        {
            "title": each.title,
            "seconds": round(each.ended - each.begun, 1),
            "longest_pause_seconds": round(each.pause, 1),
            "rebalances": rebalances(found, each.begun, min(end, each.ended + _SETTLE_SECONDS)),
        }
        for each, end in zip(steps, ends, strict=True)
    ]


# --- the report -----------------------------------------------------------------------------


def rows(result: Figures) -> list[Figures]:
    """Give a row for each kind of step of each group, at its worst."""
    found = []
    for group in result["groups"]:
        for title in dict.fromkeys(each["title"] for each in group["steps"]):
            steps = [each for each in group["steps"] if each["title"] == title]
            found.append(
                {
                    **{name: group[name] for name in ("protocol", "lost", "doubled", "wrong")},
                    "title": title,
                    "times": len(steps),
                    "seconds": max(each["seconds"] for each in steps),
                    "pause": max(each["longest_pause_seconds"] for each in steps),
                    "rebalances": sum(each["rebalances"] for each in steps),
                }
            )
    return found


def text(result: Figures) -> str:
    """Write the table, and under what it was measured."""
    options = result["options"]
    events = sum(group["events"] for group in result["groups"])
    head = ["protocol", "step", "times", "seconds", "longest pause of a partition, s"]
    lines = [
        [
            *(each["protocol"], each["title"], f"{each['times']}", f"{each['seconds']:.0f}"),
            *(f"{each['pause']:.1f}", f"{each['rebalances']}"),
            *(f"{each['lost']}", f"{each['doubled']}"),
        ]
        for each in rows(result)
    ]
    return "\n\n".join(
        [
            table([*head, "rebalances", "lost", "doubled"], lines, texts=2),
            f"{events:,} events at {options['rate']:g} a second of {options['users']:,} users on "
            f"{options['partitions']} partitions; a session of {options['session_seconds']:g} s. "
            "Seconds and pauses are the longest of their kind.",
        ]
    )


def failures(result: Figures) -> list[str]:
    """Say what is not as it should be."""
    said = []
    for group in result["groups"]:
        of = f"{group['protocol']}, {group['workers']} workers"
        said += [f"{of}: {group[name]:,} {name}" for name in ("lost", "doubled") if group[name]]
        said += [f"{of}: {sentence}" for sentence in group["wrong"]]
    said += [
        f"{each['protocol']}: {each['rebalances']} rebalances by {each['title']}s"
        for each in rows(result)
        if each["title"] == "rolling restart" and each["rebalances"]
    ]
    return said


# --- the command ----------------------------------------------------------------------------


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", OUTPUT.name, page=True)
    add_fields(made, Options)
    made.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    made.add_argument(
        "--stand-in", action="store_true", help="the tests' cheap embedder, not the model"
    )
    made.add_argument("--logs", type=Path, help="keeps the processes' logs")
    found = made.parse_args(given)
    for each in fields(Options):
        if not 0 < getattr(found, each.name) < float("inf"):
            name = each.name.replace("_", "-")
            made.error(f"--{name} is {getattr(found, each.name)}: must be above 0")
    if uneven := [n for n in (_ROLLED, *_SCALED) if found.partitions % n]:
        made.error(f"--partitions is {found.partitions}: no multiple of {uneven[0]} workers")
    return found


def main(given: Sequence[str] | None = None) -> int:
    arguments = parse(given)
    if not arguments.render:
        options = Options(**{each.name: getattr(arguments, each.name) for each in fields(Options)})
        result = measured(
            "restarts",
            lambda folder: measure(
                options,
                folder,
                arguments.logs or folder / "logs",
                stand_in=arguments.stand_in,
                protocols=arguments.protocols,
            ),
        )
        if isinstance(result, int):
            return result
        say(text(result))
        if failed("restarts", failures(result)):
            return 1
        whole = not arguments.stand_in and set(arguments.protocols) == set(PROTOCOLS)
        if arguments.output == OUTPUT and not whole:
            say(f"a trial: nothing is written; --output says where to, {OUTPUT.name} is of all")
            return 0
        write(arguments.output, result)
    if arguments.render:
        write_page(PAGE, {"restarts": text(read(arguments.output))})
    return 0


if __name__ == "__main__":
    sys.exit(main())
