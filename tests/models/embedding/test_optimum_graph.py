"""What is made of a graph that Optimum exported; that itself is under test in tests/export."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.embedding.errors import ExportFailedError, MissingPackageError, UnsupportedModelError
from models.embedding.making import optimum_export
from models.embedding.making.export import export_model
from models.embedding.making.exporters import fused_operators
from models.embedding.making.optimum_graph import append_pooling, fuse
from models.embedding.runtime import open_session
from models.embedding.text_settings import Pooling, TextSettings
from tests.models.embedding.padded_runs import run_batch
from tests.models.embedding.tiny_bert import WORDS, TinyBert
from tests.models.embedding.traced_bert import (
    TRACED_CONFIG,
    TRACED_GRAPH,
    reference,
    traced_graph,
    write_checkpoint,
)

random = np.random.default_rng(2)
ROWS = [random.integers(1, len(WORDS), length) for length in (3, 16, 9, 2, 1)]


def settings(pooling: Pooling = "mean", *, normalise: bool = True) -> TextSettings:
    return TextSettings(pooling=pooling, normalise=normalise, max_tokens=16, pad_id=0)


def run(model: onnx.ModelProto, folder: Path) -> NDArray[np.float32]:
    """Run a graph on texts of different lengths in one padded batch."""
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    return run_batch(open_session(folder / "model.onnx", "cpu"), ROWS, pad_id=0)


def bare_encoder(inputs: tuple[str, ...] = ("input_ids", "attention_mask")) -> onnx.ModelProto:
    """A model that is a word table only, with no width in its output's shape."""
    table = np.arange(4 * len(WORDS), dtype=np.float32).reshape(-1, 4)
    entries = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in inputs
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "s", "w"])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        "encoder",
        entries,
        [output],
        [numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_traced_bert_is_fused_and_pooled_to_the_vectors_of_a_naive_float64_bert(
    pooling: Pooling, normalise: bool, tmp_path: Path
) -> None:
    model = fuse(traced_graph(), TRACED_CONFIG, "fp32")
    assert append_pooling(model, settings(pooling, normalise=normalise)) == 16
    assert fused_operators(model) == {
        "Attention": 2,
        "BiasGelu": 2,
        "EmbedLayerNormalization": 1,
        "SkipLayerNormalization": 4,
    }
    expected = reference(ROWS, pooling=pooling, normalise=normalise)
    np.testing.assert_allclose(run(model, tmp_path), expected, atol=1e-5)


def test_in_fp16_the_weights_are_halves_and_inputs_pooling_and_output_are_not(
    tmp_path: Path,
) -> None:
    model = fuse(traced_graph(), TRACED_CONFIG, "fp16")
    append_pooling(model, settings())
    assert fused_operators(model)["Attention"] == 2
    tensors = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    large = [tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 2]
    assert set(large) == {TensorProto.FLOAT16}
    assert tensors["segmenter.least_length"] == TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    cosine = np.sum(run(model, tmp_path) * reference(ROWS), axis=1)
    assert cosine.min() > 0.9995


def test_the_graph_has_the_contract_of_all_models() -> None:
    model = fuse(traced_graph(), TRACED_CONFIG, "fp32")
    append_pooling(model, settings())
    names = [entry.name for entry in model.graph.input]
    assert names == ["input_ids", "attention_mask", "token_type_ids"]
    assert [entry.name for entry in model.graph.output] == ["embedding"]
    shape = model.graph.output[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, shape[1].dim_value) == ("batch", 16)


def test_nothing_is_left_of_where_it_was_made() -> None:
    graph = traced_graph()
    graph.graph.node[0].doc_string = "/home/somebody/model.py"
    assert b"somebody" not in fuse(graph, TRACED_CONFIG, "fp32").SerializeToString()


def test_a_model_without_token_types_is_run_like_all_others(tmp_path: Path) -> None:
    model = fuse(bare_encoder(), {}, "fp32")
    assert append_pooling(model, settings(normalise=False), width=4) == 4
    assert fused_operators(model) == {}
    means = [np.mean([[4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3] for i in row], 0) for row in ROWS]
    np.testing.assert_allclose(run(model, tmp_path), means, rtol=1e-6)


def test_a_model_that_is_no_text_encoder_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="takes pixels besides texts"):
        append_pooling(bare_encoder(("input_ids", "pixels")), settings())
    with pytest.raises(UnsupportedModelError, match="has no fixed width"):
        append_pooling(bare_encoder(), settings())
    other = bare_encoder()
    other.graph.output[0].name = "logits"
    with pytest.raises(UnsupportedModelError, match="gives logits, but no last_hidden_state"):
        append_pooling(other, settings())


