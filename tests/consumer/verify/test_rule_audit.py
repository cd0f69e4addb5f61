"""What verify says of the topics of rules, right ones and broken ones, with no broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.records import Output, Record
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.rule_chains import RuleChains
from consumer.verify.rule_states import RuleStateAudit
from models.rules.history import EVENT
from schemas.rule_states import RuleState
from tests.consumer.stages.test_rules import CUTS, STREAM, Group, a_profile, said

Kind = ViolationKind
CHANGES, MEMBERSHIPS, STATES = "rule-changes", "rule-memberships", "rule-states"


class Written(Group):
    """A group, and the logs of its topics."""

    def __init__(self, **sections: Any) -> None:
        self.logs: dict[str, list[Record]] = {CHANGES: [], MEMBERSHIPS: [], STATES: []}
        self.heard: list[Record] = []
        super().__init__(**sections)

    def take(self, outputs: Sequence[Output]) -> None:
        super().take(outputs)
        for each in outputs:
            log = self.logs[each.topic]
            log.append(Record(each.topic, 0, len(log), 1, each.key, each.value, each.headers))

    def hear(self, *records: Record) -> None:
        super().hear(*records)
        self.heard += [each for each in records if each.topic == "user-events"]

    def audit(self) -> tuple[Counter[Kind], list[str]]:
        found = Violations()
        stage = self.stage
        chains = RuleChains(stage._settings.topics, found)
        states = RuleStateAudit(stage._settings, stage.rules, found)
        for log in self.logs.values():
            for record in log:
                chains.take(record)
        for record in self.heard:
            states.event(record)
        for record in self.logs[STATES]:
            states.state(record)
        chains.finish()
        states.all_held()
        states.all_belong()
        return found.by_kind, states.unchecked


def followed(group: Written, stream: Sequence[Record], cuts: Sequence[str]) -> Written:
    group.hear(said("zed", 1, 9))
    seen: dict[tuple[bytes | None, int], Record] = {}
    for number, record in enumerate(stream):
        # An id is of one event.
        same = record.topic == "user-events"
        group.hear(seen.setdefault((record.key, record.offset), record) if same else record)
        what = cuts[number] if number < len(cuts) else "go"
        if what == "restart":
            group.start()
        elif what == "maintain":
            group.maintain()
    group.maintain()
    return group


SILENT = {"half_life_days": 1, "inactive_half_lives": 6}


@settings(max_examples=25)
@given(STREAM, CUTS, st.booleans())
def test_what_a_group_writes_is_right_whatever_happens_to_its_process(stream, cuts, let_go):
    group = followed(Written(profile=SILENT if let_go else {}), stream, cuts)
    assert group.audit() == (Counter(), [])


def a_group() -> Written:
    group = Written()
    days = (1, 1.5, 2, 4, 5, 9)
    for number, day in enumerate(days):
        group.hear(said("ann", number, day, rating=2), said("bob", number, day + 0.2))
        group.maintain()
    assert group.audit() == (Counter(), [])
    assert len(group.logs[CHANGES]) > 8
    return group


def without_last(log: list[Record]) -> list[Record]:
    return log[:-1]


def without_amid(log: list[Record]) -> list[Record]:
    return [*log[:3], *log[4:]]


def doubled(log: list[Record]) -> list[Record]:
    return [*log, log[-1]]


def swapped(log: list[Record]) -> list[Record]:
    own = [number for number, each in enumerate(log) if each.key == log[0].key]
    log = list(log)
    log[own[0]], log[own[1]] = log[own[1]], log[own[0]]
    return log


def forged(log: list[Record]) -> list[Record]:
    headers = tuple((n, b"x" if n == "ce_id" else v) for n, v in log[0].headers)
    return [replace(log[0], headers=headers), *log[1:]]


def other_key(log: list[Record]) -> list[Record]:
    return [*log[:-1], replace(log[-1], key=b"eva")]


def unreadable(log: list[Record]) -> list[Record]:
    return [*log, replace(log[-1], value=b"x")]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (without_last, {Kind.RULE_STATE_DIFFERS}),
        (without_amid, {Kind.SEQUENCE}),
        (doubled, {Kind.REPEATED_ID}),
        (swapped, {Kind.SEQUENCE}),
        (forged, {Kind.FORGED_ID}),
        (other_key, {Kind.WRONG_KEY}),
        (unreadable, {Kind.MALFORMED}),
    ],
)
def test_what_is_wrong_with_changes_is_found(
    change: Callable[[list[Record]], list[Record]], kinds: set[Kind]
):
    group = a_group()
    group.logs[CHANGES] = change(group.logs[CHANGES])
    assert group.audit()[0].keys() >= kinds


def test_what_is_wrong_with_memberships_is_found():
    group = a_group()
    log = group.logs[MEMBERSHIPS]
    latest = {record.key: record for record in log}
    there, gone = (
        next(each for each in latest.values() if (each.value is None) is none)
        for none in (False, True)
    )
    former = next(each for each in log if each.key == gone.key and each.value is not None)
    for record, kind in (
        (replace(there, value=None), Kind.MEMBERSHIP_MISSING),
        (former, Kind.MEMBERSHIP_UNFOUNDED),
        (replace(there, value=former.value), Kind.MEMBERSHIP_DIFFERS),
    ):
        group.logs[MEMBERSHIPS] = [*log, record]
        assert kind in group.audit()[0]


def test_states_that_went_back_or_are_gone_are_found():
    group = a_group()
    log = group.logs[STATES]
    for record in (log[0], replace(log[-1], value=None)):
        group.logs[STATES] = [*log, record]
        found, _ = group.audit()
        assert found[Kind.RULE_STATE_DIFFERS]
        assert found[Kind.RULE_EVENT_LOST] == 1


def test_an_event_that_was_lost_and_one_that_nobody_wrote_are_found():
    group = a_group()
    group.heard.append(said("ann", 77, 8.9))
    assert group.audit()[0] == {Kind.RULE_EVENT_LOST: 1}
    del group.heard[-1], group.heard[0]
    assert group.audit()[0] == {Kind.RULE_STATE_DIFFERS: 1}


def test_events_of_a_user_of_whom_nothing_is_held_are_lost():
    group = a_group()
    group.heard.append(said("eva", 1, 8))
    assert group.audit()[0] == {Kind.RULE_EVENT_LOST: 1}


def test_older_events_than_are_held_may_have_gone_by_a_smaller_number_and_are_named():
    group = Written()
    for number in range(5):
        group.hear(said("ann", number, 1 + number / 10))
    record = group.logs[STATES][-1]
    state = RuleState.decode(b"ann", record.value or b"")
    state.history = state.history[2 * EVENT.itemsize :]
    group.logs[STATES].append(replace(record, value=state.encode(b"ann")))
    found, unchecked = group.audit()
    assert found == Counter()
    assert "2 that would be held" in unchecked[0]


def test_users_who_are_still_to_be_looked_at_are_named():
    group = a_group()
    group.hear(said("zed", 1, 40))
    # Those whose windows that has ended were looked at along with it.
    assert group.audit() == (Counter(), [])
    group.start({"busy": 'count("2d") >= 1'})
    assert group.audit()[1][0].startswith("whether 3 users fulfil rules")
    group.maintain()
    assert group.audit() == (Counter(), [])


def test_members_who_do_not_fulfil_the_rules_are_found():
    group = a_group()
    stage = group.stage
    audit = RuleStateAudit(stage._settings, stage.rules, found := Violations())
    record = group.logs[STATES][-1]
    own = group.stage.table(0).get((record.key or b"").decode())
    assert own is not None
    own.members = ("busy", "critic", "old-hand", "quiet")
    audit.state(replace(record, value=own.encode(record.key or b"")))
    audit.all_belong()
    assert found.by_kind == {Kind.RULE_STATE_DIFFERS: 1}


# --- as they come --------------------------------------------------------------------------------


def followed_by(group: Written, order: Sequence[str], lost: bool = False) -> Violations:
    """Give what is found where topics are read in an order, a long time apart in the end."""
    found = Violations()
    chains = RuleChains(group.stage._settings.topics, found, settle_seconds=5, recent=1000)
    for topic in order:
        for record in group.logs[topic]:
            chains.take(record, 1.0, beginning_lost=lost)
    chains.settle(5.9, 5.9)
    assert not [kind for kind in found.by_kind if kind is Kind.RULE_STATE_DIFFERS]
    chains.settle(6.1, 6.1)
    assert chains.unsettled == 0
    return found


@pytest.mark.parametrize("order", [(CHANGES, MEMBERSHIPS, STATES), (STATES, MEMBERSHIPS, CHANGES)])
def test_a_group_that_is_followed_is_right_in_whatever_order_topics_are_read(order):
    group = followed(a_group(), [a_profile("ann", 2), said("ann", 90, 30)], ["maintain"])
    assert not len(followed_by(group, order))


def test_what_does_not_come_is_told_when_it_should_have_come():
    group = a_group()
    last = group.logs[STATES][-1]
    group.logs[STATES] = [each for each in group.logs[STATES] if each.key != last.key]
    assert followed_by(group, (CHANGES, MEMBERSHIPS, STATES)).by_kind == {
        Kind.RULE_STATE_DIFFERS: 1
    }


def test_where_the_first_changes_are_gone_chains_are_taken_up_where_they_are_seen():
    group = a_group()
    group.logs[CHANGES] = group.logs[CHANGES][6:]
    assert not len(followed_by(group, (CHANGES, MEMBERSHIPS, STATES), lost=True))
    own = [each for each in group.logs[CHANGES] if each.key == b"ann"]
    group.logs[CHANGES].remove(own[1])
    assert Kind.SEQUENCE in followed_by(group, (CHANGES, STATES), lost=True).by_kind
