"""The label model as the trainer publishes it: one versioned snapshot on `label-models`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Base64, Contract, Sha256
from schemas.user_labels import LabelName

LABEL_MODEL_SCHEMA: Literal[1] = 1

LABEL_MODEL_KEY = b"labels"
"""Key of every snapshot: compaction keeps the latest."""

MAX_LABELS = 256
"""Labels in a model at most: with 1,024 dimensions their weights take 2 MB, 2.8 MB as base64."""

ClassifierName = Literal["logistic", "softmax", "svm"]
"""Linear classifiers: how scores become probabilities."""

_Count = Annotated[int, Field(ge=0)]


class LabelWeights(Contract):
    """One label of a snapshot."""

    name: LabelName = Field(description="The label.")
    examples: int = Field(ge=0, description="Profiles with this label learned so far.")
    intercept: float = Field(description="Added to its score.")
    weights: Base64 = Field(description="Little-endian float64, one a dimension.", repr=False)


class LabelModelRecord(Contract):
    """Everything a worker needs to predict labels, and a trainer to go on.

    The order of the labels is that in which they came first.
    """

    schema_version: Literal[1] = Field(LABEL_MODEL_SCHEMA, description="Version of this format.")
    version: int = Field(ge=1, description="Version of the label model: 1, then one more each.")
    embedding: Sha256 = Field(description="Identity of the embedding model of the profiles.")
    dimensions: int = Field(ge=1, description="Numbers in a label's weights.")
    classifier: ClassifierName = Field(
        description="How scores, x times weights plus intercept, become probabilities."
    )
    labels: list[LabelWeights] = Field(
        min_length=1, max_length=MAX_LABELS, description="The labels, in the order they came in."
    )
    examples: int = Field(ge=1, description="Profiles learned so far.")
    left_out: int = Field(
        ge=0, description="Profiles not learned, since their label was one too many."
    )
    confusion: list[list[_Count]] = Field(
        description="Progressive counts: row i, column j: profiles of label i for which j was "
        "predicted before they were learned."
    )
    learned_up_to: int = Field(
        ge=0, description="Offset of `profile-samples` behind the last profile learned."
    )
    seed: int = Field(ge=0, description="What the draws of rehearsal are seeded by.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count = len(self.labels)
        if len({label.name for label in self.labels}) != count:
            raise ValueError("labels holds a name twice")
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError(f"confusion is not {count} by {count}, as there are labels")
        return self
