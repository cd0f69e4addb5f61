"""A clusterer's state as JSON and back, to the last bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from models.clustering.clusterers.base import ClustererError, State
from schemas.arrays import decode_array, encode_array

_TYPES = ("<f8", "<i8")
"""What arrays in a state can be of."""


def to_json(state: State) -> str:
    """Write a state as JSON; arrays as base64 of their numbers."""
    return json.dumps(state, default=_encoded, allow_nan=False)


def from_json(text: str) -> State:
    """Read what `to_json` wrote.

    Raises
    ------
    ClustererError
        Where the text is no such JSON.
    """
    try:
        state = json.loads(text, object_hook=_decoded)
    except (KeyError, TypeError, ValueError) as error:
        raise ClustererError(f"no state of a clusterer: {error}; give what to_json wrote") from None
    if not isinstance(state, dict):
        raise ClustererError("no state of a clusterer: no JSON object; give what to_json wrote")
    return state


def _encoded(array: Any) -> dict[str, Any]:
    dtype = "<i8" if np.issubdtype(array.dtype, np.integer) else "<f8"
    return {"shape": list(array.shape), "dtype": dtype, "array": encode_array(array, dtype)}


def _decoded(entry: dict[str, Any]) -> Any:
    if "array" not in entry:
        return entry
    if entry["dtype"] not in _TYPES:
        raise ValueError(f"an array of the type {entry['dtype']!r}")
    return decode_array(entry["array"], entry["dtype"]).reshape(entry["shape"]).copy()
