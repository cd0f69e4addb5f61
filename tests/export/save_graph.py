"""Exports the small graph that the other tests fuse: `python -m tests.export.save_graph`."""

import tempfile
from pathlib import Path

import onnx

from models.embedding.making.optimum_export import run_optimum
from tests.models.embedding.traced_bert import TRACED_GRAPH, write_checkpoint


def traced_anew() -> onnx.ModelProto:
    """Export the graph, without the paths that torch notes in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_checkpoint(folder / "checkpoint")
        (folder / "work").mkdir()
        run_optimum(model.folder, folder / "work")
        graph = onnx.load(folder / "work" / "model.onnx")
    for node in graph.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return graph


if __name__ == "__main__":
    TRACED_GRAPH.write_bytes(traced_anew().SerializeToString(deterministic=True))
