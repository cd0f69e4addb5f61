"""How labels are learned and published: the policies, without what carries them out.

Settings are read by every command; River need not be loaded for that.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.label_model import MAX_LABELS, ClassifierName


class LabelPolicyError(ValueError):
    """A policy that contradicts itself."""


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """How labels are learned.

    Parameters
    ----------
    classifier
        Which of River's linear classifiers.
    max_labels
        Labels at most; examples of any further one are left out.
    remembered_users
        Labelled users remembered of each label.
    rehearsals
        Remembered users learned again with each example; 0 for none.
    publish_every
        Examples between two versions, at least.
    publish_share
        Share of the examples since the last version for which it predicts another label than what
        has been learned since: from so many on a new one is published.
    seed
        Seed of the rehearsal's draws.
    """

    classifier: ClassifierName = "logistic"
    max_labels: int = 50
    remembered_users: int = 300
    rehearsals: int = 1
    publish_every: int = 500
    publish_share: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.max_labels <= MAX_LABELS:
            raise LabelPolicyError(f"max_labels is {self.max_labels}: give 2 to {MAX_LABELS}")
        for name, least in (("remembered_users", 1), ("rehearsals", 0), ("publish_every", 1)):
            if getattr(self, name) < least:
                raise LabelPolicyError(f"{name} is {getattr(self, name)}: give {least} or more")


@dataclass(frozen=True, slots=True)
class LabelDecisionPolicy:
    """When a user's published label changes. It is what keeps it from flapping.

    Parameters
    ----------
    min_events
        Accepted events that a user needs before a first label.
    min_probability
        In [0, 1]. A label that is less likely is not published.
    margin
        In [0, 1). How much likelier than the present label another one must be.
    dwell_events
        Accepted events that a label stays before behaviour changes it; 0 for none.

    Raises
    ------
    LabelPolicyError
        Where a value is out of bounds.
    """

    min_events: int = 1
    min_probability: float = 0.5
    margin: float = 0.2
    dwell_events: int = 3

    def __post_init__(self) -> None:
        for name, least in (("min_events", 1), ("dwell_events", 0)):
            if getattr(self, name) < least:
                raise LabelPolicyError(f"{name} is {getattr(self, name)}: give {least} or more")
        if not 0 <= self.min_probability <= 1:
            raise LabelPolicyError(
                f"min_probability is {self.min_probability}: give a share in [0, 1]"
            )
        if not 0 <= self.margin < 1:
            raise LabelPolicyError(f"margin is {self.margin}: give a share in [0, 1)")
