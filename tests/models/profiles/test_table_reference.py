"""The profile table against a dict of users, and its snapshots against what is put meanwhile.

The first chunks are of two rows, so that few users already make a table grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.float16 import rounded
from models.profiles.references import REFERENCE, held
from models.profiles.rows import ProfileRows
from models.profiles.snapshot import ProfileSnapshot, table_of
from models.profiles.table import ProfileTable, ring_sizes

DIMENSIONS, MEMORY, LIMIT, REFERENCES, ITEMS = 4, 40, 50.0, 6, 7
IDENTITY = "a" * 64
USERS = [f"u{number}" for number in range(12)] + ["é🙂"]
# Below, at and above each size of a ring.
EVENTS = [0, 1, 3, 4, 5, 15, 16, 17, 39, 40, 41, 500]

State = dict[str, Any]


def state_of(seed: int) -> State:
    """Give a state with something in every column, as it can come about."""
    rng = np.random.default_rng(seed)
    events = int(rng.choice(EVENTS))
    recent = np.zeros(MEMORY, np.uint64)
    held = min(events, MEMORY)
    recent[:held] = rng.integers(1, 2**64, held, np.uint64)
    counts = {
        name: int(rng.integers(0, 2**40))
        for name in ("reference", "repeats", "since", "sequence", "versions")
    } | {name: int(rng.integers(0, 9)) for name in ("label_since", "label_versions")}
    references = np.zeros(REFERENCES, REFERENCE)
    count = int(rng.choice([0, 1, 4, 5, 6]))
    for name in REFERENCE.names or ():
        references[name][:count] = rng.integers(1, 2**40, count)
    items = np.zeros(1 + ITEMS, np.uint32)
    items[0] = rng.choice([0, 9])
    many = int(rng.choice([0, 1, 4, 5, 7]))
    items[1 : 1 + many] = rng.integers(1, 2**32, many)
    weight = float(rng.choice([1e-4, 1.0, LIMIT, LIMIT + 1]))
    sums = rng.normal(size=(1, DIMENSIONS)).astype(np.float32) * np.float32(weight)
    return {
        "sums": rounded(sums, np.array([weight]), LIMIT)[0],
        "weights": weight,
        "events": events,
        "recent": recent,
        "references": references,
        "items": items,
        "segments": int(rng.integers(-1, 4)),
        "labels": rng.choice([None, "a", "", f"l{seed}"]),
        "given": rng.choice([None, None, "x", "z"]),
        "predicted": rng.choice([None, "a", "y"]),
        "terms": {f"w{i}": float(rng.random()) for i in range(rng.choice([0, 0, 3]))},
        "extra": rng.choice([b"", b"", b"later\0"]),
        **counts,
    }


def rows_of(states: dict[str, State]) -> ProfileRows:
    rows = ProfileRows.empty(list(states), DIMENSIONS, MEMORY, REFERENCES, ITEMS)
    for row, state in enumerate(states.values()):
        for name, value in state.items():
            getattr(rows, name)[row] = value
    return rows


def seen(table: ProfileTable, users: list[str]) -> list[dict[str, Any]]:
    """All that the table knows of users, as plain values."""
    rows = table.gather(users)
    columns = rows.lists() | {name: column.tolist() for name, column in rows.arrays().items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(len(rows))]


def expected(model: dict[str, State], users: list[str]) -> list[dict[str, Any]]:
    unknown = ProfileRows.empty(["?"], DIMENSIONS, MEMORY, REFERENCES, ITEMS)
    found = []
    for user in users:
        rows = rows_of({user: model[user]}) if user in model else unknown
        columns = rows.lists() | {name: column.tolist() for name, column in rows.arrays().items()}
        found.append({name: column[0] for name, column in columns.items()} | {"users": user})
    return found


def table_with(first: int) -> ProfileTable:
    return ProfileTable(DIMENSIONS, MEMORY, LIMIT, references=REFERENCES, items=ITEMS, first=first)


puts = st.dictionaries(st.sampled_from(USERS), st.integers(0, 2**32 - 1), min_size=1, max_size=8)
steps = st.one_of(
    st.tuples(st.just("put"), puts),
    st.tuples(st.just("batch"), puts),
    st.tuples(st.just("load"), st.tuples(st.sampled_from(USERS), st.integers(0, 2**32 - 1))),
    st.tuples(st.just("remove"), st.sampled_from(USERS)),
    st.tuples(st.just("again"), st.none()),
)


@dataclass
class Both:
    """A table and the reference, moved alike; what was done since a moment is kept."""

    table: ProfileTable = field(default_factory=lambda: table_with(first=2))
    model: dict[str, State] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)

    def step(self, kind: str, what: Any) -> None:
        if kind == "put":
            states = {user: state_of(seed) for user, seed in what.items()}
            self.table.put(rows_of(states))
            self.model |= states
            self.touched += states
        elif kind == "batch":
            # As a batch does: found once, copied, written down, and put where they were found.
            users, states = list(what), {user: state_of(seed) for user, seed in what.items()}
            seats = self.table.seats([*users, "nobody"])
            assert self.table.gather([*users, "nobody"], seats).users == [*users, "nobody"]
            assert seen(self.table, users) == expected(self.model, users)
            rows = self.table.put(rows_of(states), seats.take(range(len(users))))
            assert rows.tolist() == self.table.find(users).tolist()
            self.model |= states
            self.touched += states
        elif kind == "load":
            user, seed = what
            # The form of the changelog of before knows no unknown sections.
            self.model[user] = state_of(seed) | {"extra": b""}
            record = rows_of({user: self.model[user]}).to_record(0, IDENTITY)
            self.table.load(record)
            self.touched.append(user)
        elif kind == "remove":
            self.table.remove(what)
            self.model.pop(what, None)
            self.touched.append(what)
        else:
            columns = ProfileSnapshot.of(self.table).columns()
            self.table = made_of({name: column.copy() for name, column in columns.items()})

    def check(self) -> None:
        users = [*USERS, "nobody"]
        assert sorted(self.table.users) == sorted(self.model)
        assert len(self.table) == len(self.model)
        assert seen(self.table, users) == expected(self.model, users)


def made_of(columns: dict[str, np.ndarray]) -> ProfileTable:
    return table_of(columns, DIMENSIONS, MEMORY, LIMIT, references=REFERENCES, items=ITEMS)


def check_slots(table: ProfileTable) -> None:
    """Each slot in use is one user's: none is lost, none is held by two."""
    rows = table.gather(table.users)
    sizes = ring_sizes(MEMORY)
    for number, slab in enumerate(table.ring_slabs):
        low = sizes[number - 1] if number else 0
        high = sizes[number] if sizes[number] < MEMORY else np.inf
        assert slab.in_use == int(((rows.events > low) & (rows.events <= high)).sum())
    assert sum(slab.in_use for slab in table.vector_slabs) == len(table)
    counts = held(rows.references)
    few, many = (slab.in_use for slab in table.reference_slabs)
    assert (few, many) == (((counts > 0) & (counts <= 4)).sum(), (counts > 4).sum())


