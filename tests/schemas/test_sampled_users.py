"""Records of sampled users are read as they are written, and damaged ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.sample import rank
from schemas.binary import NewerRecordError, RecordError, open_record, seal
from schemas.sampled_users import (
    SampledUser,
    encode_sampled_user,
    read_sampled_key,
    read_sampled_user,
)

UPTO = st.floats(0, 1, exclude_min=True)
USERS = st.one_of(
    st.builds(SampledUser, UPTO, segment=st.integers(-1, 2**31 - 1)),
    st.builds(
        SampledUser, UPTO, attributes=st.dictionaries(st.text(max_size=9), st.text(max_size=9))
    ),
)


@given(st.text(min_size=1), USERS)
def test_a_record_is_read_as_it_was_written(name, user):
    own = rank(name)
    key, value = encode_sampled_user(own, user)
    assert read_sampled_key(key) == (own, user.what)
    assert read_sampled_user(key, value) == user


@pytest.mark.parametrize("key", [b"4/0", b"user/", b"user/xyz/segment", b"all", None])
def test_other_keys_name_no_user(key):
    assert read_sampled_key(key) is None


def test_what_is_damaged_of_another_kind_or_newer_is_refused():
    key, value = encode_sampled_user(0.5, SampledUser(1.0, segment=3))
    with pytest.raises(RecordError, match="checksum"):
        read_sampled_user(key, value[:-1] + bytes([value[-1] ^ 1]))
    with pytest.raises(RecordError, match="kind"):
        open_record("T", key, value)
    body = value[:-8]
    with pytest.raises(NewerRecordError):
        read_sampled_user(key, seal(body[:2] + b"\x02\x00" + body[4:], key))
    with pytest.raises(RecordError, match="missing"):
        read_sampled_user(key, seal(body[:4], key))
