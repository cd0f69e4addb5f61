from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from models.clustering.learner import StreamingClusterer, grows, numbers_looked_at
from models.clustering.policy import ClusteringError, ClusteringPolicy
from models.distances import VectorsError, nearest
from models.measures.agreement import agreement
from models.profiles.sample import UserSample
from models.segments.decision import AssignmentPolicy, decide
from schemas.segment_model import is_provisional
from tests.models.segments.test_identity import published
from tests.models.synthetic import EMBEDDING, Topics, changed

POLICY = ClusteringPolicy(segments=4, warmup_users=40, reseed_every=200, sample_users=400)


class Stream:
    """Users of one topic each, whose profiles grow with their events."""

    def __init__(self, topics: int = 4, seed: int = 0):
        self.topics = Topics(topics, seed=seed)
        self.sums: dict[str, np.ndarray] = {}
        self.truth: dict[str, int] = {}

    def events(self, topic: int, users: int, count: int):
        """Give (user, profile, terms) of `count` events by so many users of a topic."""
        for event, vector in enumerate(self.topics.events(topic, count)):
            user = f"topic{topic}-user{event % users}"
            self.truth[user] = topic
            self.sums[user] = self.sums.get(user, 0) + vector
            yield user, self.profile(user), {f"word{topic}": 1.0, "the": 2.0}

    def profile(self, user: str) -> np.ndarray:
        return self.sums[user] / np.linalg.norm(self.sums[user])

    def v_measure(self, centres) -> float:
        users = list(self.sums)
        rows, _ = nearest(np.stack([self.profile(user) for user in users]), centres)
        return agreement([self.truth[user] for user in users], rows.tolist()).v_measure


def mixed(stream: Stream, topics=(0, 1, 2, 3), users=25, count=150):
    """Events of several topics, taking turns."""
    for turn in zip(*(stream.events(topic, users, count) for topic in topics), strict=True):
        yield from turn


def learned(events, policy=POLICY) -> StreamingClusterer:
    clusterer = StreamingClusterer(policy, EMBEDDING)
    for event in events:
        clusterer.learn(*event)
    return clusterer


def test_it_does_not_collapse_on_unit_vectors_in_384_dimensions():
    stream = Stream()
    clusterer = learned(mixed(stream))
    assert stream.v_measure(clusterer.centres) > 0.99
    assert (clusterer.snapshot(None).sizes > 10).all()


@pytest.mark.parametrize("seed", range(3))
def test_topics_that_come_one_after_the_other_all_get_a_segment_and_none_is_lost(seed):
    stream = Stream(seed=seed)
    clusterer = StreamingClusterer(changed(POLICY, seed=seed), EMBEDDING)
    for topic in range(4):
        for event in stream.events(topic, users=40, count=400):
            clusterer.learn(*event)
    assert stream.v_measure(clusterer.centres) > 0.99


def test_rivers_model_does_the_learning_between_two_looks_at_the_sample():
    stream = Stream()
    policy = changed(POLICY, reseed_every=10_000)
    clusterer = learned(mixed(stream), policy)
    before = clusterer.centres
    user, vector, terms = next(iter(stream.events(0, 1, 1)))
    clusterer.learn(user, vector, terms)
    (row,), _ = nearest(vector[None], before)
    expected = before.copy()
    expected[row] += 0.02 * (vector - before[row])
    assert clusterer.centres == pytest.approx(expected, abs=1e-15)
    assert clusterer.samples == 601


