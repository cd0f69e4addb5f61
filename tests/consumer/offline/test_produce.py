"""`segmenter produce`: what is sent, how fast, and what is told when it ends early."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer.cli import main as cli
from consumer.contract.records import Record
from consumer.kafka.cluster import read_topic
from consumer.offline.files import EventFileError
from consumer.offline.produce import NoUsersError, SendError, Sent, send, with_users
from consumer.settings import EventSettings
from consumer.tryout.broker import EmbeddedKafka
from schemas.partitioner import partition_of
from tests.consumer.kafka_runs import PARTITIONS, settings_for

Report = Callable[[KafkaError | None, object], None]


def record(number: int, key: bytes | None = b"u") -> Record:
    return Record("t", 0, number, -1, key, b"%d" % number)


class Script:
    """A producer that acknowledges what it took at each poll, and a clock that polls move on."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes | None, bytes | None]] = []
        self.times: list[float] = []
        self.waiting: list[Report] = []
        self.now = 0.0
        self.full = 0
        self.refuse: dict[bytes, Exception] = {}
        self.fail: dict[bytes, KafkaError] = {}
        self.at_poll: Callable[[], None] = lambda: None
        self.deaf = False

    def clock(self) -> float:
        return self.now

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, *, on_delivery: Report
    ) -> None:
        if self.full:
            self.full -= 1
            raise BufferError
        if error := self.refuse.get(value or b""):
            raise error
        self.taken.append((key, value))
        self.times.append(self.now)
        failed = self.fail.get(value or b"")
        self.waiting.append(lambda _error, message: on_delivery(failed, message))

    def poll(self, timeout: float) -> int:
        self.now += timeout
        self.at_poll()
        return self._report()

    def flush(self, timeout: float) -> int:
        self._report()
        return len(self.waiting)

    def _report(self) -> int:
        if self.deaf:
            return 0
        reports, self.waiting = self.waiting, []
        for report in reports:
            report(None, None)
        return len(reports)


@pytest.fixture
def script() -> Script:
    return Script()


def run(script: Script, records: Any, **options: Any) -> Sent:
    return send(records, script, "t", clock=script.clock, **options)


# --- without a broker -----------------------------------------------------------------------------


def test_everything_is_sent_in_order_as_it_is(script: Script) -> None:
    shown: list[int] = []
    sent = run(script, [record(n) for n in range(5)], progress=shown.append)
    assert script.taken == [(b"u", b"%d" % n) for n in range(5)]
    assert (sent.sent, sent.without_user, sent.stopped) == (5, 0, False)
    assert shown == [1, 2, 3, 4, 5]


def test_a_full_queue_is_waited_for(script: Script) -> None:
    script.full = 3
    assert run(script, [record(0)]).sent == 1


def test_a_rate_spaces_events_evenly_from_the_first_on(script: Script) -> None:
    run(script, [record(n) for n in range(6)], rate=4)
    assert script.times == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25], abs=1e-9)


def test_after_a_pause_of_the_source_the_rate_is_made_up_for(script: Script) -> None:
    def slow() -> Iterator[Record]:
        yield record(0)
        script.now += 10
        yield from (record(n) for n in range(1, 4))

    run(script, slow(), rate=1)
    assert script.times == [0, 10, 10, 10]


def test_events_without_a_user_go_without_a_key_and_are_counted(script: Script) -> None:
    sent = run(script, [record(0), record(1, None)])
    assert script.taken[1] == (None, b"1")
    assert (sent.sent, sent.without_user) == (2, 1)
    assert "1 had no user id" in sent.sentences("t")[1]


@pytest.mark.parametrize("who", ["client", "broker"])
def test_an_event_that_is_too_large_is_told_and_the_others_go_on(script: Script, who: str) -> None:
    error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    if who == "client":
        script.refuse[b"1"] = KafkaException(error)
    else:
        script.fail[b"1"] = error
    sent = run(script, [record(n) for n in range(4)])
    assert (sent.sent, sent.too_large, sent.first_too_large, sent.under_way) == (3, 1, 2, 0)


