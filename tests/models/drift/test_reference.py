"""The reference as it is kept, and the order of users' latest texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.drift.latest import LatestText, LatestTexts
from models.drift.reference import DriftError, DriftReference
from schemas.drift import DriftReferenceRecord

START = datetime(2026, 1, 1, tzinfo=UTC)
EMBEDDING = "a" * 64


def a_reference(users: int = 3, **changes) -> DriftReference:
    random = np.random.default_rng(users)
    fields = {
        "embedding": EMBEDDING,
        "epoch": 2,
        "begin": 10,
        "end": 90,
        "users": random.random(users),
        "vectors": random.normal(size=(users, 5)).astype(np.float16),
        "segments": np.arange(users),
        "set_at": START,
        "model_version": 4,
    }
    return DriftReference(**(fields | changes))


@pytest.mark.parametrize(
    "reference", [a_reference(), a_reference(1), a_reference().begun_at(91, 3)]
)
def test_a_reference_comes_back_from_its_record_bit_for_bit(reference):
    record = DriftReferenceRecord.model_validate_json(reference.to_record().model_dump_json())
    again = DriftReference.from_record(record)
    assert again.to_record() == reference.to_record()
    assert again.collecting is reference.collecting
    for name in ("users", "vectors", "segments"):
        assert getattr(again, name).tobytes() == getattr(reference, name).tobytes()


def test_a_new_reference_has_no_users_yet_and_begins_where_it_is_told():
    begun = a_reference().begun_at(91, 3)
    assert (begun.collecting, begun.begin, begun.end, begun.epoch) == (True, 91, 91, 3)
    assert (begun.set_at, begun.model_version, begun.stretch) == (None, 0, 0)
    assert a_reference().stretch == 80


def test_texts_are_compared_in_double_precision_as_they_were_rounded():
    reference = a_reference()
    assert reference.texts.vectors.dtype == np.float64
    assert (reference.texts.vectors == reference.vectors).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"segments": np.arange(2)}, "a reference of 3 users has 2 segments"),
        ({"vectors": np.zeros((2, 5), np.float16)}, r"vectors of the shape \(2, 5\)"),
        ({"set_at": None}, "a time when, and only when, it has users"),
    ],
)
def test_a_reference_that_contradicts_itself_is_refused(changes, sentence):
    with pytest.raises(DriftError, match=sentence):
        a_reference(**changes)


def test_a_record_that_was_cut_is_refused():
    record = a_reference().to_record()
    with pytest.raises(ValueError, match="cannot reshape"):
        DriftReference.from_record(record.model_copy(update={"dimensions": 4}))


# --- latest texts ---------------------------------------------------------------------------------


def text(user: str, offset: int) -> LatestText:
    return LatestText(user, offset, np.zeros(2, np.float16), START + timedelta(days=offset))


STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=40)


@given(STEPS, st.integers(0, 40), st.integers(0, 8))
def test_the_last_texts_are_each_user_s_latest_in_the_order_they_came(steps, offset, most):
    texts, naive = LatestTexts(), {}
    for place, (user, kept) in enumerate(steps):
        naive.pop(user, None)
        if kept:
            texts.put(text(user, place))
            naive[user] = place
        else:
            texts.discard(user)
    wanted = [(user, place) for user, place in naive.items() if place >= offset]
    wanted = wanted[len(wanted) - most :] if most < len(wanted) else wanted
    assert [(each.user, each.offset) for each in texts.since(offset, most)] == wanted
    assert len(texts) == len(naive)
    assert texts.next_offset == max(naive.values(), default=-1) + 1


@given(STEPS)
def test_a_compacted_feed_gives_the_same_texts(steps):
    whole, compacted = LatestTexts(), LatestTexts()
    for place, (user, _) in enumerate(steps):
        whole.put(text(user, place))
    last = {user: place for place, (user, _) in enumerate(steps)}
    for place, (user, _) in enumerate(steps):
        if last[user] == place:
            compacted.put(text(user, place))
    found = [
        [(each.user, each.offset) for each in texts.since(0, 99)] for texts in (whole, compacted)
    ]
    assert found[0] == found[1]


def test_users_outside_the_sample_can_be_forgotten_all_at_once():
    texts = LatestTexts()
    for place, user in enumerate("abcd"):
        texts.put(text(user, place))
    texts.keep({"b", "d", "x"})
    assert [each.user for each in texts.since(0, 9)] == ["b", "d"]