@given(st.lists(steps, max_size=25))
def test_a_table_equals_a_dict_of_users_whatever_is_put_loaded_and_removed(stream) -> None:
    both = Both()
    for kind, what in stream:
        both.step(kind, what)
        both.check()
    check_slots(both.table)
    counts = both.table.segment_counts()
    segments = [state["segments"] for state in both.model.values()]
    assert counts == {segment: segments.count(segment) for segment in set(segments)}
    given_ = [state["given"] for state in both.model.values() if state["given"] is not None]
    assert both.table.name_counts("given") == {name: given_.count(name) for name in set(given_)}
    chunks = list(both.table.chunks(3))
    assert [user for rows in chunks for user in rows.users] == both.table.users
    assert all(len(rows) <= 3 for rows in chunks)


@given(puts, puts)
def test_of_a_user_who_is_put_twice_at_once_the_last_state_counts(first, second) -> None:
    states, later = (
        {user: state_of(seed) for user, seed in each.items()} for each in (first, second)
    )
    both = Both()
    rows, more = rows_of(states), rows_of(later)
    columns = {
        **{name: np.concatenate([a, more.arrays()[name]]) for name, a in rows.arrays().items()},
        **{name: own + more.lists()[name] for name, own in rows.lists().items()},
    }
    both.table.put(ProfileRows(**columns))
    both.model = states | later
    both.check()
    check_slots(both.table)


