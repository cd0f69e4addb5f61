"""The label model that every worker shares: one published version of what the trainer learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from models.distances import Floats, VectorsError
from models.labels import scores
from schemas.arrays import decode_array, encode_array
from schemas.label_model import MAX_LABELS, ClassifierName, LabelModelRecord, LabelWeights


class LabelModelError(ValueError):
    """A label model that contradicts itself."""


@dataclass(frozen=True, eq=False)
class LabelModel:
    """One published version of what labels look like: all that a worker needs to predict them.

    Parameters
    ----------
    version
        1 for the first, one more for each later one.
    embedding
        SHA-256 of the embedding model whose space the weights lie in.
    classifier
        How scores become probabilities: `softmax`, or one sigmoid a label (`logistic`, `svm`),
        divided by their sum.
    names
        The K labels, in the order in which they came first.
    weights, intercepts
        float64[K, d] and float64[K].
    examples
        Profiles of each label learned so far.
    left_out
        Profiles that were not learned, since their label was one too many.
    confusion
        int64[K, K] as nested tuples: progressive counts of given by predicted labels.
    learned_up_to
        Offset of the feed behind the last profile learned.
    seed
        Seed of the rehearsal.

    Raises
    ------
    LabelModelError
        Where the fields contradict each other.
    """

    version: int
    embedding: str
    classifier: ClassifierName
    names: tuple[str, ...]
    weights: Floats
    intercepts: Floats
    examples: tuple[int, ...]
    left_out: int
    confusion: tuple[tuple[int, ...], ...]
    learned_up_to: int
    seed: int
    # The weights, a column a label.
    _columns: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("weights", "intercepts"):
            own = np.array(getattr(self, name), dtype=np.float64, order="C")
            if not np.isfinite(own).all():
                raise LabelModelError(f"{name} holds NaN or an infinity: give finite numbers")
            own.setflags(write=False)
            object.__setattr__(self, name, own)
        count = len(self.names)
        if not 1 <= count <= MAX_LABELS:
            raise LabelModelError(f"there are {count} names: give 1 to {MAX_LABELS} labels")
        if self.weights.ndim != 2 or len(self.weights) != count or not self.weights.shape[1]:
            raise LabelModelError(
                f"weights has the shape {self.weights.shape} for {count} names: give one row of "
                "numbers a label"
            )
        for name in ("intercepts", "examples", "confusion"):
            if len(getattr(self, name)) != count:
                raise LabelModelError(
                    f"{name} has {len(getattr(self, name))} entries for {count} names: give one a "
                    "label"
                )
        object.__setattr__(self, "_columns", np.ascontiguousarray(self.weights.T))
        if self.version < 1:
            raise LabelModelError(f"version is {self.version}: count versions from 1")

    @property
    def dimension(self) -> int:
        """Length d of the vectors that the model takes."""
        return int(self.weights.shape[1])

    def probabilities(self, vectors: Floats) -> Floats:
        """Give the probability of each label for n users.

        A row does not depend on the others (`models.labels.scores`).

        Parameters
        ----------
        vectors
            float64[n, d]. Profiles of unit length.

        Returns
        -------
        float64[n, K]
            Each row adds up to 1.

        Raises
        ------
        VectorsError
            Where the vectors are not as long as the weights.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise VectorsError(
                f"the profiles have the shape {vectors.shape}, the label model has "
                f"{self.dimension} weights a label: give profiles of its embedding model"
            )
        found = scores.linear_scores(vectors, self._columns, self.intercepts)
        return scores.probabilities(self.classifier, found)

    @classmethod
    def from_record(cls, record: LabelModelRecord) -> Self:
        """Take a model from its JSON contract.

        Raises
        ------
        LabelModelError
            Where the record contradicts itself.
        """
        rows = [decode_array(label.weights, "<f8") for label in record.labels]
        for label, row in zip(record.labels, rows, strict=True):
            if len(row) != record.dimensions:
                raise LabelModelError(
                    f"label {label.name!r} has {len(row)} weights where dimensions says "
                    f"{record.dimensions}: publish the model again"
                )
        return cls(
            version=record.version,
            embedding=record.embedding,
            classifier=record.classifier,
            names=tuple(label.name for label in record.labels),
            weights=np.stack(rows).astype(np.float64),
            intercepts=np.array([label.intercept for label in record.labels]),
            examples=tuple(label.examples for label in record.labels),
            left_out=record.left_out,
            confusion=tuple(tuple(row) for row in record.confusion),
            learned_up_to=record.learned_up_to,
            seed=record.seed,
        )

    def to_record(self) -> LabelModelRecord:
        """Give the model as its JSON contract; `from_record` gives back the same bits."""
        return LabelModelRecord(
            version=self.version,
            embedding=self.embedding,
            dimensions=self.dimension,
            classifier=self.classifier,
            labels=[
                LabelWeights(
                    name=name,
                    examples=self.examples[row],
                    intercept=float(self.intercepts[row]),
                    weights=encode_array(self.weights[row], "<f8"),
                )
                for row, name in enumerate(self.names)
            ],
            examples=sum(self.examples),
            left_out=self.left_out,
            confusion=[list(row) for row in self.confusion],
            learned_up_to=self.learned_up_to,
            seed=self.seed,
        )
