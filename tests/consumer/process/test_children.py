"""Processes that compute for another one: what becomes of them, and of what they were asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from consumer.process import children as children_module
from consumer.process.children import ChildDiedError, ChildFailedError, Children
from consumer.settings import LogSettings
from tests.consumer.process.jobs import answering, exiting, failing, never

SECRET = "heliotrope"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(answering, "spec", 2, log=LogSettings(format="json")) as children:
        yield children


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended; one whose parent has, nobody may have collected yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


def own_children() -> set[int]:
    """All processes of this one's, ended ones that nobody has collected included."""
    found = set()
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                status = (each / "stat").read_text(encoding="ascii")
            except OSError:
                continue
            if int(status.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(each.name))
    return found


def test_arrays_of_any_size_come_back_as_they_were(children: Children) -> None:
    sent = {"ids": np.arange(1_000_000, dtype=np.int32), "none": np.empty(0), "words": ["a", None]}
    spec, came = children(("echo", sent))
    assert (spec, came["words"]) == ("spec", ["a", None])
    np.testing.assert_array_equal(came["ids"], sent["ids"])
    assert came["none"].size == 0


def test_each_thread_gets_the_answer_to_its_own_question(children: Children) -> None:
    with ThreadPoolExecutor(8) as threads:
        questions = [("echo", "x" * number) for number in range(200)]
        answers = list(threads.map(children, questions))
    assert answers == [("spec", question) for _, question in questions]


def test_a_process_that_dies_takes_its_own_request_with_it_and_nothing_else(
    children: Children,
) -> None:
    before, restarts = set(children.pids), children.restarts
    with ThreadPoolExecutor(4) as threads:
        died = threads.submit(children, ("exit", 7))
        others = list(threads.map(children, [("echo", number) for number in range(50)]))
        with pytest.raises(ChildDiedError, match=r"^exit code 7$"):
            died.result()
    assert others == [("spec", number) for number in range(50)]
    assert children.restarts == restarts + 1
    assert len(before & set(children.pids)) == 1
    assert children.alive == 2


def test_a_process_killed_amid_a_request_or_idle_is_replaced(children: Children) -> None:
    restarts = children.restarts
    with ThreadPoolExecutor(1) as threads:
        asleep = threads.submit(children, ("sleep", 600))
        until(lambda: not asleep.done() and len(children._idle) == 1)
        (busy,) = {0, 1} - set(children._idle)
        os.kill(children.pids[busy], signal.SIGKILL)
        with pytest.raises(ChildDiedError, match=r"^killed by SIGKILL$"):
            asleep.result()
    for pid in children.pids:
        os.kill(pid, signal.SIGKILL)
    for number in range(6):
        # One that had not been ready yet is replaced without a word: nothing was asked of it.
        with suppress(ChildDiedError):
            assert children(("echo", number)) == ("spec", number)
    assert children.restarts == restarts + 3
    assert children(("echo", 1)) == children(("echo", 1)) == ("spec", 1)


def test_a_process_that_is_stopped_amid_a_request_is_the_one_that_is_waited_for(
    children: Children,
) -> None:
    assert children.longest_wait is None
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(children, ("sleep", 0.2))
        until(lambda: children.longest_wait is not None)
        pid, _ = children.longest_wait
        assert pid in children.pids
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: children.longest_wait[1] > 1)
            assert children.longest_wait[0] == pid
            assert children(("echo", 1)) == ("spec", 1)  # the other one
            assert not asked.done()
        finally:
            os.kill(pid, signal.SIGCONT)
        asked.result(60)
    assert children.longest_wait is None


def test_who_died_is_collected_so_that_no_zombie_is_left(children: Children) -> None:
    seen = set(children.pids)
    for _ in range(3):
        with pytest.raises(ChildDiedError):
            children(("exit", 1))
        seen |= set(children.pids)
    assert len(seen) == 5
    assert own_children() & seen == set(children.pids)


def test_children_have_no_children(children: Children) -> None:
    for pid in children.pids:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        assert threads
        assert {(each / "children").read_text(encoding="ascii") for each in threads} == {""}


def test_an_exception_is_told_by_its_type_and_the_process_lives_on(children: Children) -> None:
    pids = children.pids
    with pytest.raises(ChildFailedError, match="cannot go on: ValueError, see the log") as error:
        children(("raise", SECRET))
    assert SECRET not in str(error.value)
    assert children.pids == pids


def test_children_are_out_of_the_reach_of_signals_to_the_group(children: Children) -> None:
    pid, group, parent = children(("group", None))
    assert (group, parent) == (pid, os.getpid())
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, number)
    assert children(("echo", 1)) == ("spec", 1)
    assert children(("echo", 2)) == ("spec", 2)
    assert pid in children.pids


