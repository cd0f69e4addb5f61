"""The stage of `segmenter rules run`, held against one that looks at one moment after the other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.records import Output, Record, RecordColumns
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.rules.stage import RuleStage
from models.profiles.codec import encode
from models.profiles.rows import to_microseconds
from models.profiles.table import ProfileRows
from models.rules.rule_set import RuleSet
from schemas.cloudevents import EventHeaders
from schemas.rule_changes import RuleChange, rule_headers
from schemas.rule_states import RuleState
from tests.consumer.stages.stage_data import EMBEDDER, NOW, START, event

ALL = frozenset(range(4))
RULES = {
    "busy": 'count("2d") >= 2',
    "buyer": 'count("purchase", "5d") >= 1 && !(count("view", "1d") > 1)',
    "critic": 'mean_rating("3d") < 2.5',
    "german": 'attributes.country == "DE" || segment == 2',
    "old-hand": 'known_for("4d")',
    "quiet": 'silent_for("2d")',
}


@cache
def rules_of(sources: tuple[tuple[str, str], ...]) -> RuleSet:
    return RuleSet.of(dict(sources), 366 * 86_400_000_000, 64)


def stage_of(sources: dict[str, str] = RULES, **sections: Any) -> RuleStage:
    given = {"enabled": True, "segments": sources, **sections.pop("rules", {})}
    settings = Settings(rules=given, **sections)
    return RuleStage(
        settings, rules_of((*sources.items(),)), clock=lambda: NOW, intake_clock=lambda: NOW
    )


def said(user: str, number: int, days: float, **fields: Any) -> Record:
    """A record of an event, at a time in days; the number makes its id."""
    at = (START + timedelta(days=days)).isoformat()
    value = json.dumps(event(user, number, occurred_at=at, **fields)).encode()
    return Record("user-events", 0, number, -1, user.encode(), value)


def told(user: str, segment: int | None, events: int = 1, last: float = 0.0) -> Record:
    """A record of a profile whose last event was at a time in days, or that the user was let go."""
    value = None
    if segment is not None:
        rows = ProfileRows.empty([user], EMBEDDER.dimensions, 4)
        rows.segments[0], rows.events[0], rows.weights[0] = segment, events, 1.0
        rows.recent[0, : min(events, 4)] = 1
        rows.reference[0] = to_microseconds(START + timedelta(days=last))
        (value,) = encode(rows, EMBEDDER.identity)
    return Record("user-profiles", 0, 0, -1, user.encode(), value)


class Group:
    """A stage with a partition, and all that it has committed."""

    def __init__(self, sources: dict[str, str] = RULES, **sections: Any) -> None:
        self.sources, self.sections = sources, sections
        self.changes: list[RuleChange] = []
        self.memberships: dict[bytes, bytes] = {}
        self.states: dict[bytes, bytes | None] = {}
        self.profiles: dict[bytes, bytes | None] = {}
        self.start()

    def start(self, sources: dict[str, str] | None = None) -> None:
        """Begin anew with what was written, under other rules perhaps."""
        self.sources = self.sources if sources is None else sources
        self.stage = stage_of(self.sources, **self.sections)
        restoration = self.stage.restoration(0)
        for changelog in restoration.changelogs:
            kept = self.states if changelog.topic == "rule-states" else self.profiles
            if kept:
                restoration.load_many(
                    RecordColumns(changelog.topic, 0, range(len(kept)), [*kept], [*kept.values()])
                )
        self.stage.assigned(0, restoration)

    def take(self, outputs: Sequence[Output]) -> None:
        self.stage.committed()
        for each in outputs:
            if each.topic == "rule-changes":
                self.changes.append(RuleChange.model_validate_json(each.value))
            elif each.topic == "rule-states":
                assert each.partition == 0
                self.states[each.key] = each.value  # workers may let go of the profile far later
            elif each.value is None:
                assert self.memberships.pop(each.key) is not None
            else:
                self.memberships[each.key] = each.value

    def hear(self, *records: Record) -> None:
        self.take(self.stage.apply(self.stage.prepare(records), ALL))
        self.profiles.update({r.key: r.value for r in records if r.topic == "user-profiles"})

    def drop(self, *records: Record) -> None:
        self.stage.apply(self.stage.prepare(records), ALL)
        self.stage.aborted()

    def maintain(self) -> None:
        while (outputs := self.stage.maintain(idle=False)) is not None:
            self.take(outputs)

    def story(self, user: str) -> list[tuple[Any, ...]]:
        return [
            (c.sequence, c.rule, c.status, c.reason, days(c.effective_at), c.facts, c.id)
            for c in self.changes
            if c.user_id == user
        ]

    @property
    def members(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for key in self.memberships:
            user, _, rule = key.decode().rpartition("|")
            found[rule].add(user)
        return dict(found)


def days(time: datetime) -> float:
    return (time - START) / timedelta(days=1)


# --- one moment after the other ------------------------------------------------------------------

DAY = timedelta(days=1)


SILENCE = 6 * DAY


@dataclass
class One:
    """A user, with all events that there were since the user was let go last."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    segment: int = -1
    members: set[str] = field(default_factory=set)
    looked: datetime | None = None

    @property
    def last(self) -> datetime | None:
        return max((each["at"] for each in self.events.values()), default=None)

    def within(self, now: datetime, length: timedelta, *types: str) -> list[dict[str, Any]]:
        return [
            each
            for each in self.events.values()
            if now - each["at"] < length and (not types or each["type"] in types)
        ]

    def belongs(self, now: datetime) -> set[str]:
        ratings = [e["rating"] for e in self.within(now, 3 * DAY) if e["rating"] is not None]
        first = min((each["at"] for each in self.events.values()), default=None)
        holds = {
            "busy": len(self.within(now, 2 * DAY)) >= 2,
            "buyer": len(self.within(now, 5 * DAY, "purchase")) >= 1
            and len(self.within(now, DAY, "view")) <= 1,
            "critic": bool(ratings) and sum(ratings) / len(ratings) < 2.5,
            "german": self.attributes.get("country") == "DE" or self.segment == 2,
            "old-hand": first is not None and now - first >= 4 * DAY,
            "quiet": not self.within(now, 2 * DAY),
        }
        return {name for name, held in holds.items() if held}


