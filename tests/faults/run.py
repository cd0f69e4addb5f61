"""`make faults`: runs the scenarios, judges each, and prints a table.

`python -m tests.faults.run --help` lists what can be chosen. Everything is drawn from a seed that
is printed. Exit code 0: all is as it should be. 1: something was lost, doubled, broken or stuck. 2:
wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from confluent_kafka import version as client_version
from confluent_kafka.admin import AdminClient

from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.broker.install import installed_kafka
from tests.faults import disk, former, lab, network
from tests.faults.oracle import Verdict
from tests.faults.rig import Rig, StuckError, median
from tests.faults.scenarios import SCENARIOS, Scenario

# The KIP-848 protocol shares all but the rebalancing: what rests on that is run on it too.
_UNDER_CONSUMER = {
    "kill": 20,
    "kill-unnamed": 5,
    "zombie": 3,
    "zombie-unnamed": 3,
    "zombie-late": 2,
    "broker-kill": 2,
    "rolling": 1,
    "scale": 2,
    "cut-coordinator": 2,
}
_NEEDS: dict[str | None, Callable[[], str | None]] = {
    None: lambda: None,
    "wire": network.available,
    "disk": disk.available,
    "former": former.available,
}


@dataclass
class Row:
    """One line of the table."""

    name: str
    title: str
    protocol: str
    wanted: int
    trials: int = 0
    seconds: float = 0.0
    stall: float = 0.0
    recover_median: float = 0.0
    recover_longest: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    failure: str | None = None
    not_run: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def red(self) -> bool:
        """Whether something is wrong."""
        return self.not_run is None and (self.failure is not None or not self.verdict.right)


def run_scenario(
    kafka: EmbeddedKafka,
    folder: Path,
    scenario: Scenario,
    *,
    trials: int,
    seed: int,
    protocol: str = "classic",
    defect: str | None = None,
) -> Row:
    """Run one scenario on a cluster and judge it.

    Parameters
    ----------
    kafka
        The cluster; it must be healthy, and is afterwards.
    folder
        For logs and files.
    scenario, trials, seed, protocol
        What to run.
    defect
        One of `tests.faults.defects`, put into every worker.
    """
    row = Row(scenario.name, scenario.title, protocol, trials)
    options = replace(scenario.options, protocol=protocol, defect=defect)
    begun = time.monotonic()
    with Rig(kafka, folder, seed, options) as rig:
        try:
            row.trials = scenario.run(rig, trials)
        except (AssertionError, StuckError) as error:
            row.failure = str(error)
        row.stall = rig.longest_stall()
        try:
            row.verdict = rig.finish()
        except AssertionError as error:
            row.failure = row.failure or str(error)
        row.recover_median = median(rig.watch.recoveries)
        row.recover_longest = max(rig.watch.recoveries, default=0.0)
        row.notes = rig.notes
        settings = rig.settings
    row.seconds = time.monotonic() - begun
    if row.red:
        keep_logs(kafka, settings, folder)
    admin = AdminClient({**settings.kafka.client(), "log_level": 0})
    names = [getattr(settings.topics, name) for name in type(settings.topics).model_fields]
    for future in admin.delete_topics([name for name in names if isinstance(name, str)]).values():
        future.exception(30)  # a topic less is only a cluster less full
    return row


def keep_logs(kafka: EmbeddedKafka, settings: Settings, folder: Path) -> None:
    """Copy the brokers' logs of a run's topics: who wrote what, with which epoch and sequence.

    Kafka's DumpLogSegments reads them. Transactions and group offsets are kept too.
    """
    names = tuple(str(name) for name in settings.topics.model_dump().values())
    # By level, not `**`: the brokers remove the folders of topics that other runs have deleted.
    for place in sorted(kafka.data.glob("broker-*/data/*-[0-9]*")):
        topic = place.name.rpartition("-")[0]
        if place.is_dir() and topic in (*names, "__transaction_state", "__consumer_offsets"):
            target = folder / "logs" / place.relative_to(kafka.data)
            shutil.copytree(place, target, ignore=lambda _folder, files: _not_logs(files))


def _not_logs(files: Sequence[str]) -> list[str]:
    return [file for file in files if not file.endswith(".log")]


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("scenario", lambda r: r.title),
    ("protocol", lambda r: r.protocol),
    ("trials", lambda r: str(r.trials) if r.trials >= r.wanted else f"{r.trials} of {r.wanted}"),
    ("events", lambda r: f"{r.verdict.events:,}"),
    ("changes", lambda r: f"{r.verdict.changes:,}"),
    ("lost", lambda r: str(r.verdict.lost)),
    ("doubled", lambda r: str(r.verdict.doubled)),
    ("broken", lambda r: str(r.verdict.broken)),
    ("other", lambda r: str(r.verdict.differing)),
    ("hanging", lambda r: str(r.verdict.hanging)),
    ("stall s", lambda r: f"{r.stall:.1f}"),
    ("recover s", lambda r: f"{r.recover_median:.1f} / {r.recover_longest:.1f}"),
)


def table(rows: Iterable[Row], *, markdown: bool = False) -> str:
    """Give the rows as a table."""
    names = [name for name, _ in _COLUMNS]
    lines = [[cell(row) for _, cell in _COLUMNS] for row in rows if row.not_run is None]
    if markdown:
        head = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        return "\n".join([*head, *("| " + " | ".join(line) + " |" for line in lines)])
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [names, *lines]
    )


def summary(rows: Sequence[Row], seed: int, seconds: float) -> str:
    """Say on what machine, with what seed, and what came out."""
    red = [row for row in rows if row.red]
    lines = [
        f"seed {seed}; {len(rows)} runs in {seconds / 60:.0f} min; "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"confluent-kafka {client_version()}; three brokers, three workers, one trainer",
    ]
    lines += [f"not run: {row.title}: {row.not_run}" for row in rows if row.not_run]
    lines += [f"{row.title}: {note}" for row in rows for note in row.notes]
    for row in red:
        lines.append(f"RED: {row.title} ({row.protocol}): {row.failure or 'see the row'}")
        lines += [f"    {detail}" for detail in row.verdict.details]
    lines.append("all is as it should be" if not red else f"{len(red)} of {len(rows)} runs are red")
    return "\n".join(lines)


def plan(options: argparse.Namespace) -> list[tuple[Scenario, str, int]]:
    """Give what is to be run: scenario, protocol, trials."""
    runs = []
    for protocol in ("classic", "consumer"):
        if options.protocol not in (protocol, "both"):
            continue
        for scenario in SCENARIOS:
            if options.scenario and scenario.name not in options.scenario:
                continue
            trials = scenario.few if options.few else scenario.trials
            if protocol == "consumer":
                if scenario.name not in _UNDER_CONSUMER and not options.scenario:
                    continue
                trials = min(trials, _UNDER_CONSUMER.get(scenario.name, trials))
            runs.append((scenario, protocol, options.trials or trials))
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=names, help="only this; repeatable")
    parser.add_argument("--protocol", choices=("classic", "consumer", "both"), default="both")
    parser.add_argument("--trials", type=int, help="for each scenario; else its own number")
    parser.add_argument("--few", action="store_true", help="a few trials of each")
    parser.add_argument("--seed", type=int, help="of everything that is drawn; else a new one")
    parser.add_argument("--output", type=Path, help="folder for the table and the logs")
    parser.add_argument("--list", action="store_true", help="list the scenarios, run nothing")
    options = parser.parse_args(arguments)
    runs = plan(options)
    if options.list:
        for scenario, protocol, trials in runs:
            sys.stdout.write(f"{scenario.name:20}{protocol:10}{trials:5}  {scenario.title}\n")
        return 0
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 30)
    installed_kafka()  # in the lab there is no network to fetch it by
    if any(scenario.needs == "former" for scenario, _, _ in runs):
        former.available()  # likewise
    if not lab.inside() and network.available() is None:
        own = list(arguments if arguments is not None else sys.argv[1:])
        seed = [] if "--seed" in own else ["--seed", str(options.seed)]
        argv = lab.command([sys.executable, "-m", "tests.faults.run", *own, *seed])
        os.execv(argv[0], argv)
    return _run_all(runs, options)


def _run_all(runs: Sequence[tuple[Scenario, str, int]], options: argparse.Namespace) -> int:
    folder = options.output or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    say = sys.stderr.write
    say(f"seed {options.seed}, {len(runs)} runs, logs in {folder}\n")
    rows: list[Row] = []
    begun = time.monotonic()
    host = lab.HUB if lab.inside() else "127.0.0.1"
    with tempfile.TemporaryDirectory(prefix="kafka-") as data:
        kafka = EmbeddedKafka(Path(data) / "kafka", brokers=3, host=host)
        kafka.open()
        try:
            for number, (scenario, protocol, trials) in enumerate(runs, start=1):
                if reason := _NEEDS[scenario.needs]():
                    row = Row(scenario.name, scenario.title, protocol, trials, not_run=reason)
                else:
                    row = run_scenario(
                        kafka,
                        folder / f"{scenario.name}-{protocol}",
                        scenario,
                        trials=trials,
                        seed=options.seed + number,
                        protocol=protocol,
                    )
                rows.append(row)
                state = "not run" if row.not_run else "RED" if row.red else "ok"
                say(
                    f"[{number}/{len(runs)}] {scenario.title}, {protocol}: {state}, "
                    f"{row.trials} trials in {row.seconds:.0f} s"
                    f"{', ' + row.failure if row.failure else ''}\n"
                )
                if row.red:
                    say("".join(f"    {detail}\n" for detail in row.verdict.details))
                kafka.await_in_sync()
        finally:
            kafka.close()
            report = summary(rows, options.seed, time.monotonic() - begun)
            (folder / "table.md").write_text(table(rows, markdown=True) + "\n\n" + report + "\n")
            (folder / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
            sys.stdout.write(f"\n{table(rows)}\n\n{report}\n")
    return 1 if any(row.red for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
