"""Texts of several lengths in one run, padded: as a GPU's layouts do it, written out plainly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedding.manifest import OUTPUT
from models.embedding.runner_types import Vectors


def run_batch(session: Any, rows: Sequence[NDArray[np.int64]], pad_id: int) -> Vectors:
    """Run texts of one batch, padded on the right to the longest.

    Parameters
    ----------
    session
        A session of a graph of `models.embedding.making.bert_graph`.
    rows
        Token ids of each text.
    pad_id
        The token to pad with.

    Returns
    -------
    Vectors
        The graph's output, (texts, dimensions).
    """
    lengths = np.array([row.size for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    feeds = {
        "input_ids": ids,
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.zeros_like(ids),
    }
    vectors: Vectors = session.run([OUTPUT], feeds)[0]
    return vectors
