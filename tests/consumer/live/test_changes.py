"""`segmenter changes` on a real Kafka: those that are meant, in their order, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Producer

from consumer.cli import main as cli
from consumer.contract.records import Record
from consumer.kafka.tail import Place, Tail
from consumer.live.changes import Changes, InOrder, Wanted, cause, line
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from schemas.changes import ChangeCause
from tests.consumer.kafka_runs import produce, settings_for, until
from tests.consumer.live.live_data import BEGUN, a_change, by_model, write, write_segments
from tests.consumer.status.test_status import flags

Run = Callable[..., tuple[int, list[str], str]]
ROOT = Path(__file__).parents[3]
HOSTILE = "\x1b[2J\x9b31m\u202eevil\r"


@pytest.fixture(scope="module")
def settings(broker: EmbeddedKafka) -> Settings:
    """Changes of a minute, written in no order over the partitions."""
    settings = settings_for(broker.bootstrap_servers)
    write_segments(settings)
    write(settings, a_change("late", seconds=40), partition=0)
    write(settings, *(a_change(f"u{n}", seconds=n) for n in range(5, 30)), partition=1)
    write(settings, a_change("early", seconds=1), partition=2)
    write(
        settings,
        a_change("ann", 1, 0, seconds=2),
        by_model("ann", 1, 0, seconds=41),
        a_change("ann", 3, None, 1, seconds=50),
        a_change(HOSTILE, 1, 2, seconds=51),
        partition=3,
    )
    return settings


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = cli.main(["changes", *flags(settings), *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return run


def test_all_changes_come_in_the_order_of_their_times_a_line_each(run: Run):
    code, lines, _ = run()
    assert code == 0
    assert len(lines) == 31
    assert lines == sorted(lines)
    assert lines[0].split() == [
        *("2026-03-04T05:06:08Z", "early", "entered", "→", "coffee,", "espresso", "(0)"),
        *("behaviour,", "event", "early-1,", "confidence", "0.97"),
    ]
    told = "switched  coffee, espresso (0) → garden, plants (1)  model_update, confidence 0.97"
    assert any(told in line for line in lines)
    assert any("exited    garden, plants (1) → none  behaviour" in line for line in lines)


def test_what_others_have_called_themselves_moves_no_cursor(run: Run):
    for arguments in ((), ("--json",)):
        _, lines, _ = run(*arguments)
        assert "evil" in lines[-1]
        assert all(line.isprintable() for line in lines)


def test_json_is_what_was_published_fields_of_later_versions_included(
    run: Run, settings: Settings, broker: EmbeddedKafka
):
    _, lines, _ = run("--json", "--user", "ann")
    told = [json.loads(each) for each in lines]
    assert [each["sequence"] for each in told] == [1, 2, 3]
    assert told[0] == json.loads(a_change("ann", 1, 0, seconds=2).model_dump_json())
    newer = settings_for(broker.bootstrap_servers)
    value = json.loads(a_change("咖啡").model_dump_json()) | {"of_a_later_version": ["咖啡"]}
    produce(newer, [(b"k", json.dumps(value).encode())], newer.topics.changes)
    with closing(Changes(newer, Wanted())) as found:
        (published,) = all_of(found)
    assert json.loads(published.as_json()) == value
    assert published.as_json().isascii()


def all_of(found: Changes) -> list:
    given = []
    while not found.caught_up:
        given += found.poll(0.2)
    return given


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("--segment", "1"), 2),
        (("--segment", "GARDEN, plants"), 2),
        (("--segment", "garden"), 2),
        (("--segment", "1", "--cause", "user"), 1),
        (("--reason", "model_update"), 1),
        (("--reason", "model_update", "--reason", "behaviour"), 31),
        (("--cause", "model"), 1),
        (("--user", "ann", "--segment", "2"), None),
        (("--since", (BEGUN + timedelta(seconds=40)).isoformat()), 4),
        (("--user", "ann", "--cause", "operator"), 0),
    ],
)
def test_only_those_that_are_meant_are_printed(
    run: Run, arguments: tuple[str, ...], count: int | None
):
    code, lines, err = run(*arguments)
    if count is None:
        assert (code, lines) == (3, [])
        assert "no change of the user 'ann' and of segment 2" in err
    else:
        assert (code, len(lines), err) == (0, count, "")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--user", "nobody"), 3, "has no change of the user 'nobody'"),
        (("--segment", "99"), 3, "no change of segment 99; there is no such segment today: there"),
        (("--segment", "99"), 3, "there are 0 (coffee, espresso), 1 (garden, plants), 2 (games"),
        (("--segment", "tea"), 2, "--segment 'tea' is the name of no segment of today: there are"),
        (("--segment", "a"), 2, "'a' is the name of several segments: there are 1 (garden"),
        (("--user", "nobody", "--since", BEGUN.isoformat()), 0, "'nobody' since 2026-03-04T05"),
        (("--from-now",), 2, "--from-now goes with --follow only"),
        (("-f", "--from-now", "--since", "2026-01-01T00:00:00Z"), 2, "does not go with --since"),
        (("--topics.changes", "there-is-none"), 3, "there is no topic there-is-none: check the"),
        (("--segment", "0", "--topics.segments", "none"), 3, "there is no topic none: check the"),
    ],
)
def test_what_is_not_there_is_told(run: Run, arguments: tuple[str, ...], code: int, sentence: str):
    found, lines, err = run(*arguments)
    assert (found, lines) == (code, [])
    assert sentence in err


def test_a_record_that_is_no_change_is_told_and_left_out(
    broker: EmbeddedKafka, caplog: pytest.LogCaptureFixture
):
    settings = settings_for(broker.bootstrap_servers)
    produce(settings, [(b"a", b"{"), (b"a", b"[]")], settings.topics.changes)
    write(settings, a_change("a"))
    with closing(Changes(settings, Wanted())) as found:
        assert [each.change.user_id for each in all_of(found)] == ["a"]
    (told,) = (each.getMessage() for each in caplog.records if "is no change" in each.getMessage())
    assert settings.topics.changes in told


class ScriptedTail:
    """Two partitions, of which the first is given long before the second."""

    def __init__(self) -> None:
        self.ended: set[Place] = set()
        self.paused: set[Place] = set()
        self._given: dict[Place, int] = {("t", 0): 0, ("t", 1): 0}
        self.most = 0

    def poll(self, _seconds: float) -> list[Record]:
        place: Place = next(at for at in self._given if at not in self.paused | self.ended)
        begun = self._given[place]
        self._given[place] = end = min(begun + 10, 300)
        if end == 300:
            self.ended.add(place)
        self.most = max(self.most, self._given["t", 0] - self._given["t", 1])
        # Those of the second lie between those of the first.
        return [Record(*place, n, 10 * n + 5 * place[1], None, None) for n in range(begun, end)]

    def pause(self, places: Iterable[Place]) -> None:
        self.paused |= {*places}

    def resume(self, places: Iterable[Place]) -> None:
        self.paused -= {*places}


def test_a_partition_that_runs_ahead_waits_for_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("consumer.live.changes._AHEAD", 40)
    tail = ScriptedTail()
    records, given = InOrder(cast("Tail", tail), tail._given), list[int]()
    while not records.caught_up:
        given += [record.timestamp for record in records.poll(0)]
    assert given == [5 * n for n in range(600)]
    assert tail.most <= 60
    assert tail.paused == set()


def test_the_cause_is_known_of_changes_from_before_they_told_it():
    assert cause(a_change("a", cause=None)) is ChangeCause.USER
    assert cause(by_model("a", 1, 0, cause=None)) is ChangeCause.MODEL
    assert cause(a_change("a", reason="hocus", cause=None)) is None


def test_a_label_that_changes_is_told_with_the_segment_that_stays():
    label = {"name": "咖啡", "probability": 0.9, "previous": None, "version": 2}
    change = a_change("用户", 2, 0, 0, status="labelled", reason="label_changed", label=label)
    assert "labelled  label none → 咖啡, in coffee, espresso (0)  label_changed" in line(change)


# --- followed -------------------------------------------------------------------------------------


@pytest.fixture
def following(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    begun: list[subprocess.Popen[str]] = []

    def follow(*arguments: str, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "consumer.cli.main", "changes", "--log.level", "ERROR"]
        command += flags(settings)
        process = subprocess.Popen(
            [*command, "--follow", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        begun.append(process)
        return process

    yield follow
    for process in begun:
        process.kill()
        process.communicate()


def test_what_comes_is_followed_until_it_is_interrupted(settings, following):
    process = following("--user", "newcomer")
    assert "has no change of the user 'newcomer' yet" in process.stderr.readline()
    write(settings, a_change("newcomer", seconds=60))
    assert "newcomer" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


def test_a_pipe_that_is_closed_ends_it_without_a_word(settings, following):
    process = following("--json")
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    assert process.wait(30) == 3
    assert process.stderr.read() == ""


def test_from_now_gives_nothing_of_before(settings, broker):
    ahead = settings_for(broker.bootstrap_servers)
    write(ahead, a_change("before"))
    with closing(Changes(ahead, Wanted(from_now=True))) as found:
        write(ahead, a_change("after", seconds=1))
        given: list[str] = []

        def came() -> bool:
            given.extend(each.change.user_id for each in found.poll(0.2))
            return bool(given)

        until(came)
    assert given == ["after"]


def test_changes_of_an_open_transaction_are_not_given_before_it_is_committed(broker):
    settings = settings_for(broker.bootstrap_servers)
    name = {"transactional.id": f"{settings.kafka.group_id}-writer"}
    producer = Producer({**settings.kafka.client(), **name})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.topics.changes, a_change("open").model_dump_json(), "open")
    producer.flush(30)
    with closing(Changes(settings, Wanted())) as found:
        assert all_of(found) == []  # and it ends all the same
        producer.commit_transaction(30)
        given: list[str] = []

        def came() -> bool:
            given.extend(each.change.user_id for each in found.poll(0.2))
            return bool(given)

        until(came)
    assert given == ["open"]


def test_it_joins_no_group_and_commits_nothing(settings, run, broker):
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    assert run()[0] == 0
    listed = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_consumer_groups()
    groups = {each.group_id for each in listed.result(30).valid}
    assert not any(settings.kafka.group_id in group for group in groups)
