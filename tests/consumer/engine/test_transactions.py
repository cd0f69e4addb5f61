"""Transactions without a broker: what is done about each error of each call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.contract.records import Output
from consumer.engine import crash_points
from consumer.engine.transactions import EndingError, FatalKafkaError, Outcome, Transactions
from tests.consumer.contract.scripted_clock import Clock
from tests.consumer.contract.scripted_producer import Client, ScriptedProducer

BUDGET = 0.2
OFFSETS = [TopicPartition("user-events", 0, 7)]
OUTPUTS = [
    Output("changes", b"u", b"SECRET text", (("ce_id", b"1"),)),
    Output("profiles", b"u", None, partition=3),
]


def error(code: int = KafkaError._FAIL, reason: str = "it failed", **flags: bool) -> KafkaException:
    return KafkaException(KafkaError(code, reason, **flags))


def fatal() -> KafkaException:
    return error(KafkaError._FENCED, "a successor is here", fatal=True, txn_requires_abort=True)


def retriable() -> KafkaException:
    return error(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "not yet", retriable=True)


def abortable() -> KafkaException:
    return error(KafkaError.UNKNOWN_MEMBER_ID, "who are you", txn_requires_abort=True)


def permanent() -> KafkaException:
    code = KafkaError.TOPIC_AUTHORIZATION_FAILED
    return error(code, "closed to you", txn_requires_abort=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> Client:
    return Client()


def begun(
    client: Client,
    clock: Clock,
    scripted: type[ScriptedProducer] = ScriptedProducer,
    **options: Any,
) -> Transactions:
    """Start a scripted producer."""
    return Transactions(
        {"transactional.id": "t"},
        BUDGET,
        start_seconds=1.0,
        make=lambda config: scripted(config, client),  # type: ignore[arg-type, return-value]
        timer=clock,
        **options,
    )


@pytest.fixture
def transactions(client: Client, clock: Clock) -> Transactions:
    made = begun(client, clock)
    client.calls.clear()
    return made


def write(transactions: Transactions, client: Client, within: float | None = None) -> Outcome:
    return transactions.write(OUTPUTS, OFFSETS, client, within)  # type: ignore[arg-type]


# --- a transaction that succeeds ----------------------------------------------------------------


def test_outputs_and_offsets_go_in_their_order_and_are_committed(
    transactions: Transactions, client: Client
) -> None:
    assert write(transactions, client) is Outcome.COMMITTED
    expected = ["begin", "produce", "produce", "metadata", "send_offsets", "commit"]
    assert client.calls == expected
    first, second = client.produced
    assert (first["topic"], first["key"], first["value"]) == ("changes", b"u", b"SECRET text")
    assert first["headers"] == [("ce_id", b"1")]
    assert first["partition"] == -1  # the key decides
    assert (second["topic"], second["value"], second["partition"]) == ("profiles", None, 3)
    assert (first["timestamp"], second["timestamp"], second["headers"]) == (0, 0, None)
    assert client.sent[0][0] == OFFSETS


def test_the_groups_metadata_are_asked_for_anew_in_each_transaction_and_after_the_outputs(
    transactions: Transactions, client: Client
) -> None:
    for _ in range(2):
        write(transactions, client)
    assert [metadata for _, metadata in client.sent] == [("generation", 1), ("generation", 2)]
    expected = ["begin", "produce", "produce", "metadata", "send_offsets", "commit"]
    assert client.calls == expected * 2


def test_a_full_queue_is_polled_until_the_record_fits(
    transactions: Transactions, client: Client
) -> None:
    client.answers["produce"] = [BufferError("full"), BufferError("full"), None, None]
    assert write(transactions, client) is Outcome.COMMITTED
    assert client.calls[:6] == ["begin", "produce", "poll", "produce", "poll", "produce"]
    assert [made["topic"] for made in client.produced] == ["changes", "profiles"]


def test_written_holds_the_offset_behind_the_latest_transactions_last_record(
    transactions: Transactions, client: Client
) -> None:
    client.answers["commit"] = [
        client.deliver(("changes", 2, 0), ("profiles", 3, 8)),
        client.deliver(("changes", 2, 1), ("profiles", 3, 9), ("profiles", 3, 10)),
        None,
    ]
    write(transactions, client)
    assert transactions.written == {("profiles", 3): 9}  # of those that a key put there, nothing
    transactions.write([*OUTPUTS, OUTPUTS[1]], OFFSETS, client)  # type: ignore[arg-type]
    assert transactions.written == {("profiles", 3): 11}
    write(transactions, client)
    assert transactions.written == {}


def test_the_crash_points_are_passed_in_the_order_of_the_calls(
    transactions: Transactions, client: Client
) -> None:
    crash_points.install(lambda point: client.calls.append(f"<{point}>"))
    try:
        write(transactions, client)
    finally:
        crash_points.install(None)
    assert client.calls == [
        "<before_begin>",
        "begin",
        "<begun>",
        "produce",
        "produce",
        "<produced>",
        "metadata",
        "send_offsets",
        "<offsets_sent>",
        "commit",
        "<committed>",
    ]


# --- fatal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", [fatal(), abortable(), permanent(), error()])
def test_a_producer_that_cannot_be_started_raises(client: Client, why: KafkaException) -> None:
    client.answers["init"] = [why]
    with pytest.raises(FatalKafkaError, match=f"could be started: {why.args[0].str()}"):
        begun(client, Clock())
    assert client.count("init") == 1


@pytest.mark.parametrize("call", ["begin", "produce", "send_offsets", "commit"])
def test_a_fatal_error_raises_at_once(
    transactions: Transactions, client: Client, call: str
) -> None:
    client.answers[call] = [fatal()]
    with pytest.raises(FatalKafkaError, match="a successor is here"):
        write(transactions, client)
    assert client.count(call) == 1
    # A fenced producer has nothing to abort: its successor did.
    assert client.count("abort") == 0


def test_a_fatal_error_of_the_abort_raises(transactions: Transactions, client: Client) -> None:
    client.answers |= {"send_offsets": [abortable()], "abort": [fatal()]}
    with pytest.raises(FatalKafkaError, match="a successor is here"):
        write(transactions, client)


# --- retriable ----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["send_offsets", "commit"])
def test_a_retriable_error_is_tried_again_within_the_budget(
    transactions: Transactions, client: Client, call: str
) -> None:
    client.answers[call] = [retriable(), retriable(), None]
    assert write(transactions, client) is Outcome.COMMITTED
    assert client.count(call) == 3
    assert client.count("abort") == 0
    # Each try is given what is left.
    assert client.timeouts[call] == pytest.approx([0.2, 0.15, 0.1])


def test_the_start_is_tried_again_within_its_own_budget(client: Client, clock: Clock) -> None:
    client.answers["init"] = [retriable() for _ in range(4)]
    begun(client, clock)
    assert client.count("init") == 5
    assert clock.slept > BUDGET


def test_a_start_that_stays_retriable_raises_when_its_budget_is_over(
    client: Client, clock: Clock
) -> None:
    client.always["init"] = retriable
    with pytest.raises(FatalKafkaError, match="could be started: not yet"):
        begun(client, clock)
    assert BUDGET < clock.slept <= 1.0


def test_offsets_that_are_not_taken_within_the_budget_abort_the_transaction(
    transactions: Transactions, client: Client, clock: Clock
) -> None:
    client.always["send_offsets"] = retriable
    assert write(transactions, client) is Outcome.ABORTED
    assert client.count("send_offsets") > 1
    assert clock.slept <= BUDGET
    assert "abort" in client.calls
    assert client.count("commit") == 0


def test_an_abort_is_tried_again_within_the_budget(
    transactions: Transactions, client: Client
) -> None:
    client.answers |= {"begin": [abortable()], "abort": [retriable(), None]}
    assert write(transactions, client) is Outcome.ABORTED
    assert client.count("abort") == 2


def test_less_time_than_the_budget_shortens_the_tries(
    transactions: Transactions, client: Client, clock: Clock
) -> None:
    client.always["send_offsets"] = retriable
    assert write(transactions, client, within=0.1) is Outcome.ABORTED
    assert clock.slept <= 0.1
    assert max(client.timeouts["send_offsets"]) == pytest.approx(0.1)


def test_more_time_than_the_budget_does_not_prolong_the_tries(
    transactions: Transactions, client: Client
) -> None:
    write(transactions, client, within=60)
    assert client.timeouts["commit"] == pytest.approx([BUDGET])


# --- requires an abort --------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["begin", "produce", "send_offsets", "commit"])
def test_an_error_that_requires_an_abort_is_answered_with_one(
    transactions: Transactions, client: Client, call: str
) -> None:
    client.answers[call] = [abortable()]
    assert write(transactions, client) is Outcome.ABORTED
    assert client.count(call) == 1
    assert client.calls[client.calls.index("abort") :][:2] == ["abort", "poll"]
    # The next one begins anew.
    assert write(transactions, client) is Outcome.COMMITTED


@pytest.mark.parametrize("call", ["begin", "produce", "send_offsets", "commit"])
def test_a_permanent_cause_is_raised_after_the_abort(
    transactions: Transactions, client: Client, call: str
) -> None:
    client.answers[call] = [permanent()]
    with pytest.raises(FatalKafkaError, match="closed to you"):
        write(transactions, client)
    # Readers would otherwise have to wait for the transaction's timeout.
    assert client.calls[-2:] == ["abort", "poll"]


def test_a_record_that_cannot_be_delivered_for_good_is_raised_after_the_abort(
    transactions: Transactions, client: Client
) -> None:
    too_large = error(KafkaError.MSG_SIZE_TOO_LARGE, "too large")

    def fail() -> None:
        client.refuse("changes", too_large)
        raise abortable()

    client.answers["commit"] = [fail]
    with pytest.raises(FatalKafkaError) as raised:
        write(transactions, client)
    assert client.calls[-2:] == ["abort", "poll"]
    assert str(raised.value).startswith("while writing to changes: too large: raise max.message")


def test_an_error_names_the_topic_of_the_record_at_fault_not_of_those_dropped_with_it(
    transactions: Transactions, client: Client
) -> None:
    def fail() -> None:
        client.refuse("profiles", error(KafkaError._PURGE_QUEUE, "purged"))
        client.refuse("dlq", error(KafkaError.MSG_SIZE_TOO_LARGE, "too large"))
        raise abortable()

    client.answers["commit"] = [fail]
    with pytest.raises(FatalKafkaError, match="while writing to dlq: too large"):
        write(transactions, client)


def test_an_error_names_the_topic_of_a_record_that_the_client_itself_refuses(
    transactions: Transactions, client: Client
) -> None:
    client.answers["produce"] = [error(KafkaError.MSG_SIZE_TOO_LARGE, "too large")]
    with pytest.raises(FatalKafkaError, match="while writing to changes: too large"):
        write(transactions, client)


def test_a_delivery_that_failed_for_now_is_aborted_and_not_held_against_the_next_transaction(
    transactions: Transactions, client: Client
) -> None:
    def fail() -> None:
        client.refuse("changes", error(KafkaError._MSG_TIMED_OUT, "timed out"))
        raise abortable()

    client.answers["commit"] = [fail, fatal()]
    assert write(transactions, client) is Outcome.ABORTED
    with pytest.raises(FatalKafkaError) as raised:
        write(transactions, client)
    assert str(raised.value) == "a successor is here"


@pytest.mark.parametrize("call", ["send_offsets", "commit"])
def test_an_abort_behind_a_record_ends_the_producer_since_its_sequence_number_may_come_again(
    transactions: Transactions, client: Client, call: str
) -> None:
    client.answers[call] = [abortable()]
    assert write(transactions, client) is Outcome.ABORTED
    assert client.calls[-5:] == ["abort", "poll", "purge", "new producer", "init"]
    assert write(transactions, client) is Outcome.COMMITTED


@pytest.mark.parametrize(("outputs", "call"), [(OUTPUTS, "produce"), ([], "commit")])
def test_an_abort_of_a_transaction_without_a_record_keeps_the_producer(
    transactions: Transactions, client: Client, outputs: list[Output], call: str
) -> None:
    client.answers[call] = [abortable()]
    assert transactions.write(outputs, OFFSETS, client) is Outcome.ABORTED  # type: ignore[arg-type]
    assert client.calls[-2:] == ["abort", "poll"]


def test_what_became_of_the_last_record_of_each_place_is_asked_for_and_of_no_other(
    transactions: Transactions, client: Client
) -> None:
    keyed, placed = OUTPUTS
    outputs = [placed, keyed, placed, replace(placed, partition=4), keyed, keyed]
    asked: list[bool] = []
    client.answers["commit"] = [lambda: asked.extend(bool(each) for each in client.unreported)]
    transactions.write(outputs, OFFSETS, client)  # type: ignore[arg-type]
    assert asked == [False, False, True, True, False, True]


def test_an_error_names_the_topic_of_the_first_failed_delivery_and_no_text(
    transactions: Transactions, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    def fail() -> None:
        client.refuse("changes", error(KafkaError._MSG_TIMED_OUT, "timed out"))
        client.refuse("profiles", error(KafkaError._MSG_TIMED_OUT, "timed out"))
        raise fatal()

    client.answers["commit"] = [fail]
    with pytest.raises(FatalKafkaError) as raised:
        write(transactions, client)
    assert str(raised.value) == "while writing to changes: a successor is here"
    assert "SECRET" not in caplog.text


# --- none of these ------------------------------------------------------------------------------


def test_an_end_that_fails_otherwise_raises(transactions: Transactions, client: Client) -> None:
    client.answers["commit"] = [error(KafkaError._STATE, "odd state")]
    with pytest.raises(FatalKafkaError, match="cannot commit a transaction: odd state"):
        write(transactions, client)
    client.answers |= {
        "send_offsets": [abortable()],
        "abort": [error(KafkaError._STATE, "odd state")],
    }
    with pytest.raises(FatalKafkaError, match="cannot abort a transaction: odd state"):
        write(transactions, client)


@pytest.mark.parametrize("call", ["begin", "produce", "send_offsets"])
def test_what_fails_otherwise_before_the_end_is_aborted(
    transactions: Transactions, client: Client, call: str
) -> None:
    # So says produce() of a transaction that failed already.
    client.answers[call] = [error(KafkaError._STATE, "odd state")]
    assert write(transactions, client) is Outcome.ABORTED
    client.answers |= {
        call: [error(KafkaError._STATE, "odd state")],
        "abort": [error(KafkaError._STATE, "nothing to abort")],
    }
    with pytest.raises(FatalKafkaError, match="cannot abort a transaction: nothing to abort"):
        write(transactions, client)


# --- no answer ----------------------------------------------------------------------------------


def test_a_commit_without_an_answer_is_unknown_and_not_aborted(
    transactions: Transactions, client: Client, clock: Clock
) -> None:
    client.always["commit"] = retriable
    assert write(transactions, client) is Outcome.UNKNOWN
    assert client.count("commit") > 1
    assert clock.slept <= BUDGET
    assert client.count("abort") == 0


def test_an_abort_without_an_answer_is_unknown(transactions: Transactions, client: Client) -> None:
    client.answers["produce"] = [abortable()]
    client.always["abort"] = retriable
    assert write(transactions, client) is Outcome.UNKNOWN


# --- the member ---------------------------------------------------------------------------------


def test_a_process_that_the_group_has_thrown_out_sends_no_offsets_and_aborts(
    transactions: Transactions, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.member = ""
    assert write(transactions, client) is Outcome.ABORTED
    assert client.sent == []
    assert client.calls[client.calls.index("metadata") :][:3] == ["metadata", "abort", "poll"]
    assert "the group has thrown this member out" in caplog.text


# --- producers come and go ----------------------------------------------------------------------


def test_the_old_producer_is_gone_before_a_new_one_starts(
    transactions: Transactions, client: Client
) -> None:
    # The stand-in's constructor refuses while another one lives.
    transactions.reopen()
    assert client.calls == ["purge", "new producer", "init"]
    assert client.producers[0]() is None
    assert client.producers[1]() is not None
    assert write(transactions, client) is Outcome.COMMITTED


@pytest.fixture
def closed(transactions: Transactions, client: Client) -> Iterator[Transactions]:
    transactions.close()
    yield transactions
    assert client.count("begin") == 0


def test_nothing_is_written_by_a_closed_one(closed: Transactions, client: Client) -> None:
    assert client.producers[0]() is None
    with pytest.raises(FatalKafkaError, match="closed"):
        write(closed, client)


def test_nothing_is_written_after_a_start_that_failed(closed: Transactions, client: Client) -> None:
    client.answers["init"] = [error()]
    with pytest.raises(FatalKafkaError, match="could be started"):
        closed.reopen()
    with pytest.raises(FatalKafkaError, match="closed"):
        write(closed, client)


def test_closing_twice_does_no_harm(closed: Transactions, client: Client) -> None:
    closed.close()
    assert client.count("purge") == 1


# --- a call that hangs ----------------------------------------------------------------------


class Patient(ScriptedProducer):
    """One that may still be there, in its hung call, when the next one starts."""

    def __init__(self, config: dict[str, Any], client: Client) -> None:
        client.producers.clear()
        super().__init__(config, client)


def test_a_producer_whose_call_does_not_come_back_is_replaced_and_nothing_is_committed(
    client: Client, clock: Clock
) -> None:
    transactions = begun(client, clock, Patient, hang_seconds=0.0)
    let_go = threading.Event()

    def hang() -> None:
        let_go.wait(30)

    client.answers["send_offsets"] = [hang]
    client.calls.clear()
    try:
        assert write(transactions, client) is Outcome.ABORTED
        assert client.calls[-3:] == ["purge", "new producer", "init"]
        assert client.count("commit") == client.count("abort") == 0
        # The next one has a thread of its own, that is not held up by the hung call.
        assert write(transactions, client) is Outcome.COMMITTED
    finally:
        let_go.set()


# --- the process ends ---------------------------------------------------------------------------


def test_nothing_goes_on_beyond_the_end_of_the_process(
    transactions: Transactions, client: Client, clock: Clock
) -> None:
    client.always["commit"] = retriable
    transactions.end_by(clock.now + BUDGET / 2)
    assert write(transactions, client) is Outcome.UNKNOWN
    assert clock.slept <= BUDGET / 2


def test_no_producer_is_started_while_the_process_ends(
    transactions: Transactions, client: Client, clock: Clock
) -> None:
    client.calls.clear()
    transactions.end_by(clock.now + BUDGET)
    with pytest.raises(EndingError):
        transactions.reopen()
    assert "init" not in client.calls


def test_a_start_under_way_is_given_up_when_the_process_is_to_end(
    transactions: Transactions, client: Client, clock: Clock
) -> None:
    def away() -> KafkaException:
        transactions.end_by(clock.now + BUDGET)
        return retriable()

    client.always["init"] = away
    client.calls.clear()
    with pytest.raises(EndingError):
        transactions.reopen()
    assert client.count("init") == 1


def test_an_abort_that_spends_the_producer_starts_none_while_the_process_ends(
    transactions: Transactions, client: Client, clock: Clock
) -> None:
    client.answers["send_offsets"] = [abortable()]
    transactions.end_by(clock.now + BUDGET)
    client.calls.clear()
    assert write(transactions, client) is Outcome.ABORTED
    assert client.calls[-1] == "purge"
    assert "new producer" not in client.calls