def one_by_one(
    records: Sequence[Record], *, silence: timedelta | None = None
) -> dict[str, list[tuple[Any, ...]]]:
    """What becomes of each user: (rule, entered, reason, day), moment after moment."""
    users: dict[str, One] = {}
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    reached = None
    lengths = [1 * DAY, 2 * DAY, 3 * DAY, 5 * DAY]

    def look(user: str, now: datetime, reason: str) -> None:
        one = users[user]
        holds = one.belongs(now)
        for rule in sorted(holds ^ one.members):
            found[user].append((rule, rule in holds, reason, days(now)))
        one.members, one.looked = holds, now

    def pass_time(user: str, until: datetime) -> None:
        one = users[user]
        end = None if silence is None or one.last is None else one.last + silence
        if end is not None and end <= until:
            end = max(end, one.looked or end)
            pass_windows(user, end - timedelta(microseconds=1))
            for rule in sorted(one.members):
                found[user].append((rule, False, "inactive", days(end)))
            users[user] = One(looked=end)
        else:
            pass_windows(user, until)

    def pass_windows(user: str, until: datetime) -> None:
        one = users[user]
        if not (one.events or one.segment >= 0):
            return
        times = {each["at"] + length for each in one.events.values() for length in lengths}
        first = min((each["at"] for each in one.events.values()), default=None)
        if first is not None:
            times.add(first + 4 * DAY)
        for time in sorted(times):
            if one.looked is not None and one.looked < time <= until:
                look(user, time, "time_passed")

    for record in records:
        user = record.key.decode()
        if record.topic == "user-profiles":
            users.setdefault(user, One())
            if reached is not None:
                pass_time(user, reached)
            one = users[user]
            last = START + timedelta(microseconds=record.timestamp)
            known = bool(one.events) or one.segment >= 0
            if not known and silence is not None and reached and last + silence <= reached:
                continue  # the workers are to let go of it
            one.segment = int(record.offset)
            if reached is not None:
                look(user, reached, "profile")
            continue
        value = json.loads(record.value)
        at = datetime.fromisoformat(value["occurred_at"])
        reached = at if reached is None else max(reached, at)
        one = users.setdefault(user, One())
        if value["event_id"] in one.events and not (
            silence is not None and one.last is not None and one.last + silence <= reached
        ):
            continue
        pass_time(user, reached)
        one = users[user]
        unknown = not (one.events or one.segment >= 0)
        if unknown and silence is not None and at + silence <= reached:
            continue
        if unknown:
            one.looked = None
        if one.last is None or at >= one.last:
            one.attributes |= value.get("attributes", {})
        one.events[value["event_id"]] = {
            "at": at,
            "type": value["type"],
            "rating": value.get("rating"),
        }
        look(user, reached, "behaviour")
    for user, one in [*users.items()]:
        if one.looked is not None and reached is not None:
            pass_time(user, max(reached, one.looked))
    return found


