"""Questions to the cluster that are asked again."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer.kafka import asking
from consumer.kafka.asking import AskCancelledError, ask, passes


class Client:
    """Answers by a script, and notes how long it was given."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.given: list[float] = []
        self.polls = 0

    def poll(self, timeout: float) -> None:
        self.polls += 1

    def question(self, seconds: float) -> str:
        self.given.append(seconds)
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise KafkaException(KafkaError(answer))
        return answer


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PAUSE_SECONDS", 0)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    ],
)
def test_what_passes_is_asked_again(code: int) -> None:
    client = Client(code, code, "the end")
    assert ask(client.question, "the end", client) == "the end"
    assert len(client.given) == 3


def test_what_does_not_pass_is_raised_at_once() -> None:
    client = Client(KafkaError.TOPIC_AUTHORIZATION_FAILED, "never asked for")
    with pytest.raises(KafkaException):
        ask(client.question, "a secret", client)
    assert not passes(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert not passes(KafkaError(KafkaError._FATAL, "over", fatal=True, retriable=True))


def test_what_passes_and_does_not_is_raised_when_the_time_is_over() -> None:
    client = Client(*[KafkaError._UNKNOWN_PARTITION] * 3)
    with pytest.raises(KafkaException):
        ask(client.question, "nothing", client, seconds=0)
    assert len(client.given) == 1


def test_the_first_question_is_short_and_the_log_is_served_after_each() -> None:
    client = Client(*[KafkaError._TRANSPORT] * 5, "there")
    ask(client.question, "it", client)
    assert client.given == pytest.approx([1, 2, 4, 8, 8, 8])
    assert client.polls == 6


def test_a_question_can_be_given_up() -> None:
    client = Client(*[KafkaError._TRANSPORT] * 9)
    with pytest.raises(AskCancelledError):
        ask(client.question, "it", client, cancelled=lambda: len(client.given) == 2)