@given(st.lists(steps.filter(lambda step: step[0] != "again"), max_size=12), st.data())
def test_whatever_a_snapshot_tore_is_set_right_by_what_was_put_since(before, data) -> None:
    """The thread that writes a checkpoint copies columns while the table goes on.

    Here it copies each column in pieces, and anything may be put, loaded or removed between two
    pieces. Then what was touched since the snapshot is loaded, as from the changelog: the latest
    record of each user, or a tombstone.
    """
    # With small chunks a table has several, with large ones a snapshot could be a view of it.
    first = data.draw(st.sampled_from([2, 64]))
    both = Both(table_with(first))
    for kind, what in before:
        both.step(kind, what)
    snapshot = ProfileSnapshot.of(both.table)
    both.touched.clear()
    between = st.lists(steps.filter(lambda step: step[0] != "again"), max_size=2)

    def go_on() -> None:
        for kind, what in data.draw(between):
            both.step(kind, what)

    go_on()
    columns = snapshot.columns()
    copies: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        copies[name] = copy = np.empty_like(column)
        if name.split(".")[0] not in ("numbers", "sums32", "sums16", "ids0", "ids1", "ids2"):
            copy[...] = column
            continue
        cut = data.draw(st.integers(0, column.nbytes), label=f"bytes of {name} before a pause")
        into, out_of = copy.reshape(-1).view("u1"), column.reshape(-1).view("u1")
        into[:cut] = out_of[:cut]
        go_on()
        into[cut:] = out_of[cut:]
    restored = Both(made_of(copies), both.model)
    for user in data.draw(st.permutations(sorted(set(both.touched)))):
        if user in both.model:
            record = both.table.gather([user])
            restored.table.put(record)
        else:
            restored.table.remove(user)
    restored.check()
    check_slots(restored.table)
    assert restored.table.segment_counts() == both.table.segment_counts()
    # And it goes on the same.
    for kind, what in data.draw(st.lists(steps, max_size=5)):
        restored.step(kind, what)
    restored.check()


@given(st.lists(steps.filter(lambda step: step[0] != "again"), max_size=20), st.data())
def test_everybody_is_looked_at_once_in_each_epoch(stream, data) -> None:
    both, looked = Both(), {}
    for epoch in (1, 2, 3):
        for kind, what in stream:
            both.step(kind, what)
            looked = {user: looked.get(user, 0) for user in both.table.users}
            if kind == "remove":
                looked.pop(what, None)
            limit = data.draw(st.integers(1, 4))
            rows = both.table.unlooked(epoch, limit)
            waiting = {user for user, when in looked.items() if when < epoch}
            found = both.table.states(rows).users
            assert len(set(found)) == len(found) == min(limit, len(waiting))
            assert set(found) <= waiting
            assert both.table.unlooked_count(epoch) == len(waiting)
            # Some of them, as when a transaction holds no more.
            done = data.draw(st.integers(0, len(rows)))
            both.table.mark_looked(rows[:done], epoch)
            looked |= dict.fromkeys(found[:done], epoch)
            if data.draw(st.booleans()) and looked:
                user = data.draw(st.sampled_from(sorted(looked)))
                both.table.mark_looked(both.table.find([user]), 0)
                looked[user] = 0
        users = sorted(looked)
        assert both.table.looked(both.table.find(users)).tolist() == [looked[u] for u in users]


def test_names_that_nobody_has_any_more_are_let_go() -> None:
    table = ProfileTable(2, 4)
    stay = ProfileRows.empty(["stays"], 2, 4)
    stay.labels, stay.given = ["first"], ["kept"]
    table.put(stay)
    for number in range(5_000):
        rows = table.gather(["u"])
        rows.labels = [f"label of version {number}"]
        table.put(rows)
    assert len(table.parts().names) < 1_100
    assert table.gather(["u", "stays"]).labels == ["label of version 4999", "first"]
    assert table.gather(["stays"]).given == ["kept"]


def test_silent_users_are_those_without_an_event_since_and_without_a_given_label() -> None:
    table = ProfileTable(2, 4, first=2)
    assert table.silent(10**18) == []
    rows = ProfileRows.empty([f"u{i}" for i in range(6)], 2, 4)
    rows.reference[:] = [50, 10, 30, 20, 40, 5]
    rows.given[3] = "x"
    table.put(rows)
    table.remove("u5")
    assert table.silent(31) == ["u1", "u2"]


def test_the_users_with_the_latest_events_are_told_with_their_times() -> None:
    table = ProfileTable(2, 4, first=2)
    assert table.newest(2) == {}
    rows = ProfileRows.empty([f"u{i}" for i in range(6)], 2, 4)
    rows.reference[:] = [50, 10, 30, 20, 0, 40]
    table.put(rows)
    assert table.newest(2) == {"u0": 50, "u5": 40}
    # One without an event is none of them.
    everybody = {"u0": 50, "u1": 10, "u2": 30, "u3": 20, "u5": 40}
    assert table.newest(9) == table.newest(6) == everybody
    table.remove("u0")
    assert table.newest(2) == {"u5": 40, "u2": 30}
    again = table_of(dict(ProfileSnapshot.of(table).columns()), 2, 4)
    assert again.newest(2) == {"u5": 40, "u2": 30}