def a_profile(user: str, segment: int, last: float = 0.0) -> Record:
    """A record of a profile, with what it tells where a record has its place."""
    record = told(user, segment, last=last)
    since = timedelta(days=last) // timedelta(microseconds=1)
    return replace(record, offset=segment, timestamp=since)


def in_time(stream: Sequence[Record]) -> list[Record]:
    """Give profiles the time of their users' last events; of users without, that of the stream."""
    last: dict[bytes, float] = defaultdict(float)
    found, reached = [], 0.0
    for record in stream:
        if record.topic == "user-profiles":
            at = last.get(record.key, reached)
            found.append(a_profile(record.key.decode(), record.offset, at))
            continue
        time = days(datetime.fromisoformat(json.loads(record.value)["occurred_at"]))
        last[record.key] = max(last[record.key], time)
        reached = max(reached, time)
        found.append(record)
    return found


PEOPLE = st.sampled_from(["ann", "bob", "eva"])
EVENTS = st.builds(
    lambda user, number, days, kind, rating, country: said(
        user,
        number,
        days,
        type=kind,
        **({} if rating is None else {"rating": rating}),
        **({} if country is None else {"attributes": {"country": country}}),
    ),
    PEOPLE,
    st.integers(0, 30),
    # On the edges of windows, in any order.
    st.sampled_from([10, 10.5, 11, 11.5, 12, 13, 14, 15, 17, 19, 30]),
    st.sampled_from(["review", "purchase", "view"]),
    st.sampled_from([None, 1, 2, 3, 5]),
    st.sampled_from([None, None, "DE", "FR"]),
)
STREAM = st.lists(
    st.one_of(EVENTS, EVENTS, st.builds(a_profile, PEOPLE, st.integers(0, 3))), max_size=25
)
CUTS = st.lists(st.sampled_from(["go", "abort", "restart", "maintain"]), max_size=25)


@given(STREAM, CUTS, st.booleans())
def test_what_is_told_of_users_is_the_same_whatever_happens_to_the_process(stream, cuts, let_go):
    # Who is known by a profile before there is a time is looked at at whatever moment there is one.
    stream = [said("zed", 1, 9), *stream]
    # An id is of one event: what comes again under it, with another time, is not looked at here.
    seen: dict[bytes, Record] = {}
    stream = [
        seen.setdefault(record.key + b"%d" % record.offset, record)
        if record.topic == "user-events"
        else record
        for record in stream
    ]
    stream = in_time(stream)
    profile = {"half_life_days": 1, "inactive_half_lives": 6} if let_go else {}
    group, waiting = Group(profile=profile), []
    for number, record in enumerate(stream):
        waiting.append(record)
        what = cuts[number] if number < len(cuts) else "wait"
        if what == "abort":
            group.drop(*waiting)
        elif what in {"go", "restart", "maintain"}:
            group.hear(*waiting)
            waiting = []
        if what == "restart":
            group.start()
        elif what == "maintain":
            group.maintain()
    group.hear(*waiting)
    group.maintain()
    expected = one_by_one(stream, silence=SILENCE if let_go else None)
    for user in ("ann", "bob", "eva"):
        story = group.story(user)
        assert [
            (rule, status == "entered", reason, day) for _, rule, status, reason, day, _, _ in story
        ] == expected.get(user, [])
        if not let_go:
            assert [sequence for sequence, *_ in story] == list(range(1, len(story) + 1))
    left = {key: RuleChange.model_validate_json(v) for key, v in group.memberships.items()}
    assert all(key == f"{c.user_id}|{c.rule}".encode() for key, c in left.items())


