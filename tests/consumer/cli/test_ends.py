"""How a command ends: expected errors in a sentence, defects with a stack, none with a secret."""

from __future__ import annotations

import errno
import logging
import os

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from consumer.cli import main as cli
from consumer.cli.command import exit_code
from consumer.contract.errors import ExpectedError, UsageError
from consumer.contract.stage import StageError
from consumer.engine.pulse import SuspendedError
from consumer.engine.transactions import FatalKafkaError
from consumer.kafka.cluster import ReadStalledError
from consumer.kafka.topics import TopicsDifferError
from consumer.migrate.errors import MigrationError
from consumer.tryout.broker import PortError, StartError
from consumer.verify import VerifyError
from models.embedding.errors import MissingPackageError

LONG_RUNNING = ["worker", "trainer", "intake --topics.raw-events raw", "verify --follow"]
REVIEW = "my password is hunter2, and the shoes are lovely"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SEGMENTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEGMENTER_CONFIG", "")


@pytest.fixture
def failing(monkeypatch):
    """A cluster whose client fails as it is told to, whoever asks it for its topics."""

    def fail(error: Exception) -> None:
        def list_topics(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(AdminClient, "list_topics", list_topics)

    return fail


@pytest.mark.parametrize("command", [*LONG_RUNNING, "profile ann"])
def test_a_cluster_that_refuses_ends_a_command_in_one_sentence(command, failing, capsys, caplog):
    failing(KafkaException(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "no right to")))
    assert cli.main(command.split()) == (2 if command == "verify --follow" else 3)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "segmenter: cannot reach Kafka at localhost:9092: no right to\n")
    assert [each for each in caplog.records if each.levelno > logging.WARNING] == []


@pytest.mark.parametrize("command", LONG_RUNNING)
def test_a_defect_ends_a_command_with_its_own_code_and_its_stack_without_what_it_says(
    command, failing, capsys, caplog
):
    failing(LookupError(REVIEW))
    with caplog.at_level(logging.DEBUG):
        assert cli.main(command.split()) == 70
    [told] = [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]
    assert told.startswith("stopped by LookupError at consumer/")
    assert "a defect of segmenter or of a library, please report it" in told
    assert ", in list_topics" in told
    out, err = capsys.readouterr()
    assert (out, err) == ("", "")
    assert "hunter2" not in caplog.text


def test_a_stack_holds_what_led_to_an_error_without_what_it_says(caplog):
    def run() -> None:
        try:
            int(REVIEW)
        except ValueError as error:
            raise RuntimeError(REVIEW) from error

    assert exit_code(run) == 70
    assert "ValueError, through" in caplog.text
    assert "which led to RuntimeError, through" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_led_to_an_expected_error_is_told_for_debugging_without_what_it_says(caplog, capsys):
    def run() -> None:
        try:
            int(REVIEW)
        except ValueError as error:
            raise StageError("record 3 cannot be read") from error

    with caplog.at_level(logging.DEBUG):
        assert exit_code(run) == 3
    assert capsys.readouterr().err == "segmenter: record 3 cannot be read\n"
    assert "ValueError, through" in caplog.text
    assert "hunter2" not in caplog.text


EXPECTED = [
    *((UsageError, 2), (VerifyError, 2), (TopicsDifferError, 2), (PortError, 2)),
    *((ExpectedError, 3), (StageError, 3), (FatalKafkaError, 3), (ReadStalledError, 3)),
    *((SuspendedError, 3), (MigrationError, 3), (StartError, 3), (MissingPackageError, 3)),
]


@pytest.mark.parametrize(("kind", "code"), EXPECTED)
def test_an_expected_error_is_told_by_its_sentence(kind, code, capsys, caplog):
    def run() -> None:
        raise kind("cannot go on")

    assert exit_code(run) == code
    assert (capsys.readouterr().err, caplog.text) == ("segmenter: cannot go on\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "model.json"), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (KafkaException(KafkaError(KafkaError._FAIL)), 3),
        (OSError(errno.EBADF, "Bad file descriptor"), 70),
        (ValueError("cannot go on"), 70),
        (ModuleNotFoundError("cannot go on"), 70),
        (MemoryError(), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_the_world_does_is_told_from_what_the_program_does(error, code, capsys):
    def run() -> None:
        raise error

    assert exit_code(run) == code
    assert capsys.readouterr().err.startswith("segmenter: ") == (code == 3)
