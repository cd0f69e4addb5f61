"""What is written of profiles: the state to restore them from, and samples for the trainer."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Output
from consumer.settings import TopicSettings
from models.profiles.codec import encode
from models.profiles.sample import rank
from models.profiles.sample_codec import encode_samples
from models.profiles.table import ProfileRows


@dataclass(frozen=True, slots=True)
class ProfileWriter:
    """Gives the records of profiles.

    Parameters
    ----------
    topics
        Names of the outputs.
    embedding
        Identity of the embedding model.
    labels
        Whether the trainer learns labels: then it gets the profile of every user who has one.
    """

    topics: TopicSettings
    embedding: str
    labels: bool = False

    def states(self, partition: int, rows: ProfileRows) -> list[Output]:
        """Give the state of all rows, for the changelog's partition of the same number."""
        topic, keys = self.topics.profiles, [user.encode() for user in rows.users]
        values = encode(rows, self.embedding, keys)
        return [
            Output(topic, key, value, (), partition)
            for key, value in zip(keys, values, strict=True)
        ]

    def samples(
        self,
        rows: ProfileRows,
        threshold: float,
        *,
        ranks: NDArray[np.float64] | None = None,
        moved: Container[int] | None = None,
        relabelled: Sequence[int] = (),
        latest: Mapping[int, NDArray[np.float32]] | None = None,
    ) -> list[Output]:
        """Give the profiles that the trainer learns from.

        Parameters
        ----------
        rows
            Users whom a batch has touched.
        threshold
            Users whose rank is at most this are sampled.
        ranks
            Of the users, float64 (n,); worked out where not given.
        moved
            Rows whose profile has moved, all of them by default. The others are there for their
            label: segments are not learned from them again.
        relabelled
            Rows whose label was given, changed or withdrawn.
        latest
            Embeddings of latest texts by row, for those of whom one is known.

        Returns
        -------
        list of Output
            Of sampled users whose profile has moved, and of users with a label; and what takes the
            place of a label that was withdrawn.
        """
        latest = latest or {}
        chosen: list[tuple[int, bool]] = []
        outputs = []
        if ranks is None:
            ranks = np.array([rank(user) for user in rows.users], np.float64)
        within = set(np.flatnonzero(ranks <= threshold).tolist())
        asked = within | set(relabelled)
        if self.labels:
            asked |= {row for row, label in enumerate(rows.given) if label is not None}
        for row in sorted(asked):
            user, by_hash = rows.users[row], row in within
            sampled = by_hash and (moved is None or row in moved)
            known = rows.weights[row] > 0
            labelled = self.labels and rows.given[row] is not None and known
            withdrawn = row in relabelled and rows.given[row] is None and known
            if sampled or labelled or (withdrawn and by_hash):
                chosen.append((row, sampled))
            elif withdrawn:
                outputs.append(Output(self.topics.samples, user.encode(), None))
        learned = {row for row, sampled in chosen if sampled}
        told = {row: vector for row, vector in latest.items() if row in learned}
        values = encode_samples(
            rows,
            [row for row, _ in chosen],
            self.embedding,
            sampled=[sampled for _, sampled in chosen],
            labels=self.labels,
            latest=told,
        )
        for (row, _), value in zip(chosen, values, strict=True):
            outputs.append(Output(self.topics.samples, rows.users[row].encode(), value))
        return outputs
