"""The example that serves recommendations: which list an answer is of, and what is refused.

`make test-serving` installs what the HTTP part wants; without it that part is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import uuid
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from models.recommendation.attribute_sample import AttributeSample
from models.recommendation.cold_start import AttributeCounts, believe
from models.recommendation.policy import RecommendationPolicy
from tests.consumer.page.test_items import published

FOLDER = Path(__file__).parents[2] / "clients/python/examples/recommendations"


def load(name: str) -> ModuleType:
    """Load a module of the example under its own name, as the other one imports it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


serving = load("serving")

LISTS = {
    None: published(None, {"a": 6, "b": 3, "c": 1}),
    4: published(4, {"a": 1, "c": 3}),
    7: published(7, {"b": 4, "d": 4}),
}


def member(user, segment):
    told = {"user_id": user, "segment": None if segment is None else {"id": segment, "label": "x"}}
    return "segment-memberships", user.encode(), json.dumps(told).encode()


def listed(segment):
    key = b"all" if segment is None else b"%d" % segment
    return "segment-recommendations", key, LISTS[segment].model_dump_json().encode()


def counted():
    """Users by country, of whom most from DE are in 7."""
    sample = AttributeSample()
    for n in range(40):
        country = "DE" if n < 25 else "AT"
        segment = 7 if n < 20 or n > 37 else 4
        sample.put((n + 1) / 64, segment=segment, attributes={"country": country})
    return sample.table()


def attributes():
    return "segment-recommendations", b"attributes", counted().model_dump_json().encode()


def for_user(user):
    items = [{"item_id": "z", "score": 0.9, "reason": "similar"}, {"item_id": "y", "score": 0.5}]
    told = {"user_id": user, "used": "mixture", "profile_at": "2026-01-01T00:00:00Z"}
    return "user-recommendations", user.encode(), json.dumps({**told, "items": items}).encode()


RECORDS = [
    *map(listed, LISTS),
    attributes(),
    member("ann", 4),
    member("bob", 7),
    member("eve", None),
    member("far", 99),
    for_user("own"),
]


@pytest.fixture
def known():
    found = serving.Known()
    for record in RECORDS:
        found.take(*record)
    return found


def ask(known, user, *query):
    return known.answer(serving.Question.read(user, query))


def names(answer):
    return [each["item_id"] for each in answer["items"]]


def test_a_user_with_a_record_gets_it_with_its_reasons(known):
    answer = ask(known, "own", ("limit", "1"), ("attr.country", "DE"))
    assert (answer["used"], answer["rests_on"]) == ("user_recommendations", "mixture")
    assert answer["items"] == [{"item_id": "z", "score": 0.9, "reason": "similar"}]
    known.take("user-recommendations", b"own", None)
    assert ask(known, "own")["used"] == "global"


def test_a_user_in_a_segment_gets_its_list(known):
    answer = ask(known, "ann", ("attr.country", "DE"))
    assert (answer["used"], answer["segments"], names(answer)) == (
        "segment",
        {"4": 1.0},
        ["c", "a"],
    )
    known.take(*member("ann", 7))
    assert ask(known, "ann")["segments"] == {"7": 1.0}
    known.take("segment-memberships", b"ann", None)
    assert ask(known, "ann")["used"] == "global"


def test_of_an_unknown_user_attributes_tell_by_the_maths_of_cold_start(known):
    answer = ask(known, "new", ("attr.country", "DE"))
    counts = AttributeCounts.of(counted())
    belief = believe([4, 7], RecommendationPolicy(), counts=counts, attributes={"country": "DE"})
    assert answer["used"] == belief.used == "attributes"
    assert answer["segments"] == {
        str(k): pytest.approx(v, abs=1e-6) for k, v in belief.segments.items()
    }
    scores = {
        item: sum(
            share * {each.item_id: each.score for each in LISTS[segment].items}.get(item, 0)
            for segment, share in belief.segments.items()
        )
        for item in "abcd"
    }
    assert names(answer) == sorted(scores, key=lambda item: (-scores[item], item))
    for each in answer["items"]:
        assert each["score"] == pytest.approx(scores[each["item_id"]])
    other = ask(known, "new", ("attr.country", "AT"))
    assert other["segments"]["4"] > answer["segments"]["4"]


def test_related_users_tell_by_their_segments(known):
    answer = ask(known, "new", ("related", "bob,nobody"), ("attr.country", "unheard"))
    assert answer["used"] == "related_users"
    base = believe(
        [4, 7], RecommendationPolicy(), counts=AttributeCounts.of(counted()), related=[7]
    )
    assert answer["segments"]["7"] == pytest.approx(base.segments[7], abs=1e-6)


@pytest.mark.parametrize("user", ["new", "eve", "far"])
def test_who_is_not_known_gets_what_all_choose_and_is_told_so(known, user):
    answer = ask(known, user, ("attr.country", "unheard"), ("related", "nobody"))
    assert (answer["used"], names(answer)) == ("global", ["a", "b", "c"])


def test_lists_follow_their_records(known):
    before = ask(known, "new", ("attr.country", "DE"))
    known.take("segment-recommendations", b"7", None)
    after = ask(known, "new", ("attr.country", "DE"))
    assert "7" in before["segments"]
    assert after["segments"] == {"4": 1.0}
    assert names(after)[0] == "c"
    assert ask(known, "bob")["used"] == "global"


