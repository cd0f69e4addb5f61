"""How the trainer learns labels: test, then learn, then rehearse; and when it publishes.

A stream does not come in random order. Users with one label come in a row, and a linear model that
learns from the latest ones only forgets the others: measured when each profile comes (test, then
learn), any classifier looks perfect then, and yet puts quiet users into the wrong place when asked
later. So each example is followed by some of the labelled users that are remembered, drawn so that
each label comes up alike. That takes care of rare labels, too.

A published model holds all that was learned, and where in the feed that was. A trainer that starts
again takes it over and learns what came after it once more, so it is as one that never stopped
(unless compaction has removed a profile that a later one of the same user has replaced).
"""

from __future__ import annotations

import logging
from random import Random

import numpy as np

from models.distances import Floats
from models.labels.classifiers import Classifier
from models.labels.confusion import ConfusionMatrix, Scores
from models.labels.memory import LabelMemory
from models.labels.model import LabelModel
from models.labels.policy import LabelPolicy

logger = logging.getLogger(__name__)

# Beyond so many times `publish_every` a version is published though it changes next to nothing:
# what a starting trainer has to learn again stays bounded.
_STALE = 10


class LabelLearner:
    """Learns labels from users' profiles, one by one.

    Parameters
    ----------
    policy
        How.
    embedding
        SHA-256 of the embedding model of the profiles.
    seed
        Seed of the rehearsal's draws.
    """

    def __init__(self, policy: LabelPolicy, embedding: str, seed: int) -> None:
        self.policy = policy
        self.embedding = embedding
        self.seed = seed
        self.memory = LabelMemory(policy.remembered_users)
        self.confusion = ConfusionMatrix()
        """Progressive: each profile's label was predicted before it was learned."""
        self.left_out = 0
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._examples: list[int] = []
        self._classifier: Classifier | None = None
        # Since the last version: examples, and those for which it says something else by now.
        self._since = 0
        self._differing = 0
        self._published: LabelModel | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Labels in the order in which they came first."""
        return tuple(self._names)

    @property
    def examples(self) -> dict[str, int]:
        """Profiles learned so far, by label."""
        return dict(zip(self._names, self._examples, strict=True))

    @property
    def scores(self) -> Scores | None:
        """How well labels were predicted before they were learned, over all examples so far."""
        return self.confusion.scores()

    def predict(self, vector: Floats) -> int | None:
        """Give the number of the likeliest label, None before any."""
        if self._classifier is None:
            return None
        scores = self._classifier.scores(vector)
        return int(self._classifier.probabilities(scores).argmax())  # of equals the first

    def learn(self, user: str, vector: Floats, label: str) -> list[str]:
        """Predict a labelled user's profile, then learn it.

        Parameters
        ----------
        user
            Whose profile it is.
        vector
            float64[d], of unit length.
        label
            The user's label.

        Returns
        -------
        list of str
            Users who are no longer remembered, maybe this one.
        """
        number = self._number(label, len(vector))
        if number is None or self._classifier is None:
            self.left_out += 1
            self.forget(user)
            return [user]
        scores = self._classifier.scores(vector)
        if sum(self._examples):
            predicted = int(self._classifier.probabilities(scores).argmax())
            self.confusion.add(number, predicted)
            self._compare(vector, predicted)
        self._since += 1
        self._examples[number] += 1
        self._classifier.learn(vector, number, scores)
        evicted = self.memory.put(user, vector, number)
        if self.policy.rehearsals:
            # Seeded by what was learned so far: a restored learner needs no generator's state.
            random = Random(self.seed * 2**64 + sum(self._examples))  # noqa: S311
            for _ in range(self.policy.rehearsals):
                other = self.memory.draw(random)
                self._classifier.learn(other.vector, other.label)
        return evicted

    def remember(self, user: str, vector: Floats, label: str) -> None:
        """Take in a user whose profile the published model has learned already."""
        if (number := self._numbers.get(label)) is not None:
            self.memory.put(user, vector, number)

    def forget(self, user: str) -> None:
        """Rehearse a user no more, whose label was withdrawn; what was learned fades with time."""
        self.memory.discard(user)

    def due(self, *, idle: bool = False) -> bool:
        """Whether a new version is worth publishing: each has workers look at all their users.

        `idle` tells that no example is waiting: then few are enough.
        """
        if len(self._names) < 2 or not self._since:
            return False
        if not idle and self._since < self.policy.publish_every:
            return False
        if self._published is None or len(self._published.names) < len(self._names):
            return True
        if self._since >= _STALE * self.policy.publish_every:
            return True
        return self._differing >= max(self.policy.publish_share * self._since, 1)

    def snapshot(self, previous: LabelModel | None, learned_up_to: int) -> LabelModel:
        """Give what was learned as the version after `previous`, and count from there.

        Parameters
        ----------
        previous
            The latest published version, None for none.
        learned_up_to
            Offset of the feed behind the last profile learned.
        """
        if self._classifier is None:
            raise ValueError("no label is known yet: ask `due` first")
        weights, intercepts = self._classifier.parameters()
        self.confusion.grow(len(self._names))
        model = LabelModel(
            version=1 if previous is None else previous.version + 1,
            embedding=self.embedding,
            classifier=self.policy.classifier,
            names=self.names,
            weights=weights,
            intercepts=intercepts,
            examples=tuple(self._examples),
            left_out=self.left_out,
            confusion=tuple(tuple(row) for row in self.confusion.counts.tolist()),
            learned_up_to=learned_up_to,
            seed=self.seed,
        )
        self._begin_after(model)
        return model

    def restore(self, model: LabelModel) -> bool:
        """Go on from a published version; tell whether it is of this kind.

        The users whom it was learned from are to be given to `remember`, then the profiles that
        came after it to `learn`.
        """
        if model.embedding != self.embedding or model.classifier != self.policy.classifier:
            return False
        if len(model.names) > self.policy.max_labels:
            return False
        self._classifier = Classifier(self.policy.classifier, model.dimension)
        self._classifier.restore(model.weights, model.intercepts)
        self._names = list(model.names)
        self._numbers = {name: number for number, name in enumerate(model.names)}
        self._examples = list(model.examples)
        self.left_out = model.left_out
        self.confusion = ConfusionMatrix(model.confusion)
        self._begin_after(model)
        return True

    def _begin_after(self, model: LabelModel) -> None:
        self._published, self._since, self._differing = model, 0, 0

    def _number(self, label: str, dimensions: int) -> int | None:
        """Give the number of a label, a new one if there is room."""
        if label in self._numbers:
            return self._numbers[label]
        if len(self._names) >= self.policy.max_labels:
            if not self.left_out:
                logger.warning(
                    "more than %d labels (labels.max_labels): further ones are left out",
                    self.policy.max_labels,
                )
            return None
        if self._classifier is None:
            self._classifier = Classifier(self.policy.classifier, dimensions)
        self._classifier.add_label()
        self._numbers[label] = len(self._names)
        self._names.append(label)
        self._examples.append(0)
        return self._numbers[label]

    def _compare(self, vector: Floats, predicted: int) -> None:
        """Note whether the published version predicts another label."""
        if self._published is not None:
            found = self._published.probabilities(vector[np.newaxis])[0]
            self._differing += int(found.argmax()) != predicted
