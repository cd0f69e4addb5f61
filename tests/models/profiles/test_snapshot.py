"""A profile table as columns and back: nothing is lost, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.snapshot import ProfileSnapshot, SnapshotError, table_of
from models.profiles.table import LINKS, ProfileRows, ProfileTable
from schemas.segment_model import NO_SEGMENT

DIMENSIONS, MEMORY = 4, 3
IDENTITY = "a" * 64

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
terms = st.dictionaries(words, st.floats(allow_nan=False, allow_infinity=False), max_size=5)
states = st.tuples(terms, st.none() | words, st.integers(0, 2**32 - 1))


def put(table: ProfileTable, user: str, state) -> None:
    """Give a user a state with something in every column."""
    own_terms, label, seed = state
    rng = np.random.default_rng(seed)
    rows = ProfileRows.empty([user], DIMENSIONS, MEMORY)
    rows.sums[:] = rng.normal(size=(1, DIMENSIONS))
    rows.weights[:] = rng.random()
    rows.reference[:] = rng.integers(0, 10**15)
    rows.recent[:] = rng.integers(0, 2**64, (1, MEMORY), np.uint64)
    for name in ("events", "repeats", "since", "sequence", "versions"):
        getattr(rows, name)[:] = rng.integers(0, 2**40)
    rows.segments[:] = NO_SEGMENT if label is None else rng.integers(0, 9)
    rows.labels, rows.terms = [label], [own_terms]
    table.put(rows)


def records(table: ProfileTable) -> list[str]:
    """Every user as in the changelog, in the table's order."""
    gathered = table.gather(table.users)
    return [gathered.to_record(i, IDENTITY).model_dump_json() for i in range(len(gathered))]


def again(snapshot: ProfileSnapshot) -> ProfileTable:
    """Make the table anew from copies, as a file gives them."""
    columns = {name: column.copy() for name, column in snapshot.columns().items()}
    return table_of(columns, DIMENSIONS, MEMORY)


@given(st.lists(st.tuples(st.sampled_from("abcdé🙂"), st.none() | states), max_size=12))
def test_a_table_made_anew_is_the_same_and_goes_on_the_same(steps) -> None:
    table = ProfileTable(DIMENSIONS, MEMORY)
    for user, state in steps:
        if state is None:
            table.remove(user)
        else:
            put(table, user, state)
    other = again(ProfileSnapshot.of(table))
    assert other.users == table.users
    assert records(other) == records(table)
    assert other.segment_counts() == table.segment_counts()
    for each in (table, other):
        put(each, "new", ({"w": 1.0}, "l", 1))
        put(each, "a", ({"v": 2.0}, None, 2))
        each.remove("b")
    assert sorted(other.users) == sorted(table.users)
    assert sorted(records(other)) == sorted(records(table))


def test_a_table_goes_on_in_the_pages_of_a_file_which_stays_as_it_was(tmp_path) -> None:
    table = ProfileTable(DIMENSIONS, MEMORY)
    for number in range(9):
        put(table, f"u{number}", ({}, "l", number))
    mapped = {}
    for name, column in ProfileSnapshot.of(table).columns().items():
        path = tmp_path / name
        column.tofile(path)
        if column.size:
            mapped[name] = np.memmap(path, column.dtype, "c", shape=column.shape)
        else:
            mapped[name] = column.copy()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other = table_of(mapped, DIMENSIONS, MEMORY)
    (own,) = other.vector_slabs[0].views()
    assert np.shares_memory(own, mapped["sums32.0"])
    assert any(np.shares_memory(ring, mapped["ids0.0"]) for ring in other.ring_slabs[0].views())
    for each in (table, other):
        put(each, "u3", ({}, "m", 77))
        put(each, "new", ({}, None, 78))
        each.remove("u5")
    assert records(other) == records(table)
    assert {path: path.read_bytes() for path in files} == files


