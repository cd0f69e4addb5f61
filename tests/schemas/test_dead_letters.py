"""The headers of dead letters, written and read."""

from __future__ import annotations

import pytest

from schemas.dead_letters import (
    DeadLetterHeaders,
    Refusal,
    RefusalReason,
    dead_letter_headers,
    original_headers,
    read_dead_letter_headers,
    redrive_headers,
    redriven_into,
    redrives_of,
)

PLACE = {"topic": "user-events", "partition": 3, "offset": 17, "timestamp": -1}


@pytest.mark.parametrize("reason", RefusalReason)
def test_what_is_written_is_read(reason: RefusalReason) -> None:
    refusal = Refusal(reason=reason, field="text", detail="a “sentence”")
    headers = dead_letter_headers(refusal, **PLACE, truncated_from=9, redrives=2)  # type: ignore[arg-type]
    said = read_dead_letter_headers([("own", b"\xff"), *headers])
    assert said == DeadLetterHeaders(
        reason=reason, field="text", detail="a “sentence”", **PLACE, truncated_from=9, redrives=2
    )
    assert said.cut
    assert said.refusal == refusal
    assert original_headers([("own", b"\xff"), *headers]) == (("own", b"\xff"),)
    plain = dead_letter_headers(Refusal(reason=reason, detail=""), **PLACE)  # type: ignore[arg-type]
    assert "dlq_redrives" not in dict(plain)
    assert not read_dead_letter_headers(plain).cut


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("dlq_reason", b"no_text"),),
        (("dlq_reason", b"\xff"), ("dlq_topic", b"t"), ("dlq_partition", b"1")),
        (
            *(("dlq_reason", b"no text of ours"), ("dlq_topic", b"t")),
            *(("dlq_partition", b"1"), ("dlq_offset", b"2")),
        ),
    ],
)
def test_what_is_not_whole_is_none(headers: tuple[tuple[str, bytes], ...]) -> None:
    with pytest.raises(ValueError, match=r"dlq|reason|decode"):
        read_dead_letter_headers(headers)


def test_a_record_says_how_often_it_was_brought_back_and_where_to() -> None:
    headers = redrive_headers(3, "raw")
    assert redrives_of(headers) == 3
    assert redriven_into(headers, "raw")
    assert not redriven_into(headers, "user-events")


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"12345", "٣".encode(), b"many"])
def test_a_count_that_is_none_of_ours_is_0(value: bytes) -> None:
    assert redrives_of([("dlq_redrives", value)]) == 0
    assert redrives_of([]) == 0
