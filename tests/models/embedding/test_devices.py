import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.embedding import kernel_probe
from benchmarks.embedding.kernel_probe import attention_kernels, parse_kernels
from models.embedding.engine import runners
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import DeviceFailedError, DeviceUnavailableError
from models.embedding.gpu.session import BoundSession
from models.embedding.making.prepare import prepare_model
from models.embedding.manifest import Manifest
from models.embedding.runtime import nodes_by_provider, open_session, ort
from tests.models.embedding.tiny_bert import MAX_TOKENS, TinyBert

TEXTS = ["great coffee", "the phone broke again .", "late", "a poor phone ! " * 9]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    cache = tmp_path_factory.mktemp("devices")
    bert = str(TinyBert.write(cache / "bert").folder)
    return {kind: prepare_model(bert, kind, cache) for kind in ("fp32", "fp16", "int8")}  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "tensorrt"])
def test_fp16_is_refused_without_a_gpu(device: Any, folders: dict[str, Path]) -> None:
    with pytest.raises(DeviceUnavailableError, match="precision is 'fp16', which is for GPUs"):
        OnnxEmbedder.load(folders["fp16"], device=device)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gpu_that_is_not_there_is_refused_by_name(
    device: Any, precision: str, folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeviceUnavailableError, match=f"device '{device}' was asked for"):
        OnnxEmbedder.load(folders[precision], device=device)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_int8_is_refused_on_a_gpu_even_if_it_may_fall_back(
    device: Any, folders: dict[str, Path]
) -> None:
    with pytest.raises(DeviceUnavailableError, match="precision is 'int8', which is for CPUs"):
        OnnxEmbedder.load(folders["int8"], device=device, allow_cpu_fallback=True)


