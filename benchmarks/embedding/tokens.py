"""From texts to batches of token ids, for contenders that bring no tokenizer of their own.

Needs tokenizers and numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Rows = Sequence[NDArray[np.int64]]


class Batch(NamedTuple):
    """Texts of one run, padded on the right to the longest.

    Attributes
    ----------
    ids, mask
        int64 (texts, tokens); the mask is 1 at tokens and 0 at padding.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


def load_tokenizer(path: Path, limit: int) -> Tokenizer:
    """Open a tokenizer.json that cuts after `limit` tokens and does not pad."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return tokenizer


def tokenise(tokenizer: Tokenizer, texts: Sequence[str]) -> Rows:
    """Token ids of each text, special tokens included."""
    encodings = tokenizer.encode_batch_fast(list(texts))
    return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]


def by_length(rows: Rows, size: int) -> list[NDArray[np.int64]]:
    """Cut texts into batches of `size` of like length, longest first; gives their indices."""
    order = np.argsort([-row.size for row in rows], kind="stable")
    return [order[start : start + size] for start in range(0, order.size, size)]


def of_one_length(rows: Rows, budget: int) -> list[NDArray[np.int64]]:
    """Cut texts into batches of one length and at most `budget` tokens; gives their indices."""
    lengths = np.array([row.size for row in rows])
    batches = []
    for length in np.unique(lengths)[::-1]:
        same, size = np.flatnonzero(lengths == length), max(1, budget // int(length))
        batches += [same[start : start + size] for start in range(0, same.size, size)]
    return batches


def as_they_come(count: int, size: int) -> list[NDArray[np.int64]]:
    """Cut `count` texts into batches of `size` in their order; gives their indices."""
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def pad(rows: Rows, pad_id: int = 0) -> Batch:
    """Make one batch of some texts."""
    lengths = np.array([row.size for row in rows])
    real = np.arange(lengths.max()) < lengths[:, np.newaxis]
    ids = np.full(real.shape, pad_id, dtype=np.int64)
    ids[real] = np.concatenate(rows)
    return Batch(ids, real.astype(np.int64))


def pool(output: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean over the tokens of each text where a graph has not done so, and length 1.

    Parameters
    ----------
    output
        Of the graph: (texts, tokens, dimensions), or (texts, dimensions) where pooled already.
    mask
        int64 (texts, tokens).

    Returns
    -------
    array
        Unit vectors, float32 (texts, dimensions).
    """
    if output.ndim == 3:
        weights = mask[:, :, np.newaxis].astype(np.float32)
        output = (output * weights).sum(axis=1) / weights.sum(axis=1)
    units: NDArray[np.float32] = output / np.linalg.norm(output, axis=1, keepdims=True)
    return units.astype(np.float32)
