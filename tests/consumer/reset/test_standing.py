"""What is left of a user's state, and where a group is sent to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumer.reset.standing import emptied
from consumer.reset.target import Target
from models.profiles.codec import encode
from models.profiles.rows import ProfileRows
from schemas.binary import RecordError
from schemas.states import read_profile

EMBEDDING = "ab" * 32
DIMENSIONS = 6


def rows_of(*users: str) -> ProfileRows:
    rows = ProfileRows.empty(users, DIMENSIONS, 4)
    rows.sums[:] = 0.5
    rows.weights[:] = 3.5
    rows.reference[:] = 1_700_000_000_000_000
    rows.events[:] = 9
    rows.repeats[:] = 2
    rows.recent[:] = 7
    rows.since[:] = 8
    rows.versions[:] = 5
    for row in range(len(rows)):
        rows.terms[row] = {"hops": 1.5}
    return rows


def latest(rows: ProfileRows) -> dict[bytes, bytes]:
    keys = [user.encode() for user in rows.users]
    return dict(zip(keys, encode(rows, EMBEDDING, keys), strict=True))


def test_a_user_who_was_told_of_keeps_the_standing_and_nothing_else() -> None:
    rows = rows_of("told", "never told", "given")
    rows.sequence[0], rows.segments[0], rows.labels[0] = 4, 2, "hops"
    rows.predicted[0], rows.label_since[0], rows.label_versions[0] = "brewer", 6, 3
    rows.given[2] = "brewer"
    outputs = {each.key: each for each in emptied("profiles", 3, latest(rows), keep_times=False)}
    assert outputs.keys() == {b"told", b"never told", b"given"}
    assert {each.partition for each in outputs.values()} == {3}
    assert outputs[b"never told"].value is None

    told = read_profile(b"told", outputs[b"told"].value or b"")
    assert (told.sequence, told.segment, told.segment_label) == (4, 2, "hops")
    assert told.model_version == 5
    assert told.labels is not None
    assert (told.labels.predicted, told.labels.model_version) == ("brewer", 3)
    blank = ProfileRows.empty(["told"], DIMENSIONS, 4).to_record(0, EMBEDDING)
    forgotten = "vector", "weight", "reference_time", "events", "repeats", "recent_events", "terms"
    for name in (*forgotten, "segment_since_event"):
        assert getattr(told, name) == getattr(blank, name), name
    assert told.labels.since_event == 0
    given = read_profile(b"given", outputs[b"given"].value or b"")
    assert given.labels is not None
    assert given.labels.given == "brewer"
    again = emptied("profiles", 3, {b"told": outputs[b"told"].value or b""}, keep_times=False)
    assert again == [outputs[b"told"]]


def test_what_was_published_for_a_user_stays_and_what_the_user_had_goes() -> None:
    rows = ProfileRows.empty(["told", "never told", "without"], DIMENSIONS, 4, items=3)
    rows.events[:], rows.sequence[0] = 1, 1
    rows.items[:2] = [[5, 7, 8, 0], [6, 7, 0, 0]]
    outputs = emptied("profiles", 3, latest(rows), keep_times=False, for_users="items")
    by_place = {(each.topic, each.key): each for each in outputs}
    told = read_profile(b"told", by_place["profiles", b"told"].value or b"")
    assert told.items is not None
    assert (told.items.shown, told.items.had) == (5, "")
    # Who is gone leaves the topic of items, too; who was not in there needs no tombstone.
    gone = [each for each in outputs if each.topic == "items"]
    assert [(each.key, each.value, each.partition) for each in gone] == [(b"never told", None, 3)]


def test_the_latest_time_stays_where_silence_is_told_by_it() -> None:
    rows = rows_of("told")
    rows.sequence[0] = 1
    (output,) = emptied("profiles", 0, latest(rows), keep_times=True)
    read = read_profile(b"told", output.value or b"")
    assert read.reference_time == rows.to_record(0, EMBEDDING).reference_time
    assert read.weight == 0


def test_states_of_several_models_and_of_the_former_form_are_emptied() -> None:
    rows = rows_of("binary", "json")
    rows.sequence[:] = 1
    states = latest(rows)
    states[b"json"] = rows.to_record(1, "cd" * 32).model_dump_json().encode()
    read = {
        each.key: read_profile(each.key or b"", each.value or b"")
        for each in emptied("profiles", 0, states, keep_times=False)
    }
    assert read[b"binary"].embedding == EMBEDDING
    assert read[b"json"].embedding == "cd" * 32
    assert {each.weight for each in read.values()} == {0}


def test_what_cannot_be_read_stops_it() -> None:
    with pytest.raises(RecordError):
        emptied("profiles", 0, {b"u": b"{"}, keep_times=False)


class _Cluster:
    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        return {0: (10, 100), 1: (0, 50)}[partition]

    def offsets_at(self, topic: str, partitions: object, timestamp: int) -> dict[int, int]:
        assert timestamp == 1_000
        return {0: 60, 1: 50}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target(), {0: 10, 1: 0}),
        (Target("latest"), {0: 100, 1: 50}),
        (Target("datetime", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)), {0: 60, 1: 50}),
        (Target("shift", shift=-30), {0: 50, 1: 0}),
        (Target("shift", shift=-75), {0: 10, 1: 0}),
        (Target("shift", shift=45), {0: 100, 1: 45}),
    ],
)
def test_a_target_lies_within_what_is_there(target: Target, expected: dict[int, int]) -> None:
    cluster: object = _Cluster()
    assert target.offsets(cluster, "events", {0: 80, 1: None}) == expected  # type: ignore[arg-type]
