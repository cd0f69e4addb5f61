"""What is written of profiles: the state to restore them from, and samples for the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.records import Output
from consumer.settings import TopicSettings
from models.profiles import ProfileRows, from_microseconds
from models.sample import rank
from schemas.base import encode_array
from schemas.profiles import ProfileSample


def profile_sample(
    rows: ProfileRows,
    row: int,
    vector: NDArray[np.float64],
    embedding: str,
    latest: NDArray[np.float32] | None = None,
) -> ProfileSample:
    """Give what the trainer learns from: one user's profile, with its unit vector float64 (d,).

    `latest` is the embedding of the user's latest text, float32 (d,), where that is known.
    """
    return ProfileSample(
        user_id=rows.users[row],
        embedding=embedding,
        vector=encode_array(vector, "<f4"),
        weight=float(rows.weights[row]),
        terms=rows.terms[row],
        updated_at=from_microseconds(int(rows.reference[row])),
        latest=None if latest is None else encode_array(latest, "<f2"),
    )


@dataclass(frozen=True, slots=True)
class ProfileWriter:
    """Gives the records of profiles.

    Parameters
    ----------
    topics
        Names of the outputs.
    embedding
        Identity of the embedding model.
    """

    topics: TopicSettings
    embedding: str

    def states(self, partition: int, rows: ProfileRows) -> list[Output]:
        """Give the state of all rows, for the changelog's partition of the same number."""
        return [
            Output(
                self.topics.profiles,
                user.encode(),
                rows.to_record(row, self.embedding).model_dump_json().encode(),
                partition=partition,
            )
            for row, user in enumerate(rows.users)
        ]

    def samples(
        self,
        rows: ProfileRows,
        threshold: float,
        latest: Mapping[int, NDArray[np.float32]] | None = None,
    ) -> list[Output]:
        """Give the profiles of the users whose rank is at most the threshold, for the trainer.

        Parameters
        ----------
        rows
            Users.
        threshold
            In (0, 1].
        latest
            Embeddings of latest texts by row, for those of whom one is known.
        """
        latest = latest or {}
        sampled = [i for i, user in enumerate(rows.users) if rank(user) <= threshold]
        vectors = rows.vectors(np.array(sampled, np.int64))
        return [
            Output(
                self.topics.samples,
                rows.users[row].encode(),
                profile_sample(rows, row, vector, self.embedding, latest.get(row))
                .model_dump_json()
                .encode(),
            )
            for row, vector in zip(sampled, vectors, strict=True)
        ]
