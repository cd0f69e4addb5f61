"""Texts as a model takes them: what a tokeniser gives and a runner runs, maybe in two processes.

All of it is a few arrays, whatever the number of texts, so that it is sent at little cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.embedding.runner_types import Embedder, TokenIds, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Texts cut into inputs of the model; a text has at least one.

    Attributes
    ----------
    ids
        Token ids of all inputs, one after the other, special tokens included, int32 (tokens,).
    lengths
        Tokens of each input, int32 (inputs,).
    weights
        Tokens of the text itself in each input, 1 for a text that has none, int32 (inputs,).
    counts
        Inputs of each text, int32 (texts,).
    truncated
        Whether some of a text is in none of its inputs, bool (texts,).
    letters
        Letters of each text by script, int32 (texts, scripts), see `models.text.SCRIPTS`.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    weights: NDArray[np.int32]
    counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    letters: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self) -> list[TokenIds]:
        """Give the token ids of each input."""
        ids = self.ids.astype(np.int64)
        ends = np.cumsum(self.lengths).tolist()
        return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def keep(self, chosen: NDArray[np.bool_]) -> Self:
        """Give those of the texts that are chosen, bool (texts,)."""
        if chosen.all():
            return self
        inputs = np.repeat(chosen, self.counts)
        return type(self)(
            self.ids[np.repeat(inputs, self.lengths)],
            self.lengths[inputs],
            self.weights[inputs],
            self.counts[chosen],
            self.truncated[chosen],
            self.letters[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Texts tokenised, each distinct one once.

    Attributes
    ----------
    keys
        Hashes of the distinct texts, which a cache knows them by.
    places
        Which of the distinct texts each text is, int64 (texts,).
    inputs
        The distinct texts.
    """

    keys: list[bytes]
    places: NDArray[np.int64]
    inputs: Inputs

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, part: slice) -> Self:
        """Give some of the texts, side by side."""
        places = self.places[part]
        chosen = np.zeros(len(self.keys), np.bool_)
        chosen[places] = True
        return type(self)(
            [self.keys[place] for place in np.flatnonzero(chosen).tolist()],
            (np.cumsum(chosen) - 1)[places],
            self.inputs.keep(chosen),
        )


Tokenise = Callable[[Sequence[str]], Tokens]
"""Tokenises texts, in their order; safe to call from several threads."""


class TokenEmbedder(Embedder, Protocol):
    """An embedder whose texts may be tokenised elsewhere."""

    def embed_tokens(self, tokens: Tokens) -> Vectors:
        """Return one unit vector a text, as `embed` does."""
