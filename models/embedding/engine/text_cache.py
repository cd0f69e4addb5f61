"""Vectors of texts seen lately, so that a text that comes again is not embedded again.

Reviews repeat: "Good product", "ok", and what is sent twice. Texts are not kept, only hashes under
a key that is drawn anew by every process, and known to those that tokenise for it: from a memory
dump nobody can tell whether a text that they know was there.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.embedding.runner_types import Vectors

KEY_BYTES = 16
"""Bytes of a text's hash: with 2^32 texts, two of them share one with a probability of 2^-65."""


class TextHasher:
    """Hashes of texts: BLAKE2b (RFC 7693) under a random key.

    Parameters
    ----------
    secret
        The key, where another process has drawn it.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self.secret = secret or secrets.token_bytes(32)

    def __call__(self, text: str) -> bytes:
        """Give the hash of exactly this text.

        Raises
        ------
        UnicodeEncodeError
            If it has a lone surrogate.
        """
        return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES, key=self.secret).digest()


class TextCache:
    """The vectors of the texts used last; safe to use from several threads.

    Its memory is known: one array of capacity x dimensions float32, which the system gives page by
    page as it fills, and about 200 bytes an entry for the hashes and their order. That is 17 MB for
    10,000 texts in 384 dimensions.

    Parameters
    ----------
    capacity
        Texts at most; 0 keeps none.
    dimensions
        Length of a vector.
    """

    def __init__(self, capacity: int, dimensions: int) -> None:
        self._capacity = capacity
        self._vectors: Vectors = np.empty((capacity, dimensions), dtype=np.float32)
        # Hash to row of the array, the one unused for longest first.
        self._rows: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, keys: Sequence[bytes], out: Vectors) -> NDArray[np.bool_]:
        """Copy the vectors that are known to their rows of `out`, (keys, dimensions).

        Returns
        -------
        array
            Whether each is known, (keys,). They now are the ones used last.
        """
        known = np.zeros(len(keys), dtype=np.bool_)
        if not self._capacity:
            return known
        with self._lock:
            rows = []
            for place, key in enumerate(keys):
                if (row := self._rows.get(key)) is not None:
                    self._rows.move_to_end(key)
                    known[place] = True
                    rows.append(row)
            out[known] = self._vectors[rows]
        return known

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors, (keys, dimensions), in place of those unused for longest.

        Keys must differ. A vector that is not finite is of a text that failed: it is not kept, so
        that the text is tried again.
        """
        good = np.flatnonzero(np.isfinite(vectors).all(axis=1))[-self._capacity :]
        if not self._capacity or not good.size:
            return
        with self._lock:
            self._vectors[[self._row_for(keys[place]) for place in good]] = vectors[good]

    def _row_for(self, key: bytes) -> int:
        row = self._rows.pop(key, None)
        if row is None:
            full = len(self._rows) == self._capacity
            row = self._rows.popitem(last=False)[1] if full else len(self._rows)
        self._rows[key] = row
        return row
