"""Arrays carried as base64 in JSON."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray


def encode_array(values: NDArray[np.generic], dtype: str) -> str:
    """Encode an array as base64 of its C-order bytes in `dtype` (say "<f4")."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def decode_array(text: str, dtype: str) -> NDArray[np.generic]:
    """Decode what `encode_array` wrote.

    Raises
    ------
    ValueError
        If the text is not base64 or its length is not a multiple of the item size.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype)
