"""The engine without an end: silent over what is sound in any order, red for each fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.verify.decode import (
    MalformedError,
    Told,
    membership,
    membership_head,
    profile,
    profile_head,
)
from consumer.verify.engine import Engine
from consumer.verify.ledger import MembershipFacts, ProfileFacts, Recent
from consumer.verify.report import ViolationKind, Violations
from schemas.changes import ChangeReason, ChangeStatus, SegmentChange, SegmentRef
from schemas.profiles import ProfileRecord
from tests.consumer.verify.histories import (
    OTHER_EMBEDDING,
    History,
    UserPath,
    histories,
    history_of,
)

Kind = ViolationKind
Step = Callable[[Engine, float], None]
ReadMembership = Callable[[bytes], tuple[str, MembershipFacts]]
ReadProfile = Callable[[bytes], tuple[str, ProfileFacts]]
SETTLE = 10.0


@dataclass
class Streams:
    """The records of each topic in the order in which a run writes them; tests spoil them."""

    changes: list[tuple[SegmentChange, str]] = field(default_factory=list)
    memberships: list[SegmentChange] = field(default_factory=list)
    profiles: list[ProfileRecord] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, history: History) -> Streams:
        streams = cls(letters=[letter.offset for letter in history.dead_letters])
        for change in history.changes:
            streams.changes.append((change, change.id))
            streams.memberships.append(change)
            streams.profiles.append(_profile_at(history.profiles[change.user_id], change))
        streams.profiles += history.profiles.values()
        return streams

    def steps(
        self, membership: ReadMembership = membership_head, profile: ReadProfile = profile_head
    ) -> list[list[Step]]:
        """Give what each topic tells the engine, in the topic's order."""
        return [
            [_change(*entry) for entry in self.changes],
            [_membership(entry, membership) for entry in self.memberships],
            [_profile(entry, profile) for entry in self.profiles],
            [_letter(offset) for offset in self.letters],
        ]

    def whole(self) -> set[tuple[Kind, str]]:
        """Give what the audit of the whole finds, topic after topic."""
        violations = Violations()
        engine = Engine(violations)
        for steps in self.steps(membership, profile):
            for step in steps:
                step(engine, 0.0)
        engine.finish()
        return found(violations)


def _profile_at(profile: ProfileRecord, change: SegmentChange) -> ProfileRecord:
    segment = change.segment
    update = {
        "sequence": change.sequence,
        "segment": segment.id if segment else None,
        "segment_label": segment.label if segment else None,
    }
    return profile.model_copy(update=update)


def _bytes(record: SegmentChange | ProfileRecord) -> bytes:
    return record.model_dump_json().encode()


def _change(change: SegmentChange, recorded_id: str, lost: bool = False) -> Step:
    told = Told(change, recorded_id)
    return lambda engine, now: engine.change(told, _bytes(change), now, beginning_lost=lost)


def _membership(change: SegmentChange, read: ReadMembership = membership_head) -> Step:
    user, facts = read(_bytes(change))
    return lambda engine, now: engine.membership(user, facts, now)


def _profile(record: ProfileRecord, read: ReadProfile = profile_head) -> Step:
    user, facts = read(_bytes(record))
    return lambda engine, now: engine.profile(user, facts, now)


def _letter(offset: int, partition: int = 0) -> Step:
    return lambda engine, now: engine.dead_letters.add(("events", 0, offset), "dlq", now, partition)


@st.composite
def interleaved(draw: st.DrawFn, topics: Sequence[Sequence[Step]]) -> list[Step]:
    """Draw an order of all records that keeps each topic's own."""
    turns = [number for number, steps in enumerate(topics) for _ in steps]
    rest = [iter(steps) for steps in topics]
    return [next(rest[number]) for number in draw(st.permutations(turns))]


def audited(steps: Sequence[Step], **options: Any) -> tuple[Engine, Violations]:
    """Run the engine over all steps, a second each, and let everything settle."""
    violations = Violations()
    engine = Engine(violations, settle_seconds=SETTLE, **options)
    for now, step in enumerate(steps):
        step(engine, now)
    # Twice: who agreed on what was waited for and moved on since is waited for anew.
    for now in (len(steps) + SETTLE, len(steps) + 2 * SETTLE):
        engine.settle(now, now)
    return engine, violations


def in_turn(streams: Streams) -> list[Step]:
    return [step for steps in streams.steps() for step in steps]