def test_an_optimizer_that_gives_up_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def give_up(*_: object, **__: object) -> None:
        raise AssertionError("no such shape")

    optimizer = SimpleNamespace(optimize_model=give_up)
    monkeypatch.setattr("importlib.import_module", lambda _: optimizer)
    with pytest.raises(ExportFailedError, match=r"gave up .*AssertionError: no such shape"):
        fuse(traced_graph(), TRACED_CONFIG, "fp32")


# --- with Optimum played by the saved graph -------------------------------------------------------


@pytest.fixture
def optimum(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Have the saved graph exported; gives the calls of Optimum."""
    calls: list[list[str]] = []

    def export(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        (Path(command[4]) / "model.onnx").write_bytes(TRACED_GRAPH.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(optimum_export, "_has", lambda _: True)
    monkeypatch.setattr(optimum_export, "subprocess", SimpleNamespace(run=export))
    return calls


def test_optimum_and_the_direct_exporter_agree(
    optimum: list[list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = str(write_checkpoint(tmp_path / "bert").folder)
    through = export_model(source, tmp_path / "through", exporter="optimum")
    direct = export_model(source, tmp_path / "direct", precision="fp32")
    vectors = [
        run_batch(open_session(tmp_path / name / "model.onnx", "cpu"), ROWS, pad_id=0)
        for name in ("through", "direct")
    ]
    np.testing.assert_allclose(*vectors, atol=1e-6)
    assert (through.exporter, through.precision) == ("optimum", "fp32")
    assert through.identity != direct.identity
    told = {"pooling", "normalise", "max_tokens", "pad_id", "prefix", "dimensions"}
    assert through.model_dump(include=told) == direct.model_dump(include=told)
    assert "Fused operators of bert: Attention 2, BiasGelu 2" in caplog.text
    assert "but slow" not in caplog.text
    [command] = optimum
    assert command[0] == sys.executable
    assert command[3] == source


def test_layers_that_were_not_fused_are_warned_of(
    optimum: list[list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_checkpoint(tmp_path / "bert")
    model.write_config(**{**TRACED_CONFIG, "num_hidden_layers": 3})
    export_model(str(model.folder), tmp_path / "out", exporter="optimum")
    assert "Attention was fused in 2 of 3 layers of bert" in caplog.text


def test_a_checkpoint_that_only_torch_can_read_is_left_to_optimum(
    optimum: list[list[str]], tmp_path: Path
) -> None:
    model = write_checkpoint(tmp_path / "bert")
    (model.folder / "model.safetensors").rename(model.folder / "pytorch_model.bin")
    manifest = export_model(str(model.folder), tmp_path / "out", exporter="optimum")
    assert "pytorch_model.bin" in manifest.provenance.source_files


def test_int8_is_not_made_with_optimum(tiny_bert: TinyBert, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="'int8' is made by the direct exporter only"):
        export_model(str(tiny_bert.folder), tmp_path / "out", precision="int8", exporter="optimum")
    assert not (tmp_path / "out").exists()


def test_without_its_packages_the_exporter_says_how_to_install_them(
    tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimum_export, "_has", lambda name: name != "torch")
    with pytest.raises(
        MissingPackageError, match=r"needs torch.*pip install 'segmenter\[export\]'"
    ):
        export_model(str(tiny_bert.folder), tmp_path / "out", exporter="optimum")


def test_what_optimum_says_last_is_passed_on(
    tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nValueError: no such thing\n")

    monkeypatch.setattr(optimum_export, "_has", lambda _: True)
    monkeypatch.setattr(optimum_export, "subprocess", SimpleNamespace(run=fail))
    with pytest.raises(ExportFailedError, match=r"\(ValueError: no such thing\); choose another"):
        export_model(str(tiny_bert.folder), tmp_path / "out", exporter="optimum")


def test_optimum_is_kept_off_the_network_and_silent(
    tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[dict[str, str]] = []

    def fail(command: list[str], *, env: dict[str, str], **_: object) -> object:
        environments.append(env)
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(optimum_export, "_has", lambda _: True)
    monkeypatch.setattr(optimum_export, "subprocess", SimpleNamespace(run=fail))
    with pytest.raises(ExportFailedError, match="no reason given"):
        export_model(str(tiny_bert.folder), tmp_path / "out", exporter="optimum")
    [environment] = environments
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
        assert environment[name] == "1"
