"""Turns an encoder's graph as torch traced it into a model: fused, and pooled in the graph.

Optimum exports the bare encoder: with sentence-transformers' pooling in the graph, ONNX Runtime's
optimizer finds no attention to fuse (optimum-onnx 0.1, ONNX Runtime 1.31). So the pooling is
appended after the fusing, in fp32 whatever the precision. The result has the inputs and the output
of `models.embedding.making.bert_graph`.
"""

import importlib
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.embedding.errors import ExportFailedError, UnsupportedModelError
from models.embedding.making.graph_writer import CONTRIB
from models.embedding.manifest import INPUTS, OUTPUT, Precision
from models.embedding.text_settings import Pooling, TextSettings

WIDTH_FIELDS = ("hidden_size", "dim", "d_model")
"""What architectures call the width of an encoder in `config.json`."""

_HIDDEN_STATE = "last_hidden_state"


def fuse(
    exported: onnx.ModelProto, config: Mapping[str, Any], precision: Precision
) -> onnx.ModelProto:
    """Fuse an encoder's operators as ONNX Runtime's optimizer for BERT does.

    What it does not know stays as it is, and computes the same. The approximation of GELU stays
    off. In fp16 the graph's output is fp32 all the same.

    Parameters
    ----------
    exported
        A graph that torch traced.
    config
        The checkpoint's `config.json`.
    precision
        ``fp32`` or ``fp16``.

    Raises
    ------
    ExportFailedError
    """
    # Late, since nothing else needs it. This package has turned onnxruntime's reports off by now.
    optimizer = importlib.import_module("onnxruntime.transformers.optimizer")
    for name in logging.root.manager.loggerDict:  # a line for each pass, under names of its own
        if name.startswith(("fusion_", "onnx_model", "optimizer", "float16", "shape_infer")):
            logging.getLogger(name).setLevel(logging.WARNING)
    try:
        fused = optimizer.optimize_model(
            exported,
            "bert",
            num_heads=whole_number(config, "num_attention_heads", "n_heads") or 0,
            hidden_size=whole_number(config, *WIDTH_FIELDS) or 0,
            opt_level=0,
        )
        if precision == "fp16":
            fused.convert_float_to_float16(keep_io_types=True)
    except Exception as error:  # asserts, KeyError and bare Exception, by the graph's shape
        raise ExportFailedError(
            f"ONNX Runtime's optimizer gave up on the graph ({type(error).__name__}: {error}); "
            "choose another model."
        ) from error
    model: onnx.ModelProto = fused.model
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drop what torch notes beside the graph: paths of its machine, names of Python modules."""
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    model.graph.ClearField("value_info")


def append_pooling(model: onnx.ModelProto, text: TextSettings, width: int | None = None) -> int:
    """Make one vector a text of an encoder's output, in place, with the contract of `bert_graph`.

    A graph that takes no token types gets an input for them that it does not use, so that all
    models are run alike.

    Parameters
    ----------
    model
        A graph with the output ``last_hidden_state``, (batch, sequence, hidden).
    text
        Pooling and normalisation.
    width
        The encoder's, should the graph not tell it.

    Returns
    -------
    int
        Length of a vector.

    Raises
    ------
    UnsupportedModelError
        If the graph wants other inputs, or gives no vector for each token.
    """
    graph = model.graph
    if others := [entry.name for entry in graph.input if entry.name not in INPUTS]:
        raise UnsupportedModelError(
            f"the model takes {others[0]} besides texts; choose a text encoder."
        )
    outputs = {entry.name: entry for entry in graph.output}
    if _HIDDEN_STATE not in outputs:
        raise UnsupportedModelError(
            f"the model gives {', '.join(outputs)}, but no {_HIDDEN_STATE}; choose a text encoder."
        )
    told = int(outputs[_HIDDEN_STATE].type.tensor_type.shape.dim[-1].dim_value)
    dimensions = told or width
    if not dimensions:
        raise UnsupportedModelError(
            f"the model's {_HIDDEN_STATE} has no fixed width; choose a text encoder."
        )
    _pool(graph, text.pooling)
    if text.normalise:
        _scale(graph)
    else:
        graph.node.append(helper.make_node("Identity", ["segmenter.pooled"], [OUTPUT]))
    del graph.input[:], graph.output[:]
    shape = ["batch", "sequence"]
    graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUTS
    )
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", dimensions])
    )
    if CONTRIB not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return dimensions


def _pool(graph: onnx.GraphProto, pooling: Pooling) -> None:
    """Give ``segmenter.pooled``, (batch, hidden)."""
    if pooling == "cls":
        first = _constant(graph, "first", np.array(0))
        _add(graph, "Gather", [_HIDDEN_STATE, first], "pooled", axis=1)
        return
    last, tokens = (_constant(graph, *pair) for pair in _AXES.items())
    mask = _add(graph, "Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT)
    mask = _add(graph, "Unsqueeze", [mask, last], "mask")
    kept = _add(graph, "Mul", [_HIDDEN_STATE, mask], "kept")
    total = _add(graph, "ReduceSum", [kept, tokens], "total", keepdims=0)
    count = _add(graph, "ReduceSum", [mask, tokens], "count", keepdims=0)
    _add(graph, "Div", [total, count], "pooled")


_AXES = {"last_axis": np.array([-1]), "token_axis": np.array([1])}


def _scale(graph: onnx.GraphProto) -> None:
    """Scale ``segmenter.pooled`` to length one."""
    axis = _constant(graph, "vector_axis", np.array([-1]))
    least = _constant(graph, "least_length", np.array(1e-12, np.float32))  # as torch's normalize
    length = _add(graph, "ReduceL2", ["segmenter.pooled", axis], "length", keepdims=1)
    length = _add(graph, "Max", [length, least], "safe_length")
    graph.node.append(helper.make_node("Div", ["segmenter.pooled", length], [OUTPUT]))


def _add(
    graph: onnx.GraphProto, operator: str, inputs: list[str], output: str, **attributes: Any
) -> str:
    name = f"segmenter.{output}"
    graph.node.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
    return name


def _constant(graph: onnx.GraphProto, name: str, values: np.ndarray[Any, Any]) -> str:
    graph.initializer.append(numpy_helper.from_array(values, f"segmenter.{name}"))
    return f"segmenter.{name}"


def whole_number(config: Mapping[str, Any], *fields: str) -> int | None:
    """Give the first of the fields that is there; architectures name them differently."""
    for field in fields:
        if isinstance(value := config.get(field), int):
            return value
    return None
