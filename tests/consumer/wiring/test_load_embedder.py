"""Which model is loaded, and where, by the settings and by what the machine has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from consumer.settings import Settings
from consumer.wiring import embedder
from models.embedding import runtime
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import DeviceUnavailableError, ModelNotMadeError
from models.embedding.policy import EmbeddingPolicy


class Machine:
    """A machine with or without a GPU, and a note of what was loaded on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu = False
        self.cuda_works = True
        self.loaded: list[tuple[str, str, dict[str, Any]]] = []
        monkeypatch.setattr(runtime, "gpu_available", lambda: self.gpu)
        monkeypatch.setattr(embedder, "prepared_model", lambda _model, precision: Path(precision))
        monkeypatch.setattr(OnnxEmbedder, "load", self.load)

    def load(self, folder: Path, *, device: str, **options: Any) -> SimpleNamespace:
        if device == "cuda" and not self.cuda_works:
            raise DeviceUnavailableError("libcudnn is missing")
        self.loaded.append((folder.name, device, options))
        manifest = SimpleNamespace(precision=folder.name)
        known = {"identity": "a" * 64, "dimensions": 8, "by_words_alone": False}
        return SimpleNamespace(**known, manifest=manifest, device=device)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(
    ("gpu", "device", "precision", "loaded"),
    [
        (False, "auto", "auto", ("int8", "cpu")),
        (True, "auto", "auto", ("fp16", "cuda")),
        (True, "cpu", "auto", ("int8", "cpu")),
        (True, "auto", "int8", ("int8", "cpu")),
        (True, "auto", "fp32", ("fp32", "auto")),
        (False, "cpu", "fp32", ("fp32", "cpu")),
        (True, "tensorrt", "auto", ("fp16", "tensorrt")),
        # It is for the runner to refuse what is not there, or to fall back where that is allowed.
        (False, "cuda", "auto", ("fp16", "cuda")),
        (False, "cuda", "fp32", ("fp32", "cuda")),
    ],
)
def test_precision_and_device_suit_each_other(
    machine: Machine, gpu: bool, device: Any, precision: Any, loaded: tuple[str, str]
) -> None:
    machine.gpu = gpu
    embedder.load_embedder(Settings(embedding={"device": device, "precision": precision}))
    assert [entry[:2] for entry in machine.loaded] == [loaded]


def test_a_gpu_that_cannot_be_used_is_left_alone_with_a_warning_unless_it_was_asked_for(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.gpu, machine.cuda_works = True, False
    embedder.load_embedder(Settings())
    assert machine.loaded[0][:2] == ("int8", "cpu")
    assert "there is a GPU, but the CPU is used: libcudnn is missing" in caplog.text
    with pytest.raises(DeviceUnavailableError):
        embedder.load_embedder(Settings(embedding={"device": "cuda"}))


def test_a_gpu_that_is_not_there_is_told_before_the_model_that_is_not_made(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_made(*_: Any) -> Path:
        raise ModelNotMadeError("run 'segmenter model prepare'")

    monkeypatch.setattr(embedder, "prepared_model", not_made)
    for device in ("cuda", "tensorrt"):
        with pytest.raises(DeviceUnavailableError, match=f"device '{device}' was asked for"):
            embedder.load_embedder(Settings(embedding={"device": device}))
    for given in ({"device": "cuda", "allow_cpu_fallback": True}, {"device": "cpu"}):
        with pytest.raises(ModelNotMadeError):
            embedder.load_embedder(Settings(embedding=given))
    machine.gpu = True
    with pytest.raises(ModelNotMadeError):
        embedder.load_embedder(Settings(embedding={"device": "cuda"}))


def test_the_other_settings_reach_the_embedder(machine: Machine) -> None:
    given = {
        "threads": 3,
        "batch_tokens": 4096,
        "gpu_sessions": 2,
        "allow_cpu_fallback": True,
        "long_texts": "chunk",
        "max_chunks": 5,
        "cache_texts": 7,
    }
    embedder.load_embedder(Settings(embedding=given))
    given["sessions"] = given.pop("gpu_sessions")
    assert machine.loaded[0][2] == given | {"engine": "onnxruntime"}


def test_openvino_runs_the_int8_model_on_the_cpu_even_beside_a_gpu(machine: Machine) -> None:
    machine.gpu = True
    embedder.load_embedder(Settings(embedding={"engine": "openvino"}))
    assert machine.loaded[0][:2] == ("int8", "cpu")
    assert machine.loaded[0][2]["engine"] == "openvino"


@pytest.mark.parametrize(
    ("engine", "former"), [("openvino", "onnxruntime"), ("onnxruntime", "openvino")]
)
def test_a_former_model_may_differ_by_its_engine_alone(
    machine: Machine, engine: Any, former: Any
) -> None:
    machine.gpu = True
    given = {"engine": engine, "device": "cpu", "former": {"model": "default", "engine": former}}
    settings = Settings(embedding=given)
    embedder.load_embedder(settings)
    embedder.load_former(settings)
    assert [options["engine"] for _, _, options in machine.loaded] == [engine, former]
    with pytest.raises(ValidationError, match="nothing about it differs"):
        Settings(embedding={**given, "former": {"model": "default", "engine": engine}})


def test_a_former_model_of_openvino_stays_on_the_cpu_beside_one_on_a_gpu(machine: Machine) -> None:
    machine.gpu = True
    former = {"model": "default", "engine": "openvino"}
    settings = Settings(embedding={"device": "cuda", "model": "multilingual", "former": former})
    embedder.load_former(settings)
    assert machine.loaded[0][:2] == ("int8", "cpu")
    with pytest.raises(ValidationError, match="openvino, which runs int8 models"):
        Settings(embedding={"former": {**former, "precision": "fp32"}})


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_int8_on_a_gpu_is_refused_by_the_settings(device: Any) -> None:
    with pytest.raises(ValidationError, match=f"precision is int8, .* device is {device}: set"):
        EmbeddingPolicy(precision="int8", device=device)


# --- whether there is a GPU -----------------------------------------------------------------------


class Driver:
    """NVIDIA's library, as far as it is asked."""

    def __init__(self, count: int, status: int = 0) -> None:
        self.count, self.status = count, status

    def cuInit(self, _flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0


@pytest.mark.parametrize(
    ("providers", "driver", "expected"),
    [
        (["CUDAExecutionProvider"], Driver(1), True),
        (["CUDAExecutionProvider"], Driver(0), False),
        (["CUDAExecutionProvider"], Driver(1, status=100), False),
        (["CUDAExecutionProvider"], OSError("libcuda.so.1: no such file"), False),
        (["CUDAExecutionProvider"], object(), False),
        (["CPUExecutionProvider"], Driver(1), False),
    ],
)
def test_a_gpu_is_there_when_the_build_is_for_it_and_the_driver_shows_one(
    monkeypatch: pytest.MonkeyPatch, providers: list[str], driver: object, expected: bool
) -> None:
    def library(_name: str) -> object:
        if isinstance(driver, OSError):
            raise driver
        return driver

    monkeypatch.setattr(runtime.ort, "get_available_providers", lambda: providers)
    monkeypatch.setattr(runtime.ctypes, "CDLL", library)
    assert runtime.gpu_available() is expected


def test_asking_for_a_gpu_does_no_harm_where_there_is_none() -> None:
    assert runtime.gpu_available() in (True, False)