def test_words_keep_their_order() -> None:
    table = ProfileTable(DIMENSIONS, MEMORY)
    put(table, "u", ({"b": 1.0, "a": 3.0, "c": 2.0}, None, 0))
    assert list(again(ProfileSnapshot.of(table)).gather(["u"]).terms[0]) == ["b", "a", "c"]


def test_a_snapshot_keeps_to_the_users_of_its_moment() -> None:
    table = ProfileTable(DIMENSIONS, MEMORY)
    put(table, "u", ({"a": 1.0}, "one", 0))
    snapshot = ProfileSnapshot.of(table)
    for number in range(200):  # which makes the table grow
        put(table, f"v{number}", ({}, None, number))
    assert (len(snapshot), again(snapshot).users) == (1, ["u"])


def test_what_is_put_after_a_snapshot_sets_right_what_it_blurred() -> None:
    table = ProfileTable(DIMENSIONS, MEMORY)
    for user in "abc":
        put(table, user, ({user: 1.0}, user, ord(user)))
    snapshot = ProfileSnapshot.of(table)
    before = snapshot.columns()  # words are taken now, arrays only when they are copied
    later = [("b", ({"x": 2.0}, None, 8)), ("d", ({"y": 3.0}, "d", 9))]
    for user, state in later:
        put(table, user, state)
    other = table_of({name: column.copy() for name, column in before.items()}, DIMENSIONS, MEMORY)
    assert records(other) != records(table)
    changed = table.gather(["b", "d"])
    for row in range(2):  # the rest of the changelog
        other.load(changed.to_record(row, IDENTITY))
    gathered = [each.gather(["a", "b", "c", "d"]) for each in (other, table)]
    one, two = (
        [rows.to_record(i, IDENTITY).events for i in range(4)]
        + [rows.to_record(i, IDENTITY).vector for i in range(4)]
        + rows.terms
        + rows.labels
        for rows in gathered
    )
    assert one == two


def links(**changed) -> np.ndarray:
    """Links of two users, the second without ids, with some of the fields changed."""
    made = np.zeros(2, LINKS)
    made["vector"], made["ring"], made["labels"] = [0, 1], [0, 0], [1, 0]
    made["ring_class"] = made["reference_class"] = [0, -1]
    for name, values in changed.items():
        made[name] = values
    return made.view("u1").reshape(2, -1)


