"""What a process costs before it does anything: CPU seconds and peak memory, of two checkouts.

python -m benchmarks.startup --against ../other-checkout --runs 9

Each start is a process of its own, run by turns with the other checkout's, which is run by the
Python of its `.venv`. A worker and a trainer are started up to the moment when their loop would
turn, health and metrics being served: the brokers and the embedding model are stood in for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.markdown import table

ROOT = Path(__file__).parents[1]

_COMMAND = """
import sys
sys.argv = ["segmenter", *{arguments}]
try:
    from consumer.cli.entry import main
except ImportError:  # of before there were rooms
    from consumer.cli import main
try:
    main()
except SystemExit:
    pass
"""

_PROCESS = """
import importlib, sys
from types import SimpleNamespace

def ends(*_, **__):
    tell()
    import os
    os._exit(0)

try:
    from consumer.wiring import shell, {role} as room
    from consumer.wiring import embedder
except ImportError:  # of before there were rooms
    from consumer import app
    shell = room = embedder = app
embedding = SimpleNamespace(identity="0" * 64, dimensions=384, embed=None)
feed = SimpleNamespace(latest=lambda: None, close=lambda: None, version=0, age_seconds=None)
stand_ins = dict(
    check_topics=lambda settings: {{settings.topics.events: 4}},
    message_limits=lambda *_: {{}},
    ModelFeed=lambda _: feed,
    build_loop=ends,
    Loop=ends,  # of before there was build_loop
    load_embedder=lambda _: embedding,
)
for module in (shell, room, embedder):
    for name, stand_in in stand_ins.items():
        if hasattr(module, name):
            setattr(module, name, stand_in)
from consumer.settings import Settings
room.run_{role}(Settings(http={{"port": 0, "host": "127.0.0.1"}}))
"""

_TELL = """
def tell():
    import json, resource
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    figures = {"cpu": used.ru_utime + used.ru_stime, "mb": int(peak[0]) / 1024}
    with open(FIGURES, "w") as file:
        json.dump(figures, file)
"""


class Cost(NamedTuple):
    """Medians of several starts."""

    cpu_seconds: float
    peak_mb: float


STARTS = {
    "segmenter --help": _COMMAND.format(arguments=["--help"]) + "tell()",
    "segmenter config": _COMMAND.format(arguments=["config"]) + "tell()",
    "worker, to its health port": _PROCESS.format(role="worker"),
    "trainer, to its health port": _PROCESS.format(role="trainer"),
}


def start(checkout: Path, code: str, bytecode: str) -> Cost:
    """Run code in a process of a checkout, whose modules' bytecode is in a folder."""
    python = checkout / ".venv/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        code = f"FIGURES = {str(figures)!r}\n{_TELL}\n{code}"
        environment = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "PYTHONPYCACHEPREFIX": bytecode,
            "PYTHONDONTWRITEBYTECODE": "",
        }
        subprocess.run(
            [python if python.exists() else sys.executable, "-c", code],
            cwd=checkout,
            env=environment,
            check=True,
            capture_output=True,
        )
        told = json.loads(figures.read_text(encoding="utf-8"))
    return Cost(told["cpu"], told["mb"])


def median(costs: list[Cost]) -> Cost:
    """Give the median of each figure."""
    return Cost(*(statistics.median(each) for each in zip(*costs, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout, with its .venv")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    checkouts = [ROOT] if options.against is None else [options.against.resolve(), ROOT]
    head = ["start", *(f"{what}, {of.name}" for what in ("CPU s", "peak MB") for of in checkouts)]
    rows = []
    with tempfile.TemporaryDirectory() as bytecode:
        for name, code in STARTS.items():
            # The first start of each compiles what the others load.
            runs = [
                [start(checkout, code, bytecode) for checkout in checkouts]
                for _ in range(options.runs + 1)
            ][1:]
            costs = [median(list(each)) for each in zip(*runs, strict=True)]
            cpu = [f"{cost.cpu_seconds:.2f}" for cost in costs]
            rows.append([name, *cpu, *(f"{cost.peak_mb:.0f}" for cost in costs)])
    print(table(head, rows, texts=1))


if __name__ == "__main__":
    main()
