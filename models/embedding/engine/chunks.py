"""Texts longer than the model's input: cut into chunks, and one vector made of the chunks' vectors.

A chunk is a window of the text's tokens, the windows side by side and all but the last of the same
length. Around each stands what the model was trained with: its special tokens, and the prefix that
it wants before every text. The text's vector is the mean of its chunks' unit vectors, weighted by
the tokens of the text in them, brought back to length 1. One chunk is its own mean: so truncating
is cutting into one chunk at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.embedding.engine.pieces import AnyTokenizer
from models.embedding.errors import UnsupportedModelError
from models.embedding.runner_types import TokenIds, Vectors
from models.embedding.tokens import Inputs


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a text's tokens in each of the model's inputs.

    Parameters
    ----------
    head, tail
        Special tokens before and after, such as [CLS] and [SEP].
    prefix
        Tokens of the prefix that the model wants before every text, often none.
    max_tokens
        The model's longest input, all of these included.
    """

    head: TokenIds
    tail: TokenIds
    prefix: TokenIds
    max_tokens: int

    def __post_init__(self) -> None:
        taken = self.head.size + self.prefix.size + self.tail.size
        if taken >= self.max_tokens:
            raise UnsupportedModelError(
                f"the model's max_tokens is {self.max_tokens}, and its special tokens and prefix "
                f"alone take {taken}: raise max_tokens or shorten the prefix."
            )

    @classmethod
    def of(cls, tokenizer: AnyTokenizer, max_tokens: int, prefix: str = "") -> Frame:
        """Learn the frame from what the tokenizer puts around a word.

        Raises
        ------
        UnsupportedModelError
            If the frame leaves no room for a token of a text.
        """
        probe = tokenizer.encode("a")
        ids = np.array(probe.ids, dtype=np.int64)
        own = np.flatnonzero(np.array(probe.special_tokens_mask) == 0)
        start, end = (own[0], own[-1] + 1) if own.size else (ids.size, ids.size)
        # A space at its end belongs to the first word of the text, in SentencePiece's vocabularies.
        before = tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids
        return cls(ids[:start], ids[end:], np.array(before, dtype=np.int64), max_tokens)


@dataclass(frozen=True, slots=True)
class Cut:
    """A text as the model gets it.

    Attributes
    ----------
    rows
        Token ids of each chunk, at least one.
    weights
        Tokens of the text in each chunk; 1 for a text that has none.
    truncated
        Whether some of the text is in no chunk.
    """

    rows: list[TokenIds]
    weights: list[int]
    truncated: bool


def cut_text(ids: TokenIds, frame: Frame, max_chunks: int) -> Cut:
    """Cut a text into chunks that the model takes.

    Parameters
    ----------
    ids
        Tokens of the text with the prefix before it, without special tokens. Where the tokens of
        the prefix are at their beginning they come again in each chunk. Where the tokenizer has
        melted the prefix into the first word they cannot: they count as text.
    frame
        What stands around each chunk.
    max_chunks
        Chunks at most; 1 truncates.
    """
    before = frame.prefix.size
    if not np.array_equal(ids[:before], frame.prefix):
        before = 0
    prefix, own = ids[:before], ids[before:]
    room = frame.max_tokens - frame.head.size - before - frame.tail.size
    count = min(max(-(-own.size // room), 1), max_chunks)
    windows = [own[start : start + room] for start in range(0, count * room, room)]
    rows = [np.concatenate((frame.head, prefix, window, frame.tail)) for window in windows]
    return Cut(rows, [max(window.size, 1) for window in windows], own.size > count * room)


def cut_texts(
    texts: Sequence[list[int]], frame: Frame, max_chunks: int, letters: NDArray[np.int32]
) -> Inputs:
    """Cut texts into inputs that the model takes, each as `cut_text` does.

    Parameters
    ----------
    texts
        Token ids of each text, as `cut_text` wants them.
    frame, max_chunks
        As for `cut_text`.
    letters
        As for `Inputs`.
    """
    head, tail = frame.head.tolist(), frame.tail.tolist()
    # A text of one input, by far the commonest, is put together of lists: arrays take ten times
    # as long to make.
    room = 0 if frame.prefix.size else frame.max_tokens - len(head) - len(tail)
    ids: list[int] = []
    lengths, weights, counts, truncated = [], [], [], []
    for text in texts:
        if len(text) <= room:
            ids += head
            ids += text
            ids += tail
            lengths.append(len(head) + len(text) + len(tail))
            weights.append(max(len(text), 1))
            counts.append(1)
            truncated.append(False)
            continue
        cut = cut_text(np.array(text, dtype=np.int64), frame, max_chunks)
        for row in cut.rows:
            ids += row.tolist()
            lengths.append(row.size)
        weights += cut.weights
        counts.append(len(cut.rows))
        truncated.append(cut.truncated)
    return Inputs(
        np.array(ids, np.int32),
        np.array(lengths, np.int32),
        np.array(weights, np.int32),
        np.array(counts, np.int32),
        np.array(truncated, np.bool_),
        letters,
    )


def combine(
    vectors: Vectors,
    weights: Sequence[int] | NDArray[np.integer],
    counts: Sequence[int] | NDArray[np.integer],
) -> Vectors:
    """Make one vector a text of the vectors of its chunks.

    Parameters
    ----------
    vectors
        Unit vectors of all chunks, those of a text side by side, (chunks, dimensions).
    weights
        Weight of each chunk, (chunks,), above 0.
    counts
        Chunks of each text, (texts,), at least 1.

    Returns
    -------
    Vectors
        Unit vectors, (texts, dimensions). A text of one chunk has that chunk's vector, bit by bit.
        A text with a failed chunk, or whose chunks cancel each other, has a row of NaN.
    """
    if len(counts) == len(vectors):
        return vectors
    sizes = np.array(counts, dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    combined: Vectors = vectors[starts]
    several = np.flatnonzero(sizes > 1)
    weighted = vectors.astype(np.float64) * np.array(weights, dtype=np.float64)[:, np.newaxis]
    # The sum's direction is the mean's.
    sums = np.add.reduceat(weighted, starts, axis=0)[several]
    combined[several] = unit_or_nan(sums).astype(np.float32)
    return combined


def unit_or_nan(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Bring vectors to length 1; what has no direction, or is not finite, becomes a row of NaN."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1)
    good = np.isfinite(norms) & (norms > 0)
    units = np.full_like(vectors, np.nan)
    units[good] = vectors[good] / norms[good, np.newaxis]
    return units


def without_broken(vectors: Vectors) -> Vectors:
    """Put NaN in place of rows that are no unit vectors, and leave all others as they are.

    For models that normalise by themselves: an overflow in half precision, or a vector of zeros.
    """
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1)
    broken = ~(np.abs(norms - 1) < 0.01)
    if not broken.any():
        return vectors
    return np.where(broken[:, np.newaxis], np.float32(np.nan), vectors)
