"""A large vocabulary's table lies beside the graph, and nothing else changes by it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.making import graph_writer, weights
from models.embedding.making.export import export_model
from models.embedding.making.prepare import prepare_model
from models.embedding.making.verification import verify_model
from models.embedding.manifest import LARGE_VOCABULARY, Manifest, Precision
from tests.models.embedding.small_encoders import E5, TEXTS


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_writer, "LARGE_VOCABULARY", 2)
    monkeypatch.setattr(graph_writer, "_ROWS", 7)
    monkeypatch.setattr(weights, "LARGE_VOCABULARY", 2)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_vectors_are_the_same_to_the_bit(
    precision: Precision, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = str(E5.write(tmp_path))
    inside = export_model(source, tmp_path / "inside", precision=precision)
    request.getfixturevalue("small_is_large")
    beside = export_model(source, tmp_path / "beside", precision=precision)
    assert verify_model(tmp_path / "beside").passed
    # In fp16 all large weights are beside the graphs anyway, the words first.
    assert (inside.identity == beside.identity) is (precision == "fp16")
    assert (inside.exporter_version, beside.exporter_version) == ("2", "3")
    with (
        OnnxEmbedder.load(tmp_path / "inside", device="cpu", allow_cpu_fallback=True) as one,
        OnnxEmbedder.load(tmp_path / "beside", device="cpu", allow_cpu_fallback=True) as other,
    ):
        np.testing.assert_array_equal(one.embed(TEXTS), other.embed(TEXTS))


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("int8", 1)])
def test_the_table_comes_first_and_no_large_weight_is_left_in_the_graph(
    precision: Precision, size: int, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    export_model(str(E5.write(tmp_path)), folder, precision=precision)
    rows, hidden = E5.config["vocab_size"], E5.config["hidden_size"]
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    places = {
        each.name: {entry.key: entry.value for entry in each.external_data}
        for each in graph.initializer
        if each.external_data
    }
    [table] = [name for name, place in places.items() if place["offset"] == "0"]
    assert table in {"words.table", "words.quantised"}
    assert places[table]["length"] == str(rows * hidden * size)
    assert max(len(each.raw_data) for each in graph.initializer) < 1024


@pytest.mark.usefixtures("small_is_large")
def test_an_fp16_models_graphs_share_one_table(tmp_path: Path) -> None:
    export_model(str(E5.write(tmp_path)), tmp_path / "out", precision="fp16")
    places = {}
    for name in ("model.onnx", "packed.onnx"):
        graph = onnx.load(tmp_path / "out" / name, load_external_data=False).graph
        [table] = [each for each in graph.initializer if each.name == "words.table"]
        places[name] = {entry.key: entry.value for entry in table.external_data}
    assert places["model.onnx"] == places["packed.onnx"]
    assert places["model.onnx"]["offset"] == "0"


def test_a_model_of_before_is_not_taken_for_one_of_now(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, cache = str(E5.write(tmp_path)), tmp_path / "cache"
    before = prepare_model(source, "int8", cache)
    request.getfixturevalue("small_is_large")
    now = prepare_model(source, "int8", cache)
    assert Manifest.read(before).identity != Manifest.read(now).identity


def test_the_default_model_is_not_among_the_large(model_folder: Path) -> None:
    assert "weights.bin" not in Manifest.describe(model_folder).files
    assert LARGE_VOCABULARY > 30_522
