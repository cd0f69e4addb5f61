"""`segmenter watch` on a real Kafka: what it gathers, and how it behaves on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from consumer.cli import main as cli
from consumer.kafka.topics import create_topics
from consumer.live import watcher as watching
from consumer.live.watcher import BINS, StoppedError, Watcher
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import event, produce, settings_for, stream, until, worker
from tests.consumer.live.live_data import (
    BEGUN,
    a_change,
    by_model,
    write,
    write_segments,
)
from tests.consumer.status.test_status import flags

ROOT = Path(__file__).parents[3]


def ago(seconds: float) -> float:
    """Give a time of the changes that lies so many seconds before now."""
    return (datetime.now(UTC) - BEGUN).total_seconds() - seconds


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    """Two users in one segment, one in another, one who has left; of the last minutes."""
    settings = settings_for(broker.bootstrap_servers)
    write_segments(settings)
    write(
        settings,
        a_change("ann", 1, 0, seconds=ago(5000)),
        a_change("bob", 1, 0, seconds=ago(5000)),
        a_change("cat", 1, 2, seconds=ago(200)),
        by_model("ann", 1, 0, seconds=ago(100)),
        a_change("dan", 1, 0, seconds=ago(90)),
        a_change("dan", 2, None, 0, seconds=ago(80)),
    )
    return settings


def test_sizes_flows_changes_and_refusals_are_gathered(settings: Settings):
    produce(settings, [*stream(4, 4), event("u1", 99, "<p> </p>"), (b"u1", b"{")])
    with worker(settings):
        watcher = Watcher(settings)
        until(lambda: len(watcher.once(0.1).refused) == 2)
    view = watcher.once(0.1)
    watcher.close()
    assert view.reading == 1.0
    assert view.refused == {"no_text": 1, "invalid_json": 1}
    assert view.status is not None
    assert view.status.groups[0].lag_records == 0
    by_id = {row.id: row for row in view.segments}
    assert by_id[1].name == "garden, plants"
    (moved,) = (each for each in view.changes if each.change.user_id == "ann")
    assert moved.change.reason == "model_update"
    stamps = [each.record.timestamp for each in view.changes]
    assert stamps == sorted(stamps, reverse=True)
    assert len(view.rates["worker"]) >= 2


def test_a_line_of_sizes_goes_back_over_the_window_and_ends_at_the_size_of_now(settings: Settings):
    watcher = Watcher(settings, minutes=10)
    view = watcher.once(0.1)
    watcher.close()
    by_id = {row.id: row for row in view.segments}
    assert {number: row.users for number, row in by_id.items()} == {0: 1, 1: 1, 2: 1}
    assert {number: (row.entered, row.left) for number, row in by_id.items()} == {
        0: (1, 2),
        1: (1, 0),
        2: (1, 0),
    }
    assert all(len(row.history) == BINS for row in by_id.values())
    first = {number: row.history[0] for number, row in by_id.items()}
    assert first == {0: 2, 1: 0, 2: 0}
    assert {row.history[-1] for row in by_id.values()} == {1}
    assert not any(each.change.user_id == "bob" for each in view.changes)  # longer ago


def test_of_very_many_memberships_sizes_are_those_of_the_sample(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watching, "MOST_MEMBERSHIPS", 3)
    watcher = Watcher(settings)
    view = watcher.once(0.1)
    watcher.close()
    assert view.sampled
    assert {row.id: row.users for row in view.segments} == {0: 10, 1: 10, 2: 10}


def test_users_who_move_on_and_are_let_go_are_counted_once(settings: Settings):
    watcher = Watcher(settings)
    watcher.round(0.1)
    write(settings, a_change("bob", 2, 1, 0, seconds=ago(0)))
    producer = Producer({**settings.kafka.client(), "partitioner": "murmur2_random"})
    producer.produce(settings.topics.memberships, None, "cat")
    assert producer.flush(30) == 0

    def sizes() -> dict[int, int]:
        watcher.round(0.1)
        return {row.id: row.users for row in watcher.view.segments}

    until(lambda: sizes() == {0: 0, 1: 2, 2: 0})
    watcher.close()


def test_topics_that_are_missing_are_told_until_they_are_there(broker: EmbeddedKafka):
    settings = settings_for(broker.bootstrap_servers)
    write_segments(settings)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.delete_topics([settings.topics.changes])[settings.topics.changes].result(30)
    watcher = Watcher(settings)

    def told() -> str:
        watcher.round(0.1)
        return watcher.view.trouble or ""

    until(lambda: f"there is no topic {settings.topics.changes}" in told())
    create_topics(settings)
    until(lambda: told() == "")
    assert [row.name for row in watcher.view.segments] == [
        *("coffee, espresso", "garden, plants", "games, players")
    ]
    watcher.close()


def test_it_stops_amid_a_round(settings: Settings):
    stopped: list[bool] = []
    watcher = Watcher(settings, stopped=lambda: bool(stopped))
    watcher.round(0.1)
    stopped.append(True)
    with pytest.raises(StoppedError):
        watcher.round(600)
    watcher.close()


def test_without_a_terminal_one_look_is_plain_text_and_it_ends(
    settings: Settings, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["watch", *flags(settings), "--seconds", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for wanted in ("no worker is running", "coffee, espresso", "model_update", "Refused"):
        assert wanted in out
    assert cli.main(["watch", *flags(settings), "--topics.segments", "there-is-none"]) == 3
    assert "there is no topic there-is-none" in capsys.readouterr().err


# --- on a terminal --------------------------------------------------------------------------------


@dataclass
class Terminal:
    """A process at a terminal of its own, and what it has written there."""

    process: subprocess.Popen[bytes]
    keyboard: int
    written: bytearray = field(default_factory=bytearray)

    def until(self, wanted: str, since: int = 0) -> None:
        deadline = time.monotonic() + 60
        while wanted.encode() not in self.written[since:]:
            assert time.monotonic() < deadline, self.written[since:].decode(errors="replace")
            self.read()

    def read(self) -> None:
        if select.select([self.keyboard], [], [], 0.2)[0]:
            try:
                self.written += os.read(self.keyboard, 65_536)
            except OSError:  # the other end is closed
                time.sleep(0.05)

    def end(self) -> int:
        until(lambda: (self.read(), self.process.poll() is not None)[1])
        self.read()
        return self.process.returncode

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def _own_terminal() -> None:
    """Make standard input the terminal that signals come from."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def at_terminal() -> Iterator[Callable[..., Terminal]]:
    begun: list[Terminal] = []

    def begin(settings: Settings, *arguments: str, **variables: str) -> Terminal:
        ours, its = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer.cli.main", "watch", *flags(settings), *arguments],
            cwd=ROOT,
            stdin=its,
            stdout=its,
            stderr=its,
            env={**os.environ, "TERM": "xterm-256color", **variables},
            preexec_fn=_own_terminal,  # noqa: PLW1509 - no thread of the tests holds a lock there
        )
        os.close(its)
        terminal = Terminal(process, ours)
        terminal.resize(80, 24)
        begun.append(terminal)
        return terminal

    yield begin
    for each in begun:
        each.process.kill()
        each.process.wait()
        os.close(each.keyboard)


