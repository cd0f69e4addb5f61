"""A small BERT's graph as Optimum exports it through torch, kept so that no test needs torch.

`python -m tests.export.save_graph` writes it anew, with the extra `export` installed.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.models.embedding import bert_reference
from tests.models.embedding.tiny_bert import CONFIG, TinyBert, random_weights

TRACED_GRAPH = Path(__file__).parents[2] / "data" / "traced_bert.onnx"
TRACED_CONFIG = {
    **CONFIG,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
}


def write_checkpoint(folder: Path) -> TinyBert:
    """Write the checkpoint that the graph was exported from."""
    model = TinyBert.write(folder)
    model.write_config(**TRACED_CONFIG)
    model.tensors = random_weights(5, TRACED_CONFIG)
    model.write_weights()
    return model


def traced_graph() -> onnx.ModelProto:
    return onnx.load(TRACED_GRAPH)


def reference(
    rows: list[NDArray[np.int64]], *, pooling: str = "mean", normalise: bool = True
) -> NDArray[np.float64]:
    """Give the vector of each row of token ids: (rows, 16)."""
    tensors = random_weights(5, TRACED_CONFIG)
    return np.array(
        [
            bert_reference.embed(
                row, tensors, layers=2, heads=2, pooling=pooling, normalise=normalise
            )
            for row in rows
        ]
    )