def test_the_end_leaves_no_process_even_amid_a_request() -> None:
    children = Children(answering, "spec", 2, log=LogSettings())
    pids = children.pids
    with ThreadPoolExecutor(1) as threads:
        asleep = threads.submit(children, ("sleep", 600))
        until(lambda: len(children._idle) == 1)
        children.close()
        with pytest.raises(ChildFailedError, match="being ended"):
            children(("echo", 1))
        with pytest.raises(ChildFailedError, match="being ended"):
            asleep.result()
    assert not own_children() & set(pids)
    assert children.alive == 0


def test_children_are_not_told_secrets_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTER_KAFKA__SECRETS", f'{{"sasl.password": "{SECRET}"}}')
    with Children(answering, "spec", 1, log=LogSettings()) as children:
        environment = children(("environment", None))
    assert SECRET not in str(environment)
    assert environment["PATH"] == os.environ["PATH"]


def test_processes_that_do_not_start_are_given_up_after_three_attempts() -> None:
    before = own_children()
    with pytest.raises(ChildFailedError, match=r"3 times in a row .* exit code 9"):
        Children(exiting, 9, 1, log=LogSettings())
    assert own_children() <= before


def test_a_process_that_hangs_before_it_is_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children_module, "_READY_SECONDS", 0.05)
    before = own_children()
    with pytest.raises(
        ChildFailedError, match=r"the process \d+ .* is not ready after 0.05 s; is it"
    ):
        Children(never, 600, 1, log=LogSettings())
    assert own_children() <= before


def test_no_process_of_another_version_is_started_beside_this_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where a package is upgraded in place under a process that runs on."""
    (tmp_path / "consumer").mkdir()
    file = tmp_path / "consumer" / "some.py"
    file.write_text("before")
    monkeypatch.setattr(children_module, "_ROOT", tmp_path)
    with Children(answering, "spec", 1, log=LogSettings()) as children:
        with pytest.raises(ChildDiedError):
            children(("exit", 1))
        file.write_text("afterwards")
        with pytest.raises(ChildFailedError, match=r"exit code 1.*have changed .*start .* anew"):
            children(("exit", 1))
        assert children.alive == 0


def test_a_process_that_says_that_it_cannot_begin_is_not_started_again() -> None:
    with pytest.raises(ChildFailedError, match="cannot go on: ValueError") as error:
        Children(failing, SECRET, 1, log=LogSettings())
    assert SECRET not in str(error.value)


def test_a_request_that_hangs_is_ended_by_the_system() -> None:
    with Children(answering, "spec", 1, log=LogSettings(), limit_seconds=1) as children:
        with pytest.raises(ChildDiedError, match=r"^killed by SIGALRM$"):
            children(("sleep", 600))
        assert children(("echo", 1)) == ("spec", 1)


def test_children_log_in_the_form_of_their_parent(capfd: pytest.CaptureFixture[str]) -> None:
    with Children(answering, "spec", 1, log=LogSettings(format="json")) as children:
        children(("log", "told by a child"))
        with pytest.raises(ChildFailedError):
            children(("raise", SECRET))
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("{")]
    told = [json.loads(line) for line in lines]
    assert told[0]["message"] == "told by a child"
    assert "tests/consumer/process/jobs.py" in told[1]["message"]
    assert (out, SECRET in err) == ("", False)


def start_parent(until_file: Path) -> tuple[subprocess.Popen[str], list[int]]:
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.consumer.process.working_parent", str(until_file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    return parent, json.loads(parent.stdout.readline())


def test_children_end_with_a_parent_that_was_killed_even_amid_a_request(tmp_path: Path) -> None:
    parent, pids = start_parent(tmp_path / "never")
    with parent:
        assert not any(map(gone, pids))
        parent.kill()
    until(lambda: all(map(gone, pids)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_to_the_group_leaves_the_parent_its_children_to_finish_with(
    number: signal.Signals, tmp_path: Path
) -> None:
    parent, pids = start_parent(tmp_path / "end")
    assert parent.stdout is not None
    os.killpg(parent.pid, number)
    for pid in pids:  # as a service manager does, which knows all processes of a service
        os.kill(pid, number)
    assert parent.stdout.readline() == f"signal {int(number)}\n"
    (tmp_path / "end").touch()
    out, _ = parent.communicate(timeout=120)
    assert out == "answered, 0 restarts\n"
    assert parent.returncode == 0
    assert all(map(gone, pids))
