"""Files of local checkpoints: what comes back, what is refused, and what a failed write leaves."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from consumer.settings import RestoreSettings
from consumer.state.checkpoint_format import (
    Checkpoint,
    Owner,
    Reason,
    Unusable,
    WriteCancelledError,
)
from consumer.state.checkpoint_store import CheckpointStore

HOUR = 3600
OWNER = Owner(
    cluster_id="cluster",
    group_id="group/with: odd * names",
    topic="user-profiles",
    topic_id="id",
    partition=3,
    kind={"schema_version": 1, "embedding": "a" * 64, "dimensions": 4, "event_memory": 2},
)


class State:
    """A snapshot of whatever columns."""

    def __init__(self, users: int = 2, **columns: np.ndarray) -> None:
        self._users = users
        self._columns = columns or {
            "sums": np.arange(users * 4, dtype="<f4").reshape(users, 4),
            "names": np.frombuffer(b"ab", np.uint8),
            "none": np.zeros((0, 4), "<f8"),
        }

    def __len__(self) -> int:
        return self._users

    def columns(self) -> dict[str, np.ndarray]:
        return self._columns


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", 12 * HOUR, clock)


def write(store: CheckpointStore, offset: int = 10, state: State | None = None) -> Path:
    store.write(OWNER, offset, state or State(), taken_at=store.now())
    return store.path(OWNER)


def read(store: CheckpointStore, first: int = 0, end: int = 100, **changes: object):
    return store.read(OWNER.model_copy(update=changes), first, end)


def reason(found: Checkpoint | Unusable) -> Reason:
    assert isinstance(found, Unusable)
    assert found.detail
    return found.reason


def files(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.path(OWNER).parent.iterdir())


# --- what comes back ------------------------------------------------------------------------------


@given(
    data=st.dictionaries(
        st.sampled_from("abcde"),
        st.tuples(
            st.sampled_from(["<f4", "<f8", "<i4", "<i8", "<u8", "|u1"]),
            st.lists(st.integers(0, 3), min_size=1, max_size=3),
            st.integers(0, 1000),
        ),
    ),
    offset=st.integers(0, 2**62),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_comes_back_bit_for_bit(store, data, offset):
    columns = {
        name: np.frombuffer(
            np.random.default_rng(seed).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype
        ).reshape(shape)
        for name, (dtype, shape, seed) in data.items()
    }
    write(store, offset, State(7, **columns) if columns else State(7))
    found = read(store, first=offset, end=offset)
    assert isinstance(found, Checkpoint)
    assert (found.header.offset, found.header.users, found.header.owner) == (offset, 7, OWNER)
    assert found.header.software
    for name, column in columns.items():
        assert found.columns[name].dtype == column.dtype
        assert found.columns[name].shape == column.shape
        assert found.columns[name].tobytes() == column.tobytes()


def test_a_column_larger_than_a_block_comes_back(store):
    column = np.random.default_rng(0).integers(0, 255, 3 * 2**20 + 345, np.uint8)
    write(store, state=State(1, column=column))
    assert read(store).columns["column"].tobytes() == column.tobytes()


def test_a_newer_checkpoint_takes_the_place_of_the_former(store):
    write(store, 10)
    path = write(store, 20)
    assert read(store).header.offset == 20
    assert files(store) == [path.name]


def test_each_group_topic_and_partition_has_a_file_of_its_own(store):
    others = [
        OWNER,
        OWNER.model_copy(update={"partition": 4}),
        OWNER.model_copy(update={"group_id": "other"}),
        OWNER.model_copy(update={"topic": "other"}),
        OWNER.model_copy(update={"topic": "t" * 249}),
    ]
    paths = {store.path(owner) for owner in others}
    assert len(paths) == len(others)
    assert all(len(path.name) < 200 and path.parent == store.path(OWNER).parent for path in paths)


def test_settings_without_a_folder_keep_no_checkpoints(tmp_path):
    assert CheckpointStore.of(RestoreSettings()) is None
    store = CheckpointStore.of(RestoreSettings(checkpoint_dir=tmp_path, checkpoint_max_age_hours=2))
    assert store is not None
    assert store.max_age_seconds == 2 * HOUR


# --- what is refused ------------------------------------------------------------------------------


def test_none_at_all_is_missing(store):
    assert reason(read(store)) is Reason.MISSING


def places(whole: bytes) -> list[int]:
    """All that are near to where something begins, and some of the zeros and blanks behind it."""
    near = {start + byte for start in range(0, len(whole), 4096) for byte in range(-40, 40)}
    text = whole.index(b" " * 100)  # what stands in the header
    return sorted({*near, *range(text), *range(0, len(whole), 61)} & {*range(len(whole))})


def test_any_damage_to_a_single_byte_is_told(store):
    path = write(store)
    whole = path.read_bytes()
    for place in places(whole):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert reason(read(store)) is Reason.DAMAGED, place


@given(st.data())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_bytes_are_told(store, data):
    path = write(store)
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    other = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    path.write_bytes(other)
    found = read(store)
    if other == whole:
        assert isinstance(found, Checkpoint)
    else:
        assert reason(found) is Reason.DAMAGED


def test_a_file_cut_off_anywhere_is_told(store):
    path = write(store)
    whole = path.read_bytes()
    for length in places(whole):
        path.write_bytes(whole[:length])
        assert reason(read(store)) is Reason.DAMAGED, length


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster_id": "other"},
        {"topic_id": "made anew"},
        {"topic_id": None},
        {"kind": {**OWNER.kind, "embedding": "b" * 64}},
        {"kind": {**OWNER.kind, "dimensions": 5}},
        {"kind": {**OWNER.kind, "event_memory": 3}},
        {"kind": {**OWNER.kind, "schema_version": 2}},
        {"kind": {**OWNER.kind, "more": 1}},
    ],
)
def test_a_checkpoint_of_something_else_is_foreign_and_says_in_what(store, changes):
    write(store)
    found = read(store, **changes)
    assert reason(found) is Reason.FOREIGN
    name, value = next(iter(changes.items()))
    if name == "kind":
        name = next(key for key in value if value[key] != OWNER.kind.get(key))
        value = value[name]
    assert f"its {name} is" in found.detail
    assert found.detail.endswith(f"here it is {value}")


@pytest.mark.parametrize("field", ["group_id", "topic", "partition"])
def test_a_checkpoint_moved_to_another_place_is_foreign(store, field):
    path = write(store)
    other = OWNER.model_copy(update={field: 4 if field == "partition" else "other"})
    path.rename(store.path(other))
    assert reason(store.read(other, 0, 100)) is Reason.FOREIGN


def of_format(version: int, checkpoint: bytes) -> bytes:
    """Give a checkpoint as one of another format: behind the magic, with its header's checksum."""
    length = int.from_bytes(checkpoint[12:16], "little")
    head = checkpoint[:8] + version.to_bytes(4, "little") + checkpoint[12 : 16 + length]
    check = hashlib.blake2b(head, digest_size=32).digest()
    return head + check + checkpoint[len(head) + 32 :]


