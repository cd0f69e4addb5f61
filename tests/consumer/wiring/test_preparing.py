"""How many processes prepare batches, by the settings and by what the machine has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from consumer.settings import Settings
from consumer.wiring import preparing


@pytest.mark.parametrize(
    ("device", "cores", "count"),
    [
        ("cpu", 64, 0),
        ("cuda", 1, 0),
        ("cuda", 2, 1),
        ("cuda", 3, 1),
        ("cuda", 4, 2),
        ("cuda", 6, 4),
        ("cuda", 7, 5),
        ("tensorrt", 64, 6),
    ],
)
def test_where_nobody_says_how_many_it_is_by_the_device_and_the_cores(
    device: str, cores: int, count: int
) -> None:
    assert preparing.process_count(Settings(), device, cores) == count


@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_is_set_is_what_is_run(count: int) -> None:
    settings = Settings(batch={"prepare_processes": count})
    assert preparing.process_count(settings, "cpu", 1) == count
    assert preparing.process_count(settings, "cuda", 64) == count


@pytest.mark.parametrize("value", ["many", -1, 65, 1.5, True])
def test_what_is_no_number_of_processes_is_refused_in_one_sentence(value: Any) -> None:
    with pytest.raises(ValidationError, match="number of processes from 0 to 64, or auto") as error:
        Settings(batch={"prepare_processes": value})
    assert error.value.error_count() == 1


def test_on_the_cpu_batches_are_prepared_in_threads_and_all_figures_are_there() -> None:
    with preparing.preparing(Settings(), SimpleNamespace(device="cpu")) as children:  # type: ignore[arg-type]
        assert children is None
        assert preparing.ahead(children) == 2
        assert set(dict(preparing.figures(children)).values()) == {0}


@pytest.mark.parametrize(
    ("waited", "told"),
    [
        (None, "does the embedding's device hang?"),
        ((4711, 0.2), "does the embedding's device hang?"),
        (
            (4711, 9.2),
            "the process 4711 that prepares batches (batch.prepare_processes) has not answered for "
            "9 s; is it stopped, or does it get no time?",
        ),
    ],
)
def test_what_hangs_is_the_process_that_does_not_answer_else_the_device(waited, told) -> None:
    children: Any = SimpleNamespace(longest_wait=waited)
    assert preparing.suspect(children, 10) == told
    assert preparing.suspect(None, 10) == "does the embedding's device hang?"


def test_processes_are_there_as_long_as_the_worker_is() -> None:
    settings = Settings(batch={"prepare_processes": 1})
    embedder: Any = SimpleNamespace(device="cpu", recipe=None)
    with preparing.preparing(settings, embedder) as children:
        assert children is not None
        assert preparing.ahead(children) == 3
        figures = dict(preparing.figures(children))
        assert figures["preparing_processes"] == 1
    assert dict(preparing.figures(children))["preparing_processes"] == 0
