"""What the runners on the CPU and on GPUs share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""One vector a row: (texts, dimensions)."""

TokenIds = NDArray[np.int64]
"""Token ids of one text, special tokens included: (tokens,)."""


CLOSE_SECONDS = 5.0
"""How long a runner that is closed waits for what is under way."""


@dataclass(frozen=True)
class RunnerTotals:
    """What a runner has done since it was opened.

    Parameters
    ----------
    batches
        Runs of the model that gave vectors.
    computed_tokens
        Tokens that they computed, padding included.
    oom_halvings
        How often the GPU's memory was too small and the budget was halved.
    failed_texts
        Texts that got a row of NaN: the model fails on them alone, or gives no finite vector.
    budget
        Most tokens of a batch now; 0 where texts are not batched.
    """

    batches: int = 0
    computed_tokens: int = 0
    oom_halvings: int = 0
    failed_texts: int = 0
    budget: int = 0