@given(STREAM, st.integers(0, 25))
def test_what_comes_again_after_a_crash_changes_nothing(stream, at):
    group = Group()
    group.hear(*stream[:at])
    group.maintain()
    once = list(group.changes)
    group.hear(*[record for record in stream[:at] if record.topic == "user-events"])
    group.maintain()
    assert group.changes == once


# --- one thing each ------------------------------------------------------------------------------


def test_a_change_says_what_the_rule_has_read():
    group = Group({"loyal": 'count("review", "30d") >= 2 && attributes.country != "CN"'})
    group.hear(said("ann", 1, 1), said("ann", 2, 2.5))
    (change,) = group.changes
    assert change == RuleChange(
        user_id="ann",
        sequence=1,
        rule="loyal",
        status="entered",
        reason="behaviour",
        cause="user",
        changed_at=NOW,
        effective_at=START + timedelta(days=2.5),
        occurred_at=START + timedelta(days=2.5),
        facts={'count("review", "30d")': 2, "attributes.country": None},
        source={"topic": "user-events", "partition": 0, "offset": 2, "event_id": "ann-2"},
    )
    assert group.members == {"loyal": {"ann"}}


def test_records_are_written_as_the_contract_writes_them():
    stage = Group({"loyal": 'mean_rating("30d") >= 2.0'}).stage
    change, member, state = stage.apply(stage.prepare([said("ann", 1, 1, rating=4)]), ALL)
    read = RuleChange.model_validate_json(change.value)
    assert change.value == member.value == read.model_dump_json().encode()
    headers: EventHeaders = rule_headers(
        read.id,
        stage._settings.kafka.group_id,
        "ann",
        NOW,
        read.cause,
    )
    assert change.headers == member.headers == tuple(headers)
    assert (change.key, member.key, state.key) == (b"ann", b"ann|loyal", b"ann")


def test_a_window_ends_when_the_partition_gets_there_whoever_writes():
    group = Group({"active": 'count("2d") > 0'})
    group.hear(said("ann", 1, 1))
    group.hear(said("bob", 1, 2.9))
    group.maintain()
    assert group.members == {"active": {"ann", "bob"}}
    group.hear(said("bob", 2, 3))
    group.maintain()
    assert group.members == {"active": {"bob"}}
    assert group.story("ann")[-1][1:5] == ("active", "exited", "time_passed", 3.0)


@pytest.mark.parametrize("by_event", [False, True])
def test_other_rules_are_looked_at_for_all_who_are_known(by_event):
    group = Group({"a": 'count("9d") >= 2', "b": 'count("9d") >= 1', "gone": "true"})
    group.hear(said("ann", 1, 1), said("ann", 2, 2), said("bob", 1, 2))
    before = len(group.changes)
    group.start({"a": 'count("9d") >= 3', "b": 'count("9d") >= 1', "c": 'count("1d") == 1'})
    assert dict(group.stage.figures())["rule_users_to_look_at"] == 2
    if by_event:
        group.hear(said("ann", 3, 2), said("bob", 2, 2))
    group.maintain()
    told = [(c.user_id, c.rule, c.status, c.reason, c.cause) for c in group.changes[before:]]
    of_rules = [each for each in told if each[3] == "rule_changed"]
    assert sorted(of_rules) == [
        ("ann", "a", "exited", "rule_changed", "operator"),
        ("ann", "c", "entered", "rule_changed", "operator"),
        ("ann", "gone", "exited", "rule_changed", "operator"),
        ("bob", "c", "entered", "rule_changed", "operator"),
        ("bob", "gone", "exited", "rule_changed", "operator"),
    ]
    by_behaviour = [each[:3] for each in told if each[3] == "behaviour"]
    expected = [("ann", "a", "entered"), ("ann", "c", "exited"), ("bob", "c", "exited")]
    assert sorted(by_behaviour) == (expected if by_event else [])
    assert dict(group.stage.figures())["rule_users_to_look_at"] == 0
    # The same again after a start.
    group.start()
    group.maintain()
    assert len(group.changes) == before + len(told)


def test_rules_that_are_all_gone_leave_nobody():
    group = Group({"a": "true"})
    group.hear(said("ann", 1, 1))
    group.start({})
    group.maintain()
    assert group.members == {}