@pytest.mark.parametrize(
    ("name", "column", "sentence"),
    [
        ("layout", None, "column layout is missing"),
        ("layout", np.array([1], "u1"), "columns are laid out as another version has them"),
        ("links", np.zeros((2, 5), "u1"), r"links is uint8 \(2, 5\), not uint8 \(n, 28\)"),
        ("links", links()[:1], "links has 1 rows, not 2"),
        ("links", links(vector=[0, 0]), "links has a vector twice"),
        ("links", links(vector=[0, 2]), "links has a vector outside of 0 to 1"),
        ("links", links(vector=[0, -1]), "links has a vector outside of 0 to 1"),
        ("links", links(vector_class=[0, 9]), "links has a vector class that there is not"),
        ("links", links(vector_class=[0, -1]), "links does not fit the users"),
        ("links", links(ring_class=[0, 0]), "links has a ring twice"),
        ("links", links(ring=[1, 0]), "links has a ring outside of 0 to 0"),
        ("links", links(reference_class=[0, 0]), "links has a reference twice"),
        ("links", links(reference=[1, 0]), "links has a reference outside of 0 to 0"),
        ("links", links(reference_class=[0, 1]), "links has a reference class that there is not"),
        ("links", links(labels=[2, 0]), "links has labels outside of 0 to 1"),
        ("links", links(given=[0, -1]), "links has given outside of 0 to 1"),
        ("numbers.0", None, "numbers have 0 rows, not 2"),
        ("numbers.0", np.zeros((2, 80), "<f4"), r"numbers.0 is float32 \(2, 80\), not uint8"),
        ("sums32.0", np.zeros((2, 5), "<f4"), r"is float32 \(2, 5\), not float32 \(n, 4\)"),
        ("sums32.0", None, "links has a vector outside"),
        ("ids0.0", np.zeros((1, 3), "<i8"), r"is int64 \(1, 3\), not uint64 \(n, 3\)"),
        ("references0.0", None, "links has a reference outside"),
        ("references0.0", np.zeros((1, 28), "u1"), r"is uint8 \(1, 28\), not uint8 \(n, 56\)"),
        ("users_lengths", np.array([1, 2], "<i4"), "users_lengths does not fit"),
        ("users_lengths", np.array([3, -1], "<i4"), "users_lengths does not fit"),
        ("users_lengths", np.array([2, -1], "<i4"), "links does not fit the users"),
        ("users_text", np.array([255, 98], np.uint8), "not UTF-8"),
        ("users_text", np.array([97, 97], np.uint8), "a user is in it twice"),
        ("names_lengths", np.array([1, 5], "<i4"), "names_lengths does not fit"),
        ("term_rows", np.array([2], "<i4"), "term_rows has values outside of 0 to 1"),
        ("term_counts", np.array([2], "<i4"), "term_codes is int32"),
        ("term_counts", np.array([1], "<i8"), "term_counts is int64"),
        ("term_codes", np.array([5], "<i4"), "term_codes has values outside"),
        ("term_weights", np.zeros(2), "term_weights has 2 entries, not 1"),
        ("extra_lengths", np.array([2], "<i4"), "extra_lengths does not fit extra_bytes"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(name, column, sentence) -> None:
    table = ProfileTable(DIMENSIONS, MEMORY, references=2)
    rows = ProfileRows.empty(["a", "b"], DIMENSIONS, MEMORY, 2)
    rows.events[0], rows.recent[0, 0], rows.references[0, 0]["hash"] = 1, 7, 7
    rows.labels[0], rows.terms[0], rows.extra[1] = "label", {"w": 1.0}, b"new"
    table.put(rows)
    columns = ProfileSnapshot.of(table).columns()
    assert columns["links"].tobytes() == links().tobytes()
    if column is None:
        del columns[name]
    else:
        columns[name] = column
    with pytest.raises(SnapshotError, match=sentence):
        table_of(columns, DIMENSIONS, MEMORY, references=2)


@pytest.mark.parametrize(
    ("name", "column", "sentence"),
    [
        ("item_links", None, "the column item_links is missing"),
        ("item_links", np.zeros((1, 5), "u1"), "item_links has 1 rows, not 2"),
        ("item_links", np.zeros((2, 5), "u1"), "item_links has items twice"),
        ("item_links", np.full((2, 5), 1, "u1"), "item_links has items class that there is not"),
        ("items0.0", None, "item_links has items outside"),
        ("items0.0", np.zeros((1, 2), "<u4"), r"is uint32 \(1, 2\), not uint32 \(n, 3\)"),
    ],
)
def test_columns_of_items_that_do_not_fit_are_refused_by_name(name, column, sentence) -> None:
    table = ProfileTable(DIMENSIONS, MEMORY, items=2)
    rows = ProfileRows.empty(["a", "b"], DIMENSIONS, MEMORY, items=2)
    rows.items[0] = [5, 7, 0]
    table.put(rows)
    columns = ProfileSnapshot.of(table).columns()
    assert table_of(columns, DIMENSIONS, MEMORY, items=2).gather(["a"]).items.tolist() == [
        [5, 7, 0]
    ]
    if column is None:
        del columns[name]
    else:
        columns[name] = column
    with pytest.raises(SnapshotError, match=sentence):
        table_of(columns, DIMENSIONS, MEMORY, items=2)


def test_without_items_for_users_a_checkpoint_is_what_it_was() -> None:
    table = ProfileTable(DIMENSIONS, MEMORY)
    table.put(ProfileRows.empty(["a"], DIMENSIONS, MEMORY))
    assert not [name for name in ProfileSnapshot.of(table).columns() if name.startswith("item")]
