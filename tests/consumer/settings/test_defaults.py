"""A default stands in one place: in its section of the settings."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumer.settings import Settings

ROOT = Path(__file__).parents[3]
SECTIONS = {
    Path(inspect.getfile(field.annotation)).resolve() for field in Settings.model_fields.values()
}
DEFAULTS = [
    (name, field.get_default(call_default_factory=True))
    for section in Settings.model_fields.values()
    for name, field in section.annotation.model_fields.items()
]


def signature_defaults(tree: ast.Module) -> Iterator[tuple[str, ast.expr, int]]:
    """Names, defaults and lines: of arguments, and of the fields of classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            places = [*node.args.posonlyargs, *node.args.args][::-1]
            pairs = [*zip(places, node.args.defaults[::-1], strict=False)]
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            yield from ((name.arg, value, name.lineno) for name, value in pairs if value)
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and each.value is not None:
                    yield ast.unparse(each.target), each.value, each.lineno


def evaluated(value: ast.expr) -> Any:
    """A literal, a constant of arithmetic or a timedelta; None for anything else."""
    try:
        found = eval(ast.unparse(value), {"__builtins__": {}, "timedelta": timedelta})
    except (NameError, TypeError, AttributeError):
        return None
    return found.total_seconds() if isinstance(found, timedelta) else found


def is_choice(value: object) -> bool:
    """Whether a value is a number that somebody has picked; none and one are not."""
    return isinstance(value, int | float) and value not in {0, 1}


def doubled(source: str) -> list[str]:
    """The defaults of a module that a setting of the same name, or a part of it, has too."""
    found = []
    for name, value, line in signature_defaults(ast.parse(source)):
        number = evaluated(value)
        for setting, default in DEFAULTS:
            related = f"_{name}_" in f"_{setting}_" or f"_{setting}_" in f"_{name}_"
            if related and is_choice(number) and number == default:
                found.append(f"line {line}: {name} = {ast.unparse(value)}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "def f(terms=16): ...",
        "def f(x, *, cache: int = 10_000): ...",
        "class Policy:\n    dwell_events: int = 8",
        "class Intake:\n    max_future_skew: timedelta = timedelta(hours=1)",
        "def f(user_sample_users=3000): ...",
    ],
)
def test_a_default_that_stands_twice_is_found(source):
    assert len(doubled(source)) == 1


def test_no_default_number_of_a_setting_stands_in_a_signature_too():
    found = {}
    for package in ("consumer", "models", "schemas"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path not in SECTIONS and (names := doubled(path.read_text())):
                found[str(path.relative_to(ROOT))] = names
    assert found == {}


def test_every_section_is_one_class_in_a_module_of_its_own():
    assert len(SECTIONS) == len(Settings.model_fields)


def test_settings_load_nothing_that_computes():
    script = "import sys, consumer.settings; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"numpy", "river", "onnxruntime", "confluent_kafka"}.isdisjoint(loaded)
    ours = {name for name in loaded if name.startswith("models.") and name.count(".") == 2}
    assert {name.rpartition(".")[2] for name in ours} == {"policy"}
