"""Whether today's texts are those of the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.drift.check import (
    COMPONENTS,
    EUCLIDEAN,
    MMD,
    PSI,
    TESTS,
    VECTOR_TESTS,
    ComponentShare,
    DriftCheck,
    DriftReport,
    Outcome,
    Texts,
    churn,
)
from models.drift.detector import DETECTOR, detects
from models.drift.policy import DriftPolicy
from tests.consumer.stages.stage_data import a_model
from tests.models.drift.test_statistics import texts

DIMENSIONS = 24
MODEL = a_model(texts=["a"] * 3, centres=0.6 * np.eye(3, DIMENSIONS))
POLICY = DriftPolicy(segment_users=30)


def drawn(shares, count: int, seed: int, users: np.ndarray | None = None) -> Texts:
    """Texts on topics 0, 1, ... in these shares, each by another user."""
    random = np.random.default_rng(seed)
    topics = random.choice(len(shares), count, p=shares)
    vectors = np.concatenate(
        [texts(1, topic, seed * 10_000 + i, DIMENSIONS) for i, topic in enumerate(topics)]
    )
    return Texts(random.random(count) if users is None else users, vectors)


EVEN = (0.4, 0.3, 0.3)


def test_texts_of_one_kind_give_no_alarm_and_a_statistic_near_0():
    check = DriftCheck(drawn(EVEN, 300, 0), POLICY, seed=0)
    for seed in range(1, 21):
        report = check.look(drawn(EVEN, 300, seed), MODEL)
        assert report.alarms == ()
        assert report.drifted_segments == ()
        assert report.tests[EUCLIDEAN].statistic < report.tests[EUCLIDEAN].threshold
    assert tuple(report.tests) == TESTS
    assert (report.reference_users, report.current_users, report.both) == (300, 300, 0)


def test_at_an_even_chance_about_so_many_looks_give_an_alarm():
    loose = DriftPolicy(significance=0.45, segment_users=200)
    alarms = 0
    for seed in range(60):
        check = DriftCheck(drawn(EVEN, 100, seed), loose, seed=0)
        alarms += MMD in check.look(drawn(EVEN, 100, seed + 100), MODEL).alarms
    # 0.45 over five tests is 0.09 each: 5.4 looks of 60.
    assert 1 <= alarms <= 12


@pytest.mark.parametrize(
    ("shares", "tests"),
    [((0.2, 0.3, 0.3, 0.2), {MMD, EUCLIDEAN}), ((0.1, 0.3, 0.6), {PSI, MMD})],
)
def test_a_new_topic_and_other_shares_are_alarms(shares, tests):
    report = DriftCheck(drawn(EVEN, 300, 0), POLICY, seed=0).look(drawn(shares, 300, 1), MODEL)
    assert set(report.alarms) >= tests
    for name in report.alarms:
        assert report.tests[name].statistic > report.tests[name].threshold


def test_the_segment_that_drifted_is_named_and_the_others_are_not():
    reference, today = drawn(EVEN, 400, 0), drawn(EVEN, 400, 1)
    moved = today.vectors.copy()
    own = moved[:, 1] > 0.3
    moved[own, 10] += 0.5
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    report = DriftCheck(reference, POLICY, seed=0).look(replace(today, vectors=moved), MODEL)
    assert report.drifted_segments == (1,)
    assert set(report.segments) == {0, 1, 2}
    assert all(tuple(outcomes) == VECTOR_TESTS for outcomes in report.segments.values())


def test_a_segment_with_few_users_on_either_side_is_not_compared():
    check = DriftCheck(drawn((0.9, 0.05, 0.05), 200, 0), POLICY, seed=0)
    assert set(check.look(drawn(EVEN, 200, 1), MODEL).segments) == {0}
    assert set(check.look(drawn((0.0, 0.5, 0.5), 200, 2), MODEL).segments) == set()


def test_who_is_in_both_samples_makes_a_drift_easier_to_see():
    reference = drawn(EVEN, 300, 0)
    tenth = reference.vectors.copy()
    tenth[:40] = texts(40, 5, 7, DIMENSIONS)
    same = Texts(reference.users, tenth)
    others = Texts(np.random.default_rng(9).random(300), tenth)
    check = DriftCheck(reference, POLICY, seed=0)
    paired, apart = check.look(same, MODEL), check.look(others, MODEL)
    assert paired.both == 300
    assert paired.tests[MMD].threshold < 0.7 * apart.tests[MMD].threshold
    assert MMD in paired.alarms


def test_samples_of_different_sizes_can_be_compared():
    report = DriftCheck(drawn(EVEN, 300, 0), POLICY, seed=0).look(drawn(EVEN, 120, 1), MODEL)
    assert report.alarms == ()
    small = report.tests[MMD].threshold
    large = DriftCheck(drawn(EVEN, 300, 0), POLICY, seed=0).look(drawn(EVEN, 300, 1), MODEL)
    assert small > large.tests[MMD].threshold


def test_a_lower_significance_has_higher_thresholds():
    reference, today = drawn(EVEN, 150, 0), drawn(EVEN, 150, 1)
    found = [
        DriftCheck(reference, DriftPolicy(significance=significance), seed=0)
        .look(today, MODEL)
        .tests
        for significance in (0.1, 0.001, 1e-6)
    ]
    for name in TESTS:
        thresholds = [tests[name].threshold for tests in found]
        assert thresholds == sorted(thresholds)


def test_the_same_two_samples_give_the_same_report_whatever_came_between():
    reference, today = drawn(EVEN, 150, 0), drawn(EVEN, 150, 1)
    fresh = DriftCheck(reference, POLICY, seed=0).look(today, MODEL)
    used = DriftCheck(reference, POLICY, seed=0)
    used.look(drawn(EVEN, 90, 2), a_model(2, texts=["a"] * 2, centres=np.eye(2, DIMENSIONS)))
    assert used.look(today, MODEL) == fresh


def test_the_share_of_components_that_differ_is_a_twentieth_without_drift():
    vectors = drawn(EVEN, 400, 0).vectors
    share = ComponentShare(vectors, 0)
    found = [share.compare(drawn(EVEN, 400, seed).vectors, 0.001) for seed in range(1, 9)]
    assert np.mean([outcome.statistic for outcome in found]) < 0.12
    shifted = share.compare(vectors + 0.2, 0.001)
    assert shifted == Outcome(1.0, pytest.approx(shifted.threshold))
    assert shifted.alarm


def test_the_detector_finds_texts_farther_from_every_centre_and_nothing_else():
    random = np.random.default_rng(0)
    reference = random.normal(0.9, 0.1, 500)
    for seed in range(10):
        assert not detects(reference, np.random.default_rng(seed + 1).normal(0.9, 0.1, 500))
    assert detects(reference, random.normal(1.0, 0.1, 500))
    assert not detects(reference, reference)
    assert not detects(np.full(40, 0.5), np.full(40, 0.5))
    far = drawn((0.0, 0.0, 0.0, 0.0, 1.0), 300, 3)
    report = DriftCheck(drawn(EVEN, 300, 0), POLICY, seed=0).look(far, MODEL)
    assert report.detections == {DETECTOR: True}


def test_what_the_reference_itself_holds_is_no_detection():
    stepped = np.concatenate([np.full(200, 0.2), np.full(200, 0.9)]) + np.tile([0.0, 0.01], 200)
    assert not detects(stepped, np.tile([0.9, 0.91], 100))


def test_churn_is_the_share_of_users_in_another_segment():
    assert churn([1, 2, 3, 3], [1, 5, 3, 1]) == 0.5
    assert churn([], []) is None


def test_an_empty_report_has_no_alarm():
    report = DriftReport({COMPONENTS: Outcome(0.05, 0.2)})
    assert (report.alarms, report.drifted_segments) == ((), ())
