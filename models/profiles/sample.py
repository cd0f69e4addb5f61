"""A uniform sample of users that is the same in every worker and every run.

The trainer learns from users, not from events. The last few thousand events would be those of the
busiest users and of this week's topic; a segment whose users are quiet for a while would be lost.
So the sample is the users with the lowest hash of their id (bottom-k sampling: Cohen and Kaplan,
"Summarizing data using bottom-k sketches", PODC 2007), each with the latest profile.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.distances import Floats, VectorsError
from models.profiles.digests import digests


def rank(user_id: str) -> float:
    """Place of a user in the order of sampling, in (0, 1], evenly spread over users.

    A worker sends a user's profile to the trainer when this is at most the sample's threshold. It
    is 53 bits of a BLAKE2b hash, so the same on every machine and exact as a float. A user id that
    is not valid Unicode (a lone surrogate) is taken as it is.
    """
    digest = hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 11) + 1) * 2.0**-53


def ranks(user_ids: Sequence[str]) -> Floats:
    """Give `rank` of each, float64 (n,)."""
    ids = [each.encode("utf-8", "surrogatepass") for each in user_ids]
    return ((np.frombuffer(digests(ids), ">u8") >> 11) + 1) * np.float64(2.0**-53)


LEAST_WEIGHT = 1e-6
"""A profile that has faded to nothing still is a user; its weight stays above 0."""


@dataclass(frozen=True, eq=False)
class SampledUser:
    """A sampled user's latest profile: unit vector float64[d], typical terms, and its weight."""

    vector: Floats
    terms: Mapping[str, float]
    weight: float


class UserSample:
    """The `capacity` users of lowest rank seen so far, each with the latest profile.

    What it holds depends only on which users were put and on their latest profile, never on the
    order: a trainer that reads the compacted topic again has the same sample.

    Parameters
    ----------
    capacity
        Users to keep.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: keep 1 user or more")
        self.capacity = capacity
        self._users: dict[str, SampledUser] = {}
        self._ranked: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._users)

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._users

    @property
    def threshold(self) -> float:
        """Rank up to which a user is wanted, in (0, 1]: 1 until the sample is full."""
        if len(self._users) < self.capacity:
            return 1.0
        return self._ranked[-1][0]

    def put(
        self, user_id: str, vector: ArrayLike, terms: Mapping[str, float], weight: float = 1.0
    ) -> list[str]:
        """Take in a user's latest profile.

        Parameters
        ----------
        user_id
            The user.
        vector
            float64[d], of unit length.
        terms
            Typical terms of the user with weights.
        weight
            How much the profile rests on, such as its faded number of events.

        Returns
        -------
        list of str
            Users who are now out of the sample: none, the one of the highest rank, or `user_id`
            itself. Their records can be deleted from the topic that feeds the trainer.

        Raises
        ------
        VectorsError
            Where the vector is not finite or not as long as the others.
        """
        user = SampledUser(self._checked(vector), dict(terms), max(weight, LEAST_WEIGHT))
        if user_id not in self._users:
            insort(self._ranked, (rank(user_id), user_id))
        self._users[user_id] = user
        evicted = [user_id for _, user_id in self._ranked[self.capacity :]]
        for gone in evicted:
            self.discard(gone)
        return evicted

    def discard(self, user_id: str) -> None:
        """Forget a user, known or not; for a record that was deleted."""
        if self._users.pop(user_id, None) is not None:
            del self._ranked[bisect_left(self._ranked, (rank(user_id), user_id))]

    def users(self) -> list[str]:
        """Ids in order of rank: the order of rows in `vectors` and of entries in `terms`."""
        return [user_id for _, user_id in self._ranked]

    def vectors(self) -> Floats:
        """Profiles of `users`, float64[n, d]; float64[0, 0] of an empty sample."""
        if not self._users:
            return np.empty((0, 0))
        return np.stack([self._users[user].vector for user in self.users()])

    def weights(self) -> Floats:
        """Weights of the profiles of `users`, float64[n]."""
        return np.array([self._users[user].weight for user in self.users()], dtype=np.float64)

    def terms(self) -> list[Mapping[str, float]]:
        """Typical terms of `users`."""
        return [self._users[user].terms for user in self.users()]

    def _checked(self, vector: ArrayLike) -> Floats:
        own = np.array(vector, dtype=np.float64)
        if own.ndim != 1 or not np.isfinite(own).all():
            raise VectorsError(
                f"a profile has the shape {own.shape} or holds NaN: give finite numbers in a row"
            )
        for other in self._users.values():
            if len(own) != len(other.vector):
                raise VectorsError(
                    f"a profile has {len(own)} numbers where those of other users have "
                    f"{len(other.vector)}: sample profiles of one embedding model only"
                )
            break
        return own
