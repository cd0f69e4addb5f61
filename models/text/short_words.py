"""Words of a few letters, looked up many at once by the number that their bytes are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST = 8
"""Bytes of a word that fit into one number."""

_BITS = 13
# Any odd number with bits all over it would do.
_STEP = 6364136223846793005

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]

_BYTES_OF_LENGTH = np.array(
    [*((1 << 8 * length) - 1 for length in range(LONGEST + 1)), 0], np.uint64
)


def keys_at(data: bytes, places: Places, lengths: Places) -> Keys:
    """Give the keys of words in some text.

    Parameters
    ----------
    data
        The text, and `LONGEST` bytes more.
    places, lengths
        Where the words begin, and how long they are. Those of `LONGEST` + 1, which stands for all
        that are longer, have the key 0, as no word has.
    """
    numbers: Keys = np.ndarray((len(data) - LONGEST + 1,), "<u8", data, strides=(1,))
    return numbers[places] & _BYTES_OF_LENGTH[lengths]


class ShortWords:
    """Words and their numbers, which are their places among the words given.

    Parameters
    ----------
    words
        All different, each of ASCII without NUL, `LONGEST` letters at most.
    """

    def __init__(self, words: Sequence[str]) -> None:
        for word in words:
            if not (0 < len(word) <= LONGEST and word.isascii()):
                raise ValueError(f"{word!r} must have 1 to {LONGEST} letters of ASCII")
        data = b"".join(word.encode().ljust(LONGEST, b"\0") for word in words)
        keys = np.frombuffer(data, "<u8")
        # A factor by which each has a place of its own.
        self._factor = np.uint64(_STEP)
        while len(np.unique(self._places(keys))) < len(words):
            self._factor = np.uint64(int(self._factor) * _STEP % 2**64)
        # In no text in UTF-8 are all bits set.
        self._keys = np.full(2**_BITS, 2**64 - 1, np.uint64)
        self._keys[self._places(keys)] = keys
        self._numbers = np.zeros(2**_BITS, np.intp)
        self._numbers[self._places(keys)] = np.arange(len(words))

    def find(self, keys: Keys) -> tuple[Places, Places]:
        """Give the places of those keys that are words, and the numbers of these."""
        places = self._places(keys)
        found = np.flatnonzero(self._keys[places] == keys)
        return found, self._numbers[places[found]]

    def _places(self, keys: Keys) -> Places:
        return (keys * self._factor >> np.uint64(64 - _BITS)).view(np.int64)
