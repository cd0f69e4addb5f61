"""How much arithmetic a BERT encoder needs for a text, to tell speed as a share of the peak.

Counted are the matrix products, two operations a multiplication with its addition: of a layer with
hidden size h and inner size f, on a text of S tokens,

    query, key, value and output    S * 8 h^2
    the two dense layers            S * 4 h f
    scores and weighted values      4 S^2 h

so a token of all-MiniLM-L6-v2 (six layers, h = 384, f = 1536) costs 21.2 MFLOP and 9,216 more for
each token of its text: 21.8 MFLOP at 64 tokens, 23.6 at 256. Embedding look-up, normalisations,
softmax and GELU are not counted, nor is padding: it is work that no one asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class EncoderShape:
    """What the count depends on.

    Attributes
    ----------
    layers, hidden, inner
        Encoder layers, width of a token's vector, width between the two dense layers.
    """

    layers: int
    hidden: int
    inner: int

    @classmethod
    def read(cls, config: Path) -> Self:
        """Read the shape from a checkpoint's config.json."""
        found = json.loads(config.read_text(encoding="utf-8"))
        return cls(found["num_hidden_layers"], found["hidden_size"], found["intermediate_size"])

    def flops(self, tokens: int) -> int:
        """Operations for one text of so many tokens."""
        projections = 8 * self.hidden**2 * tokens
        dense = 4 * self.hidden * self.inner * tokens
        attention = 4 * self.hidden * tokens**2
        return self.layers * (projections + dense + attention)

    def total(self, lengths: Sequence[int]) -> int:
        """Operations for texts of these lengths."""
        return sum(map(self.flops, lengths))
