"""Room for a process: each check as it passes and as it fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from consumer.doctor import machine
from consumer.doctor.machine import (
    REFERENCES_BYTES,
    TABLE_BYTES,
    Expected,
    disk,
    files,
    memory,
    memory_limit,
)
from consumer.settings import Settings

ROOT = Path(__file__).parents[3]


def with_folder(folder: Path) -> Settings:
    return Settings(restore={"checkpoint_dir": folder})


# --- disk -----------------------------------------------------------------------------------------


def test_without_a_folder_there_is_nothing_to_look_at():
    assert disk(Settings(), None).state == "skipped"


def test_a_folder_that_can_be_written_to_is_made_and_left_empty(tmp_path: Path):
    folder = tmp_path / "made" / "anew"
    assert disk(with_folder(folder), Expected(1000, 384)).state == "fine"
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_a_failure(tmp_path: Path):
    (tmp_path / "file").write_text("")
    found = disk(with_folder(tmp_path / "file"), None)
    assert (found.state, "restore.checkpoint_dir" in found.told) == ("failed", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_a_failure(tmp_path: Path):
    tmp_path.chmod(0o500)
    assert disk(with_folder(tmp_path), None).state == "failed"


def test_less_room_than_the_state_may_take_is_told(tmp_path: Path):
    found = disk(with_folder(tmp_path), Expected(10**14, 384, workers=2))
    assert (found.state, "among 2 workers" in found.told) == ("warning", True)


# --- memory ---------------------------------------------------------------------------------------

GB = 10**9


@pytest.mark.parametrize(
    ("limit", "users", "state"),
    [(100 * GB, 10_000, "fine"), (2 * GB, 10**7, "warning"), (10**6, 0, "failed")],
)
def test_memory_is_held_against_the_process_and_its_users(limit: int, users: int, state: str):
    assert memory(Settings(), Expected(users, 384), limit).state == state


def test_sums_of_half_the_size_and_more_workers_need_less():
    half = Settings(profile={"precision": "float16"})
    limit = 2 * GB
    assert memory(Settings(), Expected(10**6, 384), limit).state == "warning"
    assert memory(half, Expected(10**6, 384), limit).state == "fine"
    assert memory(Settings(), Expected(10**6, 384, workers=3), limit).state == "fine"


def test_the_bytes_of_a_user_are_the_measured_ones():
    measured = json.loads((ROOT / "benchmarks/results/pipeline.json").read_text())["memory"]
    for row in measured:
        if row["users"] > 500_000 and row["events"] == 3:
            beside = TABLE_BYTES + REFERENCES_BYTES * (row["references"] > 0)
            size = 384 * (2 if row["precision"] == "float16" else 4) + beside
            assert row["bytes_a_user"] == pytest.approx(size, rel=0.05)


def test_the_limit_is_that_of_the_container_where_it_has_one(tmp_path: Path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\n")
    cgroup = tmp_path / "cgroup"
    (cgroup / "memory").mkdir(parents=True)
    assert memory_limit(cgroup, meminfo) == 16_000_000 * 1024
    (cgroup / "memory.max").write_text("max\n")
    assert memory_limit(cgroup, meminfo) == 16_000_000 * 1024
    (cgroup / "memory.max").write_text("2147483648\n")
    assert memory_limit(cgroup, meminfo) == 2**31
    (cgroup / "memory/memory.limit_in_bytes").write_text("1073741824\n")
    assert memory_limit(cgroup, meminfo) == 2**30
    assert memory_limit(tmp_path / "none", tmp_path / "neither") is None


def test_a_system_that_tells_no_memory_is_told_as_that(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "memory_limit", lambda: None)
    assert memory(Settings(), None).state == "skipped"


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "state"), [(1024, "fine"), (100, "failed"), (-1, "fine")])
def test_the_limit_of_open_files_is_held_against_what_a_process_opens(limit: int, state: str):
    assert files(brokers=5, partitions=12, limit=limit).state == state
