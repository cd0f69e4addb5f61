"""The core does its work without the extras, and a command that wants one names it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from consumer.contract.extras import PACKAGES

ROOT = Path(__file__).parents[3]
OF_EXTRAS = sorted({package for packages in PACKAGES.values() for package in packages})
# Whole rooms of what needs no extra; what the commands of an extra load late is in none of them.
ROOMS = [
    *("cli", "contract", "engine", "kafka", "migrate", "offline", "process", "settings", "stages"),
    *("state", "telemetry", "verify", "wiring"),
]


ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(tuple(f"{{each}}." for each in {missing})) or name in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def modules(rooms: Iterable[str] = ROOMS) -> list[str]:
    """The modules of rooms, `segmenter evaluate` left out."""
    found = [path for room in rooms for path in (ROOT / "consumer" / room).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found]
    return [name for name in names if not name.startswith("consumer.offline.evaluate.")]


def run(code: str, present: Collection[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run code where the packages of extras, but those, are as if they were not installed."""
    missing = tuple(package for package in OF_EXTRAS if package not in present)
    absent = ABSENT.format(missing=missing)
    return subprocess.run(
        [sys.executable, "-c", absent + code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_core_loads_without_any_extra() -> None:
    done = run("".join(f"import {module}\n" for module in modules()))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_demo_and_the_broker_load_with_their_own_extra_alone() -> None:
    done = run("".join(f"import {module}\n" for module in modules(["tryout"])), PACKAGES["demo"])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["demo"], "demo"),
        (["broker", "--data", "data"], "demo"),
        (["evaluate", "README.md"], "evaluate"),
        (["report", "docs"], "report"),
        (["model", "prepare"], "model"),
        (["model", "export", "default", "--output", "no-folder"], "model"),
        (["model", "verify", "docs"], "model"),
        (["model", "fit", "words", "--topic"], "words"),
    ],
)
def test_a_command_names_the_extra_that_it_wants(arguments: list[str], extra: str) -> None:
    done = run(f"from consumer.cli.main import main\nsys.exit(main({arguments}))")
    command = arguments[: 2 if arguments[0] == "model" else 1]
    words = " ".join(["model", "fit", "words"] if "fit" in command else command)
    assert done.stderr == (
        f'segmenter: segmenter {words} wants the extra "{extra}": '
        f"pip install 'segmenter[{extra}]'\n"
    )
    assert done.returncode == 2


def test_a_trainer_names_the_extra_that_its_names_want() -> None:
    done = run(
        "from consumer.settings import Settings\n"
        "from consumer.stages.training.stage import TrainingStage\n"
        "TrainingStage(Settings(training={'name_words': 'all'}))\n"
        "TrainingStage(Settings(training={'name_words': 'nouns'}))\n"
    )
    assert 'UsageError: training.name_words = nouns wants the extra "names"' in done.stderr


def test_a_worker_without_a_model_names_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTER_CACHE", str(tmp_path))
    done = run("from consumer.cli.main import main\nsys.exit(main(['worker']))")
    assert "`segmenter model prepare`, with the same settings, makes it" in done.stderr
    assert done.returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_the_packages_that_are_looked_for_are_installed_by_some_distribution() -> None:
    known = packages_distributions()
    looked_for = {package.partition(".")[0] for package in OF_EXTRAS} - {"optimum", "torch"}
    assert looked_for <= known.keys()