def test_a_newer_format_is_told_from_damage(store):
    path = write(store)
    path.write_bytes(of_format(3, path.read_bytes()))
    found = read(store)
    assert reason(found) is Reason.FUTURE
    assert found.detail.startswith("it is of a newer version of segmenter (its format is 3, ")


def test_a_former_format_is_told_from_damage_and_says_which_it_is(store):
    path = write(store)
    path.write_bytes(of_format(1, path.read_bytes()))
    found = read(store)
    assert reason(found) is Reason.OUTDATED
    assert found.detail == (
        "it is of an older version of segmenter (its format is 1, this one knows 2)"
    )


def test_a_damaged_column_is_named(store):
    path = write(store)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1  # of the last page with anything in it
    path.write_bytes(damaged)
    assert "the checksum of its column names does not fit" in read(store).detail


# --- a file in use --------------------------------------------------------------------------------


def large(value: int) -> State:
    return State(1, column=np.full(5_000_000, value, np.uint8))


def test_what_is_written_to_a_column_stays_in_this_process(store):
    path = write(store)
    whole = path.read_bytes()
    columns = read(store).columns
    assert columns["sums"].flags.writeable
    assert columns["sums"].ctypes.data % 4096 == 0
    columns["sums"][:] = -1.0
    assert path.read_bytes() == whole
    assert read(store).columns["sums"].tobytes() == State().columns()["sums"].tobytes()


@pytest.mark.parametrize("then", ["another takes its place", "it is removed", "the disk is full"])
def test_a_file_in_use_may_go(store, then):
    path = write(store, 10, large(1))
    column = read(store).columns["column"]
    column[:10] = 7
    if then == "another takes its place":
        write(store, 20, large(2))
    elif then == "it is removed":
        path.unlink()
    else:
        with largest_file(1_500_000), pytest.raises(OSError):  # noqa: PT011
            store.write(OWNER, 20, large(2), taken_at=store.now())
    assert np.unique(column[10:]).tolist() == [1]
    column[20:30] = 8  # pages of the process's own, whatever became of the file
    assert (column[:10] == 7).all()
    assert (column[20:30] == 8).all()


def test_a_state_that_came_from_a_file_is_written_over_it(store):
    write(store, 10, large(1))
    column = read(store).columns["column"]
    column[-1] = 9
    write(store, 20, State(1, column=column))
    again = read(store)
    assert again.header.offset == 20
    assert again.columns["column"].tobytes() == column.tobytes()