@pytest.mark.parametrize(
    ("device", "precision", "fell_back"),
    [
        ("auto", "fp32", False),
        ("cpu", "fp32", False),
        ("cuda", "fp32", True),
        ("tensorrt", "fp32", True),
        ("auto", "fp16", True),
        ("cpu", "fp16", True),
        ("cuda", "fp16", True),
        ("auto", "int8", False),
    ],
)
def test_where_it_is_allowed_the_cpu_is_used_and_it_is_said(
    device: Any,
    precision: str,
    fell_back: bool,
    folders: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = folders[precision]
    runner = runners.open_runner(
        folder, Manifest.read(folder), device=device, threads=2, allow_cpu_fallback=True
    )
    assert (runner.device, runner.threads, runner.fell_back) == ("cpu", 2, fell_back)
    warned = any(
        record.levelname == "WARNING" and "Embedding on the CPU: device" in record.getMessage()
        for record in caplog.records
    )
    assert warned is (fell_back and device != "cpu")
    rows = [np.arange(1, 6), np.arange(2, 10)]
    assert np.isfinite(runner.run(rows)).all()
    assert (runner.totals.batches, runner.totals.computed_tokens) == (2, 13)
    runner.close()


def test_fp16_on_the_cpu_is_near_fp32(folders: dict[str, Path]) -> None:
    with (
        OnnxEmbedder.load(folders["fp16"], device="cpu", allow_cpu_fallback=True) as half,
        OnnxEmbedder.load(folders["fp32"], device="cpu") as exact,
    ):
        assert np.sum(half.embed(TEXTS) * exact.embed(TEXTS), axis=1).min() >= 0.9995


@pytest.mark.parametrize(
    ("device", "precision", "file"),
    [
        ("cuda", "fp32", "model.onnx"),
        ("auto", "fp32", "model.onnx"),
        ("tensorrt", "fp32", "model.onnx"),
        ("tensorrt", "fp16", "model.onnx"),
    ],
)
def test_a_padded_model_is_opened_warmed_up_and_run_as_on_a_gpu(
    device: Any,
    precision: str,
    file: str,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sessions are the CPU's; all around them is what a GPU would have."""
    with OnnxEmbedder.load(folders["fp32"], device="cpu") as exact:
        expected = exact.embed(TEXTS)
    monkeypatch.setenv("SEGMENTER_CACHE", str(tmp_path))
    opened: list[tuple[str, str, dict[str, str]]] = []

    def open_on_the_cpu(path: Path, used: str, **options: dict[str, str]) -> object:
        opened.append((path.name, used, options["tensorrt"]))
        return open_session(path, "cpu")

    monkeypatch.setattr(runners, "open_session", open_on_the_cpu)
    monkeypatch.setattr(runners, "BoundSession", lambda session: BoundSession(session, "cpu"))
    embedder = OnnxEmbedder.load(folders[precision], device=device, batch_tokens=128, sessions=2)
    used = "cuda" if device == "auto" else device
    assert (embedder.device, embedder.threads) == (used, 2)
    assert [entry[:2] for entry in opened] == [(file, used)] * 2
    np.testing.assert_allclose(embedder.embed(TEXTS), expected, atol=1e-3)
    embedder.close()
    if device == "tensorrt":
        cache = Path(opened[0][2]["trt_engine_cache_path"])
        assert cache.is_dir()
        assert cache.name.startswith(embedder.identity[:16])
        most_texts = 4 * 128 // MAX_TOKENS
        assert f"input_ids:{most_texts}x{MAX_TOKENS}" in opened[0][2]["trt_profile_max_shapes"]


def test_fp16_on_cuda_takes_the_packed_graph(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def stop(path: Path, *_: object, **__: object) -> None:
        opened.append(path.name)
        raise DeviceUnavailableError("seen enough")

    monkeypatch.setattr(runners, "open_session", stop)
    with pytest.raises(DeviceUnavailableError, match="seen enough"):
        OnnxEmbedder.load(folders["fp16"], device="cuda")
    assert opened == ["packed.onnx"]


def test_a_provider_that_takes_no_operator_is_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT may be loaded and yet leave the whole graph to others."""
    real = ort.InferenceSession

    def fall_back(path: str, options: Any, **_: object) -> object:
        session = real(path, options, providers=["CPUExecutionProvider"])
        session._providers = ["TensorrtExecutionProvider", *session._providers]
        return session

    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    with pytest.raises(DeviceUnavailableError, match="takes none of the model's operators"):
        open_session(folders["fp32"] / "model.onnx", "tensorrt")


def test_the_providers_operators_are_counted(folders: dict[str, Path]) -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(
        str(folders["fp32"] / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    nodes = nodes_by_provider(session)
    assert set(nodes) == {"CPUExecutionProvider"}
    assert nodes["CPUExecutionProvider"] > 20


def test_the_kernels_examples_are_true() -> None:
    assert doctest.testmod(kernel_probe).failed == 0


def test_kernels_are_counted_from_coloured_lines() -> None:
    line = "\x1b[36mOperator=PackedMultiHeadAttention{} DataType=fp16 SdpaKernel={}\x1b[0m\n"
    output = "\x1b[36mAttentionKernelOptions: FLASH_ATTENTION=1 MATH=1\x1b[0m\n"
    output += line.format(" Node=encoder.layer.0.attention", "FLASH_ATTENTION") * 2
    output += line.format("", "MATH")
    assert parse_kernels(output) == {
        "PackedMultiHeadAttention fp16 FLASH_ATTENTION": 2,
        "PackedMultiHeadAttention fp16 MATH": 1,
    }


def test_the_kernels_of_a_model_are_asked_of_a_process_of_its_own(
    folders: dict[str, Path],
) -> None:
    assert attention_kernels(folders["fp32"], "cpu") == {}
    with pytest.raises(DeviceFailedError, match="device 'cuda'"):
        attention_kernels(folders["fp32"], "cuda")


@pytest.mark.parametrize(("packed", "opened"), [(True, "packed.onnx"), (False, "model.onnx")])
def test_cuda_gets_the_packed_graph_of_an_fp16_model_if_it_has_one(
    packed: bool, opened: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Optimum exports has none."""
    manifest = Manifest.read(folders["fp16"])
    files = {name: digest for name, digest in manifest.files.items() if packed or name == opened}
    asked: list[str] = []

    def refuse(path: Path, device: str, **_: object) -> None:
        asked.append(path.name)
        raise DeviceUnavailableError(f"no {device} here.")

    monkeypatch.setattr("models.embedding.engine.runners.open_session", refuse)
    with pytest.raises(DeviceUnavailableError, match="no cuda here"):
        runners.open_runner(
            folders["fp16"], manifest.model_copy(update={"files": files}), device="cuda"
        )
    assert asked == [opened]
