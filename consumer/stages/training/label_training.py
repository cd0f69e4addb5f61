"""The labels' part of the trainer's stage: from labelled profiles to label models."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_label_model
from models.labels.learner import LabelLearner
from models.labels.model import LabelModel
from schemas.label_model import LABEL_MODEL_KEY

logger = logging.getLogger(__name__)


class LabelTraining:
    """What the trainer knows of labels: a learner for each embedding model, and what is published.

    While its state is read back there may be profiles of two embedding models; afterwards only one
    learner goes on (`keep`). The latest label model is to be loaded before any profile.

    Parameters
    ----------
    settings
        Topics, and how to learn.
    """

    def __init__(self, settings: Settings) -> None:
        self.enabled = settings.labels.enabled
        self.published: LabelModel | None = None
        self._topic = settings.topics.label_models
        self._policy = settings.labels
        self._seed = settings.training.seed
        self._learners: dict[str, LabelLearner] = {}
        self._candidate: LabelModel | None = None
        # Offset of the feed behind the last record taken in.
        self._taken = 0

    def __contains__(self, user: object) -> bool:
        """Whether the feed has to keep a user's profile for its label."""
        return any(user in learner.memory for learner in self._learners.values())

    @property
    def learner(self) -> LabelLearner | None:
        """What learns; None before a labelled profile."""
        return next(iter(self._learners.values()), None)

    # --- reading back -----------------------------------------------------------------------

    def load_model(self, value: bytes, place: str) -> None:
        """Take a version from the topic in; the latest counts."""
        self.published = read_label_model(value, place)
        learner = LabelLearner(self._policy, self.published.embedding, self._seed)
        self._learners = {learner.embedding: learner} if learner.restore(self.published) else {}

    def load(
        self,
        record: Record,
        user: str,
        embedding: str | None,
        vector: NDArray[np.float64],
        label: str | None,
    ) -> None:
        """Take a record of the feed in that was committed: learned already, or once more."""
        self._taken = record.offset + 1
        for known, learner in self._learners.items():
            if label is None or known != embedding:
                learner.forget(user)
        if label is None or embedding is None:
            return
        model = self.published
        if (
            model is not None
            and model.embedding == embedding
            and embedding in self._learners
            and record.offset < model.learned_up_to
        ):
            self._learners[embedding].remember(user, vector, label)
        else:
            self._for(embedding).learn(user, vector, label)

    def keep(self, embedding: str | None) -> None:
        """Go on with the learner of one embedding model."""
        self._learners = {
            known: learner for known, learner in self._learners.items() if known == embedding
        }

    # --- learning ---------------------------------------------------------------------------

    def learn(
        self,
        record: Record,
        user: str,
        embedding: str,
        vector: NDArray[np.float64],
        label: str | None,
    ) -> list[str]:
        """Learn a profile; give the users whose profiles the feed need not keep for labels."""
        self._taken = record.offset + 1
        if not self.enabled:
            return []
        if label is None:
            self.forget(user)
            return []
        return self._for(embedding).learn(user, vector, label)

    def forget(self, user: str) -> None:
        """Rehearse a user no more."""
        for learner in self._learners.values():
            learner.forget(user)

    def publish(self, *, idle: bool = False) -> list[Output]:
        """Give the record of a new version, if one is worth publishing."""
        learner = self.learner
        if learner is None or not learner.due(idle=idle):
            return []
        self._candidate = learner.snapshot(self.published, self._taken)
        logger.info(
            "label model %d after %d profiles, %d labels",
            self._candidate.version,
            sum(self._candidate.examples),
            len(self._candidate.names),
        )
        value = self._candidate.to_record().model_dump_json().encode()
        return [Output(self._topic, LABEL_MODEL_KEY, value, partition=0)]

    def committed(self) -> None:
        """Count the version as published."""
        if self._candidate is not None:
            self.published = self._candidate
        self._candidate = None

    def aborted(self) -> None:
        """Forget the version; the loop reads the state back."""
        self._candidate = None

    def _for(self, embedding: str) -> LabelLearner:
        learner = self._learners.get(embedding)
        if learner is None:
            learner = self._learners[embedding] = LabelLearner(self._policy, embedding, self._seed)
        return learner