def test_the_same_stream_gives_the_same_bits_whatever_the_hash_seed():
    program = (
        "from tests.models.clustering.test_learner import *;"
        "import hashlib;"
        "model = learned(mixed(Stream(), count=60)).snapshot(None);"
        "print(hashlib.sha256(model.to_record().model_dump_json().encode()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(printed) == 1
    assert len(printed.pop().strip()) == 64


def test_the_order_of_the_warm_up_does_not_matter():
    stream = Stream()
    events = list(mixed(stream, users=12, count=12))[:40]
    forwards, backwards = learned(events), learned(events[::-1])
    assert forwards.ready
    assert np.array_equal(forwards.centres, backwards.centres)


def test_it_waits_for_the_warm_up():
    stream = Stream(topics=5)
    clusterer = learned(list(mixed(stream))[:39])
    assert not clusterer.ready
    assert not clusterer.due(None)
    with pytest.raises(ClusteringError, match="39 users known"):
        clusterer.snapshot(None)
    clusterer.learn(*next(iter(stream.events(4, 1, 1))))
    assert clusterer.ready


def test_many_events_of_few_users_are_a_warm_up_too():
    stream = Stream()
    clusterer = StreamingClusterer(changed(POLICY, warmup_events=100), EMBEDDING)
    for number, event in enumerate(mixed(stream, users=2, count=40)):
        clusterer.learn(*event, weight=1.0 + number // 8)
        if clusterer.ready:
            break
    assert 96 <= number < 108  # 8 users, all events together
    assert len(clusterer.sample) == 8


@pytest.mark.parametrize(
    ("segments", "users", "events", "warm"),
    [
        (6, 50, 50.0, True),
        (6, 49, 299.0, False),
        (6, 49, 300.0, True),
        (6, 4, 300.0, True),  # the others come with the users
        (6, 3, 10**6, False),
        (2, 4, 300.0, True),
        (64, 50, 50.0, True),
        (100, 199, 10**6, False),
        (100, 200, 1.0, True),
        ("auto", 4, 300.0, True),
    ],
)
def test_when_there_is_enough_for_first_segments(segments, users, events, warm):
    assert ClusteringPolicy(segments=segments).is_warm(users, events) is warm


def test_what_is_provisional():
    assert [ClusteringPolicy().is_provisional(users) for users in (50, 199, 200)] == [1, 1, 0]
    few = ClusteringPolicy(sample_users=60)
    assert [few.is_provisional(users) for users in (59, 60)] == [True, False]
    assert [is_provisional(text) for text in (None, "{", "[1]", "{}", '{"provisional":true}')] == [
        *[False] * 4,
        True,
    ]


def test_a_pause_starts_the_model_with_fewer_users_but_not_with_too_few():
    events = list(mixed(Stream()))
    clusterer = learned(events[:7])
    assert not clusterer.settle()
    clusterer.learn(*events[7])
    assert clusterer.settle()
    assert clusterer.snapshot(None).centres.shape == (4, 384)


def test_settling_nothing_is_harmless():
    assert not StreamingClusterer(POLICY, EMBEDDING).settle()


def test_fewer_different_users_than_segments_give_fewer_segments():
    clusterer = StreamingClusterer(POLICY, EMBEDDING)
    for i in range(40):
        clusterer.learn(f"u{i}", np.eye(384)[i % 2], {})
    assert clusterer.snapshot(None).sizes.tolist() == [20, 20]


@pytest.mark.parametrize("segments", [4, "auto"])
def test_users_who_all_write_one_text_are_one_segment(segments):
    """What parts their profiles is rounding."""
    clusterer = StreamingClusterer(changed(POLICY, segments=segments), EMBEDDING)
    text = Topics(1).profile(0)
    for count in range(1, 31):
        vector = (text * count).astype(np.float32)
        clusterer.learn(f"user-{count}", vector / np.linalg.norm(vector), {})
    assert clusterer.settle()
    assert len(clusterer.centres) == 1
    assert len(clusterer.snapshot(None).ids) == 1


@pytest.mark.parametrize(("users", "least"), [(3000, 15), (100, 5), (12, 3), (2, 1)])
def test_a_segment_needs_so_many_users_and_a_quarter_of_few(users, least):
    assert FOUND.least_members(users) == least


def test_users_beyond_the_sample_are_reported_and_not_learned_from():
    policy = changed(POLICY, sample_users=50, warmup_users=40)
    clusterer = StreamingClusterer(policy, EMBEDDING)
    gone = set()
    for event in mixed(Stream()):
        before = clusterer.samples
        evicted = clusterer.learn(*event)
        assert clusterer.samples == before + (event[0] not in evicted)
        gone.update(evicted)
    assert len(clusterer.sample) == 50
    assert gone.isdisjoint(clusterer.sample.users())
    assert len(gone) == 50
    assert clusterer.snapshot(None).sample_threshold < 1


def test_a_forgotten_user_no_longer_counts():
    clusterer = learned(mixed(Stream()))
    clusterer.forget("topic0-user0")
    assert clusterer.snapshot(None).sizes.sum() == 99


def test_when_all_users_are_forgotten_the_centres_stay():
    clusterer = learned(mixed(Stream(), count=20, users=12))
    centres = clusterer.centres
    for user in clusterer.sample.users():
        clusterer.forget(user)
    clusterer.settle()
    model = clusterer.snapshot(None)
    assert np.array_equal(clusterer.centres, centres)
    assert model.sizes.tolist() == [0, 0, 0, 0]
    assert model.labels[0] == "segment 0"
    assert clusterer.moved(model) == 0


# --- a number that is given is a most at first ----------------------------------------------------

SIX = changed(POLICY, segments=6, sample_users=3000, reseed_every=10_000)


def test_free_seats_wait_for_the_topics_that_come_later():
    stream = Stream(topics=6)
    clusterer = StreamingClusterer(SIX, EMBEDDING)
    model, numbers, moved = None, [], []
    for topic in (0, 1, 2, 3, 4, 5):
        for event in stream.events(topic, users=40, count=240):
            clusterer.learn(*event)
        clusterer.consider()
        if clusterer.due(model):
            known = [user for user in stream.sums if stream.truth[user] < topic]
            vectors = np.stack([stream.profile(user) for user in known]) if known else None
            former, model = model, clusterer.snapshot(model)
            if former is not None and topic > 1:  # the first one was cut in two
                before = former.ids[nearest(vectors, former.centres)[0]]
                moved.append((before != model.ids[nearest(vectors, model.centres)[0]]).mean())
        numbers.append(len(model.ids))
    assert numbers[0] in {1, 2}
    assert numbers[1:] == [2, 3, 4, 5, 6]
    assert max(moved) == 0
    assert stream.v_measure(clusterer.centres) > 0.99


@pytest.mark.parametrize(("wanted", "topics"), [(4, 2), (6, 1), (40, 3)])
def test_the_number_is_there_when_the_stream_has_ended(wanted, topics):
    policy = changed(SIX, segments=wanted)
    clusterer = learned(mixed(Stream(topics), topics=range(topics), users=90), policy)
    assert len(clusterer.centres) < wanted
    assert clusterer.consider(ended=True)
    assert len(clusterer.snapshot(None).ids) == wanted


def test_the_number_is_there_when_the_sample_is_full():
    stream = Stream(topics=2)
    clusterer = StreamingClusterer(changed(SIX, sample_users=120), EMBEDDING)
    model, numbers = None, []
    for event in mixed(stream, topics=(0, 1), users=100, count=300):
        clusterer.learn(*event)
        if clusterer.due(model):
            model = clusterer.snapshot(model)
            numbers.append((len(clusterer.sample), len(model.ids)))
    assert numbers[0] == (40, 2)
    assert numbers[-1][1] == 6
    assert numbers == sorted(numbers)
    assert all(segments < 6 for users, segments in numbers if users < 120)


def test_the_number_is_there_after_as_many_profiles_as_make_a_look_anyway():
    policy = changed(SIX, reseed_every=400)
    clusterer = learned(mixed(Stream(topics=2), topics=(0, 1), users=20, count=50), policy)
    model = clusterer.snapshot(None)
    assert len(model.ids) == 2
    for event in mixed(Stream(topics=2), topics=(0, 1), users=20, count=250):
        clusterer.learn(*event)
        if clusterer.due(model):
            model = clusterer.snapshot(model)
    assert len(model.ids) == 6


def test_there_is_nothing_to_wait_for_where_no_groups_are_apart():
    random = np.random.default_rng(0)
    policy = changed(SIX, reseed_every=100_000)
    clusterer, model = StreamingClusterer(policy, EMBEDDING), None
    for number, vector in enumerate(random.normal(size=(1600, 384))):
        clusterer.learn(f"u{number}", vector / np.linalg.norm(vector), {})
        if clusterer.due(model):
            model = clusterer.snapshot(model)
    assert len(model.ids) == 6


def test_the_seats_grow_with_what_is_known():
    policy = ClusteringPolicy(segments=12)
    assert [policy.seats(0, users, apart=True) for users in (0, 750, 2999, 3000)] == [1, 3, 11, 12]
    assert [policy.seats(0, users, apart=False) for users in (0, 188, 749, 750)] == [1, 3, 11, 12]
    assert [policy.seats(n, 9, apart=True) for n in (0, 5000, 9999, 10**6)] == [1, 6, 11, 12]


@pytest.mark.parametrize(
    ("segments", "grows"), [(1, False), (2, False), (3, True), (64, True), (65, False)]
)
def test_which_numbers_are_reached_step_by_step(segments, grows):
    assert ClusteringPolicy(segments=segments).grows is grows
    assert not ClusteringPolicy(segments="auto").grows
    assert not ClusteringPolicy(segments=segments, algorithm="dbstream").grows


def test_a_number_that_is_not_reached_yet_goes_on_after_a_restart():
    stream = Stream(topics=6)
    clusterer = learned(mixed(stream, topics=(0, 1)), SIX)
    model = clusterer.snapshot(None)
    assert grows(model)
    assert SIX.allows(len(model.ids), growing=True)
    assert not SIX.allows(len(model.ids))
    sample = UserSample(SIX.sample_users)
    for user in clusterer.sample.users():
        sample.put(user, stream.profile(user), {})
    restored = StreamingClusterer(SIX, EMBEDDING)
    restored.restore(model, sample)
    news = list(stream.events(2, users=40, count=150))
    for each in (clusterer, restored):
        for event in news:
            each.learn(*event)
        each.consider()
    assert len(clusterer.centres) == 3
    assert np.array_equal(restored.centres, clusterer.centres)
    clusterer.settle()
    assert not grows(clusterer.snapshot(model))


# --- the number of segments is found --------------------------------------------------------------

FOUND = changed(POLICY, segments="auto")


@pytest.mark.parametrize("seed", range(3))
def test_the_number_grows_with_the_topics_that_come_one_after_the_other(seed):
    stream = Stream(topics=5, seed=seed)
    clusterer = StreamingClusterer(changed(FOUND, seed=seed), EMBEDDING)
    numbers = []
    for topic in range(5):
        for event in stream.events(topic, users=40, count=400):
            clusterer.learn(*event)
        clusterer.settle()
        numbers.append(len(clusterer.centres))
    # One topic is one segment, or its cloud is cut in two.
    assert numbers[0] in (1, 2)
    assert numbers[1:] == [2, 3, 4, 5]
    assert stream.v_measure(clusterer.centres) > 0.99


def test_a_number_that_is_found_goes_on_after_a_restart():
    stream = Stream()
    clusterer = learned(mixed(stream), FOUND)
    clusterer.settle()
    model = clusterer.snapshot(None)
    assert FOUND.allows(len(model.ids))
    restored = StreamingClusterer(FOUND, EMBEDDING)
    restored.restore(model, clusterer.sample)
    assert restored.snapshot(model).learner == clusterer.snapshot(model).learner
    clusterer.settle()
    restored.settle()
    assert np.array_equal(restored.centres, clusterer.centres)


def test_a_version_says_why_it_has_so_many_segments():
    clusterer = learned(mixed(Stream()), FOUND)
    clusterer.settle()
    points = numbers_looked_at(clusterer.snapshot(None))
    assert next(each.segments for each in points if each.apart >= 1) == len(clusterer.centres)
    given = learned(mixed(Stream()), POLICY)
    assert numbers_looked_at(given.snapshot(None)) == ()


def test_no_more_segments_are_found_than_allowed():
    policy = changed(FOUND, max_segments=3)
    clusterer = learned(mixed(Stream()), policy)
    clusterer.settle()
    assert len(clusterer.centres) == 3
    assert [policy.allows(count) for count in (1, 2, 3, 4)] == [True, True, True, False]
    assert [POLICY.allows(count) for count in (3, 4, 5)] == [False, True, False]


def test_a_pause_starts_a_model_of_a_number_to_be_found_with_four_users():
    clusterer = StreamingClusterer(FOUND, EMBEDDING)
    for i in range(4):
        assert not clusterer.settle()
        clusterer.learn(f"u{i}", np.eye(384)[i % 2], {})
    assert clusterer.settle()
    assert clusterer.snapshot(None).sizes.tolist() == [2, 2]


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_says_what_a_worker_needs():
    stream = Stream()
    clusterer = learned(mixed(stream))
    model = clusterer.snapshot(None)
    assert (model.version, model.embedding, model.next_id) == (1, EMBEDDING, 4)
    assert (model.samples, model.seed, model.sample_threshold) == (600, 0, 1.0)
    assert model.since == (1, 1, 1, 1)
    vectors = clusterer.sample.vectors()
    rows, distances = nearest(vectors, model.centres)
    assert model.sizes.tolist() == np.bincount(rows).tolist()
    for row in range(4):
        own = distances[rows == row]
        assert model.radii[row] == pytest.approx(math.sqrt(np.mean(own**2)))
        (topic,) = {stream.truth[clusterer.sample.users()[i]] for i in np.flatnonzero(rows == row)}
        assert model.words[row] == (f"word{topic}",)
        assert model.labels[row] == f"word{topic}"


def test_the_policy_says_whether_verbs_may_name_a_segment():
    stream = Stream()
    spoken = [(user, vector, {**terms, "喜欢": 3.0}) for user, vector, terms in mixed(stream)]
    spoken = [
        (user, vector, terms if stream.truth[user] == 0 else {"the": 1.0})
        for user, vector, terms in spoken
    ]
    for name_words, words in (("all", {"word0", "喜欢"}), ("nouns", {"word0"})):
        policy = POLICY.model_copy(update={"name_words": name_words})
        model = learned(spoken, policy).snapshot(None)
        assert {word for own in model.words for word in own} == words


def test_ids_live_on_and_are_never_given_twice():
    stream = Stream(topics=8)
    clusterer = StreamingClusterer(POLICY, EMBEDDING)
    model, born = None, {}
    for topic in range(8):
        for event in stream.events(topic, users=40, count=300):
            clusterer.learn(*event)
        model = clusterer.snapshot(model)
        for segment, since in zip(model.ids.tolist(), model.since, strict=True):
            assert born.setdefault(segment, since) == since
        assert model.version == topic + 1
    assert model.next_id == len(born) > 8


def test_unchanged_centres_keep_their_ids():
    clusterer = learned(mixed(Stream()))
    first = clusterer.snapshot(None)
    second = clusterer.snapshot(first)
    assert second.version == 2
    assert np.array_equal(first.ids, second.ids)
    assert first.since == second.since


def test_another_embedding_model_makes_all_segments_new():
    clusterer = learned(mixed(Stream()))
    other = replace(clusterer.snapshot(None), embedding="f" * 64, centres=np.ones((4, 2)))
    model = clusterer.snapshot(other)
    assert (model.version, model.ids.tolist()) == (2, [4, 5, 6, 7])
    assert model.since == (2, 2, 2, 2)
    assert clusterer.due(other)


# --- when to publish ------------------------------------------------------------------------------


def test_the_first_model_is_due_and_then_nothing_until_something_moves():
    clusterer = learned(mixed(Stream()))
    assert clusterer.due(None)
    model = clusterer.snapshot(None)
    assert clusterer.moved(model) == 0
    assert not clusterer.due(model)


def test_what_river_learned_waits_for_the_next_look_at_the_sample(monkeypatch):
    stream = Stream(topics=5)
    # The warm-up ends with event 40, so the next look comes with event 740.
    monkeypatch.setattr(ClusteringPolicy, "ask_bounds", (1_000, 1_000))
    clusterer = learned(mixed(stream), changed(POLICY, reseed_every=700))
    model = clusterer.snapshot(None)
    *waiting, last = stream.events(4, users=40, count=140)
    for event in waiting:
        clusterer.learn(*event)
        assert not clusterer.due(model)
    assert clusterer.moved(model) > 0
    clusterer.learn(*last)
    assert clusterer.due(model)
    assert not clusterer.due(clusterer.snapshot(model))


def test_it_stays_due_until_a_version_is_taken():
    stream = Stream(topics=5)
    clusterer = learned(mixed(stream))
    model = clusterer.snapshot(None)
    for event in stream.events(4, users=40, count=400):
        clusterer.learn(*event)
    assert clusterer.due(model)
    assert clusterer.due(model)


def test_users_are_weighed_by_what_their_profiles_rest_on():
    clusterer = StreamingClusterer(changed(POLICY, segments=1, warmup_users=4), EMBEDDING)
    for i, weight in enumerate([1.0, 1.0, 1.0, 5.0]):
        clusterer.learn(f"u{i}", np.eye(4)[i], {}, weight)
    assert clusterer.centres == pytest.approx(np.array([[1, 1, 1, 5]]) / 8)


def test_a_new_topic_is_due():
    stream = Stream(topics=5)
    clusterer = learned(mixed(stream))
    model = clusterer.snapshot(None)
    for event in stream.events(4, users=40, count=400):
        clusterer.learn(*event)
    assert clusterer.moved(model) == math.inf
    assert clusterer.due(model)


def test_what_counts_is_the_share_of_users_who_would_be_elsewhere():
    sample = UserSample(20)
    for i, place in enumerate([0.0, 1.0, 5.5, 9.0, 10.0]):
        sample.put(f"u{i}", [place, 0.0], {})
    now = published([[0, 0], [10, 0]], [0, 1])
    clusterer = StreamingClusterer(changed(POLICY, sample_users=50), EMBEDDING)
    clusterer.restore(now, sample)
    # The border was at 6, it is at 5 now.
    assert clusterer.moved(published([[2, 0], [10, 0]], [0, 1])) == pytest.approx(0.2)
    # A centre that has moved half the way to the next one and has kept its users is the same.
    assert clusterer.moved(published([[5, 0], [10, 0]], [0, 1])) == pytest.approx(0.2)
    # One that nobody was near to is not, wherever it has gone.
    assert clusterer.moved(published([[50, 0], [10, 0]], [0, 1])) == math.inf


def test_a_much_lower_threshold_is_due():
    policy = changed(POLICY, sample_users=50)
    clusterer = learned(mixed(Stream(), users=50), policy)
    model = clusterer.snapshot(None)
    assert not clusterer.due(model)
    assert clusterer.due(replace(model, sample_threshold=1.0))


# --- going on after a crash -----------------------------------------------------------------------


def test_a_restored_clusterer_goes_on_with_the_same_centres():
    clusterer = learned(mixed(Stream()))
    model = clusterer.snapshot(None)
    sample = UserSample(POLICY.sample_users)
    for user, vector, terms in zip(
        clusterer.sample.users(), clusterer.sample.vectors(), clusterer.sample.terms(), strict=True
    ):
        sample.put(user, vector, terms)
    restored = StreamingClusterer(POLICY, EMBEDDING)
    restored.restore(model, sample)
    assert restored.ready
    assert not restored.due(model)
    again = restored.snapshot(model)
    assert again.history.transitions == ()
    first = replace(again, version=1, history=model.history)
    assert first.to_record() == model.to_record()


def test_a_restored_clusterer_learns_on_as_the_first_would():
    stream = Stream()
    policy = changed(POLICY, reseed_every=600)
    clusterer = learned(mixed(stream), policy)
    model = clusterer.snapshot(None)
    restored = StreamingClusterer(policy, EMBEDDING)
    restored.restore(model, clusterer.sample)
    assert clusterer.samples == restored.samples
    clusterer.settle()
    restored.settle()
    assert np.array_equal(restored.centres, clusterer.centres)


def test_a_restored_clusterer_takes_a_new_number_of_segments_over():
    clusterer = learned(mixed(Stream()))
    model = clusterer.snapshot(None)
    for segments in (3, 5):
        restored = StreamingClusterer(changed(POLICY, segments=segments), EMBEDDING)
        restored.restore(model, clusterer.sample)
        restored.settle()
        assert len(restored.snapshot(model).ids) == segments


def test_a_model_of_another_embedding_cannot_be_restored():
    clusterer = learned(mixed(Stream()))
    with pytest.raises(ClusteringError, match="begin anew"):
        StreamingClusterer(POLICY, "f" * 64).restore(clusterer.snapshot(None), clusterer.sample)


# --- refusals -------------------------------------------------------------------------------------


def test_a_profile_of_another_length_is_refused():
    clusterer = learned(mixed(Stream()))
    with pytest.raises(VectorsError, match="2 numbers"):
        clusterer.learn("new", [1.0, 0.0], {})


# --- with the workers -----------------------------------------------------------------------------


def test_users_assigned_under_one_version_after_the_other_end_where_they_belong():
    stream = Stream()
    clusterer = StreamingClusterer(POLICY, EMBEDDING)
    policy = AssignmentPolicy()
    model, current = None, {}
    for topic in range(4):
        for event in stream.events(topic, users=40, count=400):
            clusterer.learn(*event)
        if clusterer.due(model):
            model = clusterer.snapshot(model)
        users = list(stream.sums)
        outcome = decide(
            np.stack([stream.profile(user) for user in users]),
            [current.get(user, -1) for user in users],
            [10] * len(users),
            [10] * len(users),
            model,
            policy,
        )
        current = dict(zip(users, outcome.segment.tolist(), strict=True))
    found = agreement([stream.truth[user] for user in current], list(current.values()))
    assert found.v_measure > 0.99
