"""The files of an fp16 model: two graphs, and their weights once.

``packed.onnx`` is for CUDA, ``model.onnx`` for TensorRT (and for the CPU, where that is allowed).
Both name their weights alike and keep them in ``weights.bin``, as the external data of ONNX
(https://onnx.ai/onnx/repo-docs/ExternalData.html): BERT-base takes 220 MB, not 440.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from models.embedding.making.bert_packed import build_packed, build_padded
from models.embedding.making.graph_writer import TableFile, point_to
from models.embedding.making.pretrained import BertConfig
from models.embedding.manifest import MODEL_FILE, PACKED_FILE, WEIGHTS_FILE

_LEAST_SIZE = 1024
"""Bytes below which a constant stays in its graph: shapes and scalars are needed to load it."""

_PAGE = 4096
"""Every weight begins at a page, so that it can be mapped into memory."""


def write_gpu_graphs(
    config: BertConfig, tensors: Mapping[str, NDArray[np.float32]], folder: Path
) -> tuple[str, ...]:
    """Write an fp16 model's graphs and weights.

    The same weights give the same bytes, on any machine.

    Returns
    -------
    tuple of str
        The files' names.

    Raises
    ------
    UnsupportedModelError
        As `build_packed`.
    """
    (folder / WEIGHTS_FILE).unlink(missing_ok=True)
    beside = TableFile.of(config, folder)
    graphs = {
        PACKED_FILE: build_packed(config, tensors, "fp16", beside),
        MODEL_FILE: build_padded(config, tensors, "fp16", fused=False, beside=beside),
    }
    move_weights(graphs.values(), folder / WEIGHTS_FILE)
    for name, model in graphs.items():
        (folder / name).write_bytes(model.SerializeToString(deterministic=True))
    return (*graphs, WEIGHTS_FILE)


def move_weights(models: Iterable[onnx.ModelProto], path: Path) -> None:
    """Move large constants out of graphs into one file, those with the same name and bytes once.

    Parameters
    ----------
    models
        Changed in place: their constants then name `path` by its last part.
    path
        The file to write, beside the graphs; behind what is in it, if it is there.
    """
    places: dict[str, tuple[int, bytes]] = {}
    with path.open("ab") as file:
        for model in models:
            for tensor in model.graph.initializer:
                data = tensor.raw_data
                if len(data) < _LEAST_SIZE:
                    continue
                offset, known = places.get(tensor.name, (0, None))
                if known != data:
                    offset = -(-file.tell() // _PAGE) * _PAGE
                    file.write(bytes(offset - file.tell()))
                    file.write(data)
                    places[tensor.name] = (offset, data)
                point_to(tensor, path.name, offset, len(data))
