"""The trainer's input, made once from a file of events, and the truth about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.worker_stage import (
    default_embedder,
    event_vectors,
    lookup_of,
    new_stage,
    records_of,
    run_stage,
    truth_of,
)
from consumer.offline.files import read_lines
from consumer.settings import Settings
from models.distances import Floats, Ints
from models.embedding.runner_types import Embedder
from models.measures.agreement import Agreement, agreement
from schemas.samples import read_sample


@dataclass(frozen=True)
class Profiles:
    """What the trainer reads, in order, and the truth about it.

    Attributes
    ----------
    users
        n users, one as often as there is a new profile of theirs.
    vectors
        float64[n, d], of unit length.
    weights
        float64[n].
    labels
        The true segment of each user: the label that most of their events carry.
    final
        int64[m]. Rows of the last profiles of users with enough events.
    """

    users: list[str]
    vectors: Floats
    weights: Floats
    labels: dict[str, str]
    final: Ints

    def agreement(self, rows: Sequence[int], segments: Sequence[int | None]) -> Agreement:
        """Compare the segments of some rows with the truth."""
        return agreement([self.labels[self.users[row]] for row in rows], segments)


def read_profiles(
    path: Path,
    stored: Path,
    least_events: int,
    load: Callable[[], Embedder] = default_embedder,
) -> Profiles:
    """Run the events through the worker's stage, and keep what it sends to the trainer.

    Parameters
    ----------
    path
        Events with labels, as JSON lines.
    stored, load
        The texts' vectors; as for `event_vectors`.
    least_events
        For a user to be in `final`.
    """
    lines = list(read_lines(path))
    records = records_of(lines)
    accepted, vectors = event_vectors(path, stored, load)
    lookup = lookup_of(records, accepted.tolist(), vectors)
    users, profiles, weights = [], [], []
    samples = Settings().topics.samples
    for output in run_stage(new_stage(lookup), records):
        if output.topic == samples and output.value is not None:
            sample = read_sample(output.key or b"", output.value)
            users.append(sample.user)
            profiles.append(sample.vector.astype(np.float64))
            weights.append(sample.weight)
    events, labels = truth_of(lines)
    last = {user: row for row, user in enumerate(users) if user in labels}
    return Profiles(
        users,
        np.stack(profiles),
        np.array(weights),
        labels,
        np.array([row for user, row in last.items() if events[user] >= least_events], np.int64),
    )
