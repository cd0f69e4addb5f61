"""The latest text of each sampled user, in the order in which they came."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class LatestText:
    """A user's latest text.

    Attributes
    ----------
    user
        The user's id.
    offset
        Place of the record in the trainer's feed.
    vector
        float16[d]. Its embedding.
    at
        Event time of the user's profile.
    """

    user: str
    offset: int
    vector: NDArray[np.float16]
    at: datetime


class LatestTexts:
    """The latest texts of users, the one that came last at the end.

    What it holds depends only on each user's latest record: a trainer that reads the compacted feed
    again holds the same.
    """

    def __init__(self) -> None:
        self._texts: dict[str, LatestText] = {}

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def next_offset(self) -> int:
        """Offset behind the last text, 0 without any."""
        for text in reversed(self._texts.values()):
            return text.offset + 1
        return 0

    def put(self, text: LatestText) -> None:
        """Take in a user's latest text."""
        self._texts.pop(text.user, None)
        self._texts[text.user] = text

    def discard(self, user: str) -> None:
        """Forget a user, known or not."""
        self._texts.pop(user, None)

    def keep(self, users: Container[str]) -> None:
        """Forget all others."""
        self._texts = {user: text for user, text in self._texts.items() if user in users}

    def since(self, offset: int, most: int) -> list[LatestText]:
        """Give the last texts from an offset on, so many at most, in the order they came."""
        found = []
        for text in islice(reversed(self._texts.values()), most):
            if text.offset < offset:
                break
            found.append(text)
        return found[::-1]