def found(violations: Violations) -> set[tuple[Kind, str]]:
    return {(entry.kind, entry.subject) for entry in violations.first}


# --- what is sound ------------------------------------------------------------------------------


@given(histories(), st.data())
def test_a_sound_history_passes_however_its_topics_are_read(
    history: History, data: st.DataObject
) -> None:
    steps = data.draw(interleaved(Streams.of(history).steps()))
    engine, violations = audited(steps)
    assert violations.first == []
    assert engine.unsettled == 0
    assert engine.changes == len(history.changes)
    assert engine.users == len(history.memberships)


@given(histories(), st.data())
def test_a_sound_history_passes_from_any_moment_on(history: History, data: st.DataObject) -> None:
    streams = Streams.of(history)
    skipped = data.draw(st.integers(0, len(history.changes)))
    later = Streams(
        streams.changes[skipped:], streams.memberships[skipped:], streams.profiles[skipped:]
    )
    topics = later.steps()
    topics[0] = [_change(change, name, lost=True) for change, name in later.changes]
    engine, violations = audited(data.draw(interleaved(topics)), beginning_lost=True)
    assert violations.first == []
    assert engine.unsettled == 0


# --- users who fall silent ----------------------------------------------------------------------


def let_go(latest: SegmentChange) -> SegmentChange:
    """Give the change by which a worker lets a user go, whose latest one is given."""
    update = {
        "sequence": latest.sequence + 1,
        "status": ChangeStatus.EXITED,
        "reason": ChangeReason.INACTIVE,
        "segment": None,
        "previous_segment": latest.segment,
        "occurred_at": None,
        "source": None,
    }
    return latest.model_copy(update=update)


def in_another_life(change: SegmentChange, *, edited: bool = False) -> SegmentChange:
    """Give the same change under a later version, with `edited` caused by the same events."""
    model = change.model.model_copy(update={"version": change.model.version + 100})
    change = change.model_copy(update={"model": model})
    if change.source is None:
        return change
    name = change.source.event_id if edited else f"{change.source.event_id}, later"
    return change.model_copy(update={"source": change.source.model_copy(update={"event_id": name})})


def two_lives(
    history: History, *, numbered_on: int = 0, tombstones: bool = True, edited: bool = False
) -> list[Any]:
    """Give what each topic tells of users who live through a history, are let go, and come back.

    With `numbered_on` the sequence numbers of the second life are higher by that.
    """
    first = Streams.of(history)
    latest = {change.user_id: change for change, _ in first.changes}
    ends = [let_go(change) for change in latest.values()]
    again = [
        in_another_life(change, edited=edited).model_copy(
            update={"sequence": change.sequence + numbered_on}
        )
        for change, _ in first.changes
    ]
    changes = [change for change, _ in first.changes] + ends + again
    gone = [*latest] if tombstones else []
    return [
        [_change(change, change.id) for change in changes],
        [
            *map(_membership, first.memberships),
            *map(_no_membership, gone),
            *map(_membership, again),
        ],
        [*map(_profile, first.profiles), *map(_no_profile, gone), *map(_profile, first.profiles)],
    ]


def _no_membership(user: str) -> Step:
    return lambda engine, now: engine.membership(user, None, now)


def _no_profile(user: str) -> Step:
    return lambda engine, now: engine.profile(user, None, now)


@given(histories(), st.booleans(), st.data())
def test_a_user_who_was_let_go_and_comes_back_begins_anew_however_the_topics_are_read(
    history: History, edited: bool, data: st.DataObject
) -> None:
    engine, violations = audited(data.draw(interleaved(two_lives(history, edited=edited))))
    assert violations.first == []
    assert engine.unsettled == 0
    assert engine.users == len(history.memberships)


def test_the_changes_of_a_user_who_was_let_go_must_begin_at_1_again() -> None:
    history = history_of({"u": UserPath((1, 2))})
    _, violations = audited([*chain(*two_lives(history, numbered_on=3))])
    assert (Kind.SEQUENCE, "u") in found(violations)


def test_a_membership_or_a_profile_that_is_left_of_a_user_who_was_let_go_is_found() -> None:
    history = history_of({"u": UserPath((1, 2))})
    (enters, moves, ends, *_), memberships, profiles = two_lives(history)
    for left, gone, kind in (
        (memberships[:2], profiles[:4], Kind.MEMBERSHIP_UNFOUNDED),
        (profiles[:2], memberships[:3], Kind.PROFILE_DIFFERS),
    ):
        _, violations = audited([enters, moves, ends, *left, *gone])
        assert (kind, "u") in found(violations)


