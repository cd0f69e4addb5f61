"""What is told of brokers that come and go, from librdkafka's own lines."""

from __future__ import annotations

import logging

import pytest

from consumer.kafka.broker_log import BrokerLog, cause_of

AT = "127.0.0.1:9092"
REFUSED = (
    f"{AT}/bootstrap: Connect to ipv4#{AT} failed: Connection refused (after 0ms in state CONNECT)"
)


class Told:
    """A log of brokers on a clock of its own, and the lines that come out."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.now = 1000.0
        self.log = BrokerLog(lambda: self.now)
        self._caplog = caplog

    def line(self, text: str, facility: str = "FAIL", client: str = "rdkafka#consumer-1") -> bool:
        """As librdkafka logs it; tell whether it is logged as it is."""
        arguments = (facility, client, f"[thrd:{AT}/bootstrap]: {text}")
        record = logging.LogRecord(
            "librdkafka", logging.ERROR, "", 0, "%s [%s] %s", arguments, None
        )
        passed = self.log.filter(record)
        self.passed = record.getMessage() if passed else None
        return passed

    @property
    def lines(self) -> list[str]:
        found = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return found


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def test_what_a_client_tries_again_by_itself_is_no_warning() -> None:
    text = "Failed to acquire idempotence PID: Broker: Coordinator load in progress: retrying"
    arguments = ("GETPID", "rdkafka#producer-1", text)
    record = logging.LogRecord("librdkafka", logging.WARNING, "", 0, "%s [%s] %s", arguments, None)
    assert BrokerLog().filter(record)
    assert (record.levelno, record.levelname) == (logging.INFO, "INFO")


def test_a_broker_that_is_away_is_told_once_then_once_a_minute_then_that_it_is_back(
    told: Told,
) -> None:
    told.log.sample([AT], [AT])
    told.now += 10
    told.log.sample([], [AT])
    lines = []
    for _ in range(2500):  # of 130 seconds, from two clients, each line twice
        told.line(REFUSED)
        told.line(REFUSED, client="rdkafka#producer-2")
        told.now += 0.052
        told.log.sample([], [AT])
    lines += told.lines
    told.log.sample([AT], [AT])
    lines += told.lines
    assert [line.partition(":")[0] for line in lines] == [
        "Kafka cannot be reached at 127.0.0.1",
        "Kafka has not been reached at 127.0.0.1",
        "Kafka has not been reached at 127.0.0.1",
        "Kafka answers again after 130 s",
    ]


def test_a_line_that_comes_late_does_not_make_a_broker_lost_again(told: Told) -> None:
    told.line(REFUSED)
    told.now += 50
    told.log.sample([AT], [AT])
    assert len(told.lines) == 2
    for _ in range(300):
        told.line(REFUSED)
        told.line(REFUSED.replace(AT, "localhost:9092"))  # its name in bootstrap.servers
    assert told.lines == []


def test_one_broker_of_three_is_told_by_itself(told: Told) -> None:
    others = ["a:1", "b:1"]
    told.log.sample([*others, AT], [*others, AT])
    told.now += 10
    for _ in range(5):
        told.log.sample(others, [*others, AT])
        told.line(REFUSED)
        told.now += 1
    told.log.sample([*others, AT], [*others, AT])
    lost, back = told.lines
    assert lost.startswith(f"Kafka cannot be reached at {AT}: ")
    assert back == f"broker {AT} answers again after 5 s"


def test_a_connection_that_was_closed_while_idle_is_no_news(told: Told) -> None:
    assert not told.line(f"{AT}/1: Disconnected (after 600123ms in state UP)")
    assert told.lines == []


def test_a_connection_that_is_closed_at_the_first_question_is_told_as_that(told: Told) -> None:
    assert not told.line(f"{AT}/1: Disconnected: connection closed by peer (after 2ms in state UP)")
    (line,) = told.lines
    assert "closes the connection at the first question" in line
    assert "security.protocol" in line


def test_a_process_without_a_member_is_told_by_the_answer_to_its_question(told: Told) -> None:
    told.line(REFUSED)
    told.now += 3
    told.log.answered()
    told.log.answered()
    assert told.lines[1:] == ["Kafka answers again after 3 s"]


def test_silence_behind_an_open_connection_is_told_too(told: Told) -> None:
    told.log.sample([AT], [AT])
    told.now += 31
    told.log.sample([], [AT])
    for _ in range(20):
        told.log.silent(AT, 31)
    (line,) = told.lines
    assert f"Kafka cannot be reached at {AT}: it does not answer (time-out)" in line


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (REFUSED, "refuses the connection", "kafka.bootstrap_servers"),
        (
            "nohost:9092/bootstrap: Failed to resolve 'nohost:9092': Name or service not known "
            "(after 3ms in state CONNECT)",
            "name is not known",
            "DNS",
        ),
        (
            f"ssl://{AT}/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by "
            "peer: connecting to a PLAINTEXT broker listener? (after 1ms in state SSL_HANDSHAKE)",
            "TLS handshake fails",
            "security.protocol",
        ),
        (
            f"ssl://{AT}/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate "
            "verify failed: broker certificate could not be verified, verify that "
            "ssl.ca.location is correctly configured (after 5ms in state SSL_HANDSHAKE)",
            "certificate",
            "ssl.ca.location",
        ),
        (
            f"sasl_plaintext://{AT}/bootstrap: SASL PLAIN mechanism handshake failed: Broker: "
            "Request not valid in current SASL state (after 1ms in state AUTH_HANDSHAKE)",
            "refuses the login",
            "kafka.secrets",
        ),
        (
            f"{AT}/bootstrap: Connection setup timed out in state CONNECT (after 30006ms in state "
            "CONNECT)",
            "time-out",
            "firewalls",
        ),
        (
            f"{AT}/bootstrap: Disconnected while requesting ApiVersion: might be caused by "
            "incorrect security.protocol configuration (connecting to a SSL listener?) or broker "
            "version is < 0.10 (after 2ms in state APIVERSION_QUERY)",
            "does not answer as a broker does",
            "security.protocol",
        ),
        (f"{AT}/1: Connect to ipv4#{AT} failed: No route to host", "no network", "routes"),
        (f"{AT}/1: something new", "the connection fails", "kafka.properties"),
    ],
)
def test_causes_are_told_apart_with_the_setting_to_look_at(
    told: Told, words: str, what: str, hint: str
) -> None:
    assert not told.line(words)
    (line,) = told.lines
    assert what in line
    assert hint in line
    assert what in (told.log.reason() or "")
    cause = cause_of(words)
    assert (what in cause.what, hint in cause.hint) == (True, True)


def test_another_cause_is_told_at_once_while_nobody_has_answered_yet(told: Told) -> None:
    told.line(f"ssl://{AT}/bootstrap: Connect failed: Connection refused")
    for _ in range(3):
        told.line(f"ssl://{AT}/bootstrap: SSL handshake failed: bad (after 1ms in state CONNECT)")
    assert len(told.lines) == 2


def test_lines_about_other_things_pass_once_a_minute_and_kind(told: Told) -> None:
    text = "Application maximum poll interval (300000ms) exceeded by 12ms"
    assert told.line(text, "MAXPOLL")
    assert told.line("Configuration property x is deprecated", "CONFWARN")
    assert not told.line(text, "MAXPOLL")
    assert not told.line(text, "MAXPOLL")
    told.now += 61
    assert told.line(text, "MAXPOLL")
    assert told.passed is not None
    assert told.passed.endswith("(2 more like it)")
