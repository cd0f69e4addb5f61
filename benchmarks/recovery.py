"""Time to recover after kill -9 of a worker, with local checkpoints and without.

    python -m benchmarks.recovery --users 100000

One run starts a Kafka broker on this machine and fills the changelog of a group that seems to have
worked for long. Then by turns, with `restore.checkpoint_dir` and without: a worker process starts,
works on a light load, is killed by SIGKILL and started again at once. From the kill on it is timed
until its port answers, until /readyz says ready, and until every partition has committed an event
that was produced after the kill.

Exit codes: 0 done; 1 a worker or the broker did not do what it should; 2 wrong usage;
130 interrupted.
"""

from __future__ import annotations

import re
import signal
import socket
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.console import Console

from benchmarks import machine
from benchmarks.changelog import DIMENSIONS, commit_offsets, fill, fixed_model
from benchmarks.shared import Figures, add_fields, parser, say, write
from benchmarks.steady_load import SteadyLoad
from consumer.kafka.topics import create_topics
from consumer.report.progress import counting
from consumer.settings import Settings
from consumer.tryout.broker import BrokerError, EmbeddedKafka
from consumer.tryout.demo.processes import Child, ChildError
from tests.stubs import HashingEmbedder

ARMS = ("checkpoint", "changelog")
_GIVE_UP_SECONDS = 600
_PORT_SECONDS, _READY_SECONDS, _COMMIT_SECONDS, _LEISURE_SECONDS = 0.01, 0.02, 0.03, 0.2
_RESTORED = re.compile(
    r"partition (\d+) restored in .*: (\d+) users from the checkpoint, (\d+) records from"
)
# So many users that no partition is without one: it would have nothing to keep a checkpoint of.
_USERS_A_PARTITION = 20


class RecoveryError(Exception):
    """A worker did not recover as it should have: the figures would say nothing."""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    users: int = field(default=100_000, metadata={"help": "users with a profile"})
    partitions: int = field(default=4, metadata={"help": "partitions of the worker"})
    rounds: int = field(default=3, metadata={"help": "kills of each kind"})
    rate: float = field(default=50.0, metadata={"help": "events a second, over all partitions"})
    load_seconds: float = field(
        default=10.0, metadata={"help": "load between the checkpoints and the kill"}
    )


@dataclass(frozen=True)
class Recovery:
    """One kill; seconds count from it."""

    port_seconds: float
    """Until the new process's port answers: it is imported and has looked at the topics."""
    ready_seconds: float
    committed_seconds: float
    users_from_checkpoint: int
    records_read: int

    @property
    def state_seconds(self) -> float:
        """From the answering port to ready: what is left when the process's start is taken away."""
        return round(self.ready_seconds - self.port_seconds, 3)


@dataclass(frozen=True)
class Workplace:
    """What all rounds have in common."""

    settings: Settings
    options: Options
    model: Path
    logs: Path
    offsets: Consumer

    def committed(self) -> dict[int, int]:
        """Give the group's offsets of the input, those of an open transaction not waited for."""
        topics = self.settings.topics
        places = [TopicPartition(topics.events, n) for n in range(topics.partitions)]
        try:
            answers = self.offsets.committed(places, timeout=5)
        except KafkaException:  # the group's coordinator is busy; asked again
            return {}
        return {place.partition: place.offset for place in answers if place.error is None}


