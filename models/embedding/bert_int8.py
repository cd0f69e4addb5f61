"""Writes a BERT encoder as an int8 graph for CPUs: fixed scales, no padding, exact neighbours.

Input ``input_ids``: int64 (batch, sequence), texts of one length. Output as in
`models.embedding.bert_graph`. There is no mask, because there is nothing to mask: texts of other
lengths go into other runs. Every step works on a token or a text by itself with scales that were
fixed when the model was made, so a text's vector does not depend on its neighbours by a single bit.

Products are ``MatMulIntegerToFloat``: uint8 activations, int8 weights with a scale for each output,
sums in 32 bits, and the bias in the same pass. ONNX Runtime runs them on VNNI and AMX units.
Fixed scales save the passes that scales found at run time cost (the largest value of each token,
dividing by it, multiplying back), which take a third of the time of all that is not a product.
What makes them good enough:

* Ranges are measured for each channel on sample texts (`models.embedding.calibration`), and
  channels with large values hand a part of their size on to their weights (SmoothQuant, Xiao et al.
  2023, https://arxiv.org/abs/2211.10438). Of the attention's output that is free: the values'
  weights take it. Of the normalised activations it costs one multiplication.
* A few neurons of the feed-forward blocks get values of five times all others', mostly at the
  first token (Bondarenko et al. 2021, https://arxiv.org/abs/2109.12948). The widest of each block
  are multiplied in fp32 beside the others (as in LLM.int8(), Dettmers et al. 2022,
  https://arxiv.org/abs/2208.07339), so the others have a range of their own.

GELU is never below -0.17, so its uint8 has nearly all of its steps above zero.

Attention is the ``Attention`` of ONNX 23, which on a CPU reads heads where they lie: a fifth faster
than ONNX Runtime's own ``MultiHeadAttention``, and more than twice as fast as ``QAttention`` on long
texts. The figures are in docs/performance.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from models.embedding.calibration import LayerRanges, round_up
from models.embedding.checkpoint import BertConfig
from models.embedding.graph_writer import CONTRIB, GraphWriter, Weights
from models.embedding.quantize import quantize_symmetric

OPSET = 23
INPUT = "input_ids"

_MIDDLE = 128
"""The uint8 that stands for zero where values have both signs."""

_GELU_LEAST = 0.17
"""GELU's smallest value is -0.16997."""


@dataclass(frozen=True)
class Int8Recipe:
    """What of a model is quantised, and how: points on the curve of speed against fidelity.

    Parameters
    ----------
    smoothing
        Share of a channel's size that goes to its weights, 0 to 1; SmoothQuant's alpha. 0 is none.
    outlier_neurons
        Neurons of each feed-forward block that are multiplied in fp32.
    float_layers
        So many of the first blocks stay in fp32 altogether.
    """

    smoothing: float = 0.75
    outlier_neurons: int = 16
    float_layers: int = 0


def build_int8(
    config: BertConfig,
    weights: Weights,
    ranges: Sequence[LayerRanges],
    recipe: Int8Recipe | None = None,
) -> onnx.ModelProto:
    """Write the int8 graph of a BERT encoder with its pooling.

    The same arguments give the same bytes, on any machine.

    Parameters
    ----------
    config, weights
        The encoder.
    ranges
        What `measure_ranges` gave for each block.
    recipe
        What is quantised, by default all that `Int8Recipe` says.

    Raises
    ------
    UnsupportedModelError
        If a weight is missing or not of the shape that `config` says.
    """
    return _Builder(config, weights, recipe or Int8Recipe()).build(ranges)


class _Builder:
    def __init__(self, config: BertConfig, weights: Weights, recipe: Int8Recipe) -> None:
        self._graph = GraphWriter()
        self._config = config
        self._weights = weights
        self._recipe = recipe

    def build(self, ranges: Sequence[LayerRanges]) -> onnx.ModelProto:
        hidden = self._embeddings()
        for layer, measured in enumerate(ranges):
            quantised = layer >= self._recipe.float_layers
            block = f"encoder.layer.{layer}"
            hidden = self._attention(block, hidden, measured, quantised=quantised)
            hidden = self._feed_forward(block, hidden, measured, quantised=quantised)
        pool_tokens(self._graph, self._config, hidden)
        return self._graph.model([INPUT], self._config.hidden, opset=OPSET)
