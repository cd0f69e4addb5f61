"""Segments learned from labels: the measures, the model, how it is learned, and when it decides."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from models.distances import VectorsError
from models.labels.classifiers import Classifier
from models.labels.confusion import ConfusionMatrix, confusion_of
from models.labels.decision import NO_LABEL, decide_labels
from models.labels.learner import LabelLearner
from models.labels.memory import LabelMemory
from models.labels.model import LabelModel, LabelModelError
from models.labels.offline import linear_svm, majority, random_forest
from models.labels.policy import LabelPolicy
from models.profiles.sample import rank
from schemas.label_model import LabelModelRecord
from tests.models.labels.river_classifiers import RiverClassifier

EMBEDDING = "ab" * 32
CLASSIFIERS = ("logistic", "softmax", "svm")
NAMES = ("beer", "coffee", "tea")
DIMENSIONS = 12


def profile(label: int, seed: int, noise: float = 0.4) -> np.ndarray:
    """A unit vector near the axis of a label."""
    vector = np.random.default_rng((label, seed)).normal(0, noise / np.sqrt(DIMENSIONS), DIMENSIONS)
    vector[label] += 1
    return vector / np.linalg.norm(vector)


def stream(count: int, labels: int = 3) -> list[tuple[str, np.ndarray, str]]:
    """Labelled profiles; users with one label come in a row, as in the world."""
    return [
        (f"u{i % 97}", profile(i * labels // count, i), NAMES[i * labels // count])
        for i in range(count)
    ]


def learned(count: int = 200, **policy: object) -> LabelLearner:
    learner = LabelLearner(LabelPolicy(**policy), EMBEDDING, seed=0)
    for example in stream(count):
        learner.learn(*example)
    return learner


def a_model(weights: np.ndarray | None = None, **changes: object) -> LabelModel:
    fields = {
        "version": 1,
        "embedding": EMBEDDING,
        "classifier": "softmax",
        "names": NAMES,
        "weights": 5 * np.eye(3, DIMENSIONS) if weights is None else weights,
        "intercepts": np.zeros(3),
        "examples": (1, 1, 1),
        "left_out": 0,
        "confusion": ((0,) * 3,) * 3,
        "learned_up_to": 0,
        "seed": 0,
    }
    return LabelModel(**(fields | changes))


# --- measures -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_the_measures_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    given_, predicted = zip(*pairs, strict=True)
    scores = confusion_of(pairs).scores()
    macro = {"average": "macro", "zero_division": 0}
    assert scores.count == len(pairs)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(given_, predicted))
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(given_, predicted, **macro))
    assert scores.macro_recall == pytest.approx(metrics.recall_score(given_, predicted, **macro))
    assert scores.macro_precision == pytest.approx(
        metrics.precision_score(given_, predicted, **macro)
    )


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60),
    st.sets(st.integers(0, 4), min_size=1),
)
def test_means_over_some_labels_are_those_of_scikit_learn(
    pairs: list[tuple[int, int]], among: set[int]
) -> None:
    given_, predicted = zip(*pairs, strict=True)
    labels = sorted(among & {*given_, *predicted})
    if not labels:
        return
    scores = confusion_of(pairs).scores(np.array(sorted(among)))
    macro = {"average": "macro", "zero_division": 0, "labels": labels}
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(given_, predicted, **macro))
    assert scores.macro_recall == pytest.approx(metrics.recall_score(given_, predicted, **macro))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=60))
def test_the_matrix_counts_each_pair(pairs: list[tuple[int, int]]) -> None:
    counts = confusion_of(pairs, labels=5).counts
    naive = Counter(pairs)
    assert counts.shape == (5, 5)
    assert all(counts[pair] == naive[pair] for pair in np.ndindex(5, 5))
    assert (ConfusionMatrix(counts.tolist()).counts == counts).all()


def test_without_a_pair_there_is_nothing_to_measure() -> None:
    assert ConfusionMatrix().scores() is None


# --- the model ----------------------------------------------------------------------------------


def naive_probabilities(model: LabelModel, vector: np.ndarray) -> list[float]:
    """The same by one number after the other."""
    scores = []
    for weights, intercept in zip(model.weights.tolist(), model.intercepts.tolist(), strict=True):
        total = 0.0
        for one, other in zip(vector.tolist(), weights, strict=True):
            total += one * other
        scores.append(total + intercept)
    if model.classifier == "softmax":
        powers = [math.exp(score - max(scores)) for score in scores]
    else:
        powers = [1 / (1 + math.exp(-score)) for score in scores]
    total = 0.0
    for power in powers:
        total += power
    return [power / total for power in powers]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_worker_predicts_what_the_trainer_predicts(name: str) -> None:
    learner = learned(classifier=name)
    model = learner.snapshot(None, 0)
    vectors = np.stack([profile(i % 3, 1000 + i, noise=1.0) for i in range(60)])
    found = model.probabilities(vectors)
    classifier = learner._classifier
    for vector, own in zip(vectors, found, strict=True):
        assert (classifier.probabilities(classifier.scores(vector)) == own).all()
        assert own.argmax() == learner.predict(vector)
    assert found.tolist() == [naive_probabilities(model, vector) for vector in vectors]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(0, 999))
def test_scores_are_sums_of_one_product_after_the_other(
    users: int, labels: int, dimensions: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    vectors, weights = draw.normal(size=(users, dimensions)), draw.normal(size=(labels, dimensions))
    model = a_model(
        weights,
        names=tuple("abcdefghi"[:labels]),
        intercepts=draw.normal(size=labels),
        examples=(1,) * labels,
        confusion=((0,) * labels,) * labels,
    )
    found = model.probabilities(vectors)
    assert found.tolist() == [naive_probabilities(model, vector) for vector in vectors]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_users_probabilities_do_not_depend_on_the_others(name: str) -> None:
    model = learned(classifier=name).snapshot(None, 0)
    vectors = np.stack([profile(i % 3, i) for i in range(300)])
    together = model.probabilities(vectors)
    assert all((together[i] == model.probabilities(vectors[[i]])[0]).all() for i in (0, 255, 299))
    assert model.probabilities(vectors[:0]).shape == (0, 3)


def test_scores_beyond_rivers_bounds_are_certain() -> None:
    model = a_model(classifier="logistic", weights=40 * np.eye(3, DIMENSIONS) - 35)
    one, nobody = model.probabilities(np.stack([np.eye(DIMENSIONS)[0], np.ones(DIMENSIONS)]))
    assert one[0] == pytest.approx(1)
    assert nobody.tolist() == [1 / 3] * 3


def test_a_model_comes_back_from_its_record_bit_for_bit() -> None:
    model = learned().snapshot(None, 17)
    text = model.to_record().model_dump_json()
    back = LabelModel.from_record(LabelModelRecord.model_validate_json(text))
    assert back.to_record().model_dump_json() == text
    assert (back.weights == model.weights).all()
    assert back.learned_up_to == 17


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("a", "b")}, "weights has the shape"),
        ({"names": ()}, "there are 0 names"),
        ({"version": 0}, "version is 0"),
        ({"intercepts": np.array([0, np.nan, 0])}, "intercepts holds NaN"),
        ({"examples": (1,)}, "examples has 1 entries"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(LabelModelError, match=message):
        a_model(**changes)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(VectorsError, match=r"\(1, 3\)"):
        a_model().probabilities(np.ones((1, 3)))


def test_a_record_with_a_vector_of_another_length_is_refused() -> None:
    record = a_model().to_record().model_copy(update={"dimensions": 3})
    with pytest.raises(LabelModelError, match="label 'beer' has 12 weights"):
        LabelModel.from_record(record)


# --- classifiers --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
@settings(deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=40),
    st.sampled_from([1, 2, 7, 30]),
    st.sampled_from([0.1, 1.0, 30.0]),
    st.integers(0, 999),
)
def test_classifiers_learn_what_rivers_learn(
    name: str, labels: list[int], dimensions: int, length: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    own, river = Classifier(name, dimensions), RiverClassifier(name, dimensions)
    numbers: dict[int, int] = {}
    for label in labels:
        if label not in numbers:
            numbers[label] = own.labels
            own.add_label()
            river.add_label()
        vector = length * draw.normal(size=dimensions)
        found, expected = own.probabilities(own.scores(vector)), river.probabilities(vector)
        if name != "softmax" or sys.version_info < (3, 12):  # where sum() adds one after the other
            assert (found == expected).all()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        own.learn(vector, numbers[label], own.scores(vector) if seed % 2 else None)
        river.learn(vector, numbers[label])
        for one, other in zip(own.parameters(), river.parameters(), strict=True):
            if name != "softmax" or sys.version_info < (3, 12):
                assert (one == other).all()
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_restored_classifier_goes_on_as_one_that_never_stopped(name: str) -> None:
    def fed(classifier: Classifier, numbers: range) -> Classifier:
        for i in numbers:
            classifier.learn(profile(i % 3, i), i % 3)
        return classifier

    first = Classifier(name, DIMENSIONS)
    for _ in range(3):
        first.add_label()
    fed(first, range(50))
    second = Classifier(name, DIMENSIONS)
    second.restore(*first.parameters())
    assert second.labels == 3
    fed(first, range(50, 80))
    fed(second, range(50, 80))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert (one == other).all()


# --- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_that_came_first_are_not_forgotten(name: str) -> None:
    def alike(label: int, seed: int) -> np.ndarray:
        vector = profile(label, seed)
        vector[-1] += 2  # what all texts have in common
        return vector / np.linalg.norm(vector)

    def right(rehearsals: int) -> float:
        policy = LabelPolicy(classifier=name, rehearsals=rehearsals)
        learner = LabelLearner(policy, EMBEDDING, seed=0)
        for label in range(3):
            for i in range(300):
                learner.learn(f"{label}-{i}", alike(label, i), NAMES[label])
        return np.mean([learner.predict(alike(i % 3, 9000 + i)) == i % 3 for i in range(90)])

    assert right(rehearsals=1) > 0.95
    assert right(rehearsals=0) < 0.8


def test_each_profile_is_predicted_before_it_is_learned() -> None:
    learner = LabelLearner(LabelPolicy(rehearsals=0), EMBEDDING, seed=0)
    learner.learn("a", profile(0, 0), "beer")
    assert learner.scores is None  # nothing could have been predicted
    learner.learn("b", profile(1, 0), "coffee")
    learner.learn("c", profile(1, 1), "coffee")
    assert learner.confusion.counts.tolist() == [[0, 0], [1, 1]]
    assert learner.scores.count == 2
    assert learner.examples == {"beer": 1, "coffee": 2}


def test_a_label_too_many_is_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    learner = LabelLearner(LabelPolicy(max_labels=2), EMBEDDING, seed=0)
    for i in range(4):
        learner.learn(f"u{i}", profile(i % 2, i), NAMES[i % 2])
    assert learner.learn("x", profile(2, 0), "tea") == ["x"]
    assert learner.learn("y", profile(2, 1), "tea") == ["y"]
    assert (learner.names, learner.left_out) == (NAMES[:2], 2)
    assert "x" not in learner.memory
    assert caplog.text.count("labels.max_labels") == 1


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("published_at", [60, 130])
def test_a_restored_learner_goes_on_as_one_that_never_stopped(name: str, published_at: int) -> None:
    policy = LabelPolicy(classifier=name, remembered_users=10, rehearsals=2)
    examples = stream(200)
    first = LabelLearner(policy, EMBEDDING, seed=0)
    model = None
    for i, example in enumerate(examples[:150]):
        first.learn(*example)
        if i + 1 == published_at:
            model = first.snapshot(None, published_at)
    second = LabelLearner(policy, EMBEDDING, seed=0)
    record = LabelModelRecord.model_validate_json(model.to_record().model_dump_json())
    assert second.restore(LabelModel.from_record(record))
    for example in examples[:published_at]:
        second.remember(*example)
    for example in examples[published_at:150]:
        second.learn(*example)
    for learner in (first, second):
        for example in examples[150:]:
            learner.learn(*example)
    assert second.due(idle=True) == first.due(idle=True)
    after = [learner.snapshot(model, 200).to_record() for learner in (first, second)]
    assert after[0].model_dump_json() == after[1].model_dump_json()


@pytest.mark.parametrize(
    "changes", [{"embedding": "cd" * 32}, {"classifier": "softmax"}, {"max_labels": 2}]
)
def test_a_version_of_another_kind_is_not_taken_over(changes: dict) -> None:
    model = learned(classifier="logistic").snapshot(None, 0)
    embedding = changes.pop("embedding", EMBEDDING)
    learner = LabelLearner(LabelPolicy(**changes), embedding, seed=0)
    assert not learner.restore(model)
    assert learner.names == ()


def test_what_is_learned_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from tests.models.labels.test_labels import CLASSIFIERS, learned; import hashlib;"
        "print([hashlib.sha256(learned(120, classifier=n).snapshot(None, 0).to_record()"
        ".model_dump_json().encode()).hexdigest() for n in CLASSIFIERS])"
    )
    outcomes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outcomes) == 1


# --- publishing ---------------------------------------------------------------------------------


def test_a_version_is_due_once_two_labels_are_known_and_enough_came() -> None:
    learner = LabelLearner(LabelPolicy(publish_every=20), EMBEDDING, seed=0)
    for i in range(19):
        learner.learn(f"u{i}", profile(0, i), "beer")
    assert not learner.due(idle=True)
    learner.learn("x", profile(1, 0), "coffee")
    assert learner.due()


def test_when_idle_few_examples_are_enough() -> None:
    learner = LabelLearner(LabelPolicy(publish_every=1000), EMBEDDING, seed=0)
    for i in range(4):
        learner.learn(f"u{i}", profile(i % 2, i), NAMES[i % 2])
    assert not learner.due()
    assert learner.due(idle=True)


def test_no_version_is_due_that_would_change_nothing() -> None:
    learner = learned(300, publish_every=50)
    model = learner.snapshot(None, 0)
    for i in range(100):
        learner.learn(f"n{i}", profile(i % 3, 5000 + i, noise=0.1), NAMES[i % 3])
    assert not learner.due()
    assert not learner.due(idle=True)
    for i in range(400):
        learner.learn(f"n{i}", profile(i % 3, 6000 + i, noise=0.1), NAMES[i % 3])
    assert learner.due()  # so that what a start has to learn again stays bounded
    assert learner.snapshot(model, 0).version == 2


def test_a_new_label_makes_a_version_due() -> None:
    learner = LabelLearner(LabelPolicy(publish_every=10), EMBEDDING, seed=0)
    for i in range(40):
        learner.learn(f"u{i}", profile(i % 2, i), NAMES[i % 2])
    learner.snapshot(None, 0)
    learner.learn("x", profile(2, 0), "tea")
    assert not learner.due()
    assert learner.due(idle=True)


# --- memory -------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), max_size=40), st.randoms())
def test_memory_depends_on_the_latest_profiles_only(
    puts: list[tuple[int, int]], random: Random
) -> None:
    latest = dict(puts)
    # Whoever was put aside by another is not asked for again: so each user once, in any order.
    order = list(latest.items())
    random.shuffle(order)
    memory = LabelMemory(3)
    for user, label in order:
        memory.put(f"u{user}", profile(label, user), label)
    expected = {
        name
        for label in range(3)
        for name in sorted((f"u{user}" for user in latest if latest[user] == label), key=rank)[:3]
    }
    assert {f"u{user}" for user in latest if f"u{user}" in memory} == expected
    assert len(memory) == len(expected)


def test_the_one_who_goes_is_named() -> None:
    memory = LabelMemory(1)
    first, second = sorted(("a", "b"), key=rank)
    assert memory.put(second, profile(0, 0), 0) == []
    assert memory.put(first, profile(0, 1), 0) == [second]
    assert memory.put(second, profile(0, 2), 0) == [second]
    assert memory.put(second, profile(1, 2), 1) == []  # another label has room


def test_rare_labels_are_rehearsed_as_often_as_frequent_ones() -> None:
    memory = LabelMemory(100)
    for i in range(100):
        memory.put(f"a{i}", profile(0, i), 0)
    memory.put("b", profile(1, 0), 1)
    random = Random(0)
    drawn = Counter(memory.draw(random).label for _ in range(1000))
    assert 400 < drawn[1] < 600
    memory.discard("b")
    memory.discard("b")
    assert {memory.draw(random).label for _ in range(50)} == {0}


# --- deciding -----------------------------------------------------------------------------------


def test_a_first_label_needs_events_and_a_probability() -> None:
    model, vector = a_model(), profile(0, 0)[np.newaxis]

    def label(events: int, **policy: object) -> int:
        decided = decide_labels(
            vector, [None], np.array([events]), np.array([events]), model,
            LabelPolicy(**policy),
        )  # fmt: skip
        assert decided.changed[0] == (decided.row[0] != NO_LABEL)
        return int(decided.row[0])

    assert label(1) == 0
    assert label(2, min_events=3) == NO_LABEL
    assert label(3, min_events=3) == 0
    assert label(1, min_probability=1.0) == NO_LABEL


def test_another_label_needs_a_margin_and_a_rest() -> None:
    between = np.zeros((1, DIMENSIONS))
    between[0, :2] = (0.69, 0.724)  # a little more coffee than beer
    model = a_model()

    def moves(vector: np.ndarray, rested: int) -> bool:
        decided = decide_labels(
            vector, ["beer"], np.array([9]), np.array([rested]), model, LabelPolicy()
        )
        return bool(decided.changed[0])

    assert not moves(between, 9)
    assert not moves(profile(1, 0)[np.newaxis], 2)
    assert moves(profile(1, 0)[np.newaxis], 3)


def test_a_label_that_the_model_does_not_hold_goes() -> None:
    decided = decide_labels(
        np.stack([profile(0, 0), np.zeros(DIMENSIONS)]),
        ["wine", "wine"],
        np.array([5, 5]),
        np.array([0, 0]),
        a_model(),
        LabelPolicy(),
    )
    assert decided.row.tolist() == [0, NO_LABEL]
    assert decided.changed.tolist() == [True, True]
    assert np.isnan(decided.probability[1])


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([None, *NAMES, "wine"]), min_size=1, max_size=6),
    st.integers(0, 1000),
    st.integers(0, 5),
)
def test_deciding_again_changes_nothing(current: list[str | None], seed: int, rested: int) -> None:
    n = len(current)
    vectors = np.stack([profile(i % 3, seed + i, noise=1.5) for i in range(n)])
    events, rest = np.full(n, 5), np.full(n, rested)
    model, policy = a_model(), LabelPolicy()
    first = decide_labels(vectors, current, events, rest, model, policy)
    after = [NAMES[row] if row >= 0 else None for row in first.row.tolist()]
    again = decide_labels(vectors, after, events, rest, model, policy)
    assert not again.changed.any()
    assert (first.changed == [a != b for a, b in zip(current, after, strict=True)]).all()


# --- peers --------------------------------------------------------------------------------------


def test_the_peers_predict_each_profile_from_others() -> None:
    labels = np.array([i % 3 for i in range(45)])
    vectors = np.stack([profile(label, i) for i, label in enumerate(labels.tolist())])
    assert (linear_svm(vectors, labels) == labels).mean() > 0.9
    assert (random_forest(vectors, labels) == labels).mean() > 0.8
    assert (random_forest(vectors, labels) == random_forest(vectors, labels)).all()
    assert majority([2, 1, 1, 2, 0]).tolist() == [1] * 5
