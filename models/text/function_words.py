"""Function words of a language, counted in many texts at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.text.short_words import LONGEST, ShortWords, keys_at


class FunctionWords:
    """Counts the different function words of a language in texts.

    Parameters
    ----------
    words
        In lower case; see `ShortWords`.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = ShortWords(words)
        self._count = len(words)

    def count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        r"""Count in each text the different function words, and all words.

        None where there are no texts, or control characters other than a line feed in them.

        Parameters
        ----------
        texts
            Of ASCII.
        """
        joined = "\0".join(texts)
        data = b"\0%b\0%b" % (joined.encode().lower(), bytes(LONGEST))
        held = np.frombuffer(data, np.uint8)
        controls = len(texts) + 1 + LONGEST + np.count_nonzero(held == ord("\n"))
        if not texts or np.count_nonzero(held < ord(" ")) != controls:
            return None
        blank = held <= ord(" ")
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
        begins, lengths = edges[::2], edges[1::2] - edges[::2]
        ends = np.flatnonzero(held[:-LONGEST] == 0)
        # Of a longer word the key is none.
        found, numbers = self._words.find(keys_at(data, begins, np.minimum(lengths, LONGEST + 1)))
        owners = np.repeat(np.arange(len(texts)), np.diff(np.searchsorted(begins[found], ends)))
        seen = np.zeros((len(texts), self._count), np.bool_)
        seen[owners, numbers] = True
        return np.count_nonzero(seen, axis=1), np.diff(np.searchsorted(begins, ends))