# --- the two audits -----------------------------------------------------------------------------


def _drop_change(streams: Streams, at: int) -> str:
    return streams.changes.pop(at)[0].user_id


def _double_change(streams: Streams, at: int) -> str:
    streams.changes.insert(at + 1, streams.changes[at])
    return streams.changes[at][0].user_id


def _repeat_change_later(streams: Streams, at: int) -> str:
    streams.changes.append(streams.changes[at])
    return streams.changes[at][0].user_id


def _forge_id(streams: Streams, at: int) -> str:
    streams.changes[at] = (streams.changes[at][0], "an id of its own")
    return streams.changes[at][0].user_id


def _break_chain(streams: Streams, at: int) -> str:
    change, _ = streams.changes[at]
    elsewhere = SegmentRef(id=77, label="nowhere known")
    status = ChangeStatus.SWITCHED if change.segment else ChangeStatus.EXITED
    broken = change.model_copy(update={"previous_segment": elsewhere, "status": status})
    streams.changes[at] = (broken, broken.id)
    streams.memberships[at] = broken
    return change.user_id


def _go_to_itself(streams: Streams, at: int) -> str:
    change, _ = streams.changes[at]
    here = change.segment or SegmentRef(id=1, label="here")
    update = {"segment": here, "previous_segment": here, "status": ChangeStatus.SWITCHED}
    still = change.model_copy(update=update)
    streams.changes[at] = (still, still.id)
    return change.user_id


def _drop_membership(streams: Streams, at: int) -> str:
    return streams.memberships.pop(at).user_id


def _drop_memberships(streams: Streams, at: int) -> str:
    user = streams.memberships[at].user_id
    streams.memberships = [m for m in streams.memberships if m.user_id != user]
    return user


def _spoil_membership(streams: Streams, at: int) -> str:
    streams.memberships[at] = streams.memberships[at].model_copy(update={"distance": 0.125})
    return streams.memberships[at].user_id


def _membership_without_change(streams: Streams, at: int) -> str:
    user = streams.memberships[at].user_id
    streams.changes = [entry for entry in streams.changes if entry[0].user_id != user]
    return user


def _drop_profiles(streams: Streams, at: int) -> str:
    user = streams.changes[at][0].user_id
    streams.profiles = [p for p in streams.profiles if p.user_id != user]
    return user


def _spoil_last_profile(streams: Streams, at: int) -> str:
    user = streams.changes[at][0].user_id
    last = max(i for i, p in enumerate(streams.profiles) if p.user_id == user)
    spoiled = streams.profiles[last].model_copy(update={"segment": 4, "segment_label": "wrong"})
    streams.profiles[last] = spoiled
    return user


def _refuse_twice(streams: Streams, at: int) -> str:
    streams.letters = [*range(at + 1), at]
    return "dlq"


FAULTS = [
    _drop_change,
    _double_change,
    _repeat_change_later,
    _forge_id,
    _break_chain,
    _go_to_itself,
    _drop_membership,
    _drop_memberships,
    _spoil_membership,
    _membership_without_change,
    _drop_profiles,
    _spoil_last_profile,
    _refuse_twice,
]


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=40)
@given(data=st.data())
def test_it_finds_what_the_audit_of_the_whole_finds_and_blames_nobody_else(
    fault: Callable[[Streams, int], str], data: st.DataObject
) -> None:
    streams = Streams.of(data.draw(histories().filter(lambda history: bool(history.changes))))
    subject = fault(streams, data.draw(st.integers(0, len(streams.changes) - 1)))
    expected = streams.whole()
    _, violations = audited(data.draw(interleaved(streams.steps())))
    assert expected <= found(violations)
    assert {name for _, name in found(violations)} <= {subject}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_turns_it_red(fault: Callable[[Streams, int], str]) -> None:
    streams = Streams.of(history_of({"ann": UserPath([1, 2, 3]), "bob": UserPath([2])}, refused=1))
    last_of_ann = max(i for i, (c, _) in enumerate(streams.changes) if c.user_id == "ann")
    fault(streams, last_of_ann)
    _, violations = audited(in_turn(streams))
    assert violations.first


# --- one fault at a time ------------------------------------------------------------------------


@pytest.fixture
def streams() -> Streams:
    return Streams.of(history_of({"ann": UserPath([1, 2, 3])}))


