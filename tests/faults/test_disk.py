"""A small disk: full, free again, gone with the lab."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import lab
from tests.faults.disk import LabError, SmallDisk

MIB = 1 << 20


@pytest.mark.lab("disk")
def test_a_full_disk_takes_no_byte_until_it_is_free_again(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", 2) as disk:
        kept = disk.path / "kept"
        kept.write_bytes(b"before")
        disk.fill()
        with pytest.raises(OSError, match="No space left") as refusal:
            (disk.path / "new").write_bytes(b"x")
        assert refusal.value.errno == errno.ENOSPC
        assert kept.read_bytes() == b"before"
        disk.free()
        disk.free()
        (disk.path / "new").write_bytes(bytes(MIB))
        assert (disk.path / "new").stat().st_size == MIB


@pytest.mark.lab("disk")
def test_the_size_is_the_one_asked_for(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", 3) as disk:
        (disk.path / "all").write_bytes(bytes(3 * MIB))
        with (
            (disk.path / "all").open("ab", buffering=0) as file,
            pytest.raises(OSError, match="No"),
        ):
            file.write(b"x")


@pytest.mark.lab("disk")
def test_other_processes_of_the_lab_see_the_disk_and_nobody_after_the_block(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", 1) as disk, (disk.path / "open").open("wb"):
        disk.fill()
        code = f"open({str(disk.path / 'mine')!r}, 'wb', buffering=0).write(b'x')"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert other.returncode == 1
        assert b"No space left" in other.stderr
    assert list(disk.path.iterdir()) == []


@pytest.mark.lab("disk")
def test_a_lab_that_dies_with_a_full_disk_leaves_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    code = (
        "import os, pathlib, sys; from tests.faults.disk import SmallDisk\n"
        "disk = SmallDisk(pathlib.Path(sys.argv[1]), 1).__enter__(); disk.fill()\n"
        "print(os.listdir(sys.argv[1])); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    argv = lab.command([sys.executable, "-c", code, str(folder)])
    done = subprocess.run(argv, cwd=lab.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert ".filler" in done.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.lab("disk")
def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(ValueError, match="name an empty folder"), SmallDisk(tmp_path, 1):
        raise AssertionError


def test_a_disk_without_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="megabytes is 0"):
        SmallDisk(tmp_path, 0)


def test_outside_a_lab_nothing_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAULT_LAB", raising=False)
    with pytest.raises(LabError, match="not in a lab"), SmallDisk(tmp_path, 1):
        raise AssertionError