def test_a_rule_that_is_new_reads_what_profiles_said_before():
    group = Group({"any": "true"})
    group.hear(said("ann", 1, 1), told("ann", 3))
    group.start({"third": "segment == 3"})
    group.maintain()
    assert group.members == {"third": {"ann"}}


@pytest.mark.parametrize(("events", "cause"), [(2, "user"), (1, "model")])
def test_whose_doing_another_segment_is_follows_from_the_profile(events, cause):
    group = Group({"third": "segment == 3"})
    group.hear(said("ann", 1, 1), told("ann", 2, events=1))
    group.hear(told("ann", 3, events=events))
    assert [(c.reason, c.cause) for c in group.changes] == [("profile", cause)]


INACTIVE = {"half_life_days": 1, "inactive_half_lives": 2}


def test_who_is_silent_leaves_all_rules_and_begins_anew():
    group = Group({"a": "true", "b": "true"}, profile=INACTIVE)
    group.hear(said("ann", 1, 1), said("ann", 2, 9))
    assert [(c.sequence, c.rule, c.status, c.reason) for c in group.changes] == [
        (1, "a", "entered", "behaviour"),
        (2, "b", "entered", "behaviour"),
        (3, "a", "exited", "inactive"),
        (4, "b", "exited", "inactive"),
        (1, "a", "entered", "behaviour"),
        (2, "b", "entered", "behaviour"),
    ]
    assert days(group.changes[2].effective_at) == 3
    group.hear(said("bob", 1, 20))
    group.maintain()
    assert group.members == {"a": {"bob"}, "b": {"bob"}}
    assert group.states[b"ann"] is None
    assert dict(group.stage.figures())["rule_users"] == 1
    # What comes of that time again makes nothing anew.
    group.hear(said("ann", 2, 9))
    assert group.members == {"a": {"bob"}, "b": {"bob"}}


@pytest.mark.parametrize("profile", [{}, INACTIVE])
def test_a_profile_that_is_gone_takes_with_it_what_it_has_told_and_no_more(profile):
    group = Group({"in": "segment == 2", "out": "segment < 0"}, profile=profile)
    group.hear(said("ann", 1, 1), told("ann", 2, events=50))
    assert group.members == {"in": {"ann"}}
    group.hear(told("ann", None), told("nobody", None))
    assert group.members == {"out": {"ann"}}
    group.hear(told("ann", 2, events=1))
    assert [(c.rule, c.reason, c.cause) for c in group.changes[-2:]] == [
        ("in", "profile", "user"),
        ("out", "profile", "user"),
    ]


def test_who_is_known_by_a_profile_alone_goes_with_it():
    group = Group({"in": "segment == 2", "all": "true"})
    group.hear(told("ann", 2), said("bob", 1, 1))
    group.maintain()
    assert group.members == {"in": {"ann"}, "all": {"ann", "bob"}}
    group.hear(told("ann", None))
    assert group.members == {"all": {"bob"}}
    assert group.states[b"ann"] is None


def test_nobody_is_looked_at_who_cannot_fulfil_a_rule_by_waiting():
    group = Group({"busy": 'count("1d") > 50', "lapsed": 'count("9d") >= 5 && silent_for("2d")'})
    group.hear(*[said("ann", n, 1) for n in range(4)], said("bob", 1, 8))
    table, until = group.stage.table(0), to_microseconds(START + timedelta(days=10))
    assert table.due(10, until) == []
    group.hear(said("ann", 5, 8))
    assert table.due(10, until) == ["ann"]
    group.hear(said("bob", 2, 10))
    group.maintain()
    assert group.members == {}
    group.hear(said("eva", 1, 10), *[said("eva", n, 10) for n in range(2, 7)], said("bob", 3, 12))
    group.maintain()
    assert group.members == {"lapsed": {"eva"}}


@pytest.mark.parametrize("first", ["profile", "event"])
def test_it_is_all_one_whether_a_profile_or_an_event_is_read_first(first):
    group = Group({"in": "segment == 2"})
    records = [told("ann", 2), said("bob", 1, 1)]
    for record in records if first == "profile" else reversed(records):
        group.hear(record)
    group.maintain()
    assert group.members == {"in": {"ann"}}


