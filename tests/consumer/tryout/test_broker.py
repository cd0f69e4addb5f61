"""The embedded broker: that it is a Kafka, and that it starts, stops and dies as it says."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.cli import main as cli
from consumer.tryout.broker import (
    DataFolderError,
    EmbeddedKafka,
    JarsError,
    PortError,
    StartError,
)
from consumer.tryout.broker.config import to_java
from consumer.tryout.broker.folder import locked
from consumer.tryout.broker.install import installed_kafka
from consumer.tryout.broker.jars import PINNED, kafka_folder, kafka_jars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WITHIN_S = 30.0
# A killed broker may come back when the controller has given up the session of the one before.
SHORT_SESSION = {"broker.session.timeout.ms": "2000"}
ROOT = Path(__file__).parents[3]


def create_topic(kafka: EmbeddedKafka) -> str:
    name = f"topic-{uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result()
    return name


def produce(kafka: EmbeddedKafka, topic: str, *values: bytes) -> None:
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "acks": "all",
            "message.max.bytes": 15_000_000,
            "log_level": 0,
        }
    )
    errors: list[KafkaError] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda e, _: errors.append(e) if e else None)
    assert producer.flush(WITHIN_S) == 0
    assert errors == []


def read(kafka: EmbeddedKafka, topic: str, count: int, protocol: str = "classic") -> list[bytes]:
    """Read the first committed values of a topic, as a new consumer group."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": f"group-{uuid4().hex[:12]}",
            "group.protocol": protocol,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + WITHIN_S
    try:
        while len(values) < count:
            assert time.monotonic() < deadline, f"{len(values)} of {count} records"
            for message in consumer.consume(count, 0.5):
                assert message.error() is None, message.error()
                values.append(message.value() or b"")
    finally:
        consumer.close()
    return values


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # where there is one, a zombie that nobody waits for is dead
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker to mistreat. A test leaves it running."""
    with EmbeddedKafka(tmp_path_factory.mktemp("spare")) as kafka:
        yield kafka


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that someone else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# What it can do


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_what_is_produced_is_consumed_under_both_group_protocols(
    broker: EmbeddedKafka, protocol: str
) -> None:
    topic = create_topic(broker)
    produce(broker, topic, b"one", b"two", b"three")
    assert read(broker, topic, 3, protocol) == [b"one", b"two", b"three"]


def test_a_transaction_shows_its_records_only_when_it_commits(broker: EmbeddedKafka) -> None:
    topic = create_topic(broker)
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"id-{uuid4().hex}"}
    )
    producer.init_transactions(WITHIN_S)
    for value, end in [
        (b"dropped", producer.abort_transaction),
        (b"kept", producer.commit_transaction),
    ]:
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(WITHIN_S)  # written to the log before it is aborted
        end(WITHIN_S)
    assert read(broker, topic, 1) == [b"kept"]


def test_it_takes_messages_of_ten_megabytes(broker: EmbeddedKafka) -> None:
    topic = create_topic(broker)
    produce(broker, topic, bytes(10_000_000))
    assert [len(value) for value in read(broker, topic, 1)] == [10_000_000]


def test_a_topic_that_was_not_created_is_an_error(broker: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    metadata = admin.list_topics("no-such-topic", timeout=WITHIN_S)
    error = metadata.topics["no-such-topic"].error
    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_group_may_have_a_session_timeout_of_one_second(broker: EmbeddedKafka) -> None:
    topic = create_topic(broker)
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": f"group-{uuid4().hex}",
            "session.timeout.ms": 1000,
            "heartbeat.interval.ms": 300,
        }
    )
    consumer.subscribe([topic])
    try:
        eventually(lambda: consumer.poll(0.1) is None and consumer.assignment() != [])
    finally:
        consumer.close()


# Its life


def test_data_survive_a_stop_a_kill_and_a_reopening(tmp_path: Path) -> None:
    data = tmp_path / "a folder, with spaces and 用户"
    with EmbeddedKafka(data, properties=SHORT_SESSION) as kafka:
        before = (kafka.cluster_id, kafka.ports)
        topic = create_topic(kafka)
        produce(kafka, topic, b"first")

        kafka.stop(0)
        assert kafka.pid(0) is None
        kafka.start(0)
        produce(kafka, topic, b"after the stop")

        kafka.kill(0)
        kafka.start(0)
        produce(kafka, topic, b"after the kill")
    with EmbeddedKafka(data) as kafka:
        assert (kafka.cluster_id, kafka.ports) == before
        assert read(kafka, topic, 3) == [b"first", b"after the stop", b"after the kill"]


def test_three_brokers_lose_nothing_when_one_is_killed(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path, brokers=3, properties=SHORT_SESSION) as kafka:
        topic = create_topic(kafka)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        partition = admin.list_topics(topic).topics[topic].partitions[0]
        assert sorted(partition.isrs) == [0, 1, 2]
        produce(kafka, topic, b"all three")

        kafka.kill(partition.leader)
        produce(kafka, topic, b"two of three")  # min.insync.replicas is 2
        kafka.start(partition.leader)
        kafka.await_in_sync()
        assert sorted(admin.list_topics(topic).topics[topic].partitions[0].isrs) == [0, 1, 2]
        assert read(kafka, topic, 2) == [b"all three", b"two of three"]


def test_a_paused_broker_answers_when_it_is_resumed(spare: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": spare.bootstrap_servers, "log_level": 0})
    spare.pause(0)
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.5)
    spare.resume(0)
    assert list(admin.list_topics(timeout=WITHIN_S).brokers) == [0]


def test_a_running_broker_is_not_started_again(broker: EmbeddedKafka) -> None:
    with pytest.raises(StartError, match="broker 0 is running"):
        broker.start(0)


def test_a_paused_broker_can_be_stopped(spare: EmbeddedKafka) -> None:
    spare.pause(0)
    spare.stop(0)
    spare.start(0, wait=False)
    spare.await_ready()
    assert spare.failure() is None


def test_a_broker_that_ends_by_itself_is_reported_with_its_log(spare: EmbeddedKafka) -> None:
    pid = spare.pid(0)
    assert pid is not None
    assert spare.failure() is None
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: spare.failure() is not None)
    failure = str(spare.failure())
    assert failure.startswith("broker 0 has ended by itself")
    assert str(spare.data / "broker-0") in failure
    spare.kill(0)  # take note of its end
    spare.start(0)


PARENT = """
import sys, threading, time
from pathlib import Path
from consumer.tryout.broker import EmbeddedKafka

