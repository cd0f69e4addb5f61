"""How labels are learned and published: the section `labels` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from schemas.base import Section
from schemas.keys import KeyForm
from schemas.label_model import MAX_LABELS, ClassifierName


class LabelPolicy(Section):
    """Segments that people have named: learned from users whose label is known."""

    # Share of the examples since the last version for which the learner predicts another label than
    # when they came: from so many on a version is published.
    publish_share: ClassVar[float] = 0.01

    # Off, since it asks for topics, and rights on them, that a group without labels has no use for;
    # and an upgrade changes nothing for those who do not ask for it.
    enabled: bool = Field(
        False, description="Read labels, learn from them, and publish the label of each user."
    )
    key: KeyForm = Field("raw", description="Form of the keys of labels, as events.key.")
    classifier: ClassifierName = Field("logistic", description="Which linear classifier learns.")
    max_labels: int = Field(
        50, ge=2, le=MAX_LABELS, description="Labels learned at most; further ones are left out."
    )
    remembered_users: int = Field(
        300, ge=1, le=100_000, description="Labelled users of each label that the trainer holds."
    )
    rehearsals: int = Field(
        1,
        ge=0,
        le=100,
        description="Remembered users, of each label alike, learned again with each profile.",
    )
    publish_every: int = Field(
        500, ge=1, description="Labelled profiles between two versions of the label model at least."
    )
    min_events: int = Field(1, ge=1, description="Events before a user gets a first label.")
    min_probability: float = Field(
        0.5, ge=0, le=1, description="A label that is less likely is not published."
    )
    margin: float = Field(
        0.2, ge=0, lt=1, description="How much likelier than the present label another must be."
    )
    dwell_events: int = Field(
        3, ge=0, description="Events after a change of label before behaviour changes it again."
    )