def test_records_that_cannot_be_read_are_counted_and_change_nothing(known):
    before = ask(known, "ann")
    for topic, key in (
        ("segment-memberships", b"ann"),
        ("segment-recommendations", b"4"),
        ("segment-recommendations", b"attributes"),
    ):
        known.take(topic, key, b"{")
    # Of a later version.
    known.take("segment-recommendations", b"of-rules", b"{}")
    assert ask(known, "ann") == before
    assert known.sizes() == {
        "members": 3,
        "users": 1,
        "lists": 3,
        "attributes": 2,
        "passed_over": 3,
    }


def test_before_any_list_there_are_no_items():
    answer = ask(serving.Known(), "u", ("attr.a", "b"), ("related", "v"))
    assert (answer["used"], answer["items"], answer["as_of"]) == ("global", [], None)


BAD = [
    ("u", [("limit", "0")], "limit is '0': give a whole number, 1 to 1000"),
    ("u", [("limit", "1001")], "limit is '1001'"),
    ("u", [("limit", "ten")], "limit is 'ten'"),
    ("u", [("limit", "²")], "limit is '²'"),
    ("u", [("country", "DE")], "country is 'DE': there are limit, related and attr.NAME"),
    ("u", [("attr.", "DE")], "attr. is 'DE': the name has 1 to 64 characters"),
    ("u", [("attr.x", "")], "attr.x is '': give 1 to 128 characters"),
    ("u", [("attr.x", "y" * 129)], f"attr.x is '{'y' * 80}…'"),
    ("u", [("related", "a,,b")], "related is ''"),
    ("u", [("related", ",".join("abcdefghijk" * 3))], "related is '33': give 32 users at most"),
    ("u", [(f"attr.{n}", "x") for n in range(17)], "attr is '17': give 16 at most"),
    ("u" * 600, [], f"user_id is '{'u' * 80}…': an id has 1 to"),
]


@pytest.mark.parametrize(("user", "query", "said"), BAD)
def test_bad_input_is_refused_by_field_and_value(known, user, query, said):
    with pytest.raises(serving.RefusedError) as refused:
        ask(known, user, *query)
    assert str(refused.value).startswith(said)


# --- over HTTP ----------------------------------------------------------------------------------


@pytest.fixture
def client(known):
    pytest.importorskip("fastapi")
    testing = pytest.importorskip("fastapi.testclient")
    with testing.TestClient(load("app").create_app(known)) as made:
        yield made


def test_the_answer_over_http_is_the_one_that_is_known(client, known):
    got = client.get("/users/new/recommendations?attr.country=DE&limit=2")
    assert got.status_code == 200
    assert got.json() == ask(known, "new", ("attr.country", "DE"), ("limit", "2"))
    known.take(*member("a/b c", 4))
    assert client.get("/users/a%2Fb%20c/recommendations").json()["used"] == "segment"


def test_health_says_what_is_known(client, known):
    got = client.get("/healthz")
    assert (got.status_code, got.json()) == (200, {"ready": True, **known.sizes()})


@pytest.mark.parametrize(("user", "query", "said"), BAD[:6])
def test_bad_input_gets_a_400(client, user, query, said):
    got = client.get(f"/users/{user}/recommendations", params=query)
    assert got.status_code == 400
    assert got.json()["detail"].startswith(said)


def test_other_paths_are_not_found(client):
    assert client.get("/users").status_code == 404


# --- from Kafka ---------------------------------------------------------------------------------


def written(broker, prefix, topics):
    """Make topics of the example, and write its records."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for made in admin.create_topics([NewTopic(prefix + name, 2) for name in topics]).values():
        made.result(30)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for topic, key, value in RECORDS:
        if topic in topics:
            producer.produce(prefix + topic, value, key)
    assert producer.flush(30) == 0
    return producer


def until(told, seconds=60):
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("users", [True, False])
def test_topics_are_read_and_followed_also_without_items_for_users(broker, users):
    prefix = f"s-{uuid.uuid4().hex[:8]}-"
    topics = [*serving.NEEDED, *([serving.USERS] if users else [])]
    producer = written(broker, prefix, topics)
    known = serving.Known()
    follower = serving.Follower(known, broker.bootstrap_servers, prefix=prefix)
    follower.start()
    try:
        until(lambda: follower.ready)
        assert ask(known, "own")["used"] == ("user_recommendations" if users else "global")
        assert ask(known, "ann")["used"] == "segment"
        assert known.sizes()["attributes"] == 2
        _, key, value = member("new", 7)
        producer.produce(prefix + serving.MEMBERSHIPS, value, key)
        assert producer.flush(30) == 0
        until(lambda: ask(known, "new")["used"] == "segment")
    finally:
        follower.close()
    assert not follower.ready


def test_a_topic_that_is_missing_is_named(broker):
    follower = serving.Follower(serving.Known(), broker.bootstrap_servers, prefix="nobody-")
    with pytest.raises(LookupError, match="no topic nobody-segment-memberships"):
        follower.start()


def test_mixing_is_that_of_a_plain_sum(known):
    shares = known._mixing(known._lists)
    for place, item in enumerate(shares.items):
        for segment, own in (*shares.by_segment.items(), (None, shares.overall)):
            listed_score = {each.item_id: each.score for each in LISTS[segment].items}
            assert own[place] == listed_score.get(item, 0.0)
    assert np.isfinite(shares.overall).all()