ENTERS, LEAVES, CLEARS = "\x1b[?1049h", "\x1b[?1049l", b"\x1b[2J"


def test_on_a_terminal_it_is_drawn_again_and_again_until_q(settings, at_terminal):
    terminal = at_terminal(settings, "--seconds", "0.2")
    terminal.until("coffee, espresso")
    drawn = len(terminal.written)
    write(settings, a_change("newcomer", 1, 2, seconds=ago(0)))
    terminal.until("newcomer", drawn)
    assert CLEARS not in terminal.written[drawn:]  # each picture is written over the last one
    drawn = len(terminal.written)
    terminal.resize(50, 12)
    terminal.until("coffee", drawn)
    os.write(terminal.keyboard, b"xq")
    assert terminal.end() == 0
    told = terminal.written.decode()
    assert told.count(ENTERS) == told.count(LEAVES) == 1
    assert told.rindex(LEAVES) > told.rindex("coffee")


def test_ctrl_c_gives_the_terminal_back_and_exits_as_other_commands_do(settings, at_terminal):
    terminal = at_terminal(settings, "--seconds", "0.2", NO_COLOR="1")
    terminal.until("coffee, espresso")
    os.write(terminal.keyboard, b"\x03")
    assert terminal.end() == 130
    told = terminal.written.decode()
    assert LEAVES in told
    assert "\x1b[3" not in told  # no colours
    assert termios.tcgetattr(terminal.keyboard)[3] & termios.ECHO


def test_brokers_that_do_not_answer_are_told_and_hold_up_no_key(at_terminal):
    away = Settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    terminal = at_terminal(away)
    terminal.until("127.0.0.1:1: it refuses the connection")
    os.write(terminal.keyboard, b"q")
    assert terminal.end() == 0


def test_a_broker_that_is_back_is_gone_on_with(tmp_path_factory, at_terminal):
    with EmbeddedKafka(tmp_path_factory.mktemp("own")) as kafka:
        settings = settings_for(kafka.bootstrap_servers)
        write_segments(settings)
        terminal = at_terminal(settings, "--seconds", "0.2")
        terminal.until("games, players")
        kafka.kill(0)
        terminal.until("refuses the connection", len(terminal.written))
        kafka.start(0)
        write(settings, a_change("afterwards", 1, 2, seconds=ago(0)))
        terminal.until("afterwards", len(terminal.written))
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 130
