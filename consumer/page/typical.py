"""Typical texts of segments where no replay has noted them: those of the users near a centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.embedding.runner_types import Embedder
from models.text import clean

# Typical texts are looked for among the latest texts of the users nearest to a centre.
_NEAREST_USERS = 12
_TEXTS_OF_A_USER = 4
_LEAST_CHARS = 30


def nearest_users(
    centres: Mapping[int, NDArray[np.float64]],
    users: Sequence[str],
    vectors: NDArray[np.floating],
    segments: NDArray[np.int64],
) -> dict[int, list[str]]:
    """Give some users of each segment, the nearest to its centre first.

    Parameters
    ----------
    centres
        float64 (d,) each, by the segment's id.
    users
        Ids of n users.
    vectors, segments
        Their unit profiles, float (n, d), and ids of segments, int64 (n,).
    """
    nearest = {}
    for segment, centre in centres.items():
        members = np.flatnonzero(segments == segment)
        distances = np.linalg.norm(vectors[members] - centre, axis=1)
        order = members[np.argsort(distances, kind="stable")][:_NEAREST_USERS]
        nearest[segment] = [users[i] for i in order]
    return nearest


def nearest_texts(
    centres: Mapping[int, NDArray[np.float64]],
    nearest: Mapping[int, Sequence[str]],
    texts: Mapping[str, Sequence[str]],
    embedder: Embedder,
    most: int,
) -> dict[int, list[str]]:
    """Choose the texts nearest to each centre, each by another user, as they were written.

    Parameters
    ----------
    centres
        As for `nearest_users`.
    nearest
        What that gives.
    texts
        What those users wrote, the latest last.
    embedder
        From text to vector.
    most
        Texts a segment.
    """
    typical = {}
    for segment, centre in centres.items():
        candidates = [
            (user, text)
            for user in nearest[segment]
            for text in texts.get(user, ())[-_TEXTS_OF_A_USER:]
            if len(text) >= _LEAST_CHARS
        ]
        likeness = embedder.embed([clean(text) for _, text in candidates]) @ centre
        chosen: dict[str, str] = {}
        for i in np.argsort(-likeness, kind="stable"):
            if np.isnan(likeness[i]):  # the model has no vector for this text
                continue
            user, text = candidates[i]
            if text not in chosen.values():
                chosen.setdefault(user, text)
            if len(chosen) == most:
                break
        typical[segment] = list(chosen.values())
    return typical
