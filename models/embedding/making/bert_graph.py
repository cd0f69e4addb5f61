"""Writes a BERT encoder as an fp32 ONNX graph straight from its weights: no torch, no tracing.

Inputs ``input_ids``, ``attention_mask``, ``token_type_ids``: int64 (batch, sequence), padded on the
right. Output ``embedding``: float32 (batch, hidden), pooled and, if the model says so, of length
one. Bringing one pooled vector back from the device instead of every token's is part of the point.

Which operators, and why:

* Attention is ONNX Runtime's fused ``Attention``, the activation its ``BiasGelu``, with the exact
  error function.
* Normalisation is ``Add`` and ``LayerNormalization`` rather than the fused
  ``SkipLayerNormalization``: on the CPU the fused kernel is six times slower than the two
  (1.31). On a GPU, ONNX Runtime fuses them again by itself when all optimisations are on.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from models.embedding.making.graph_writer import (
    CONTRIB,
    QKV,
    BertWriter,
    TableFile,
    Weights,
    in_parts,
)
from models.embedding.making.pretrained import BertConfig


def build_bert(
    config: BertConfig,
    tensors: Mapping[str, NDArray[np.float32]],
    beside: TableFile | None = None,
) -> onnx.ModelProto:
    """Write the graph of a BERT encoder with its pooling.

    The same weights give the same bytes, on any machine. A word table that is too large for the
    graph goes to the file `beside`.

    Raises
    ------
    UnsupportedModelError
        If a weight is missing or not of the shape that `config` says.
    """
    return _Builder(config, Weights(config, tensors), beside).build()


class _Builder(BertWriter):
    def build(self) -> onnx.ModelProto:
        self.constant("last_axis", np.array([-1]))
        self.constant("sequence_axis", np.array([1]))
        hidden = self._embeddings()
        self.add("Cast", ["attention_mask"], "mask_int32", to=TensorProto.INT32)
        self.add("ReduceSum", ["mask_int32", "sequence_axis"], "text_lengths", keepdims=0)
        for layer in range(self._config.layers):
            hidden = self._layer(hidden, f"encoder.layer.{layer}")
        if self._config.pooling == "cls":
            self.pool_first(hidden)
        else:
            self._mean(hidden)
        self.write_output("last_axis")
        return self.model(self._config.hidden)

    def _embeddings(self) -> str:
        """Token, position and type embeddings, summed and normalised: (batch, sequence, hidden)."""
        weights = self.weights
        words = self.table("words.table", in_parts(weights.words))
        self.add("Gather", [words, "input_ids"], "words")
        self.add("Shape", ["input_ids"], "sequence_length", start=1, end=2)
        table = self.constant("positions.table", weights.positions)
        start = self.constant("positions.start", np.array([0]))
        self.add("Slice", [table, start, "sequence_length"], "positions")
        types = self.constant("types.table", weights.token_types)
        self.add("Gather", [types, "token_type_ids"], "types")
        self.add("Add", ["words", "positions"], "words_at_positions")
        self.add("Add", ["words_at_positions", "types"], "embeddings.sum")
        return self.layer_norm("embeddings.sum", "embeddings")

    def _layer(self, hidden: str, name: str) -> str:
        """One encoder block: attention, then feed-forward, each added to its input and normed."""
        size, inner = self._config.hidden, self._config.intermediate
        block = f"{name}.attention"
        projected = self._biased(
            f"{block}.output.dense", self._attention(hidden, block), size, size
        )
        self.add("Add", [projected, hidden], f"{block}.sum")
        hidden = self.layer_norm(f"{block}.sum", f"{block}.output")

        wide = f"{name}.intermediate.dense"
        weight = self.constant(f"{wide}.weight", self.weights.dense(wide, size, inner))
        self.add("MatMul", [hidden, weight], wide)
        shift = self.constant(f"{wide}.bias", self.weights.bias(wide, inner))
        active = self.add("BiasGelu", [wide, shift], f"{name}.gelu", domain=CONTRIB)

        narrowed = self._biased(f"{name}.output.dense", active, inner, size)
        self.add("Add", [narrowed, hidden], f"{name}.sum")
        return self.layer_norm(f"{name}.sum", f"{name}.output")

    def _attention(self, hidden: str, block: str) -> str:
        """Multi-head self-attention over the tokens that the mask keeps, before its projection."""
        size, parts = self._config.hidden, [f"{block}.self.{part}" for part in QKV]
        weight = np.concatenate([self.weights.dense(part, size, size) for part in parts], axis=1)
        bias = np.concatenate([self.weights.bias(part, size) for part in parts])
        shift = self.constant(f"{block}.bias", bias)
        inputs = [hidden, self.constant(f"{block}.weight", weight), shift, "text_lengths"]
        return self.add("Attention", inputs, block, num_heads=self._config.heads, domain=CONTRIB)

    def _biased(self, name: str, rows: str, inputs: int, outputs: int) -> str:
        """``rows @ weight + bias``."""
        weight = self.constant(f"{name}.weight", self.weights.dense(name, inputs, outputs))
        self.add("MatMul", [rows, weight], f"{name}.product")
        shift = self.constant(f"{name}.bias", self.weights.bias(name, outputs))
        return self.add("Add", [f"{name}.product", shift], name)

    def _mean(self, hidden: str) -> None:
        """``pooled``: the mean of the tokens that the mask keeps."""
        # A product, since ReduceSum adds one text's tokens in another order than several texts'.
        self.add("Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT)
        self.add("Unsqueeze", ["mask_float", "sequence_axis"], "mask")
        self.add("MatMul", ["mask", hidden], "kept_sums")
        self.add("Squeeze", ["kept_sums", "sequence_axis"], "kept_sum")
        self.add("ReduceSum", ["mask_float", "last_axis"], "kept_count", keepdims=1)
        self.add("Div", ["kept_sum", "kept_count"], "pooled")