def test_a_change_published_twice_is_told_by_its_id(streams: Streams) -> None:
    _double_change(streams, 1)
    assert found(audited(in_turn(streams))[1]) == {(Kind.REPEATED_ID, "ann")}


def test_an_older_change_than_is_remembered_shows_in_the_sequence(streams: Streams) -> None:
    streams.changes.append(streams.changes[0])
    _, violations = audited(in_turn(streams), recent=1)
    assert (Kind.SEQUENCE, "ann") in found(violations)


def test_a_record_of_the_wrong_content_is_found_though_a_later_one_replaces_it() -> None:
    first, second = Streams.of(history_of({"ann": UserPath([1, 2])})).changes
    wrong = first[0].model_copy(update={"distance": 0.125})
    profile = history_of({"ann": UserPath([1])}).profiles["ann"]
    steps = [
        _change(*first),
        _membership(wrong),
        _profile(_profile_at(profile, first[0]).model_copy(update={"segment": 3})),
        _change(*second),
        _membership(second[0]),
        _profile(_profile_at(profile, second[0])),
    ]
    assert found(audited(steps)[1]) == {
        (Kind.MEMBERSHIP_DIFFERS, "ann"),
        (Kind.PROFILE_DIFFERS, "ann"),
    }


def test_a_membership_that_goes_back_is_found(streams: Streams) -> None:
    steps = [*in_turn(streams), _membership(streams.memberships[0])]
    assert found(audited(steps)[1]) == {(Kind.MEMBERSHIP_DIFFERS, "ann")}


def test_tombstones_of_a_user_with_changes_are_found(streams: Streams) -> None:
    def forget(engine: Engine, now: float) -> None:
        engine.membership("ann", None, now)
        engine.profile("ann", None, now)

    assert found(audited([*in_turn(streams), forget])[1]) == {
        (Kind.MEMBERSHIP_MISSING, "ann"),
        (Kind.PROFILE_MISSING, "ann"),
    }


def test_a_version_of_the_segments_is_of_one_embedding_model(streams: Streams) -> None:
    def of(change: SegmentChange, **model: object) -> Step:
        return _change(
            change.model_copy(update={"model": change.model.model_copy(update=model)}), change.id
        )

    change = streams.changes[0][0]
    other = {"embedding": OTHER_EMBEDDING}
    for model, wrong in ((other, 1), ({**other, "version": change.model.version + 1}, 0)):
        engine, violations = audited([_change(change, change.id)])
        of(change, **model)(engine, 0.0)
        engine.settle(0.0, 0.0)
        assert violations.by_kind[Kind.MIXED_EMBEDDING] == wrong


@pytest.mark.parametrize(
    ("letters", "wrong"),
    [
        ([(1, 0), (5, 0), (9, 0)], 0),
        # Another partition of the dead letters may be read later or earlier.
        ([(5, 0), (1, 1), (6, 0), (2, 1)], 0),
        ([(5, 0), (5, 0)], 1),
        ([(5, 0), (5, 1)], 1),
        # Forgotten by its place, and yet behind the last one of the same partition.
        ([(1, 0), (5, 0), (6, 0), (7, 0), (1, 0)], 1),
    ],
)
def test_a_record_refused_twice_is_found_by_its_place_or_its_order(
    letters: list[tuple[int, int]], wrong: int
) -> None:
    _, violations = audited([_letter(*letter) for letter in letters], recent=3)
    assert violations.by_kind == ({Kind.REPEATED_DEAD_LETTER: wrong} if wrong else {})


# --- waiting ------------------------------------------------------------------------------------


def test_nothing_is_reported_before_all_that_was_committed_meanwhile_is_read(
    streams: Streams,
) -> None:
    violations = Violations()
    engine = Engine(violations, settle_seconds=SETTLE)
    _change(*streams.changes[0])(engine, 100.0)
    engine.settle(109.9, 500.0)
    assert (len(violations), engine.unsettled) == (0, 1)
    engine.settle(110.0, 500.0)
    assert found(violations) == {(Kind.MEMBERSHIP_MISSING, "ann"), (Kind.PROFILE_MISSING, "ann")}
    engine.settle(900.0, 900.0)
    assert (len(violations), engine.unsettled) == (2, 0)