kafka = EmbeddedKafka(Path(sys.argv[1]))
# Started in a thread that ends: the brokers are the process's, not the thread's.
starter = threading.Thread(target=kafka.open)
starter.start()
starter.join()
print(kafka.pid(0), flush=True)
time.sleep(600)
"""


def test_a_killed_parent_takes_its_broker_along_and_frees_the_data(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        with pytest.raises(DataFolderError, match="in use by another broker"):
            EmbeddedKafka(tmp_path).open()
        parent.kill()
    with locked(tmp_path):
        # Its files are closed, and the lock with them; the rest of its end takes a moment.
        deadline = time.monotonic() + 30
        while runs(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


# The command

COMMAND = """
import sys
from pathlib import Path
from consumer.tryout.broker import run_broker

sys.exit(run_broker(Path(sys.argv[1])))
"""


def run_command(data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, str(data)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_the_command_prints_its_servers_when_ready_and_ends_well_on_sigterm(tmp_path: Path) -> None:
    with run_command(tmp_path) as command:
        assert command.stdout is not None
        servers = command.stdout.readline().strip()
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        assert list(admin.list_topics(timeout=WITHIN_S).brokers) == [0]
        command.terminate()
        assert command.wait(WITHIN_S) == 0
        assert command.stdout.read() == ""


def test_the_command_ends_well_on_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    with run_command(tmp_path) as command:
        eventually((tmp_path / "broker-0" / "data" / "meta.properties").exists)
        command.send_signal(signal.SIGINT)
        command.send_signal(signal.SIGINT)  # an impatient user
        assert command.wait(WITHIN_S) == 0
        assert command.stdout is not None
        assert command.stdout.read() == ""
    with locked(tmp_path):  # the watchdog, which holds this lock too, has ended its brokers
        pass


def test_the_command_fails_with_one_message_when_the_port_is_taken(
    tmp_path: Path, closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert cli.main(["broker", "--data", str(tmp_path), "--port", str(closed_port)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"port {closed_port} on 127.0.0.1 is in use" in err
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


# What it refuses


def test_a_taken_port_is_named(tmp_path: Path, closed_port: int) -> None:
    with pytest.raises(PortError, match=f"port {closed_port} on 127.0.0.1 is in use"):
        EmbeddedKafka(tmp_path, port=closed_port).open()


def test_a_host_that_is_not_this_machine_is_named(tmp_path: Path) -> None:
    with pytest.raises(PortError, match=r"192\.0\.2\.1 cannot be bound"):
        EmbeddedKafka(tmp_path, host="192.0.2.1").open()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("...")
    with pytest.raises(DataFolderError, match=r"holds thesis\.txt and no cluster"):
        EmbeddedKafka(tmp_path).open()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderError, match="cannot be used as a data folder"):
        EmbeddedKafka(tmp_path / "file").open()


def test_data_of_another_number_of_brokers_are_refused(tmp_path: Path) -> None:
    state = {"cluster_id": "x", "ports": [1, 2, 3], "controller_ports": [4, 5, 6]}
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    with pytest.raises(DataFolderError, match=r"cluster of 3 broker\(s\), not 1"):
        EmbeddedKafka(tmp_path).open()


@pytest.mark.parametrize("text", ["", "[]", '{"cluster_id": "x", "ports": "y"}'])
def test_an_unreadable_state_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(DataFolderError, match=r"cluster\.json does not describe a cluster"):
        EmbeddedKafka(tmp_path).open()


def test_settings_that_kafka_refuses_are_quoted_from_its_log(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path, properties={"num.network.threads": "many"})
    with pytest.raises(StartError, match=r"(?s)broker 0 has ended .*num\.network\.threads"):
        kafka.open()


def test_a_broker_that_ends_while_starting_is_quoted(tmp_path: Path) -> None:
    sasl = {"listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"}
    kafka = EmbeddedKafka(tmp_path, properties=sasl)
    with pytest.raises(StartError, match=r"(?s)broker 0 .* with exit code 1.*last lines.*JAAS"):
        kafka.open()
    assert kafka.pid(0) is None


@pytest.mark.parametrize(("brokers", "port"), [(2, None), (0, None), (1, 0), (3, 65_534)])
def test_impossible_numbers_are_refused_at_once(
    tmp_path: Path, brokers: int, port: int | None
) -> None:
    with pytest.raises((ValueError, PortError), match="choose"):
        EmbeddedKafka(tmp_path, brokers=brokers, port=port)


def test_settings_are_written_as_java_reads_them() -> None:
    assert (
        to_java({"a": "C:\\logs", "b": "é用😀"}) == "a=C:\\\\logs\nb=\\u00e9\\u7528\\ud83d\\ude00\n"
    )


# How Kafka itself is had


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A registry on this machine that serves three of the jars, the only one that jgo knows."""
    few = tuple(jar for jar in PINNED if jar.artifact in {"jspecify", "slf4j-api", "jackson-core"})
    intact = dict(zip(PINNED, kafka_jars(), strict=True))
    mirror = Mirror(tmp_path / "mirror")
    for jar in few:
        path = mirror.folder / jar.group.replace(".", "/") / jar.artifact / jar.version / jar.name
        path.parent.mkdir(parents=True)
        shutil.copy(intact[jar], path)
        mirror.paths[jar.artifact] = path
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\nmirror = {mirror.url}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setattr("jgo.constants.MAVEN_CENTRAL_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("consumer.tryout.broker.jars.PINNED", few)
    with mirror:
        yield mirror


class Mirror:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: dict[str, Path] = {}
        self.served: list[str] = []
        mirror = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                if self.path.endswith(".jar"):
                    mirror.served.append(Path(self.path).name)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = "http://{}:{}".format(*self.server.server_address)

    def __enter__(self) -> None:
        threading.Thread(target=self.server.serve_forever, args=(0.05,)).start()

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_jars_are_fetched_once_for_all_who_need_them_at_the_same_time(
    tmp_path: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(4) as pool:
        results = [job.result() for job in [pool.submit(kafka_jars, tmp_path) for _ in range(4)]]
    assert len(set(results)) == 1
    assert sorted(mirror.served) == sorted(path.name for path in results[0])
    assert [m for m in caplog.messages if "waiting" not in m] == [
        "fetching Apache Kafka 4.4.0, once, about 43 MB"
    ]
    assert [path.name for path in results[0][0].parents[1].iterdir()] == ["lock", "jars"]


def test_a_damaged_jar_is_fetched_again(tmp_path: Path, mirror: Mirror) -> None:
    jar = kafka_jars(tmp_path)[0]
    intact = jar.read_bytes()
    jar.write_bytes(intact[:-1])
    assert kafka_jars(tmp_path)[0].read_bytes() == intact


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    path = mirror.paths["slf4j-api"]
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(JarsError, match=r"slf4j-api-.*SHA-256.*look at the mirror"):
        kafka_jars(tmp_path)
    assert list(tmp_path.glob("kafka-*/jars")) == []


def test_without_a_network_the_first_start_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("jgo.constants.MAVEN_CENTRAL_URL", "http://127.0.0.1:1")
    with pytest.raises(JarsError, match="connect to the network for the first start"):
        kafka_jars(tmp_path)


def test_a_broker_starts_without_the_archive_where_java_cannot_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = []

    def train(*_: object) -> None:
        attempts.append(1)
        raise StartError("no archive")

    monkeypatch.setattr("consumer.tryout.broker.install.kafka_jars", lambda cache: ())
    monkeypatch.setattr("consumer.tryout.broker.install._train", train)
    kafka_folder(tmp_path).mkdir()
    for _ in range(2):
        assert installed_kafka(tmp_path).java == ()
    assert len(attempts) == 1
    assert "Kafka starts without Java's archive" in caplog.text
