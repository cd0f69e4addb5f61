"""What the demo keeps of earlier runs, what it says while it runs, and how it counts its speed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from consumer.tryout.demo import run as run_module
from consumer.tryout.demo.figures import Figures
from consumer.tryout.demo.folder import OutputFolderError, fresh
from consumer.tryout.demo.run import _Run, _unfinished

# --- earlier runs ---------------------------------------------------------------------------------


def a_run(output: Path, content: str, at: float) -> None:
    """Leave what a demo leaves."""
    (output / "report.html").write_text(content)
    (output / "logs").mkdir()
    (output / "kafka").mkdir()
    (output / "kafka" / "topics").write_text("large")
    os.utime(output / ".segmenter-demo", (at, at))


def reports(output: Path) -> list[str]:
    return sorted(path.read_text() for path in output.rglob("report.html"))


def test_the_first_run_finds_an_empty_folder(tmp_path: Path) -> None:
    assert fresh(tmp_path / "out") is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".segmenter-demo"]


def test_each_earlier_report_is_kept_below_the_latest_without_its_topics(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for number in range(3):
        # Two of them in one second.
        kept = fresh(output)
        assert (kept is None) == (number == 0)
        a_run(output, f"run {number}", at=1_750_000_000)
    assert reports(output) == ["run 0", "run 1", "run 2"]
    assert (output / "report.html").read_text() == "run 2"
    folders = sorted((output / "earlier").iterdir())
    assert [each.name[:4] for each in folders] == ["2025", "2025"]
    assert [sorted(path.name for path in each.iterdir()) for each in folders] == [
        ["logs", "report.html"]
    ] * 2
    assert (output / "kafka").exists()


def test_a_run_that_left_nothing_leaves_no_folder_behind(tmp_path: Path) -> None:
    fresh(tmp_path)
    assert fresh(tmp_path) is None
    assert not (tmp_path / "earlier").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputFolderError, match="holds other files than a demo's"):
        fresh(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# --- what is waited for ---------------------------------------------------------------------------


def told(sent: bool = True, trainer: dict[str, int] | None = None, **changes: Any) -> list[str]:
    figures = Figures(sent=10, done=10, committed=True)
    at_rest = {"segmenter_settled": 1, "segmenter_idle": 1, "segmenter_model_version": 2}
    worker = {**at_rest, **changes.pop("worker", {})}
    for name, value in changes.items():
        setattr(figures, name, value)
    mine = None if trainer is None else {**at_rest, **trainer}
    return list(_unfinished(figures, sent, {"worker-0": worker}, mine))


@pytest.mark.parametrize(
    ("state", "waiting"),
    [
        ({"sent": False}, "the broker to take the rest of the stream"),
        ({"committed": False, "lag": 1200}, "the workers to read 1,200 events"),
        ({"done": 9}, "the workers to read 1 event"),
        (
            {"worker": {"segmenter_settled": 0}},
            "worker-0 to look at its users under model 2",
        ),
        ({"worker": {"segmenter_idle": 0}}, "worker-0 to be idle"),
        ({"trainer": {"segmenter_settled": 0}}, "the trainer to settle"),
        ({"trainer": {"segmenter_model_version": 3}}, "the workers to take over model 3"),
    ],
)
def test_the_demo_says_what_it_waits_for(state: dict[str, Any], waiting: str) -> None:
    assert told(**state) == [waiting]
    assert f"waiting for {waiting}" in Figures(waiting_for=waiting).line()


def test_at_rest_nothing_is_waited_for() -> None:
    assert told() == []
    assert told(trainer={}) == []
    assert "waiting" not in Figures().line()


def test_segments_are_told_once_there_is_a_model() -> None:
    assert "no segments yet" in Figures(segments=6).line()
    assert "6 segments (model 2)" in Figures(segments=6, model=2).line()


# --- speed ----------------------------------------------------------------------------------------


class Feeding:
    started: float | None = None
    finished = False


def test_speed_counts_from_the_first_event_sent_to_the_last_one_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = object.__new__(_Run)
    run._figures = figures = Figures()
    feeder, now, lag = Feeding(), [100.0], [50]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run, "_lag", lambda: lag[0], raising=False)

    def at(moment: float, behind: int, done: int) -> float:
        now[0], lag[0], figures.done = moment, behind, done
        run._measure(feeder)  # type: ignore[arg-type]
        return figures.seconds

    assert at(130, 0, 0) == 0  # nothing is sent yet, however long the start took
    feeder.started = 140
    assert at(145, 30, 70) == 5
    assert at(148, 0, 100) == 8  # read up, and more is to be sent
    feeder.finished = True
    assert not figures.committed
    assert at(150, 20, 180) == 10
    assert at(160, 0, 200) == 20
    assert figures.committed
    assert at(190, 0, 200) == 20  # settling is no part of it
    assert figures.rate == 10
