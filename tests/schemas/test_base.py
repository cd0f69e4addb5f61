"""Which version a record that could not be read says it is of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import claimed_schema

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.integers(-(2**63), 2**63), st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_the_claimed_version_is_found_whatever_else_there_is(
    version: int, rest: dict[str, object]
) -> None:
    assert claimed_schema(json.dumps({**rest, "schema_version": version}).encode()) == version


@given(JSON)
def test_a_value_without_a_version_claims_none(value: object) -> None:
    assert claimed_schema(json.dumps(value).encode()) == 0


@given(st.binary(max_size=40))
def test_bytes_of_any_kind_claim_none(value: bytes) -> None:
    assert claimed_schema(value) == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b'{"schema_version": 2',
        b'{"schema_version": "2"}',
        b'{"schema_version": 2.5}',
        b'{"schema_version": null}',
        b'{"schema_version": [2]}',
        b'{"record": {"schema_version": 2}}',
        b'[{"schema_version": 2}]',
        b'{"schema_version": ' + b"9" * 5000 + b"}",  # more digits than Python reads
        b"[" * 100_000,  # deeper than Python reads
    ],
)
def test_what_claims_no_number_claims_none(value: bytes | None) -> None:
    assert claimed_schema(value) == 0
