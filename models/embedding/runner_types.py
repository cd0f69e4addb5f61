"""What the runners on the CPU and on GPUs share, and what stages want of an embedder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""One vector a row: (texts, dimensions)."""

UsedDevice = Literal["cpu", "cuda", "tensorrt"]

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


class Runner(Protocol):
    """What runs token ids through a model.

    Attributes
    ----------
    device
        Where it runs.
    fell_back
        Whether that is the CPU although a GPU was asked for, or the model is made for one.
    threads
        Texts or batches that it runs side by side.
    totals
        Counts since it was opened.
    """

    @property
    def device(self) -> UsedDevice:
        """Where it runs."""

    @property
    def fell_back(self) -> bool:
        """Whether it runs on another device than was asked for."""

    @property
    def totals(self) -> RunnerTotals:
        """Counts since it was opened."""

    @property
    def threads(self) -> int:
        """Texts or batches that it runs side by side."""

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        """Give the model's vector of each text, in their order, of any length.

        A text that the model has no vector for (its run fails, or is not finite) gets a row of NaN.
        Safe to call from several threads.
        """

    def close(self) -> None:
        """Give threads and sessions back; what runs is finished first."""


class Description(Protocol):
    """What is told of a model, of whatever kind."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def precision(self) -> str:
        """Its arithmetic."""

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The languages that it reads; None where that is not known."""


class Embedder(Protocol):
    """What turns texts into vectors, for the stages that need no more than that.

    Attributes
    ----------
    identity
        Changes whenever the vectors do; profiles and segment models are stamped with it.
    dimensions
        Length of a vector.
    """

    @property
    def identity(self) -> str:
        """The model that the vectors come from."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text, (texts, dimensions); no text may be empty.

        A row of NaN means that there is no vector for this text: the model failed on it, and on it
        alone.
        """
