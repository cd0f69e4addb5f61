"""Weights to int8: symmetric, one scale a row or column, the same bytes on every machine.

Only the weights are quantised here. The activations are quantised while the model runs, one text at
a time (see `models.embedding.making.bert_graph`). Every step is one correctly rounded IEEE
operation or exact, so the result, and with it the model's identity, does not depend on the machine.
"""

import numpy as np
from numpy.typing import NDArray

INT8_LIMIT = np.float32(127.0)  # -128 stays unused, which keeps the zero point at 0


def quantize_symmetric(
    weights: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a matrix so that ``quantised * scale`` is nearest to it.

    Parameters
    ----------
    weights
        Matrix of shape (rows, columns).
    axis
        The axis that shares a scale: 0 gives a scale to each column, 1 to each row.

    Returns
    -------
    quantised
        Integers of -127 to 127, the shape of `weights`.
    scale
        The step of each row or column: (1, columns) for axis 0, (rows, 1) for axis 1. A row or
        column of zeros has scale 1.
    """
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest / INT8_LIMIT, np.float32(1.0))
    return np.rint(weights / scale).astype(np.int8), scale