def test_a_profile_in_the_former_form_is_read():
    group = Group({"in": "segment == 2"})
    rows = ProfileRows.empty(["ann"], EMBEDDER.dimensions, 4)
    rows.segments[0], rows.events[0], rows.weights[0] = 2, 1, 1.0
    rows.recent[0, 0] = 1
    value = rows.to_record(0, EMBEDDER.identity).model_dump_json().encode()
    group.hear(said("ann", 1, 1), replace(told("ann", 2), value=value))
    assert group.members == {"in": {"ann"}}


def test_an_abort_takes_back_what_profiles_have_told():
    group = Group({"in": "segment == 2"})
    group.drop(told("ann", 2), told("ann", None))
    group.drop(told("ann", 2))
    group.hear(said("ann", 1, 1))
    assert group.members == {}


@pytest.mark.parametrize("at_once", [False, True])
def test_an_event_that_would_be_let_go_at_once_is_none(at_once):
    group = Group({"german": 'attributes.country == "DE"'}, rules={"kept_events": 2})
    old = said("ann", 1, 1, attributes={"country": "AT"})
    newer = [said("ann", n, n, attributes={"country": "DE"}) for n in (2, 3, 4)]
    if at_once:
        group.hear(old, *newer, old)
    else:
        group.hear(old, *newer)
        group.hear(old)
    assert group.members == {"german": {"ann"}}


def test_attributes_are_those_of_the_latest_event_whenever_it_comes():
    group = Group({"german": 'attributes.country == "DE"'})
    group.hear(said("ann", 1, 5, attributes={"country": "DE"}))
    group.hear(said("ann", 2, 1, attributes={"country": "FR"}))
    assert group.members == {"german": {"ann"}}


def test_a_repeat_with_a_later_time_is_an_hour_that_has_struck_also_after_a_start():
    group = Group({"active": 'count("2d") > 0'})
    group.hear(said("ann", 1, 1), said("bob", 1, 1))
    group.hear(said("ann", 1, 9))
    group.start()
    group.maintain()
    assert group.members == {}


def test_each_partition_has_its_turn():
    stage = stage_of({"active": 'count("2d") > 0'})
    for partition in (0, 1):
        stage.assigned(partition, stage.restoration(partition))
        users = [replace(said(f"u{n}", 1, 1), partition=partition) for n in range(400)]
        later = replace(said("late", 1, 9), partition=partition)
        for batch in (users, [later]):
            stage.apply(stage.prepare(batch), ALL)
            stage.committed()
    # Of 400 some were looked at along with what came later.
    left = []
    for _ in range(2):
        outputs = stage.maintain(idle=False) or []
        stage.committed()
        left.append({each.partition for each in outputs if each.topic == "rule-states"})
    assert left == [{0}, {1}]


def test_a_look_at_whom_nothing_changes_is_not_done_again():
    group = Group({"never": 'mean_rating("1d") > 4.0'})
    # Of the better ones one might be left alone in the window, as far as is known without a look.
    group.hear(*[said("ann", n, 1 + n / 50, rating=5 if n == 20 else 1) for n in range(40)])
    for day in range(2, 9):
        group.hear(said("bob", day, day))
        group.maintain()
    record = RuleState.decode(b"ann", group.states[b"ann"])
    state = group.stage.table(0).get("ann")
    assert state is not None
    assert record.evaluated < state.evaluated
    assert group.stage.maintain(idle=False) is None


def test_what_cannot_be_read_is_counted_and_read_over():
    group = Group({"a": "true"})
    bad = replace(said("ann", 1, 1), value=b"{")
    group.hear(bad, said("ann", 2, 1, text=None, type="click"), replace(bad, key=None))
    figures = dict(group.stage.figures())
    assert figures["rule_events"] == {"counted": 1, "refused": 2}
    assert figures["rule_members"] == {"a": 1}
    assert group.members == {"a": {"ann"}}


def test_a_state_that_is_damaged_stops_the_process():
    group = Group()
    group.hear(said("ann", 1, 1))
    restoration = group.stage.restoration(0)
    value = bytearray(group.states[b"ann"])
    value[20] ^= 1
    with pytest.raises(
        StageError, match=r"the state in rule-states\[0\]@7 cannot be read: its che"
    ):
        restoration.load(Record("rule-states", 0, 7, -1, b"ann", bytes(value)))
