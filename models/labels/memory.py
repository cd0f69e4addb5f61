"""Labelled users whom the trainer remembers: what it rehearses, and what the feed keeps for it."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from random import Random

from models.distances import Floats
from models.profiles.sample import rank


@dataclass(frozen=True, eq=False, slots=True)
class LabelledUser:
    """A user's latest profile float64[d], of unit length, and the number of the label."""

    vector: Floats
    label: int


@dataclass(slots=True)
class LabelMemory:
    """Of each label the users of lowest rank (`models.profiles.sample`), with the latest profile.

    By label, so that a rare one is remembered as well as a frequent one. What it holds depends on
    which users were put and on their latest profiles, not on the order.

    Parameters
    ----------
    capacity
        Users of each label to keep.
    """

    capacity: int
    _users: dict[str, LabelledUser] = field(default_factory=dict)
    # By label: users in the order of rank.
    _ranked: dict[int, list[tuple[float, str]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._users)

    def __contains__(self, user: object) -> bool:
        return user in self._users

    def put(self, user: str, vector: Floats, label: int) -> list[str]:
        """Take in a user's latest profile; give the users who are not kept, maybe this one."""
        known = self._users.get(user)
        if known is not None and known.label != label:
            self.discard(user)
            known = None
        self._users[user] = LabelledUser(vector, label)
        if known is not None:
            return []
        ranked = self._ranked.setdefault(label, [])
        insort(ranked, (rank(user), user))
        if len(ranked) <= self.capacity:
            return []
        evicted = ranked[-1][1]
        self.discard(evicted)
        return [evicted]

    def discard(self, user: str) -> None:
        """Forget a user, known or not."""
        known = self._users.pop(user, None)
        if known is None:
            return
        ranked = self._ranked[known.label]
        ranked.remove((rank(user), user))
        if not ranked:
            del self._ranked[known.label]

    def draw(self, random: Random) -> LabelledUser:
        """Draw a label that has users, each alike, then one of its users; there must be one."""
        labels = sorted(self._ranked)
        ranked = self._ranked[labels[int(random.random() * len(labels))]]
        return self._users[ranked[int(random.random() * len(ranked))][1]]
