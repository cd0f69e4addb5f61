from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from models.measures.agreement import Confusion, agreement

PAIRS = st.lists(
    st.tuples(st.sampled_from(["beer", "ai", "tea"]), st.sampled_from([0, 1, 2, None])),
    min_size=2,
    max_size=40,
)


@given(PAIRS)
def test_the_measures_equal_scikit_learns(pairs):
    labels = [label for label, _ in pairs]
    segments = [segment for _, segment in pairs]
    codes = [-1 if segment is None else segment for segment in segments]
    outcome = agreement(labels, segments)
    assert outcome.v_measure == pytest.approx(metrics.v_measure_score(labels, codes), abs=1e-12)
    assert outcome.adjusted_rand == pytest.approx(
        metrics.adjusted_rand_score(labels, codes), abs=1e-12
    )
    table = metrics.cluster.contingency_matrix(labels, codes)
    assert outcome.purity == pytest.approx(table.max(axis=0).sum() / len(labels))
    assert outcome.users == len(pairs)


def test_the_same_groups_under_other_names_agree_fully():
    outcome = agreement(["a", "a", "b"], [7, 7, 3])
    assert (outcome.v_measure, outcome.adjusted_rand, outcome.purity) == (1.0, 1.0, 1.0)


def test_a_label_and_a_segment_of_the_same_name_are_not_the_same_thing():
    assert agreement([0, 0, 1, 1], [1, 1, 0, 0]).v_measure == pytest.approx(1.0)


@pytest.mark.parametrize(("labels", "segments"), [([], []), (["a"], [1, 2])])
def test_nothing_to_compare_is_refused(labels, segments):
    with pytest.raises(ValueError, match="give one of each a user"):
        agreement(labels, segments)


@given(PAIRS)
def test_a_confusion_fed_one_by_one_counts_every_pair(pairs):
    confusion = Confusion()
    for label, segment in pairs:
        confusion.add(label, segment)
    for i, label in enumerate(confusion.labels):
        for j, segment in enumerate(confusion.segments):
            assert confusion.counts()[i, j] == pairs.count((label, segment))
    assert confusion.pairs == len(pairs)
    for segment, label in confusion.best_labels().items():
        own = [other for other, place in pairs if place == segment]
        assert own.count(label) == max(map(own.count, own))


def test_an_empty_confusion_has_no_agreement():
    confusion = Confusion()
    assert confusion.agreement() is None
    assert confusion.best_labels() == {}
    assert confusion.counts().shape == (0, 0)


def test_a_single_pair_agrees():
    assert agreement(["a"], [1]).v_measure == 1.0


def test_the_figures_do_not_depend_on_the_hash_seed():
    program = (
        "from models.measures.agreement import agreement;"
        "print(agreement([f'l{i % 7}' for i in range(99)], [f's{i % 5}' for i in range(99)]))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert len(printed) == 1
