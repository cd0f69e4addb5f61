"""Labels as segments: how well they are learned from users who have one.

Each profile is given to a label learner as the trainer would get it if every user were labelled:
once a batch, after the batch's events. Five more never learn a fifth of the users each, picked by
hash: what they predict of them says how good labels are for users who have none, as the peers
predict each profile by what others tell.

Labels of fewer than five users cannot be in every fold: they are learned, but no row compares them.
So all rows of a group are of the same users, and means over the same labels.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from consumer.offline.evaluate.users import LEAST_SCORED_USERS, Users
from models.distances import Floats, Ints
from models.labels.confusion import ConfusionMatrix, Scores, confusion_of
from models.labels.learner import LabelLearner
from models.labels.offline import FOLDS, linear_svm, majority, random_forest
from models.labels.policy import LabelPolicy
from models.profiles.sample import rank

SEEDS = 5
"""Seeds of each peer that draws."""

FOREST, SVM, MAJORITY = "random forest, offline", "linear SVM, offline", "majority"
PROGRESSIVE = "segmenter, predicted, then learned"
UNSEEN = "segmenter, users never learned"
FINAL = "segmenter, at the end"
UNSEEN_FINAL = "segmenter, at the end, users never learned"

_NONE = -1


@dataclass(frozen=True, slots=True)
class LabelRow:
    """How well one way to tell labels does.

    Attributes
    ----------
    name
        Which.
    count
        Profiles compared; 0 with all else None.
    accuracy, macro_recall, macro_precision, macro_f1
        Means over the seeds, the macro measures over the group's labels.
    seeds
        How many.
    macro_f1s
        The least F1 and the greatest; None with nothing to compare.
    """

    name: str
    count: int
    accuracy: float | None
    macro_recall: float | None
    macro_precision: float | None
    macro_f1: float | None
    seeds: int = 1
    macro_f1s: tuple[float, float] | None = None

    @classmethod
    def of(cls, name: str, found: Sequence[Scores | None]) -> LabelRow:
        """Sum up the scores of several seeds."""
        known = [scores for scores in found if scores is not None]
        if not known:
            return cls(name, 0, None, None, None, None)
        f1s = [scores.macro_f1 for scores in known]
        return cls(
            name=name,
            count=known[0].count,
            accuracy=fmean(scores.accuracy for scores in known),
            macro_recall=fmean(scores.macro_recall for scores in known),
            macro_precision=fmean(scores.macro_precision for scores in known),
            macro_f1=fmean(f1s),
            seeds=len(known),
            macro_f1s=(min(f1s), max(f1s)),
        )


@dataclass(frozen=True, slots=True)
class LabelGroup:
    """Users with so many events at least; in the progressive rows their profiles from then on.

    Attributes
    ----------
    least_events
        Of each user.
    users
        Who is compared, in every row.
    labels
        Labels that are compared: those of `FOLDS` of these users or more.
    left_out
        Further users, whose labels are rarer.
    rows
        Empty where there are fewer users than `LEAST_SCORED_USERS`.
    """

    least_events: int
    users: int
    labels: int
    left_out: int
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
class _Seen:
    """Profiles in the order in which they came: 16 bytes each, by numbers of users and labels."""

    users: array[int] = field(default_factory=lambda: array("i"))
    events: array[int] = field(default_factory=lambda: array("i"))
    given: array[int] = field(default_factory=lambda: array("i"))
    predicted: array[int] = field(default_factory=lambda: array("i"))
    unseen: array[int] = field(default_factory=lambda: array("i"))


class LabelWatch:
    """Follows the learners through a replay.

    Parameters
    ----------
    policy
        How labels are learned.
    embedding
        Identity of the embedding model.
    least_events
        Groups of users to tell apart.
    seed
        Seed of the learners' draws, and the first of the peers.
    """

    def __init__(
        self, policy: LabelPolicy, embedding: str, least_events: Sequence[int], seed: int
    ) -> None:
        self.policy = policy
        self.least_events = least_events
        self.seed = seed
        self.learner = LabelLearner(policy, embedding, seed)
        self.versions = 0
        """How many versions of the label model would have been published."""
        self._folds = [LabelLearner(policy, embedding, seed) for _ in range(FOLDS)]
        self._users: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._seen = _Seen()

    def see(self, user: str, vector: Floats, label: str, events: int) -> None:
        """Take a user's profile in, which has moved."""
        predicted = self._predict(self.learner, vector)
        self.learner.learn(user, vector, label)
        apart = _fold(user)
        unseen = self._predict(self._folds[apart], vector)
        for fold, learner in enumerate(self._folds):
            if fold != apart:
                learner.learn(user, vector, label)
        # Of the very first one there is no prediction; a label may be one too many.
        if predicted == _NONE or label not in self.learner.examples:
            return
        seen = self._seen
        seen.users.append(self._users.setdefault(user, len(self._users)))
        seen.events.append(events)
        seen.given.append(self._number(label))
        seen.predicted.append(predicted)
        seen.unseen.append(unseen)

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
        known = set(names)
        given = np.array(
            [self._number(label) if label in known else _NONE for label in users.labels], np.int64
        )
        final = self._predicted(self.learner, users.vectors)
        unseen = np.empty(len(final), np.int64)
        folds = np.array([_fold(user) for user in users.ids])
        for fold, learner in enumerate(self._folds):
            unseen[folds == fold] = self._predicted(learner, users.vectors[folds == fold])
        groups = []
        for least in self.least_events:
            members = np.flatnonzero((users.events >= least) & (given >= 0))
            users_of = np.bincount(given[members], minlength=len(self._numbers))
            # A label with fewer users cannot be in every fold.
            labels = np.flatnonzero(users_of >= FOLDS)
            compared = members[np.isin(given[members], labels)]
            rows: list[LabelRow] = []
            if len(compared) >= LEAST_SCORED_USERS:
                seen = self._seen_of([users.ids[row] for row in compared.tolist()], labels, least)
                rows = [
                    LabelRow.of(PROGRESSIVE, [_scores(seen[0], seen[1], labels)]),
                    LabelRow.of(UNSEEN, [_scores(seen[0], seen[2], labels)]),
                    LabelRow.of(FINAL, [_scores(given[compared], final[compared], labels)]),
                    LabelRow.of(UNSEEN_FINAL, [_scores(given[compared], unseen[compared], labels)]),
                    *_peers(users.vectors[compared], given[compared], labels, self.seed, say),
                ]
            left_out = len(members) - len(compared)
            groups.append(LabelGroup(least, len(compared), len(labels), left_out, tuple(rows)))
        return Supervised(
            classifier=self.policy.classifier,
            labels=names,
            examples=sum(self.learner.examples.values()),
            left_out=self.learner.left_out,
            versions=self.versions,
            groups=tuple(groups),
            confusion=self._confusion(self.least_events[0]),
        )

    def _seen_of(self, users: Sequence[str], labels: Ints, least: int) -> tuple[Ints, Ints, Ints]:
        """Give labels given, predicted and predicted by who never learned the user, of profiles."""
        columns = [
            np.frombuffer(each, np.int32).astype(np.int64)
            for each in (self._seen.given, self._seen.predicted, self._seen.unseen)
        ]
        wanted = [number for user in users if (number := self._users.get(user)) is not None]
        rows = np.isin(np.frombuffer(self._seen.users, np.int32), wanted)
        rows &= np.frombuffer(self._seen.events, np.int32) >= least
        rows &= np.isin(columns[0], labels)
        given, predicted, unseen = (each[rows] for each in columns)
        return given, predicted, unseen

    def _confusion(self, least: int) -> LabelConfusion:
        """Count all labels, also those that no row compares."""
        names = self.learner.names
        order = {self._number(name): place for place, name in enumerate(names)}
        matrix = ConfusionMatrix()
        matrix.grow(len(names))
        columns = zip(self._seen.events, self._seen.given, self._seen.predicted, strict=True)
        for events, given, predicted in columns:
            if events >= least:
                matrix.add(order[given], order[predicted])
        return LabelConfusion(least, names, tuple(tuple(row) for row in matrix.counts.tolist()))

    def _number(self, label: str) -> int:
        """Give the number of a label: each learner has numbers of its own."""
        return self._numbers.setdefault(label, len(self._numbers))

    def _predict(self, learner: LabelLearner, vector: Floats) -> int:
        found = learner.predict(vector)
        return _NONE if found is None else self._number(learner.names[found])

    def _predicted(self, learner: LabelLearner, vectors: Floats) -> Ints:
        return np.array([self._predict(learner, vector) for vector in vectors], np.int64)


def _fold(user: str) -> int:
    # Not by the rank itself, by which users are sampled.
    return min(int(FOLDS * rank(f"held out: {user}")), FOLDS - 1)


def _scores(given: Ints, predicted: Ints, labels: Ints) -> Scores | None:
    """Measure, with means over some labels; no prediction is a wrong one."""
    none = int(max(given.max(initial=0), predicted.max(initial=0))) + 1
    found = np.where(predicted == _NONE, none, predicted)
    return confusion_of(zip(given.tolist(), found.tolist(), strict=True)).scores(labels)


def _peers(
    vectors: Floats, given: Ints, labels: Ints, seed: int, say: Callable[[str], None]
) -> list[LabelRow]:
    """Give what the majority and the offline classifiers make of the same profiles."""
    rows = [LabelRow.of(MAJORITY, [_scores(given, majority(given.tolist()), labels)])]
    if len(labels) < 2:
        return rows
    for name, peer in ((FOREST, random_forest), (SVM, linear_svm)):
        say(f"{name}: {len(given):,} users, {SEEDS} seeds")
        found = [_scores(given, peer(vectors, given, seed + n), labels) for n in range(SEEDS)]
        rows.append(LabelRow.of(name, found))
    return rows
