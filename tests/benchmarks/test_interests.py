"""The made-up streams with many interests."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.interests.plan import Shape, events, plan, posts, squeezed
from benchmarks.interests.texts import WrittenTexts, interests, vectors_like_texts
from models.measures.agreement import agreement
from models.measures.offline import offline_kmeans
from schemas.events import UserEvent
from tests.stubs import HashingEmbedder

FEW = Shape(interests=6, users=80)


def means(stream, users):
    """The mean vector of each user, float64[users, d]: a profile that does not fade."""
    found = np.zeros((users, stream.vectors.shape[1]))
    np.add.at(found, stream.users, stream.vectors)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_there_are_sixty_interests_that_share_words_with_others():
    names = {interest.name for interest in interests()}
    assert len(names) == 60
    words = [{*interest.own, *interest.shared} for interest in interests()]
    assert all(any(own & other for other in words if other is not own) for own in words)


def test_a_seed_says_everything():
    first, again, other = (list(events(plan(FEW, seed), seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_events_are_such_as_workers_accept():
    for event in events(plan(FEW)):
        assert UserEvent.model_validate_json(json.dumps(event)).text


def test_interests_are_uneven_and_half_of_the_users_write_once():
    drawn = plan(Shape(interests=20))
    sizes = np.bincount(drawn.truth)
    assert sizes.max() > 4 * sizes.min() > 0
    once = np.bincount(drawn.users) == 1
    assert once.mean() == pytest.approx(0.5, abs=0.05)
    assert (np.diff(drawn.times) >= 0).all()


def test_interests_come_split_merge_and_go():
    shape = Shape(interests=20, users=4000, focus=1.0, changing=True)
    drawn = plan(shape, 3)
    half = drawn.times < drawn.times.max() / 2
    before, after = (np.bincount(drawn.about[part], minlength=20) for part in (half, ~half))
    assert ((before == 0) & (after > 0)).sum() == 2
    assert ((before > 0) & (after == 0)).sum() == 2
    # Two pairs are written on as if they were one before half-time, and two from then on.
    own = plan(replace(shape, changing=False), 3).truth[drawn.users]
    assert drawn.number == 18
    mixed = [{int(own[row]) for row in np.flatnonzero(drawn.about == k)} for k in range(20)]
    assert sum(len(users) > 1 for users in mixed) == 8


@pytest.mark.parametrize("seed", range(3))
def test_vectors_are_as_hard_to_tell_apart_as_written_texts(seed):
    """Offline k-means gets 0.86 of the written ones in MiniLM, with users of five texts or more."""
    drawn = plan(Shape(interests=20), seed)
    known = drawn.known()
    profiles = means(posts(drawn, vectors_like_texts(), seed), len(known))[known]
    found = offline_kmeans(profiles, 20, starts=3)
    assert 0.7 < agreement(drawn.truth[known].tolist(), found.rows.tolist()).v_measure < 0.9


def test_written_texts_are_drawn_from_their_interest():
    texts = WrittenTexts(HashingEmbedder(32), each=3)
    drawn = texts.draw(np.array([0, 7, 7, 59]), np.random.default_rng(0))
    assert drawn.shape == (4, 32)
    everything = texts.draw(np.repeat(np.arange(60), 200), np.random.default_rng(0))
    of = everything.reshape(60, 200, 32)
    for topic, vector in zip((0, 7, 7, 59), drawn, strict=True):
        assert (of[topic] == vector).all(axis=1).any()


def test_squeezed_vectors_have_the_cosine_that_was_asked_for():
    vectors = np.eye(400, dtype=np.float32)[:50]
    cosines = squeezed(vectors, 0.81) @ squeezed(vectors, 0.81).T
    assert cosines[~np.eye(50, dtype=bool)].mean() == pytest.approx(0.81, abs=0.02)
    np.testing.assert_allclose(squeezed(vectors, 0.0), vectors, atol=1e-6)
