"""Labels in the profile table: as the rest of a user's state, through records and checkpoints."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.snapshot import ProfileSnapshot, table_of
from models.profiles.table import ProfileTable

EMBEDDING = "ab" * 32
LABELS = st.sampled_from([None, "beer", "咖啡"])
STATES = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=4),
    st.tuples(LABELS, LABELS, st.integers(0, 9), st.integers(0, 9)),
    max_size=8,
)


def table(states: dict[str, tuple[str | None, str | None, int, int]]) -> ProfileTable:
    made = ProfileTable(2, 4)
    rows = made.gather(list(states))
    for row, (given_, predicted, since, version) in enumerate(states.values()):
        rows.given[row], rows.predicted[row] = given_, predicted
        rows.label_since[row], rows.label_versions[row] = since, version
    made.put(rows)
    return made


def written(made: ProfileTable) -> list[str]:
    rows = made.gather(made.users)
    return [rows.to_record(row, EMBEDDING).model_dump_json() for row in range(len(rows))]


@given(STATES)
def test_labels_come_back_from_the_changelog_and_from_a_checkpoint(states) -> None:
    made = table(states)
    loaded = ProfileTable(2, 4)
    rows = made.gather(made.users)
    for row in range(len(rows)):
        loaded.load(rows.to_record(row, EMBEDDING))
    columns = {
        name: np.frombuffer(column.tobytes(), column.dtype).reshape(column.shape)
        for name, column in ProfileSnapshot.of(made).columns().items()
    }
    assert written(table_of(columns, 2, 4)) == written(loaded) == written(made)


@given(STATES, st.randoms())
def test_a_user_who_goes_takes_the_labels_along_and_nobody_elses(states, random) -> None:
    made = table(states)
    gone = random.sample(sorted(states), k=len(states) // 2)
    for user in gone:
        made.remove(user)
    left = {user: state for user, state in states.items() if user not in gone}
    assert sorted(written(made)) == sorted(written(table(left)))
    # A user who comes anew has none, though the place is a former one's.
    for user in gone:
        made.put(made.gather([user]))
    assert all(made.gather([user]).given == [None] for user in gone)


def test_without_labels_a_record_says_nothing_of_them() -> None:
    assert "labels" not in written(table({"u": (None, None, 0, 0)}))[0]
    assert '"labels":{"given":"beer"' in written(table({"u": ("beer", None, 0, 0)}))[0]