@pytest.mark.parametrize("who", ["client", "broker"])
def test_an_event_that_is_refused_otherwise_ends_it_with_what_was_acknowledged(
    script: Script, who: str
) -> None:
    error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    if who == "client":
        script.refuse[b"2"] = KafkaException(error)
    else:
        script.fail[b"2"] = error
    with pytest.raises(SendError, match=r"cannot send to t: .*; 2 events were acknowledged"):
        run(script, [record(n) for n in range(3)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_between_events_and_what_was_sent_is_waited_for(
    script: Script, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def polled() -> None:
        if len(script.taken) == 3:
            signal.raise_signal(number)

    script.at_poll = polled
    sent = run(script, (record(n) for n in range(100)), rate=10)
    assert (sent.sent, sent.stopped) == (3, True)
    assert "stopped by a signal" in sent.sentences("t")[-1]
    assert signal.getsignal(number) is before


def test_a_signal_ends_a_read_that_waits(script: Script) -> None:
    def silent_pipe() -> Iterator[Record]:
        yield record(0)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the read went on")

    sent = run(script, silent_pipe())
    assert (sent.sent, sent.stopped) == (1, True)


def test_a_file_that_cannot_be_read_on_is_told_with_what_was_sent(script: Script) -> None:
    def cut_short() -> Iterator[Record]:
        yield from (record(n) for n in range(3))
        raise EventFileError("cannot read the events of x: cut short")

    with pytest.raises(SendError, match=r"of x: cut short; 3 events before that were sent to t"):
        run(script, cut_short())


def test_what_is_never_acknowledged_is_told(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.offline.produce._END_SECONDS", -1)
    script.deaf = True

    def two() -> Iterator[Record]:
        yield record(0)
        yield record(1)
        signal.raise_signal(signal.SIGINT)

    sent = run(script, two())
    assert (sent.sent, sent.under_way) == (0, 2)
    assert "2 were not acknowledged" in " ".join(sent.sentences("t"))


def test_records_are_held_back_only_until_one_has_a_user() -> None:
    def source() -> Iterator[Record]:
        yield record(0, None)
        yield record(1)
        pytest.fail("read ahead")

    found = with_users(source(), EventSettings(), "a.jsonl")
    assert [next(found).offset, next(found).offset] == [0, 1]


@pytest.mark.parametrize(("count", "told"), [(3, "first 3 events"), (1000, "first 100 events")])
def test_a_file_without_any_user_is_refused_before_anything_is_sent(count: int, told: str) -> None:
    records = (record(n, None) for n in range(count))
    with pytest.raises(NoUsersError, match=f"{told} has .*events.preset = none: set events.preset"):
        next(with_users(records, EventSettings(), "a.jsonl"))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(NoUsersError, match="no events"):
        next(with_users([], EventSettings(), "a.jsonl"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"who": "u", "n": 1}', "Hint: the record has the fields who, n: set events.preset"),
        ("%PDF-1.4 ", "PDF"),
        ("", "there are no events to send"),
    ],
)
def test_a_file_that_cannot_be_sent_is_told_before_any_broker_is_asked(
    content: str, told: str, tmp_path: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.offline.produce.check_input", lambda _: pytest.fail("asked"))
    file = tmp_path / "events"
    file.write_text(content)
    assert cli.main(["produce", str(file)]) in {2, 3}
    assert told in capsys.readouterr().err


# --- on a real Kafka ------------------------------------------------------------------------------


def test_a_file_comes_into_the_partitions_of_its_users_as_it_is(
    broker: EmbeddedKafka, tmp_path: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(broker.bootstrap_servers)
    topic = settings.topics.events
    rows = [{"who": f"u{n % 7}", "n": n} for n in range(40)]
    lines = [json.dumps(row, separators=(",  ", ":  ")) for row in rows]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*lines, "no object"]))
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topics.events", topic]
    monkeypatch.setenv("SEGMENTER_EVENTS__MAPPING__FIELDS", '{"user_id": ["who"]}')
    assert cli.main(["produce", str(file), *where]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"41 events sent to {topic}\n1 had no user id")
    found = list(read_topic(settings, topic))
    assert sorted(each.value.decode() for each in found) == sorted([*lines, "no object"])
    for each in found:
        if each.key is not None:
            assert each.key.decode() == json.loads(each.value)["who"]
            assert each.partition == partition_of(each.key, PARTITIONS)


def test_a_missing_topic_is_told_and_not_made(
    broker: EmbeddedKafka, tmp_path: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"user_id": "u"}')
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topics.events", "not-made"]
    for _ in range(2):  # the first does not make it
        assert cli.main(["produce", str(file), *where]) == 3
        assert "topic not-made is missing" in capsys.readouterr().err
