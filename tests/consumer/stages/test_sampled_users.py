"""From events with attributes to the table of users by attribute: workers and recommenders."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.stages.recommending.attributes import AttributeBook, is_of_user
from models.profiles.sample import rank
from schemas.attribute_table import ATTRIBUTES_KEY, AttributeTable
from schemas.sampled_users import (
    SampledUser,
    encode_sampled_user,
    read_sampled_key,
    read_sampled_user,
    sampled_key,
)
from tests.consumer.stages.recommender_runs import Recommender, Topics, a_group, run_with_crashes
from tests.consumer.stages.stage_data import TOPICS, Worker, a_model, event, of, records

ON: dict[str, dict[str, Any]] = {
    "recommendations": {"enabled": True},
    "assignment": {"dwell_events": 0},
}


def sampled(outputs: list[Output]) -> list[tuple[str, SampledUser | None]]:
    """Give users' records by the user."""
    names = {rank(name): name for name in ("u", "v", "w")}
    found = []
    for each in of(outputs, "recommendation-parts"):
        named = read_sampled_key(each.key)
        assert named is not None
        assert each.partition == 0
        value = None if each.value is None else read_sampled_user(each.key or b"", each.value)
        found.append((names[named[0]], value))
    return found


def test_events_with_attributes_tell_these_and_the_segment() -> None:
    stream = [
        event("u", 1, TOPICS[0], attributes={"country": "DE"}),
        event("v", 1, TOPICS[1]),
        event("u", 2, TOPICS[0], attributes={"country": "AT", "channel": "app"}),
        event("u", 3, TOPICS[0]),
        event("u", 3, TOPICS[0], attributes={"country": "repeated"}),
    ]
    told = sampled(Worker(a_model(), **ON).run(records(stream)))
    of_u = [value for name, value in told if name == "u"]
    assert [each.attributes for each in of_u if each is not None and each.attributes] == [
        {"country": "AT", "channel": "app"}
    ]
    assert {each.segment for each in of_u if each is not None and not each.attributes} == {0}
    # Without attributes a user counts among all.
    assert [value.segment for name, value in told if name == "v" and value is not None] == [1]


def test_users_who_are_not_sampled_are_not_told_of() -> None:
    stream = [event(user, 1, TOPICS[0], attributes={"a": "b"}) for user in ("u", "v", "w")]
    upto = sorted(map(rank, ("u", "v", "w")))[1]
    model = replace(a_model(), sample_threshold=upto)
    told = sampled(Worker(model, **ON).run(records(stream)))
    assert {rank(name) for name, _ in told} == {each for each in map(rank, "uvw") if each <= upto}
    assert {value.upto for _, value in told if value is not None} == {upto}


def test_without_the_setting_nothing_is_told_of_users() -> None:
    stream = [event("u", 1, TOPICS[0], attributes={"a": "b"})]
    assert not of(Worker(a_model()).run(records(stream)), "recommendation-parts")


def test_before_the_first_model_a_user_is_in_no_segment() -> None:
    told = sampled(Worker(**ON).run(records([event("u", 1, attributes={"a": "b"})])))
    assert [each.segment for _, each in told if each is not None and not each.attributes] == [-1]


# --- the recommender ----------------------------------------------------------------------------


def tell(topics: Topics, user: str, **known: object) -> None:
    key, value = encode_sampled_user(rank(user), SampledUser(1.0, **known))  # type: ignore[arg-type]
    topics.write([Output(topics.settings.topics.recommendation_parts, key, value, (), 0)])


def table_of(topics: Topics) -> AttributeTable:
    kept = topics.latest(topics.settings.topics.segment_recommendations)
    return AttributeTable.model_validate_json(kept[ATTRIBUTES_KEY])


def let_go(topics: Topics, user: str) -> None:
    name = topics.settings.topics.recommendation_parts
    both = [sampled_key(rank(user), what) for what in ("attributes", "segment")]
    topics.write([Output(name, key, None, (), 0) for key in both])


@pytest.mark.parametrize("seed", range(4))
def test_whatever_crashes_the_table_is_that_of_the_latest_records(seed: int) -> None:
    topics, chance = a_group(), random.Random(seed)
    known: dict[str, tuple[str | None, int]] = {}
    for _ in range(120):
        user = f"user-{chance.randrange(30)}"
        country, segment = known.get(user, (None, -1))
        if (dice := chance.random()) < 0.1:
            known.pop(user, None)
            let_go(topics, user)
        elif dice < 0.5:
            country = chance.choice(("DE", "AT", "CH"))
            tell(topics, user, attributes={"country": country})
            known[user] = country, segment
        else:
            segment = chance.randrange(3)
            tell(topics, user, segment=segment)
            known[user] = country, segment
    run_with_crashes(topics, seed)
    table = table_of(topics)
    inside = [each for each in known.values() if each[1] >= 0]
    assert table.users == len(inside)
    assert {each.value: each.users for each in table.attributes} == {
        country: sum(each[0] == country for each in inside)
        for country in ("DE", "AT", "CH")
        if any(each[0] == country for each in inside)
    }
    for each in table.attributes:
        for one in each.segments:
            assert one.users == inside.count((each.value, one.segment))


def test_a_table_is_not_published_at_each_record_of_a_busy_stream() -> None:
    topics = a_group(min_interval_seconds=10)
    recommender = Recommender(topics, range(3))
    tell(topics, "u", segment=1)
    recommender.settle()
    published = len(topics.records[topics.settings.topics.segment_recommendations, 0])
    tell(topics, "v", segment=1)
    recommender.step(10)
    recommender.maintain(idle=True)
    assert table_of(topics).users == 1
    assert not recommender.stage.settled
    recommender.now += 10
    recommender.maintain(idle=False)
    assert table_of(topics).users == 1
    recommender.maintain(idle=True)
    assert table_of(topics).users == 2
    assert recommender.stage.settled
    log = topics.records[topics.settings.topics.segment_recommendations, 0]
    assert len(log) == published + 1


def test_users_who_are_sampled_no_more_leave_the_topic() -> None:
    topics = a_group()
    recommender = Recommender(topics, range(3))
    for user in "uvw":
        tell(topics, user, segment=0)
        tell(topics, user, attributes={"a": "b"})
    lowest = min("uvw", key=rank)
    key, value = encode_sampled_user(rank(lowest), SampledUser(rank(lowest), segment=1))
    topics.write([Output(topics.settings.topics.recommendation_parts, key, value, (), 0)])
    recommender.settle()
    left = topics.latest(topics.settings.topics.recommendation_parts)
    assert {read_sampled_key(each)[0] for each in left} == {rank(lowest)}  # type: ignore[index]
    table = table_of(topics)
    assert (table.users, table.sampled) == (1, rank(lowest))
    again = Recommender(topics, range(3))
    again.settle()
    assert table_of(topics) == table


def test_a_record_that_was_read_before_changes_nothing_and_a_foreign_one_stops() -> None:
    key, value = encode_sampled_user(0.5, SampledUser(1.0, segment=1))
    book = AttributeBook()
    book.note(Record("parts", 0, 4, -1, key, value))
    book.note(Record("parts", 0, 3, -1, key, None))
    assert (len(book), book.end) == (1, 5)
    foreign = Record("parts", 0, 5, -1, b"user/me", b"{}")
    assert is_of_user(foreign)
    with pytest.raises(StageError, match="names none"):
        book.note(foreign)
    with pytest.raises(StageError, match="is of no sampled user"):
        book.note(Record("parts", 0, 5, -1, key, b"{}"))
