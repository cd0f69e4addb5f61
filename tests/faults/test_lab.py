"""The lab: a network of its own, the command's own exit code, honest about why there is none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import lab
from tests.faults.lab import HUB, LabError


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


@pytest.mark.lab("disk")
def test_there_is_no_network_but_the_hub() -> None:
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    for address in ("127.0.0.1", HUB):
        with socket.create_server((address, 0)) as server:
            socket.create_connection(server.getsockname()).close()
    with socket.socket() as other, pytest.raises(OSError, match="unreachable"):
        other.connect(("192.0.2.1", 80))


@pytest.mark.lab("disk")
def test_a_lab_has_a_network_and_mounts_of_its_own_and_the_process_it_was_started_as() -> None:
    argv = lab.command(shell("echo $$; readlink /proc/self/ns/net /proc/self/ns/mnt"))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        number, *namespaces = process.communicate()[0].split()
    assert int(number) == process.pid
    for name, namespace in zip(("net", "mnt"), namespaces, strict=True):
        assert namespace != os.readlink(f"/proc/self/ns/{name}")  # noqa: PTH115


@pytest.mark.lab("disk")
@pytest.mark.parametrize(
    ("argv", "code"), [(shell("exit 7"), 7), (shell("kill -9 $$"), -9), (["no-such-command"], 127)]
)
def test_the_exit_code_is_the_commands(argv: list[str], code: int, tmp_path: Path) -> None:
    done = subprocess.run(lab.command(argv), cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == code


@pytest.mark.lab("disk")
def test_a_known_reason_is_given_and_any_other_failure_is_an_error() -> None:
    reasons = ("the lab needs",)
    assert lab.attempt(["true"], reasons) is None
    refusal = "echo the lab needs luck: none >&2; exit 120"
    assert lab.attempt(shell(refusal), reasons) == "the lab needs luck: none"
    for failure in ("exit 1", "exit 120", "echo the lab needs luck >&2; exit 1"):
        with pytest.raises(LabError, match="exit code"):
            lab.attempt(shell(failure), reasons)


def test_a_command_is_needed() -> None:
    argv = [sys.executable, "-m", "tests.faults.lab"]
    done = subprocess.run(argv, cwd=lab.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")
