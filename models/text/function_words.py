"""Function words of a language, counted in many texts at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

_LONGEST = 8
"""Bytes of a word that fit into one number."""
_BITS = 13

Numbers = NDArray[np.uint64]
_BYTES_OF_LENGTH = np.array([(1 << 8 * length) - 1 for length in range(_LONGEST + 1)], np.uint64)


class FunctionWords:
    """Counts the different function words of a language in texts.

    Parameters
    ----------
    words
        In lower case, of ASCII.
    """

    def __init__(self, words: Collection[str]) -> None:
        if any(len(word) > _LONGEST or not word.isascii() for word in words):
            raise ValueError(f"function words have {_LONGEST} letters of ASCII at most")
        self._count = len(words)
        data = [word.encode().ljust(_LONGEST, b"\0") for word in words]
        keys = np.frombuffer(b"".join(data), "<u8")
        # A factor by which all of them have places of their own.
        self._factor = np.uint64(1)
        while len(np.unique(self._places(keys))) < len(words):
            self._factor = np.uint64((int(self._factor) * 6364136223846793005 + 2) % 2**64)
        places = self._places(keys)
        # No word is zero; the place of zero may be another's.
        self._keys = np.full(2**_BITS, 0, np.uint64)
        self._keys[places] = keys
        self._ids = np.zeros(2**_BITS, np.intp)
        self._ids[places] = np.arange(len(words))

    def _places(self, keys: Numbers) -> NDArray[np.int64]:
        return (keys * self._factor >> np.uint64(64 - _BITS)).view(np.int64)

    def count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        r"""Count in each text the different function words, and all words.

        Where a text holds other control characters than a line feed, none is counted in any.

        Parameters
        ----------
        texts
            Of ASCII.
        """
        joined = "\0".join(texts)
        data = b"\0%b\0%b" % (joined.encode().lower(), bytes(_LONGEST))
        held = np.frombuffer(data, np.uint8)
        controls = len(texts) + 1 + _LONGEST + joined.count("\n")
        if not texts or np.count_nonzero(held < ord(" ")) != controls:
            none = np.zeros(len(texts), np.int64)
            return none, none
        blank = held <= ord(" ")
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
        begins, lengths = edges[::2], edges[1::2] - edges[::2]
        ends = np.flatnonzero(held[:-_LONGEST] == 0)
        words = np.diff(np.searchsorted(begins, ends))
        short = lengths <= _LONGEST
        at = begins[short]
        numbers = np.ndarray((len(data) - _LONGEST,), "<u8", data, strides=(1,))
        keys = numbers[at] & _BYTES_OF_LENGTH[lengths[short]]
        places = self._places(keys)
        known = np.flatnonzero(self._keys[places] == keys)
        owners = np.repeat(np.arange(len(texts)), np.diff(np.searchsorted(at[known], ends)))
        seen = np.zeros((len(texts), self._count), np.bool_)
        seen[owners, self._ids[places[known]]] = True
        return np.count_nonzero(seen, axis=1), words