def test_a_user_who_never_rests_is_waited_for_anew_with_each_change() -> None:
    streams = Streams.of(history_of({"ann": UserPath([1, 2] * 10)}))
    violations = Violations()
    engine = Engine(violations, settle_seconds=1.5)
    for turn, change in enumerate(streams.changes):
        # The other topics are one change behind at every moment.
        _change(*change)(engine, turn)
        if turn:
            _membership(streams.memberships[turn - 1])(engine, turn)
            _profile(streams.profiles[turn - 1])(engine, turn)
        engine.settle(turn, turn)
    assert (len(violations), engine.unsettled) == (0, 1)


def test_a_user_whose_membership_stopped_is_found_though_the_changes_go_on() -> None:
    streams = Streams.of(history_of({"ann": UserPath([1, 2] * 10)}))
    violations = Violations()
    engine = Engine(violations, settle_seconds=1.5)
    for turn, change in enumerate(streams.changes):
        _change(*change)(engine, turn)
        _profile(streams.profiles[turn])(engine, turn)
        if turn < 3:
            _membership(streams.memberships[turn])(engine, turn)
        engine.settle(turn, turn)
    assert violations.by_kind == {Kind.MEMBERSHIP_DIFFERS: 1}


def test_after_a_restart_chains_are_taken_up_where_they_are(streams: Streams) -> None:
    violations = Violations()
    engine = Engine(violations, settle_seconds=SETTLE)
    _change(*streams.changes[0])(engine, 0)
    engine.restart()
    _change(*streams.changes[2], lost=True)(engine, 1)
    _membership(streams.memberships[2])(engine, 1)
    _profile(streams.profiles[2])(engine, 1)
    assert (len(violations), engine.unsettled, engine.users) == (0, 0, 1)


def test_after_a_restart_dead_letters_that_are_read_again_are_no_repeats() -> None:
    violations = Violations()
    engine = Engine(violations, settle_seconds=SETTLE)
    for offset in (3, 4):
        _letter(offset)(engine, 0.0)
    engine.restart()
    for offset in (3, 4):
        _letter(offset)(engine, 0.0)
    engine.settle(100.0, 100.0)
    assert (len(violations), engine.settled, engine.dead_letters.count) == (0, True, 4)


# --- memory -------------------------------------------------------------------------------------


def _sizes(engine: Engine) -> Iterator[int]:
    yield from (len(engine.ledger), len(engine._ids), len(engine.dead_letters._known))
    yield from (len(engine.dead_letters._offsets), len(engine._waiting))


def test_memory_grows_with_users_and_not_with_records() -> None:
    paths = {f"user {n}": UserPath([1, 2] * 30) for n in range(5)}
    streams = Streams.of(history_of(paths, refused=200))
    engine, violations = audited(in_turn(streams), recent=50)
    assert violations.first == []
    assert [*_sizes(engine)] == [5, 50, 50, 1, 0]


def test_users_without_a_segment_take_no_memory() -> None:
    engine, _ = audited(in_turn(Streams.of(history_of({f"u{n}": UserPath() for n in range(9)}))))
    assert engine.profiles == 9
    assert len(engine.ledger) == 0


@given(st.lists(st.integers(0, 12)), st.integers(1, 5))
def test_the_latest_items_are_remembered_and_no_more(items: list[int], capacity: int) -> None:
    recent, kept = Recent(capacity), []
    for item in items:
        assert recent.add(item) == (item not in kept)
        if item not in kept:
            kept = [*kept, item][-capacity:]
        assert len(recent) == len(kept)


# --- reading ------------------------------------------------------------------------------------


@given(histories())
def test_heads_say_what_the_whole_records_say(history: History) -> None:
    for user, record in history.profiles.items():
        whole, head = profile(_bytes(record)), profile_head(_bytes(record))
        assert whole[0] == head[0] == user
        assert whole[1][:2] == head[1][:2]
    for change in history.memberships.values():
        assert membership_head(_bytes(change)) == membership(_bytes(change))


@pytest.mark.parametrize("read", [membership_head, profile_head])
@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"{}", b'{"user_id": "SECRET"}', b"\xff"])
def test_a_head_that_cannot_be_read_is_refused_and_not_quoted(
    read: Callable[[bytes], object], value: bytes
) -> None:
    with pytest.raises(MalformedError) as refused:
        read(value)
    assert "SECRET" not in str(refused.value)


def test_numbers_that_no_worker_writes_do_not_stop_it(streams: Streams) -> None:
    change, _ = streams.changes[0]
    huge = change.model_copy(
        update={"sequence": 10**30, "segment": SegmentRef(id=10**30, label="x")}
    )
    _, violations = audited([_change(huge, huge.id)])
    assert (Kind.SEQUENCE, "ann") in found(violations)
