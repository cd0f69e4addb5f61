"""What it takes to carry a load, and what that costs: computed from the measured costs.

    python -m benchmarks.capacity --gpu-hour 3 --core-hour 0.04 --gb-hour 0.005
    python -m benchmarks.capacity --render

The costs are those of `benchmarks/results/pipeline.json` and `restore.json`; nothing is measured
here. Prices and what a device does are the reader's to set. `--render` writes docs/capacity.md with
the defaults.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.shared import DOCS, RESULTS, Figures, add_fields, read, write_page

PAGE = DOCS / "capacity.md"
RATES = (10_000, 100_000, 1_000_000)
USERS = (10_000_000, 1_000_000_000)
ANCHOR = 0.41
"""Dollars for a million texts through a modern BERT-base on an L4, as published."""
GOAL = ANCHOR / 10
_CASE = "million, short"
_APART = "worker, 1 preparing"
_COMPUTED = "°"


def _flag(default: float, said: str) -> Any:
    return field(default=default, metadata={"help": said})


@dataclass(frozen=True)
class Assumed:
    """What the reader sets."""

    gpu_texts: float = _flag(100_000, "short texts a second that a GPU embeds")
    gpu_hour: float = _flag(3.0, "price of a GPU with its machine's share, for an hour")
    core_hour: float = _flag(0.04, "price of a core for an hour")
    gb_hour: float = _flag(0.005, "price of a GB of memory for an hour")
    busy: float = _flag(0.5, "share of cores and GPUs that a steady load may take")
    replicas: float = _flag(3, "replicas of the topics")
    pod_gb: float = _flag(64, "memory of a pod")
    restore_seconds: float = _flag(60, "seconds that a pod's restore from checkpoints may take")


@dataclass(frozen=True)
class Costs:
    """What was measured, of short texts, 1 M users and the default sample.

    Microseconds are of processor time, for an event.
    """

    prepare_us: float
    loop_us: float
    """All of a worker but prepare and the model: what one process does one after the other."""
    broker_us: float
    bytes_out: float
    """Bytes written for an event, before compression."""
    bytes_a_user: Mapping[str, float]
    """By precision, of users with three events, where there are 1 M."""
    checkpoint_users: float
    """Users read back from a checkpoint in a second, in float32."""
    changelog_users: float
    cpu_texts: float
    """Short texts that a core embeds in a second, int8."""


def costs_of(pipeline: Figures, restore: Figures, embed: Figures) -> Costs:
    """Take the costs from the files of figures.

    What prepares in a process of its own is told apart there; where that was not measured, it is
    what the stage takes alone.
    """
    stage = pipeline["stage"][_CASE]["this"]
    arms = pipeline["compare"][_CASE]
    worker = arms["worker"]
    apart = arms.get(_APART, {}).get("cpu_us_by_process", {})
    prepare = sum(us for name, us in apart.items() if name != "main") or stage["prepare"]["least"]
    held = {
        row["precision"]: row["bytes_a_user"]
        for row in sorted(pipeline["memory"], key=lambda row: (-row["events"], row["users"]))
    }
    ours = next(each for each in embed["contenders"] if each["name"] == "ours-int8")
    return Costs(
        prepare_us=prepare,
        loop_us=apart.get("main", worker["cpu_us"] - prepare),
        broker_us=worker["broker_cpu_us"],
        bytes_out=sum(each["bytes"] for each in stage["out"].values()),
        bytes_a_user=held,
        checkpoint_users=restore["float32"]["checkpoint_users_a_second"],
        changelog_users=restore["float32"]["changelog_users_a_second"],
        cpu_texts=ours["texts_per_second"] / ours["cores"],
    )


@dataclass(frozen=True)
class Plan:
    """What a rate of events takes."""

    rate: int
    pods: int
    partitions: int
    prepare_cores: int
    loop_cores: int
    broker_cores: int
    gpus: int
    cpu_model_cores: int
    """Cores that would embed in place of the GPUs."""
    written_mb: float
    """MB a second that the brokers take, replicas included."""

    @property
    def cores(self) -> int:
        """Cores of workers and brokers beside GPUs."""
        return self.prepare_cores + self.loop_cores + self.broker_cores


def plan(rate: int, costs: Costs, assumed: Assumed) -> Plan:
    """Compute what a rate of events takes."""

    def cores(microseconds: float) -> int:
        return math.ceil(rate * microseconds / 1e6 / assumed.busy)

    gpus = math.ceil(rate / assumed.gpu_texts / assumed.busy)
    # A pod's loop is one process; no GPU is without a pod, and pods may share one.
    pods = max(cores(costs.loop_us), gpus)
    return Plan(
        rate=rate,
        pods=pods,
        partitions=partitions_for(pods),
        prepare_cores=cores(costs.prepare_us),
        loop_cores=pods,
        broker_cores=cores(costs.broker_us * assumed.replicas),
        gpus=gpus,
        cpu_model_cores=math.ceil(rate / costs.cpu_texts / assumed.busy),
        written_mb=rate * costs.bytes_out * assumed.replicas / 1e6,
    )


def partitions_for(pods: int) -> int:
    """Give a number of partitions: twelve, or four for each pod, so that pods can be doubled."""
    return max(12, 4 * pods)


@dataclass(frozen=True)
class State:
    """What a number of users takes."""

    users: int
    precision: str
    memory_gb: float
    pods: int
    partitions: int
    checkpoint_seconds: float
    changelog_seconds: float


def state(users: int, precision: str, costs: Costs, assumed: Assumed) -> State:
    """Compute what a number of users takes, of pods by memory and by the time of a restore."""
    gb = users * costs.bytes_a_user[precision] / 1e9
    # A fifth of a pod's memory is for all else.
    by_memory = math.ceil(gb / (assumed.pod_gb * 0.8))
    by_time = math.ceil(users / costs.checkpoint_users / assumed.restore_seconds)
    pods = max(by_memory, by_time)
    return State(
        users=users,
        precision=precision,
        memory_gb=gb,
        pods=pods,
        partitions=partitions_for(pods),
        checkpoint_seconds=users / pods / costs.checkpoint_users,
        changelog_seconds=users / pods / costs.changelog_users,
    )


def dollars(found: Plan, held: State, assumed: Assumed) -> dict[str, float]:
    """Compute what a million events cost in dollars, and how that is made up."""
    hours = 1e6 / found.rate / 3600
    parts = {
        "GPUs": found.gpus * assumed.gpu_hour * hours,
        "workers' cores": (found.prepare_cores + found.loop_cores) * assumed.core_hour * hours,
        "brokers' cores": found.broker_cores * assumed.core_hour * hours,
        "memory": held.memory_gb * assumed.gb_hour * hours,
    }
    return {**parts, "all": sum(parts.values())}


# --- the page -------------------------------------------------------------------------------


def of_costs(costs: Costs) -> str:
    """Write what was measured."""
    rows = [
        ["prepare, in a process of its own", f"{costs.prepare_us:.0f} µs an event"],
        ["the loop: all of a worker but prepare and the model", f"{costs.loop_us:.0f} µs an event"],
        ["broker, one replica", f"{costs.broker_us:.0f} µs an event"],
        ["written", f"{costs.bytes_out:,.0f} bytes an event, not compressed"],
        *(
            [f"a user in memory, {precision}", f"{size:,.0f} bytes"]
            for precision, size in sorted(costs.bytes_a_user.items())
        ),
        ["restore from a checkpoint", f"{costs.checkpoint_users:,.0f} users/s"],
        ["restore from the changelog", f"{costs.changelog_users:,.0f} users/s"],
        ["the model on a core, int8", f"{costs.cpu_texts:,.0f} texts/s"],
    ]
    return table(["measured", ""], rows, texts=1)


def of_assumed(assumed: Assumed) -> str:
    """Write what the reader sets."""
    rows = [
        [f"`--{each.name.replace('_', '-')}`", f"{getattr(assumed, each.name):,}", said(each)]
        for each in fields(assumed)
    ]
    return table(["flag", "here", "what"], rows, texts=3)


def said(each: Any) -> str:
    """Give the help of a flag."""
    return str(each.metadata["help"])


def of_rates(costs: Costs, assumed: Assumed) -> str:
    """Write what rates of events take; all of it is computed."""
    rows = []
    for rate in RATES:
        found = plan(rate, costs, assumed)
        figures = (
            *(found.partitions, found.pods, found.prepare_cores, found.loop_cores),
            *(found.broker_cores, found.gpus, found.cpu_model_cores, found.written_mb),
        )
        rows.append([f"{rate:,}", *(f"{each:,.0f}{_COMPUTED}" for each in figures)])
    head = [
        *("events/s", "partitions", "pods", "cores to prepare", "cores of loops"),
        *("brokers' cores", "GPUs", "or cores for the model", "MB/s written"),
    ]
    return table(head, rows)


def of_users(costs: Costs, assumed: Assumed) -> str:
    """Write what numbers of users take; all of it is computed."""
    rows = []
    for users in USERS:
        for precision in sorted(costs.bytes_a_user, reverse=True):
            found = state(users, precision, costs, assumed)
            figures = (
                *(found.memory_gb, found.pods, found.partitions),
                *(found.checkpoint_seconds, found.changelog_seconds),
            )
            rows.append([f"{users:,}", precision, *(f"{each:,.0f}{_COMPUTED}" for each in figures)])
    head = [
        *("users", "sums", "GB of profiles", "pods", "partitions"),
        *("s, a pod's restore from checkpoints", "s, from the changelog"),
    ]
    return table(head, rows, texts=2)


def of_dollars(costs: Costs, assumed: Assumed) -> str:
    """Write what a million events cost; all of it is computed."""
    precision = min(costs.bytes_a_user, key=lambda each: costs.bytes_a_user[each])
    held = state(USERS[0], precision, costs, assumed)
    rows = []
    for rate in RATES:
        parts = dollars(plan(rate, costs, assumed), held, assumed)
        rows.append(
            [
                f"{rate:,}",
                *(f"{each:.4f}{_COMPUTED}" for each in parts.values()),
                f"{parts['all'] / ANCHOR:.2f}{_COMPUTED}",
            ]
        )
    head = [
        *("events/s", "GPUs", "workers' cores", "brokers' cores", "memory, 10 M users"),
        *("all, $", f"of ${ANCHOR:.2f}"),
    ]
    return table(head, rows)


def parts_of(costs: Costs, assumed: Assumed) -> dict[str, str]:
    """Give the page's tables by their marks."""
    return {
        "capacity-costs": of_costs(costs),
        "capacity-assumed": of_assumed(assumed),
        "capacity-rates": of_rates(costs, assumed),
        "capacity-users": of_users(costs, assumed),
        "capacity-dollars": of_dollars(costs, assumed),
    }


def measured(results: Path = RESULTS) -> Costs:
    """Read the costs."""
    return costs_of(
        *(read(results / f"{name}.json") for name in ("pipeline", "restore", "embed-short"))
    )


def render_page(results: Path = RESULTS, page: Path = PAGE) -> None:
    """Write the page's tables, with the defaults."""
    write_page(page, parts_of(measured(results), Assumed()))


def main() -> None:
    """Tell the plan, or render the page."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--render", action="store_true", help="write docs/capacity.md")
    add_fields(parser, Assumed)
    options = parser.parse_args()
    if options.render:
        render_page()
        return
    assumed = Assumed(**{each.name: getattr(options, each.name) for each in fields(Assumed)})
    print("\n\n".join(parts_of(measured(), assumed).values()))


if __name__ == "__main__":
    main()
