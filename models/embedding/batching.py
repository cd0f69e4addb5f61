"""Cuts texts into batches by a budget of tokens, and lays a batch out as a graph takes it.

Texts of like length go together, longest first. What a batch costs depends on its layout: with
padding, its longest text's length times its texts; packed, the sum of its tokens (the two costs of
https://github.com/huggingface/text-embeddings-inference). Both are rounded up to a bucket, so that
the shapes a GPU sees are few: its libraries look for the best kernel once a shape, and the arena
does not grow with every new one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.embedding.runner_types import TokenIds
from models.embedding.text_settings import Pooling

LEAST_BUCKET = 64
"""Tokens of the smallest batch; a GPU takes as long for fewer."""

_LENGTH_STEP = 8
"""The longest text of a batch counts as a multiple of it."""

_GRID_SHARE = 2
"""A packed batch's texts times its longest may be so many times its budget.

Its ``token_offset`` and its pooling take so much. Texts of like length stay far below; without the
bound, one text of 512 tokens among thousands of five would cost a hundred times its tokens.
"""


@dataclass(frozen=True)
class Batch:
    """Texts laid out for one run.

    Parameters
    ----------
    feeds
        The graph's inputs by name.
    texts
        The first so many vectors of the output are the texts'; the others are filling.
    tokens
        Tokens that the run computes, padding and filling included.
    """

    feeds: Mapping[str, NDArray[Any]]
    texts: int
    tokens: int


class Layout(Protocol):
    """How a graph takes several texts at once."""

    def cost(self, lengths: NDArray[np.int64]) -> int:
        """Tokens that texts of such lengths, (texts,), cost together, before rounding up."""

    def batches(self, lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
        """Give the indices of the texts of each batch, as `token_batches`."""

    def pack(self, rows: Sequence[TokenIds], budget: int) -> Batch:
        """Lay texts out, at least one, none of them empty."""

    def warm_up(self, budget: int, longest: int) -> list[list[int]]:
        """Lengths of texts for a batch of each bucket, the largest bucket first."""


def token_bucket(tokens: int, budget: int) -> int:
    """Round tokens up to a quarter of a power of two, or to the budget where that is less.

    Examples
    --------
    >>> [token_bucket(n, 1000) for n in (1, 64, 65, 81, 900, 1000, 1001)]
    [64, 64, 80, 96, 1000, 1000, 1024]
    """
    step = max(LEAST_BUCKET // 4, 1 << max(0, (tokens - 1).bit_length() - 3))
    rounded = max(LEAST_BUCKET, -(-tokens // step) * step)
    return min(rounded, budget) if tokens <= budget else rounded


def token_buckets(budget: int) -> list[int]:
    """Every bucket up to the budget, largest first.

    Examples
    --------
    >>> token_buckets(150)
    [150, 128, 112, 96, 80, 64]
    """
    buckets = [token_bucket(1, budget)]
    while buckets[-1] < budget:
        buckets.append(token_bucket(buckets[-1] + 1, budget))
    return buckets[::-1]


def token_batches(
    lengths: NDArray[np.int64], budget: int, most_texts: int | None = None
) -> list[NDArray[np.int64]]:
    """Group texts of like length, longest first, by a budget of tokens, padding counted.

    A batch costs its longest text's length times its number of texts. A text longer than the budget
    is a batch of its own.

    Parameters
    ----------
    lengths
        Tokens of each text, (texts,).
    budget
        Most tokens of a batch.
    most_texts
        Most texts of a batch.

    Returns
    -------
    list of arrays
        Indices of the texts of each batch; every text is in one. Equal lengths keep their order.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < order.size:
        size = max(1, budget // max(1, int(lengths[order[start]])))
        size = min(size, most_texts or size)
        batches.append(order[start : start + size])
        start += size
    return batches


def packed_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Group texts of like length, longest first, by a budget of tokens alone.

    A batch costs the sum of its tokens, and its texts times its longest may not exceed twice the
    budget. A text longer than the budget is a batch of its own.

    Parameters, returns
        As `token_batches`.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    batches, start = [], 0
    while start < order.size:
        before = int(ends[start - 1]) if start else 0
        fit = int(np.searchsorted(ends, before + budget, side="right")) - start
        wide = _grid_width(int(lengths[order[start]]))
        size = max(1, min(fit, _GRID_SHARE * budget // wide))
        batches.append(order[start : start + size])
        start += size
    return batches


class PaddedLayout:
    """Texts padded on the right, for the graphs with `graph_writer.INPUTS`.

    Parameters
    ----------
    pad_id
        The token to pad with.
    most_texts
        Most texts of a batch, where the device wants a bound (TensorRT).
    most_tokens
        Longest text; rounding a length up does not pass it.
    """

    def __init__(self, pad_id: int, most_tokens: int, most_texts: int | None = None) -> None:
        self._pad_id = pad_id
        self._most_tokens = most_tokens
        self._most_texts = most_texts

    def cost(self, lengths: NDArray[np.int64]) -> int:
        """Longest text times texts."""
        return int(lengths.max()) * lengths.size

    def batches(self, lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
        """Give the indices of the texts of each batch."""
        return token_batches(lengths, budget, self._most_texts)

    def pack(self, rows: Sequence[TokenIds], budget: int) -> Batch:  # noqa: ARG002
        """Lay texts out in rows as long as the longest, which is rounded up."""
        lengths = np.array([row.size for row in rows])
        longest = int(lengths.max())
        width = max(longest, min(_grid_width(longest), self._most_tokens))
        mask = np.arange(width) < lengths[:, np.newaxis]
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(rows)
        feeds = {
            "input_ids": ids,
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": np.zeros_like(ids),
        }
        return Batch(feeds, len(rows), ids.size)

    def warm_up(self, budget: int, longest: int) -> list[list[int]]:
        """Give a full batch of each bucket of lengths."""
        widths = [w for w in token_buckets(longest) if w <= longest] or [longest]
        return [
            [width] * max(1, min(budget // width, self._most_texts or budget)) for width in widths
        ]


class PackedLayout:
    """Texts one after the other, for the graph of `bert_packed.build_packed`.

    Parameters
    ----------
    pad_id
        The token of the filling between a batch's tokens and its bucket.
    pooling
        The graph of ``cls`` has no inputs for pooling.
    """

    def __init__(self, pad_id: int, pooling: Pooling) -> None:
        self._pad_id = pad_id
        self._pooling = pooling

    def cost(self, lengths: NDArray[np.int64]) -> int:
        """Sum of the tokens."""
        return int(lengths.sum())

    def batches(self, lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
        """Give the indices of the texts of each batch."""
        return packed_batches(lengths, budget)

    def pack(self, rows: Sequence[TokenIds], budget: int) -> Batch:
        """Lay texts out one after the other, and texts of filling after them up to a bucket."""
        lengths = np.array([row.size for row in rows], dtype=np.int32)
        used = int(lengths.sum())
        total = token_bucket(used, budget)
        width = _grid_width(int(lengths.max()))
        lengths = np.concatenate([lengths, _filling(total - used, width)])
        bounds = np.zeros(lengths.size + 1, dtype=np.int32)
        np.cumsum(lengths, out=bounds[1:])
        ids = np.full(total, self._pad_id, dtype=np.int32)
        np.concatenate(rows, out=ids[:used], casting="same_kind")
        steps = np.arange(width, dtype=np.int32)
        mask = steps < lengths[:, np.newaxis]
        feeds: dict[str, NDArray[Any]] = {
            "input_ids": ids,
            "position_ids": np.arange(total, dtype=np.int32) - np.repeat(bounds[:-1], lengths),
            "token_offset": _token_offset(mask),
            "cumulative_sequence_length": bounds,
        }
        if self._pooling == "mean":
            last = lengths[:, np.newaxis] - 1
            grid = bounds[:-1, np.newaxis] + np.minimum(steps, last)
            feeds["token_grid"] = grid
            feeds["token_mask"] = mask[:, np.newaxis].astype(np.float32)
        return Batch(feeds, len(rows), total)

    def warm_up(self, budget: int, longest: int) -> list[list[int]]:
        """Give each bucket one text of the longest and many of half of it.

        So the batch takes all that its bucket may: the pooling's share is largest.
        """
        return [_one_long_many_half(bucket, longest) for bucket in token_buckets(budget)]


def _grid_width(longest: int) -> int:
    return -(-longest // _LENGTH_STEP) * _LENGTH_STEP


def _filling(tokens: int, width: int) -> NDArray[np.int32]:
    """Lengths of texts that fill so many tokens up, none longer than `width`."""
    full, rest = divmod(tokens, width)
    return np.array([width] * full + [rest] * (rest > 0), dtype=np.int32)


def _token_offset(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Places in the padded batch, (texts, longest): those of tokens first, then of padding."""
    places = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
    return places.astype(np.int32).reshape(mask.shape)


def _one_long_many_half(tokens: int, longest: int) -> list[int]:
    long = min(tokens, longest)
    half = max(1, long // 2)
    full, rest = divmod(tokens - long, half)
    return [long] + [half] * full + [rest] * (rest > 0)
