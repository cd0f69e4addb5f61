"""What is committed beside an offset: written, and read back, also from other versions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.offset_metadata import (
    INPUTS_HEADER,
    Loss,
    LossReason,
    OffsetMetadata,
    read_inputs,
    write_inputs,
)

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

losses = st.builds(
    Loss,
    records=st.integers(0, 2**40),
    times=st.integers(1, 99),
    last=st.datetimes(timezones=st.just(UTC)),
)
metadata = st.builds(
    OffsetMetadata,
    partitions=st.one_of(st.none(), st.integers(1, 10_000)),
    topic_id=st.one_of(st.none(), st.text(min_size=1, max_size=22)),
    first=st.one_of(st.none(), st.integers(0, 2**62)),
    lost=st.dictionaries(st.sampled_from(list(LossReason)), losses),
)


@given(metadata)
def test_what_is_written_is_read_back(known: OffsetMetadata) -> None:
    assert OffsetMetadata.read(known.write()) == known
    assert len(known.write()) < 4096  # the brokers' offset.metadata.max.bytes


@given(st.integers(1, 10_000))
def test_the_former_form_is_read(count: int) -> None:
    assert OffsetMetadata.read(f"partitions={count}") == OffsetMetadata(partitions=count)


@pytest.mark.parametrize(
    "text",
    [None, "", "null", "partitions=", "partitions=-3", " partitions=3", "3", "[]", "{", "offset 7"],
)
def test_metadata_of_another_program_say_nothing(text: str | None) -> None:
    assert OffsetMetadata.read(text) == OffsetMetadata()


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert OffsetMetadata.read('{"partitions": 3, "new": {"a": 1}}') == OffsetMetadata(partitions=3)


def test_losses_add_up_by_reason() -> None:
    later = NOW.replace(day=5)
    known = OffsetMetadata().with_loss(LossReason.RETENTION, 30, NOW)
    known = known.with_loss(LossReason.RECREATED, 0, NOW).with_loss(LossReason.RETENTION, 5, later)
    assert known.lost["retention"] == Loss(records=35, times=2, last=later)
    assert known.begun_anew == 1
    retention, recreated = known.losses("user-events[0]")
    assert retention.startswith("user-events[0]: records were removed by retention before")
    assert "2 times, last on 2026-01-05 03:04 UTC; 35 records" in retention
    assert "made anew" in recreated
    assert "once" in recreated


def test_a_members_settings_go_with_the_offset_and_not_into_the_changelogs_header() -> None:
    known = OffsetMetadata(topic_id="a", settings={"profile.half_life_days": "30.0"})
    assert OffsetMetadata.read(known.write()) == known
    header = write_inputs({"user-events": known})
    assert read_inputs([(INPUTS_HEADER, header)]) == {"user-events": OffsetMetadata(topic_id="a")}
