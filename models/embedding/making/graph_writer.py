"""Pieces that every graph of a BERT is written with: nodes and constants, and weights by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.embedding.errors import UnsupportedModelError
from models.embedding.manifest import EXPORTER_VERSION, INPUTS, OUTPUT

OPSET = 18
IR_VERSION = 10

CONTRIB = "com.microsoft"


class GraphWriter:
    """Collects nodes and constants; a node is named after its one output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Keep an array in the graph; gives its name back."""
        self._constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def add(
        self, operator: str, inputs: list[str], output: str, *more: str, **attributes: Any
    ) -> str:
        """Add a node; gives the name of its first output back."""
        self._nodes.append(
            helper.make_node(operator, inputs, [output, *more], name=output, **attributes)
        )
        return output

    def model(
        self,
        hidden: int,
        inputs: Sequence[onnx.ValueInfoProto] | None = None,
        opset: int = OPSET,
    ) -> onnx.ModelProto:
        """Give the whole graph, with outputs of `hidden` dimensions.

        Its inputs are `INPUTS`, int64 (batch, sequence), if no others are given.
        """
        inputs = inputs or [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in INPUTS
        ]
        output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", hidden])
        return helper.make_model(
            helper.make_graph(self._nodes, "bert", inputs, [output], self._constants),
            opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB, 1)],
            ir_version=IR_VERSION,
            producer_name="segmenter",
            producer_version=str(EXPORTER_VERSION),
        )


class Weights:
    """Finds weights by their name in a bare BertModel, whatever head the checkpoint was saved with.

    A checkpoint of a task model prefixes ``bert.``; ones converted from TensorFlow call the scale
    and shift of a layer normalisation gamma and beta.
    """

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        self._tensors = tensors

    def __call__(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Find a weight of exactly this shape.

        Raises
        ------
        UnsupportedModelError
            If it is missing or of another shape.
        """
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        old = old.replace("LayerNorm.bias", "LayerNorm.beta")
        for candidate in (name, f"bert.{name}", old, f"bert.{old}"):
            if candidate in self._tensors:
                tensor = self._tensors[candidate]
                if tensor.shape != shape:
                    raise UnsupportedModelError(
                        f"weight {candidate} has shape {tensor.shape}, but config.json makes it "
                        f"{shape}; the two files do not belong together."
                    )
                return tensor
        raise UnsupportedModelError(
            f"weight {name} is not in model.safetensors; a BERT encoder is needed."
        )

    def dense(self, name: str, inputs: int, outputs: int) -> NDArray[np.float32]:
        """Return a layer's weight as (inputs, outputs), so that ``x @ weight`` applies it."""
        return self(f"{name}.weight", outputs, inputs).T
