"""Where each user stands among the segments, and who of them is drawn."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from consumer.contract.errors import UsageError
from consumer.page.gathered import Users
from consumer.report.projection import principal_plane
from consumer.report.wording import one_line, percent
from models.distances import Floats, Ints, distances_to_all
from models.segments.confidence import confidence
from schemas.arrays import decode_array
from schemas.segment_model import SegmentModelRecord

_ROWS_AT_ONCE = 8_192
_HASH_BYTES = 5

Projection = Literal["pca", "umap"]
NameOf = Callable[[str], str | None]
"""From a user's id to what is shown of it; None where nothing is."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Users among the K segments of a model; K may be 0, then all rows are -1.

    Attributes
    ----------
    ids
        Ids of the segments, int64 (K,).
    centres
        float64 (K, d).
    rows
        Row of each user's segment, int64 (n,); -1 for none of the model's.
    own
        Distance from that centre, float64 (n,); NaN without one.
    other
        Distance from the nearest other centre, likewise; NaN where there is no other.
    next_rows
        Row of that other centre, int64 (n,); -1 where there is none.
    sure
        The probability that the segment is the right one (`models.segments.confidence`).
    """

    ids: Ints
    centres: Floats
    rows: Ints
    own: Floats
    other: Floats
    next_rows: Ints
    sure: Floats


def places(users: Users, model: SegmentModelRecord | None) -> Places:
    """Measure how far users are from their segments and from the next ones."""
    n = len(users)
    segments = [] if model is None else model.segments
    ids = np.array([each.id for each in segments], np.int64)
    centres = np.array([decode_array(each.centre, "<f8") for each in segments], np.float64)
    rows = np.full(n, -1, np.int64)
    for row, segment in enumerate(ids.tolist()):
        rows[users.segments == segment] = row
    own, other, sure = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    next_rows = np.full(n, -1, np.int64)
    inside = np.flatnonzero(rows >= 0)
    for start in range(0, len(inside), _ROWS_AT_ONCE):
        some = inside[start : start + _ROWS_AT_ONCE]
        vectors = users.vectors[some].astype(np.float64)
        distances = distances_to_all(vectors, centres)
        each = np.arange(len(some))
        own[some] = distances[each, rows[some]]
        sure[some] = confidence(vectors, rows[some], users.weights[some], centres)
        if len(ids) > 1:
            distances[each, rows[some]] = np.inf
            next_rows[some] = distances.argmin(axis=1)
            other[some] = distances.min(axis=1)
    return Places(ids, centres, rows, own, other, next_rows, sure)


def drawn(users: Users, most: int) -> Ints:
    """Draw so many users at random, always the same of the same users; their rows, ascending."""
    if len(users) <= most:
        return np.arange(len(users), dtype=np.int64)
    rows = np.random.default_rng(0).choice(len(users), most, replace=False)
    return np.sort(rows).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Users in a plane, float64 (n, 2), and a sentence on what the plane is."""

    xy: NDArray[np.float64]
    said: str


def points(vectors: NDArray[np.floating], how: Projection) -> Points:
    """Project unit profiles, float (n, d), to a plane.

    Raises
    ------
    UsageError
        If that wants a package which is not installed.
    """
    if how == "umap":
        return _umap(vectors)
    plane = principal_plane(vectors)
    share = percent(round(1_000 * plane.explained), 1_000)
    return Points(
        plane.project(vectors),
        f"The plane in which the profiles differ most (PCA); it shows {share} of the variance.",
    )


def check_projection(how: Projection) -> None:
    """Refuse a projection whose package is not installed, before anything is read."""
    if how == "umap" and find_spec("umap") is None:
        raise UsageError("--projection umap wants the package umap-learn: pip install umap-learn")


def _umap(vectors: NDArray[np.floating]) -> Points:
    check_projection("umap")
    from umap import UMAP  # noqa: PLC0415 - in no extra: numba and more

    # It wants more users than neighbours.
    near = max(2, min(15, len(vectors) - 1))
    if len(vectors) <= near + 1:
        return points(vectors, "pca")
    made = UMAP(n_neighbors=near, random_state=0, n_jobs=1).fit_transform(vectors)
    return Points(
        np.asarray(made, np.float64),
        "UMAP: who is near whom can be trusted, distances between groups cannot.",
    )


def names(how: Literal["hidden", "hashed", "shown"]) -> NameOf:
    """Give what is shown of users' ids.

    A hash has a key that is made anew for each report: without it nobody can try out ids, and two
    reports cannot be laid side by side.
    """
    key = secrets.token_bytes(32)

    def hashed(user: str) -> str:
        digest = hashlib.blake2b(user.encode(errors="replace"), key=key, digest_size=_HASH_BYTES)
        return f"#{digest.hexdigest()}"

    shown: dict[str, NameOf] = {
        "hidden": lambda _: None,
        "hashed": hashed,
        "shown": lambda user: one_line(user, 80),
    }
    return shown[how]
