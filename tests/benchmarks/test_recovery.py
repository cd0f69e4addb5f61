"""The benchmark of a recovery: small, on a real Kafka, with real workers that are killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recovery
from benchmarks.changelog import fixed_model, profiles
from benchmarks.recovery import (
    ARMS,
    Options,
    Recovery,
    RecoveryError,
    figures,
    measure,
    parse,
    table,
)
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.demo.processes import Child, ChildError


def _recovery(port: float, ready: float, committed: float, users: int, records: int) -> Recovery:
    return Recovery(port, ready, committed, users, records)


RECOVERIES = {
    "checkpoint": [_recovery(1, 2, 3, 400, 20), _recovery(1, 4, 5, 400, 30)],
    "changelog": [_recovery(1, 6, 9, 0, 420), _recovery(1, 6, 9, 0, 440)],
}


def test_both_arms_recover_and_only_one_reads_the_whole_changelog(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    options = Options(users=400, partitions=2, rounds=1, rate=100, load_seconds=0.5)
    recoveries = measure(broker.bootstrap_servers, options, tmp_path)
    (fast,), (slow,) = (recoveries[arm] for arm in ARMS)
    assert (fast.users_from_checkpoint, slow.users_from_checkpoint) == (400, 0)
    assert fast.records_read < 400 <= slow.records_read
    for each in (fast, slow):
        assert 0 < each.port_seconds <= each.ready_seconds <= each.committed_seconds


def test_the_model_has_nothing_to_move() -> None:
    rows, model = profiles(range(500), 0), fixed_model("b" * 64)
    distances = np.linalg.norm(rows.vectors()[:, None] - model.centres[None], axis=2)
    assert (model.ids[distances.argmin(axis=1)] == rows.segments).all()
    assert set(rows.versions) == {model.version}


def test_figures_are_medians_with_their_range_and_survive_json() -> None:
    result = json.loads(json.dumps(figures(Options(users=400, rounds=2), RECOVERIES)))
    ready = result["arms"]["checkpoint"]["ready_seconds"]
    assert ready == {"median": 3, "least": 2, "most": 4}
    assert result["arms"]["changelog"]["state_seconds"]["median"] == 5
    ratio = {"state_seconds": 2.5, "ready_seconds": 2, "committed_seconds": 2.25}
    assert result["ratio"] == ratio
    assert result["arms"]["changelog"]["rounds"][1]["records_read"] == 440
    assert result["machine"]["cores"] >= 1
    lines = table(result).splitlines()
    assert "3.00 s (2.00-4.00)" in lines[4]
    assert lines[4].endswith("2.0")


class _Worker:
    """A worker as `check` and `read_back` see it."""

    name = "w0"

    def __init__(self, log: Path, **metrics: float) -> None:
        self.log = log
        self._metrics = {"segmenter_dead_letters_total": 0.0, **metrics}

    def metrics(self) -> dict[str, float]:
        return self._metrics


@pytest.mark.parametrize(
    ("arm", "users", "records", "known", "refused", "sentence"),
    [
        ("checkpoint", 399, 10, 400, 0, "399 users from checkpoints, not 400"),
        ("changelog", 1, 400, 400, 0, "1 users from checkpoints, not 0"),
        ("changelog", 0, 399, 400, 0, "read 399 records of 400 users"),
        ("checkpoint", 400, 10, 398, 0, "knows 398 of 400 users"),
        ("checkpoint", 400, 10, 400, 2, "refused 2 events"),
    ],
)
def test_a_worker_that_read_back_something_else_fails_the_run(
    tmp_path: Path,
    arm: str,
    users: int,
    records: int,
    known: int,
    refused: int,
    sentence: str,
) -> None:
    metrics = {"segmenter_users": known, "segmenter_dead_letters_total": refused}
    worker = _Worker(tmp_path / "log", **metrics)
    with pytest.raises(RecoveryError, match=sentence):
        recovery.check(worker, arm, users, records, Options(users=400))  # type: ignore[arg-type]


def test_a_worker_that_is_ready_before_all_is_read_back_fails_the_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    line = (
        "partition {} restored in 0.1 s: 7 users from the checkpoint, 3 records from the changelog"
    )
    log.write_text(line.format(1) + "\n")
    with pytest.raises(RecoveryError, match="ready with 1 of 2 partitions"):
        recovery.read_back(_Worker(log), 2)  # type: ignore[arg-type]
    log.write_text(line.format(1) + "\n" + line.format(0) + "\n")
    assert recovery.read_back(_Worker(log), 2) == (14, 6)  # type: ignore[arg-type]


def test_a_worker_that_cannot_go_on_ends_the_wait(tmp_path: Path) -> None:
    settings = Settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    worker = Child("w0", ["worker", "--model", "missing"], settings, tmp_path, "benchmarks.worker")
    try:
        with pytest.raises(ChildError, match="File 'missing' does not exist"):
            recovery.wait(worker, worker.ready, "ready", 0.02)
    finally:
        worker.stop()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--users", "79"], "4 partitions need 80"),
        (["--rounds", "0"], "--rounds is 0: must be above 0"),
        (["--load-seconds", "inf"], "--load-seconds is inf"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
