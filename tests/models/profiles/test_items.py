"""The items that users have, beside a list of each user's that is made anew."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.migrate.changelog import Former
from models.profiles.items import fitted, held, item_digest, item_digests, list_digest, take_in
from models.profiles.rows import ProfileRows

USERS = 3
EVENTS = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(1, 6)), max_size=40)


def taken_in(stream: list[tuple[int, int]], most: int, size: int) -> np.ndarray:
    rows = np.zeros((USERS, 1 + most), np.uint32)
    rows[:, 0] = 77  # what was published last is no item
    for start in range(0, len(stream), size):
        part = stream[start : start + size]
        places = np.array([user for user, _ in part], np.int64)
        take_in(rows, places, np.array([item for _, item in part], np.uint32))
    return rows


def naive(stream: list[tuple[int, int]], most: int) -> list[list[int]]:
    owned: list[list[int]] = [[] for _ in range(USERS)]
    for user, item in stream:
        owned[user] = [item, *(each for each in owned[user] if each != item)][:most]
    return owned


@given(EVENTS, st.integers(0, 5), st.integers(1, 40))
@example([(0, 1), (0, 2), (0, 3), (0, 2), (1, 5)], 2, 1)
@example([(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 1)], 5, 3)
def test_the_latest_items_are_kept_once_however_the_stream_is_cut(stream, most, size) -> None:
    rows = taken_in(stream, most, size)
    assert rows[:, 0].tolist() == [77] * USERS
    wanted = naive(stream, most)
    assert [[each for each in row if each] for row in rows[:, 1:].tolist()] == wanted
    assert held(rows).tolist() == [1 + len(each) for each in wanted]
    assert rows.tobytes() == taken_in(stream, most, 1).tobytes()


@given(EVENTS, st.integers(1, 5), st.integers(1, 7))
def test_with_another_number_the_latest_stay(stream, most, other) -> None:
    rows = fitted(taken_in(stream, most, 3), 1 + other)
    assert rows.shape == (USERS, 1 + other)
    kept = [[each for each in row if each] for row in rows[:, 1:].tolist()]
    assert kept == [each[:other] for each in naive(stream, most)]


def test_without_the_setting_nothing_is_held() -> None:
    rows = ProfileRows.empty(["u"], 2, 4)
    rows.name_items(np.zeros(1, np.int64), ["a"])
    assert (rows.items.shape, held(rows.items).tolist()) == ((1, 0), [0])
    assert rows.to_record(0, "a" * 64).items is None


def test_digests_are_as_the_page_of_formats_says(monkeypatch: pytest.MonkeyPatch) -> None:
    low = xxhash.xxh3_64_intdigest("sku-é".encode()) & 0xFFFFFFFF
    assert item_digest("sku-é") == low
    assert item_digests(["a", "sku-é"]).tolist() == [item_digest("a"), low]
    both = np.array([1, 2], np.uint32)
    assert list_digest(both) == xxhash.xxh3_64_intdigest(b"\1\0\0\0\2\0\0\0") & 0xFFFFFFFF
    assert list_digest(both[::-1]) != list_digest(both) != list_digest(both[:1])
    assert list_digest(both[:0]) != 0
    monkeypatch.setattr("models.profiles.items.checksum", lambda _: 1 << 32)
    assert (item_digest("a"), list_digest(both)) == (1, 1)


def test_a_row_says_in_json_what_it_says_in_binary() -> None:
    rows = ProfileRows.empty(["u"], 2, 4, items=3)
    rows.name_items(np.zeros(3, np.int64), ["a", "b", "a"])
    rows.items[0, 0] = 5
    record = rows.to_record(0, "a" * 64)
    again = ProfileRows.empty(["u"], 2, 4, items=3)
    again.load_record(0, record)
    assert again.items.tolist() == rows.items.tolist() == [[5, *item_digests("ab").tolist(), 0]]
    fewer = ProfileRows.empty(["u"], 2, 4, items=1)
    fewer.load_record(0, record)
    assert fewer.items.tolist() == [[5, item_digest("a")]]
    off = ProfileRows.empty(["u"], 2, 4)
    off.load_record(0, record)
    assert off.items.shape == (1, 0)


def test_items_stay_under_another_embedding_model() -> None:
    rows = ProfileRows.empty(["u"], 2, 4, items=2)
    rows.name_items(np.zeros(1, np.int64), ["a"])
    made = ProfileRows.empty(["u"], 3, 4, items=2)
    assert rows.under_another_model(made).items.tolist() == [[0, item_digest("a"), 0]]
    former = Former(rows.to_record(0, "a" * 64))
    assert former.migrated(made.to_record(0, "b" * 64)).items == former.record.items
    # Of before they were kept, the input tells.
    none = Former(ProfileRows.empty(["u"], 2, 4).to_record(0, "a" * 64))
    made.name_items(np.zeros(1, np.int64), ["b"])
    anew = made.to_record(0, "b" * 64)
    assert none.migrated(anew).items == anew.items
