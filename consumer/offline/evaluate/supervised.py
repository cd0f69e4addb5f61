"""Labels as segments: how well they are learned from users who have one.

Each profile is given to a label learner as the trainer would get it if every user were labelled:
once a batch, after the batch's events. A second learner never learns a part of the users, picked
by hash: what it predicts of them says how good labels are for users who have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from consumer.offline.evaluate.users import LEAST_SCORED_USERS, Users
from models.distances import Floats, Ints
from models.labels.confusion import ConfusionMatrix, confusion_of
from models.labels.learner import LabelLearner
from models.labels.offline import FOLDS, linear_svm, majority, random_forest
from models.labels.policy import LabelPolicy
from models.profiles.sample import rank

HELD_OUT = 0.2
"""Share of the users whom the second learner never learns."""

FOREST, SVM, MAJORITY = "random forest, offline", "linear SVM, offline", "majority"
PROGRESSIVE = "segmenter, predicted, then learned"
UNSEEN = "segmenter, users never learned"
FINAL = "segmenter, at the end"
UNSEEN_FINAL = "segmenter, at the end, users never learned"


@dataclass(frozen=True, slots=True)
class LabelRow:
    """How well one way to tell labels does; `count` profiles compared, 0 with all else None."""

    name: str
    count: int
    accuracy: float | None
    macro_recall: float | None
    macro_precision: float | None
    macro_f1: float | None

    @classmethod
    def of(cls, name: str, matrix: ConfusionMatrix) -> LabelRow:
        """Measure a confusion matrix."""
        scores = matrix.scores()
        if scores is None:
            return cls(name, 0, None, None, None, None)
        return cls(name, **asdict(scores))


@dataclass(frozen=True, slots=True)
class LabelGroup:
    """Users with so many events at least; in the progressive rows their profiles from then on.

    There are no rows where there are fewer than `LEAST_SCORED_USERS`.
    """

    least_events: int
    users: int
    rows: tuple[LabelRow, ...]


@dataclass(frozen=True, slots=True)
class LabelConfusion:
    """Counts of profiles by label given (rows) and predicted (columns)."""

    least_events: int
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Supervised:
    """All that is said of labels.

    `confusion` is progressive; `left_out` counts profiles with a label beyond `labels.max_labels`.
    """

    classifier: str
    labels: tuple[str, ...]
    examples: int
    left_out: int
    versions: int
    groups: tuple[LabelGroup, ...]
    confusion: LabelConfusion


@dataclass(slots=True)
class LabelWatch:
    """Follows the two learners through a replay.

    Parameters
    ----------
    policy
        How labels are learned.
    embedding
        Identity of the embedding model.
    least_events
        Groups of users to tell apart.
    seed
        Seed of the learners' draws, and of the peers.
    """

    policy: LabelPolicy
    embedding: str
    least_events: Sequence[int]
    seed: int
    learner: LabelLearner = field(init=False)
    versions: int = 0
    """How many versions of the label model would have been published."""
    _held_out: LabelLearner = field(init=False)
    _seen: dict[int, ConfusionMatrix] = field(init=False)
    _unseen: dict[int, ConfusionMatrix] = field(init=False)

    def __post_init__(self) -> None:
        self.learner = LabelLearner(self.policy, self.embedding, self.seed)
        self._held_out = LabelLearner(self.policy, self.embedding, self.seed)
        self._seen = {least: ConfusionMatrix() for least in self.least_events}
        self._unseen = {least: ConfusionMatrix() for least in self.least_events}

    def see(self, user: str, vector: Floats, label: str, events: int) -> None:
        """Take a user's profile in, which has moved."""
        predicted = self.learner.predict(vector)
        self.learner.learn(user, vector, label)
        if _is_held_out(user):
            self._count(self._unseen, self._held_out, label, self._held_out.predict(vector), events)
        else:
            self._held_out.learn(user, vector, label)
        self._count(self._seen, self.learner, label, predicted, events)

    def end_of_batch(self, offset: int) -> None:
        """Publish where the trainer would."""
        if self.learner.due():
            self.learner.snapshot(None, offset)
            self.versions += 1

    def result(self, users: Users, say: Callable[[str], None]) -> Supervised | None:
        """Measure; None where no label was learned.

        Parameters
        ----------
        users
            The users at the end.
        say
            Told what is being computed.
        """
        names = self.learner.names
        if not names:
            return None
        numbers = {name: number for number, name in enumerate(names)}
        given = np.array([numbers.get(label or "", -1) for label in users.labels], np.int64)
        held = np.array([_is_held_out(user) for user in users.ids], bool)
        final = _predicted(self.learner, users.vectors, numbers)
        unseen = np.full(len(users.ids), -1, np.int64)
        unseen[held] = _predicted(self._held_out, users.vectors[held], numbers)
        groups = []
        for least in self.least_events:
            members = np.flatnonzero((users.events >= least) & (given >= 0))
            apart = members[held[members]]
            if len(members) < LEAST_SCORED_USERS:
                groups.append(LabelGroup(least, len(members), ()))
                continue
            rows = [
                LabelRow.of(PROGRESSIVE, self._seen[least]),
                LabelRow.of(UNSEEN, self._unseen[least]),
                LabelRow.of(FINAL, _compared(given[members], final[members], len(names))),
                LabelRow.of(UNSEEN_FINAL, _compared(given[apart], unseen[apart], len(names))),
            ]
            rows += _peers(users.vectors[members], given[members], len(names), self.seed, say)
            groups.append(LabelGroup(least, len(members), tuple(rows)))
        shown = self.least_events[0]
        matrix = self._seen[shown]
        matrix.grow(len(names))
        return Supervised(
            classifier=self.policy.classifier,
            labels=names,
            examples=sum(self.learner.examples.values()),
            left_out=self.learner.left_out,
            versions=self.versions,
            groups=tuple(groups),
            confusion=LabelConfusion(
                shown, names, tuple(tuple(row) for row in matrix.counts.tolist())
            ),
        )

    def _count(
        self,
        matrices: dict[int, ConfusionMatrix],
        learner: LabelLearner,
        label: str,
        predicted: int | None,
        events: int,
    ) -> None:
        names = self.learner.names
        if predicted is None or label not in names:
            return
        for least, matrix in matrices.items():
            if events >= least:
                matrix.add(names.index(label), names.index(learner.names[predicted]))