def wait(worker: Child, condition: Callable[[], bool], what: str, every: float) -> float:
    """Wait for something of a worker and give the time at which it was seen, by the clock."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while not condition():
        worker.check()
        if time.monotonic() > deadline:
            raise RecoveryError(f"{worker.name}: {what} not after {_GIVE_UP_SECONDS} s")
        time.sleep(every)
    return time.monotonic()


def answers(worker: Child) -> bool:
    """Tell whether somebody listens at a worker's port."""
    try:
        socket.create_connection(("127.0.0.1", worker.port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(place: Workplace, name: str, settings: Settings) -> Iterator[Child]:
    """Run a worker; at the end it is killed, if it has not ended before."""
    arguments = ("worker", "--model", str(place.model))
    worker = Child(name, arguments, settings, place.logs, module="benchmarks.worker")
    try:
        yield worker
    finally:
        worker.stop(signal.SIGKILL)


def settings_of_arm(place: Workplace, arm: str, number: int) -> Settings:
    """Give a worker's settings; each round with checkpoints begins with an empty folder."""
    folder = place.logs / f"checkpoints-{number}" if arm == "checkpoint" else None
    restore = place.settings.restore.model_copy(update={"checkpoint_dir": folder})
    return place.settings.model_copy(update={"restore": restore})


def kill_and_recover(place: Workplace, arm: str, number: int) -> Recovery:
    """Do one round of one arm."""
    options, settings = place.options, settings_of_arm(place, arm, number)
    load = SteadyLoad(place.settings, options.users, options.rate, f"{arm}-{number}")

    def written() -> bool:
        return victim.metrics()["segmenter_checkpoint_writes_total"] >= options.partitions

    def committed() -> bool:
        ends, offsets = load.first_ends, place.committed()
        return len(ends) == options.partitions and all(
            offsets.get(partition, -1) >= end for partition, end in ends.items()
        )

    with running(place, f"{arm}-{number}-killed", settings) as victim:
        wait(victim, victim.ready, "ready", _LEISURE_SECONDS)
        if arm == "checkpoint":
            wait(victim, written, "checkpoints of all partitions", _LEISURE_SECONDS)
        with load:
            time.sleep(options.load_seconds)
            wait(victim, committed, "commits on all partitions", _LEISURE_SECONDS)
            victim.check()
            killed = time.monotonic()
            victim.stop(signal.SIGKILL)
            load.mark()
            with running(place, f"{arm}-{number}-recovered", settings) as worker:
                port = wait(worker, lambda: answers(worker), "its port", _PORT_SECONDS)
                ready = wait(worker, worker.ready, "ready again", _READY_SECONDS)
                users, records = read_back(worker, options.partitions)
                done = wait(worker, committed, "commits after the kill", _COMMIT_SECONDS)
                check(worker, arm, users, records, options)
                if code := worker.stop():
                    raise RecoveryError(f"{worker.name} ended with exit code {code}")
    return Recovery(
        port_seconds=round(port - killed, 3),
        ready_seconds=round(ready - killed, 3),
        committed_seconds=round(done - killed, 3),
        users_from_checkpoint=users,
        records_read=records,
    )


def read_back(worker: Child, partitions: int) -> tuple[int, int]:
    """Give the users from checkpoints and the records from changelogs, as its log tells them."""
    found = _RESTORED.findall(worker.log.read_text(encoding="utf-8"))
    if sorted(int(number) for number, _, _ in found) != list(range(partitions)):
        raise RecoveryError(f"{worker.name} is ready with {len(found)} of {partitions} partitions")
    return sum(int(users) for _, users, _ in found), sum(int(count) for _, _, count in found)


def check(worker: Child, arm: str, users: int, records: int, options: Options) -> None:
    """Hold what was read back against what there was."""
    expected = options.users if arm == "checkpoint" else 0
    if users != expected:
        raise RecoveryError(f"{worker.name} took {users} users from checkpoints, not {expected}")
    if arm == "changelog" and records < options.users:
        raise RecoveryError(f"{worker.name} read {records} records of {options.users} users")
    metrics = worker.metrics()
    if metrics["segmenter_users"] != options.users:
        raise RecoveryError(
            f"{worker.name} knows {metrics['segmenter_users']:.0f} of {options.users} users"
        )
    if refused := metrics["segmenter_dead_letters_total"]:
        raise RecoveryError(f"{worker.name} refused {refused:.0f} events")


def settings_for(servers: str, partitions: int) -> Settings:
    """Give settings with topics and a group that nobody else has."""
    unique = uuid.uuid4().hex[:8]
    names = ("events", "dead_letters", "changes", "memberships", "profiles", "samples", "models")
    topics: Figures = {name: f"{name.replace('_', '-')}-{unique}" for name in names}
    return Settings(
        kafka={
            "bootstrap_servers": servers,
            "group_id": f"recovery-{unique}",
            "instance_id": "worker-0",
        },
        topics={**topics, "partitions": partitions},
    )


def measure(servers: str, options: Options, folder: Path) -> dict[str, list[Recovery]]:
    """Run all rounds on a cluster, in new topics; give each arm's, in their order.

    Raises
    ------
    RecoveryError, ChildError
        If a worker does not do what it should.
    """
    settings = settings_for(servers, options.partitions)
    create_topics(settings)
    commit_offsets(settings)
    embedding = HashingEmbedder(DIMENSIONS).identity
    model = folder / "model.json"
    model.write_text(fixed_model(embedding).to_record().model_dump_json(), encoding="utf-8")
    with counting(Console(stderr=True), "filling the changelog", "users") as progress:
        fill(settings, range(options.users), 0, embedding, progress)
    offsets = Consumer(
        {
            **settings.kafka.client(),
            "group.id": settings.kafka.group_id,
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
        }
    )
    recoveries: dict[str, list[Recovery]] = {arm: [] for arm in ARMS}
    try:
        place = Workplace(settings, options, model, folder, offsets)
        for number in range(1, options.rounds + 1):
            for arm in ARMS:
                say(f"round {number} of {options.rounds}, {arm}: a worker starts, works, is killed")
                recovery = kill_and_recover(place, arm, number)
                recoveries[arm].append(recovery)
                say(
                    f"  ready {recovery.ready_seconds:.2f} s after the kill, all partitions "
                    f"committed after {recovery.committed_seconds:.2f} s"
                )
    finally:
        offsets.close()
    return recoveries


# --- the report -----------------------------------------------------------------------------

_TIMES = ("port_seconds", "state_seconds", "ready_seconds", "committed_seconds")
_COUNTS = ("users_from_checkpoint", "records_read")


def spread(recoveries: Sequence[Recovery], name: str) -> dict[str, float]:
    """Give the median and the range of a figure."""
    values = [getattr(each, name) for each in recoveries]
    return {
        "median": round(statistics.median(values), 3),
        "least": min(values),
        "most": max(values),
    }


def figures(options: Options, recoveries: dict[str, list[Recovery]]) -> Figures:
    """Give all that goes into the file of results."""
    arms: dict[str, Figures] = {
        arm: {
            **{name: spread(rounds, name) for name in (*_TIMES, *_COUNTS)},
            "rounds": [asdict(each) for each in rounds],
        }
        for arm, rounds in recoveries.items()
    }
    fast, slow = (arms[arm] for arm in ARMS)
    return {
        "machine": machine.facts(),
        "options": asdict(options),
        "arms": arms,
        "ratio": {
            name: round(slow[name]["median"] / fast[name]["median"], 2) for name in _TIMES[1:]
        },
    }


def table(result: Figures) -> str:
    """Render the figures for people."""
    options = result["options"]
    titles = {
        "port_seconds": "the port answers",
        "state_seconds": "from there to ready",
        "ready_seconds": "/readyz says ready",
        "committed_seconds": "all partitions committed",
        "users_from_checkpoint": "users from checkpoints",
        "records_read": "records read back",
    }
    lines = [
        f"{options['users']:,} users on {options['partitions']} partitions, "
        f"{options['rate']:g} events/s; kill -9, then median (range) of {options['rounds']}:",
        f"{'':26}{'with checkpoints':>24}{'without':>24}{'ratio':>8}",
    ]
    for name, title in titles.items():
        cells = ""
        for arm in ARMS:
            each = result["arms"][arm][name]
            form = ".2f" if name in _TIMES else ",.0f"
            unit = " s" if name in _TIMES else ""
            span = f"({each['least']:{form}}-{each['most']:{form}})"
            cells += f"{each['median']:{form}}{unit} {span}".rjust(24)
        ratio = result["ratio"].get(name)
        lines.append(f"{title:26}{cells}" + (f"{ratio:8.1f}" if ratio is not None else ""))
    return "\n".join(lines)


def parse(given: Sequence[str] | None = None) -> tuple[Options, Path]:
    made = parser(__doc__ or "", "recovery.json")
    add_fields(made, Options)
    arguments = vars(made.parse_args(given))
    output: Path = arguments.pop("output")
    for name, value in arguments.items():
        if not 0 < value < float("inf"):
            made.error(f"--{name.replace('_', '-')} is {value}: must be above 0")
    least = arguments["partitions"] * _USERS_A_PARTITION
    if arguments["users"] < least:
        made.error(
            f"--users is {arguments['users']}: {arguments['partitions']} partitions need {least}"
        )
    return Options(**arguments), output


def main(given: Sequence[str] | None = None) -> int:
    options, output = parse(given)
    # As Ctrl-C does, so that no worker is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            say("starting Kafka")
            with EmbeddedKafka(folder / "kafka") as kafka:
                recoveries = measure(kafka.bootstrap_servers, options, folder)
    except (RecoveryError, ChildError, BrokerError) as error:
        say(f"recovery: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    result = figures(options, recoveries)
    print(table(result))
    write(output, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
