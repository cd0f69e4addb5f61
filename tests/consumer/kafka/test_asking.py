"""Questions to the cluster that are asked again."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer.kafka.asking import AskCancelledError, Pace, ask, passes
from tests.consumer.contract.scripted_clock import Clock


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


@pytest.fixture
def clock() -> Clock:
    return Clock()


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
def test_what_passes_is_asked_again(clock: Clock, code: int) -> None:
    client = Client(code, code, "the end")
    assert ask(client.question, "the end", client, timer=clock) == "the end"
    assert len(client.given) == 3


def test_what_does_not_pass_is_raised_at_once(clock: Clock) -> None:
    client = Client(KafkaError.TOPIC_AUTHORIZATION_FAILED, "never asked for")
    with pytest.raises(KafkaException):
        ask(client.question, "a secret", client, timer=clock)
    assert clock.pauses == []
    assert not passes(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert not passes(KafkaError(KafkaError._FATAL, "over", fatal=True, retriable=True))


def test_what_passes_and_does_not_is_raised_when_the_time_is_over() -> None:
    client = Client(*[KafkaError._UNKNOWN_PARTITION] * 3)
    with pytest.raises(KafkaException):
        ask(client.question, "nothing", client, seconds=0)
    assert len(client.given) == 1


def test_the_first_question_is_short_and_the_log_is_served_after_each(clock: Clock) -> None:
    client = Client(*[KafkaError._TRANSPORT] * 5, "there")
    ask(client.question, "it", client, timer=clock)
    assert client.given == pytest.approx([1, 2, 4, 8, 8, 8])
    assert client.polls == 6


def test_a_question_can_be_given_up(clock: Clock) -> None:
    client = Client(*[KafkaError._TRANSPORT] * 9)
    with pytest.raises(AskCancelledError):
        ask(client.question, "it", client, cancelled=lambda: len(client.given) == 2, timer=clock)


def test_it_is_asked_again_until_the_answer_will_do(clock: Clock) -> None:
    client = Client("", "ev", KafkaError._TRANSPORT, "events", "never asked for")
    answer = ask(client.question, "it", enough=lambda told: told == "events", timer=clock)
    assert answer == "events"


def test_an_answer_that_never_will_do_is_given_when_the_time_is_over(clock: Clock) -> None:
    client = Client(*["ev"] * 9)
    answer = ask(client.question, "it", seconds=1, enough=lambda _: False, timer=clock)
    assert answer == "ev"
    assert clock.now == pytest.approx(100.8)  # another pause would take longer than is left


def test_pauses_grow_as_they_are_told_to(clock: Clock) -> None:
    client = Client(*[KafkaError._TRANSPORT] * 4, "there")
    ask(client.question, "it", pace=Pace(pause=0.1, longest_pause=0.4), timer=clock)
    assert clock.pauses == pytest.approx([0.1, 0.2, 0.4, 0.4])


def test_an_end_that_comes_nearer_meanwhile_ends_it(clock: Clock) -> None:
    client = Client(*[KafkaError._TRANSPORT] * 99)
    with pytest.raises(KafkaException):
        ask(client.question, "it", ends=lambda: 101 if len(client.given) > 2 else 999, timer=clock)
    assert clock.now <= 101
    assert client.given[-1] <= 1


def test_which_errors_pass_can_be_told(clock: Clock) -> None:
    client = Client(KafkaError._STATE, KafkaError._TRANSPORT, "never asked for")
    with pytest.raises(KafkaException):
        ask(client.question, "it", passing=lambda e: e.code() == KafkaError._STATE, timer=clock)
    assert len(client.given) == 2