def test_the_changelog_must_still_hold_what_follows(store):
    write(store, 10)
    assert isinstance(read(store, first=10, end=10), Checkpoint)
    assert reason(read(store, first=11, end=20)) is Reason.OUTDATED
    assert reason(read(store, first=0, end=9)) is Reason.BEYOND_END


def test_a_checkpoint_older_than_tombstones_are_kept_is_not_used(store, clock):
    write(store)
    clock.now += 12 * HOUR
    assert isinstance(read(store), Checkpoint)
    clock.now += 60
    found = read(store)
    assert reason(found) is Reason.OUTDATED
    assert "restore.checkpoint_max_age_hours" in found.detail


def test_a_checkpoint_from_the_future_has_no_age_to_trust(store, clock):
    write(store)
    clock.now -= 301
    assert reason(read(store)) is Reason.OUTDATED


def test_a_path_that_is_no_file_is_unreadable(store):
    write(store).unlink()
    store.path(OWNER).mkdir()
    assert reason(read(store)) is Reason.UNREADABLE


def test_a_dropped_checkpoint_is_gone_and_may_be_dropped_again(store):
    write(store)
    store.drop(OWNER)
    store.drop(OWNER)
    assert reason(read(store)) is Reason.MISSING


# --- writes that fail -----------------------------------------------------------------------------


@contextmanager
def largest_file(size: int):
    """Let no file of this process grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_leaves_the_former_checkpoint_and_nothing_else(store):
    path = write(store, 10)
    large = State(1, column=np.zeros(3_000_000, np.uint8))
    with largest_file(1_500_000), pytest.raises(OSError) as failed:  # noqa: PT011
        store.write(OWNER, 20, large, taken_at=store.now())
    assert failed.value.errno == errno.EFBIG
    assert files(store) == [path.name]
    assert read(store).header.offset == 10


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_whatever_call_fails_the_former_checkpoint_stays(store, monkeypatch, call):
    path = write(store, 10)

    def fails(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        if call == "replace":
            broken.setattr(Path, "replace", fails)
        else:
            broken.setattr(os, call, fails)
        with pytest.raises(OSError, match="No space"):
            store.write(OWNER, 20, State(), taken_at=store.now())
    assert files(store) == [path.name]
    assert read(store).header.offset == 10


def test_a_folder_that_cannot_be_made_is_an_error_of_the_write_only(tmp_path):
    (tmp_path / "file").touch()
    store = CheckpointStore(tmp_path / "file" / "checkpoints", HOUR)
    assert reason(store.read(OWNER, 0, 1)) is Reason.UNREADABLE
    with pytest.raises(OSError, match="Not a directory"):
        store.write(OWNER, 0, State(), taken_at=0)


def test_a_write_that_is_given_up_leaves_the_former_checkpoint(store):
    path = write(store, 10)
    with pytest.raises(WriteCancelledError):
        store.write(OWNER, 20, State(), taken_at=0, cancelled=lambda: True)
    assert files(store) == [path.name]
    assert read(store).header.offset == 10


def test_what_a_killed_process_left_is_removed_once_it_is_old(store):
    path = write(store)
    old, fresh = (path.with_name(f"{path.name}.{name}.tmp") for name in ("old", "fresh"))
    for left in (old, fresh):
        left.touch()
    os.utime(old, (time.time() - 200,) * 2)
    write(store)
    assert files(store) == sorted([path.name, fresh.name])


def test_a_state_that_moves_while_it_is_written_does_not_spoil_the_checksum(store):
    column = np.zeros(10 * 2**20, np.uint8)  # ten blocks

    def moves() -> bool:
        column[:] += 1
        return False

    store.write(OWNER, 1, State(1, column=column), taken_at=store.now(), cancelled=moves)
    assert np.unique(read(store).columns["column"]).tolist() == list(range(1, 11))


WRITES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from consumer.state.checkpoint_store import CheckpointStore
from tests.consumer.state.test_checkpoint_store import OWNER, State
import numpy as np
store = CheckpointStore(Path(sys.argv[1]), 3600)
for offset in itertools.count(1):
    state = State(1, column=np.full(3_000_000, offset % 251, np.uint8))
    store.write(OWNER, offset, state, taken_at=store.now())
    print(offset, flush=True)
"""


def test_a_process_killed_while_it_writes_leaves_a_whole_checkpoint(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints", HOUR)
    for kill in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / "checkpoints")],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        written = [int(child.stdout.readline()) for _ in range(3)]
        time.sleep(0.004 * kill)  # somewhere in the next write
        child.kill()
        child.wait(20)
        child.stdout.close()
        found = read(store, end=10**9)
        assert isinstance(found, Checkpoint)
        assert found.header.offset >= written[-1]
        assert set(found.columns["column"].tolist()) == {found.header.offset % 251}
