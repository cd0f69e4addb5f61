"""The log names the first refused record of each reason, and nobody in it."""

from __future__ import annotations

import logging

import pytest

from consumer.contract.records import Record
from consumer.stages.shared.refusal_log import RefusalLog
from schemas.dead_letters import Refusal, RefusalReason
from schemas.intake import OTHER_FORMS


def refused(log: RefusalLog, offset: int, reason: RefusalReason, detail: str = "'u1' no") -> None:
    record = Record("user-events", 3, offset, -1, b"u1", b"{}")
    log.note(record, Refusal(reason=reason, field="key", detail=detail), "user-events.dlq")


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "consumer.stages.shared.refusal_log")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_refusal_of_each_reason_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog(Clock())
    for offset in range(5, 9):
        refused(log, offset, RefusalReason.KEY_MISMATCH)
    refused(log, 9, RefusalReason.TIME_TOO_OLD)
    log.committed()
    assert caplog.messages == [
        "user-events[3]@5 is refused: key_mismatch (field key); "
        "its dead letter is on user-events.dlq",
        "user-events[3]@9 is refused: time_too_old (field key); "
        "its dead letter is on user-events.dlq",
    ]


def test_more_of_a_reason_is_told_every_ten_minutes_with_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    log = RefusalLog(clock)
    for minute in (0, 5, 9, 10):
        clock.now = 60.0 * minute
        refused(log, minute, RefusalReason.KEY_MISMATCH)
        log.committed()
    assert len(caplog.messages) == 2
    assert (
        "user-events[3]@10 is refused, 3 of this reason since the last line" in caplog.messages[1]
    )


def test_what_is_aborted_is_told_when_it_is_committed(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog(Clock())
    refused(log, 1, RefusalReason.NO_TEXT)
    log.aborted()
    log.committed()
    assert not caplog.messages
    refused(log, 1, RefusalReason.NO_TEXT)
    log.committed()
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "reason",
    [
        RefusalReason.INVALID_FIELD,
        RefusalReason.KEY_MISMATCH,
        RefusalReason.TEXT_TOO_LONG,
        RefusalReason.TIME_TOO_OLD,
        RefusalReason.TIME_IN_FUTURE,
        RefusalReason.EMBEDDING_FAILED,
    ],
)
def test_a_sentence_that_may_quote_is_left_to_the_dead_letter(
    caplog: pytest.LogCaptureFixture, reason: RefusalReason
) -> None:
    log = RefusalLog(Clock())
    refused(log, 1, reason, "the key is 'u1'")
    log.committed()
    assert len(caplog.messages) == 1
    assert "u1" not in caplog.messages[0]


def test_a_sentence_that_quotes_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog(Clock())
    refused(log, 1, RefusalReason.MISSING_KEY, "the record has no key")
    log.committed()
    assert "missing_key (field key): the record has no key; its dead letter" in caplog.messages[0]


def test_a_key_of_the_other_form_is_told_with_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog(Clock())
    (detail,) = (each for each in OTHER_FORMS if each.endswith("events.key = json"))
    refused(log, 1, RefusalReason.KEY_MISMATCH, detail)
    log.stopped()
    assert "set events.key = json; nothing was sent to user-events.dlq" in caplog.messages[0]
