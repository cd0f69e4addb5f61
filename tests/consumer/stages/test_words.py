"""Whose words are kept: of the users from whom segments are named, or of all by a setting."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.contract.records import Output, Record
from models.profiles.sample import rank
from tests.consumer.stages.stage_data import Worker, a_model, event, of, records, turned

USERS = sorted((f"u{n}" for n in range(8)), key=rank)
INSIDE, OUTSIDE = USERS[:3], USERS[3:]
THRESHOLD = rank(INSIDE[-1])


def read_back(outputs: Iterable[Output]) -> dict[str, dict[str, float]]:
    """Words of users in the changelog, with nothing of the version they were decided on under."""
    restoration = Worker(partitions=()).stage.restoration(0)
    for offset, output in enumerate(of(outputs, "user-profiles")):
        restoration.load(Record("user-profiles", 0, offset, -1, output.key, output.value))
    rows = restoration.table.gather(sorted(restoration.table.users))
    return dict(zip(rows.users, rows.terms, strict=True))


def besides_versions(worker: Worker) -> dict[str, dict[str, object]]:
    """Profiles, but for the version that last decided: who has time looks under the newest."""
    states = {user: json.loads(state) for user, state in worker.state().items()}
    return {user: state | {"model_version": None} for user, state in states.items()}


def stream(first: int = 0) -> list[Record]:
    return records(event(user, first + n) for n, user in enumerate(USERS))


def words(worker: Worker) -> dict[str, dict[str, float]]:
    rows = worker.stage.tables[0].gather(USERS)
    return dict(zip(rows.users, rows.terms, strict=True))


def with_words(worker: Worker) -> set[str]:
    return {user for user, terms in words(worker).items() if terms}


def test_words_are_kept_of_the_users_whom_segments_are_named_after() -> None:
    worker = Worker(a_model(sample_threshold=THRESHOLD))
    worker.run(stream())
    assert with_words(worker) == set(INSIDE)
    assert words(worker)[INSIDE[0]].keys() == {"hops", "yeast", "barley", "malt", "brewing"}


def test_before_there_is_a_model_words_are_kept_of_all() -> None:
    worker = Worker()
    worker.run(stream())
    assert with_words(worker) == set(USERS)


def test_a_setting_keeps_the_words_of_all() -> None:
    worker = Worker(a_model(sample_threshold=THRESHOLD), profile={"words": "all"})
    worker.run(stream())
    assert with_words(worker) == set(USERS)


def test_words_are_cut_beforehand_only_where_they_are_kept() -> None:
    worker = Worker(a_model(sample_threshold=THRESHOLD))
    events = worker.stage.prepare(stream()).events
    cut = {user for user, own in zip(events.users, events.words, strict=True) if own is not None}
    assert cut == set(INSIDE)


def test_a_batch_that_was_prepared_under_another_model_comes_to_the_same() -> None:
    narrow, wide = a_model(sample_threshold=THRESHOLD), a_model(sample_threshold=1.0)
    for first, then in ((narrow, wide), (wide, narrow)):
        worker, other = Worker(first), Worker(then)
        prepared = worker.stage.prepare(stream())
        worker.source.model = turned(turned(then))
        other.source.model = turned(turned(then))
        for each, batch in ((worker, prepared), (other, other.stage.prepare(stream()))):
            each.stage.apply(batch, frozenset({0}))
            each.stage.committed()
        assert words(worker) == words(other)


def test_under_a_smaller_sample_the_words_of_others_go() -> None:
    worker = Worker(a_model())
    worker.run(stream())
    kept = {user: words(worker)[user] for user in INSIDE}
    worker.source.model = turned(turned(a_model(sample_threshold=THRESHOLD)))
    worker.maintain()
    assert words(worker) == {**kept, **{user: {} for user in OUTSIDE}}


def test_words_that_are_read_back_go_where_they_are_no_longer_kept() -> None:
    before = Worker(a_model())
    log = of(before.run(stream()), "user-profiles")
    worker = Worker(a_model(sample_threshold=THRESHOLD), partitions=())
    restoration = worker.stage.restoration(0)
    for offset, output in enumerate(log):
        restoration.load(Record("user-profiles", 0, offset, -1, output.key, output.value))
    assert restoration.table.gather(OUTSIDE[:1]).terms[0]
    worker.stage.assigned(0, restoration)
    worker.maintain()
    assert with_words(worker) == set(INSIDE)


def test_who_is_in_the_sample_again_begins_without_words() -> None:
    worker = Worker(a_model(sample_threshold=THRESHOLD))
    worker.run(stream())
    worker.source.model = turned(turned(a_model()))
    worker.run(stream(100))
    rows = words(worker)
    assert set(rows[OUTSIDE[0]].values()) == {1.0}
    assert min(rows[INSIDE[0]].values()) > 1


def narrowed(worker: Worker, threshold: float = THRESHOLD) -> None:
    """Publish the same segments once more, with another sample."""
    assert worker.stage.model is not None
    turned_twice = turned(turned(worker.stage.model))
    worker.source.model = replace(turned_twice, sample_threshold=threshold)


def test_words_go_a_piece_at_a_time_so_that_events_need_not_wait(monkeypatch) -> None:
    monkeypatch.setattr("consumer.stages.segmentation.words._PIECE", 2)
    worker = Worker(a_model())
    worker.run(stream())
    narrowed(worker)
    left = []
    while (outputs := worker.stage.maintain(idle=True)) is not None:
        assert outputs == []
        worker.stage.committed()
        left.append(len(worker.stage.tables[0].rows_with_words))
    gone = [before - after for before, after in pairwise([len(USERS), *left])]
    assert sum(gone) == len(OUTSIDE)
    assert max(gone) <= 2


def test_a_partition_that_goes_takes_what_is_left_to_do_along() -> None:
    worker = Worker(a_model())
    worker.run(stream())
    narrowed(worker)
    worker.stage.maintain(idle=True)
    worker.stage.revoked(0)
    worker.stage.assigned(0, worker.stage.restoration(0))
    assert worker.maintain() == []


STEPS = st.lists(
    st.integers(0, len(USERS) - 1) | st.sampled_from([THRESHOLD, rank(USERS[5]), 1.0]), max_size=14
)


@given(STEPS, st.integers(1, 4))
@example([*range(8), THRESHOLD, 1.0, *range(8)], 1)
def test_whenever_words_go_the_same_is_written(steps: list[int | float], piece: int) -> None:
    """One worker has the time for all at once, the other does a piece now and then."""
    eager, busy = Worker(a_model()), Worker(a_model())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("consumer.stages.segmentation.words._PIECE", piece)
        for number, step in enumerate(steps):
            if isinstance(step, float):
                for worker in (eager, busy):
                    narrowed(worker, step)
                    worker.stage.maintain(idle=True)
                    worker.stage.committed()
            else:
                batch = records([event(USERS[step], number)])
                eager.maintain()
                late, early = busy.run(batch), eager.run(batch)
                assert read_back(late) == read_back(early) != {}
                assert of(late, "profile-samples") == of(early, "profile-samples")
        eager.maintain()
        busy.maintain()
    assert words(busy) == words(eager)
    assert besides_versions(busy) == besides_versions(eager)