def _is_held_out(user: str) -> bool:
    # Not by the rank itself, by which users are sampled.
    return rank(f"held out: {user}") <= HELD_OUT


def _predicted(learner: LabelLearner, vectors: Floats, numbers: Mapping[str, int]) -> Ints:
    """Predict labels, by the numbers that are given: a learner has its own; -1 for none."""
    own = [numbers[name] for name in learner.names]
    found = [learner.predict(vector) for vector in vectors]
    return np.array([-1 if each is None else own[each] for each in found], np.int64)


def _compared(given: Ints, predicted: Ints, labels: int) -> ConfusionMatrix:
    known = predicted >= 0
    return confusion_of(zip(given[known].tolist(), predicted[known].tolist(), strict=True), labels)


def _peers(
    vectors: Floats, given: Ints, labels: int, seed: int, say: Callable[[str], None]
) -> list[LabelRow]:
    """Give what the majority and the offline classifiers make of the same profiles."""
    rows = [LabelRow.of(MAJORITY, _compared(given, majority(given.tolist()), labels))]
    counts = np.bincount(given, minlength=labels)
    # A label with fewer users cannot be in every fold.
    enough = counts[given] >= FOLDS
    if len(np.unique(given[enough])) < 2:
        return rows
    for name, peer in ((FOREST, random_forest), (SVM, linear_svm)):
        say(f"{name}: {int(enough.sum()):,} users")
        found = peer(vectors[enough], given[enough], seed)
        rows.append(LabelRow.of(name, _compared(given[enough], found, labels)))
    return rows
