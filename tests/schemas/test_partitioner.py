"""Partitions of keys, as Kafka's own tests have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.partitioner import murmur2, murmur2_of, partition_of, partitions_of


@pytest.mark.parametrize(
    ("data", "signed"),
    # Kafka's UtilsTest.testMurmur2.
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafka_s(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


def test_the_two_partitioners_agree_on_one_key_in_as_many_as_there_are_partitions() -> None:
    keys = [f"u{number}".encode() for number in range(6000)]
    same = sum(partition_of(k, 12) == partition_of(k, 12, "crc32") for k in keys)
    assert 0.07 < same / len(keys) < 0.1
    for partitioner in ("murmur2", "crc32"):
        assert {partition_of(k, 12, partitioner) for k in keys} == set(range(12))


KEYS = (
    st.binary(max_size=9)
    | st.binary(min_size=60, max_size=70)
    | st.text(max_size=40).map(str.encode)
)


@given(st.lists(KEYS, max_size=20), st.integers(1, 1000), st.sampled_from(["murmur2", "crc32"]))
def test_many_keys_are_hashed_as_each_of_them(keys, partitions, partitioner) -> None:
    assert murmur2_of(keys).tolist() == [murmur2(key) for key in keys]
    one_by_one = [partition_of(key, partitions, partitioner) for key in keys]
    assert partitions_of(keys, partitions, partitioner).tolist() == one_by_one
