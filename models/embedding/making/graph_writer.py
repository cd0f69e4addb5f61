"""Pieces that every graph of a BERT is written with: nodes and constants, and weights by name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.embedding.errors import UnsupportedModelError
from models.embedding.making.pretrained import BertConfig
from models.embedding.manifest import (
    EXPORTER_VERSION,
    INPUTS,
    LARGE_VOCABULARY,
    OUTPUT,
    WEIGHTS_FILE,
)

OPSET = 18
IR_VERSION = 10

CONTRIB = "com.microsoft"

QKV = ("query", "key", "value")


_ROWS = 8192
"""Of a large table, as many as are in memory at once."""


class TableFile:
    """The file beside the graphs of a model that holds its largest table (`LARGE_VOCABULARY`).

    Several graphs may have the same table. It begins where the file does, so that it can be mapped.

    Parameters
    ----------
    path
        The file to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: onnx.TensorProto | None = None

    @classmethod
    def of(cls, config: BertConfig, folder: Path) -> "TableFile | None":
        """Give the file that a model's word table goes to; None where it stays in the graph."""
        return cls(folder / WEIGHTS_FILE) if config.vocabulary >= LARGE_VOCABULARY else None

    def put(self, name: str, parts: Iterable[NDArray[Any]]) -> onnx.TensorProto:
        """Write a table part by part, if it is not there; give what a graph says in its place."""
        if self._kept is not None:
            if self._kept.name != name:
                raise ValueError(f"{self._path.name} holds {self._kept.name}, not {name}")
            return self._kept
        rows = 0
        with self._path.open("wb") as file:
            for part in parts:
                file.write(np.ascontiguousarray(part).data)
                rows += len(part)
        kind = helper.np_dtype_to_tensor_dtype(part.dtype)
        self._kept = TensorProto(name=name, data_type=kind, dims=[rows, *part.shape[1:]])
        point_to(self._kept, self._path.name, 0, self._path.stat().st_size)
        return self._kept


def point_to(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    """Have a constant's bytes read from a file beside the graph (ONNX's external data)."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def in_parts(table: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Give a table some rows at a time: those of a mapped file are read no sooner."""
    for start in range(0, len(table), _ROWS):
        yield table[start : start + _ROWS]


class GraphWriter:
    """Collects nodes and constants; a node is named after its one output.

    Parameters
    ----------
    beside
        Where a table goes that is too large for the graph.
    """

    def __init__(self, beside: TableFile | None = None) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._beside = beside

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Keep an array in the graph; gives its name back."""
        self._constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def table(self, name: str, parts: Iterable[NDArray[Any]]) -> str:
        """Keep a table of one row a word, in the graph or beside it; gives its name back."""
        if self._beside is None:
            return self.constant(name, np.concatenate(list(parts)))
        self._constants.append(self._beside.put(name, parts))
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

    def __init__(self, config: BertConfig, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        self._config = config
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

    def bias(self, name: str, outputs: int) -> NDArray[np.float32]:
        """Return what a layer adds: (outputs,)."""
        return self(f"{name}.bias", outputs)

    def norm(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return scale and shift of a layer normalisation, (hidden,) each."""
        size = self._config.hidden
        return self(f"{name}.LayerNorm.weight", size), self(f"{name}.LayerNorm.bias", size)

    @property
    def words(self) -> NDArray[np.float32]:
        """Embeddings of the tokens: (vocabulary, hidden)."""
        return self._table("word", self._config.vocabulary)

    @property
    def positions(self) -> NDArray[np.float32]:
        """Embeddings of the places in a text: (positions, hidden)."""
        return self._table("position", self._config.positions)

    @property
    def token_types(self) -> NDArray[np.float32]:
        """Embeddings of the types of token; a text's own is the first: (types, hidden)."""
        return self._table("token_type", self._config.token_types)

    def _table(self, kind: str, rows: int) -> NDArray[np.float32]:
        return self(f"embeddings.{kind}_embeddings.weight", rows, self._config.hidden)


class BertWriter(GraphWriter):
    """What the graphs on the CPU, and all graphs' outputs, have in common."""

    def __init__(
        self, config: BertConfig, weights: Weights, beside: TableFile | None = None
    ) -> None:
        super().__init__(beside)
        self._config = config
        self.weights = weights

    def layer_norm(self, rows: str, name: str) -> str:
        """Normalise rows with the scale and shift of `name`."""
        scale, shift = self.weights.norm(name)
        inputs = [
            rows,
            self.constant(f"{name}.norm.scale", scale),
            self.constant(f"{name}.norm.shift", shift),
        ]
        epsilon = self._config.epsilon
        return self.add("LayerNormalization", inputs, f"{name}.norm", axis=-1, epsilon=epsilon)

    def pool_first(self, hidden: str) -> None:
        """``pooled``: the vector of each text's first token."""
        first = self.constant("first_token", np.array(0))
        self.add("Gather", [hidden, first], "pooled", axis=1)

    def write_output(self, axis: str) -> None:
        """Write the output: ``pooled``, along `axis` of length one if the model says so."""
        if not self._config.normalise:
            self.add("Identity", ["pooled"], OUTPUT)
            return
        self.add("ReduceL2", ["pooled", axis], "length", keepdims=1)
        least = self.constant("least_length", np.array(1e-12, np.float32))  # as torch's normalize
        self.add("Max", ["length", least], "safe_length")
        self.add("Div", ["pooled", "safe_length"], OUTPUT)
