"""The model: whole, loaded, and where it was asked to run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from consumer.doctor.embedding import load
from consumer.settings import Settings
from models.embedding import runtime
from models.embedding.errors import DamagedFileError, DeviceUnavailableError, ModelNotMadeError
from tests.stubs import HashingEmbedder


class Model(HashingEmbedder):
    """A stand-in that can be of any precision and on any device."""

    def __init__(self, **changes: object) -> None:
        super().__init__()
        told = {"name": "stand-in", "precision": "fp32", "reads": ("en",)}
        self.manifest = SimpleNamespace(**{**told, **changes})
        self.device = changes.get("device", "cpu")
        self.fell_back = changes.get("fell_back", False)


def looked_at(model: object, **embedding: object) -> dict[str, str]:
    def loader(_: Settings) -> object:
        if isinstance(model, Exception):
            raise model
        return model

    found = load(Settings(embedding=embedding), loader)
    assert (found.embedder is None) == isinstance(model, Exception)
    assert all(each.advice for each in found.findings if each.state not in {"fine", "skipped"})
    return {finding.check: finding.state for finding in found.findings}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "gpu_available", lambda: False)
    monkeypatch.setattr(runtime, "int8_is_exact", lambda: True)


def test_a_model_that_loads_and_embeds_is_fine():
    assert looked_at(Model()) == {"model": "fine", "device": "fine"}
    assert looked_at(Model(precision="int8")) == {"model": "fine", "device": "fine"}
    assert looked_at(Model(device="cuda"), device="cuda") == {"model": "fine", "device": "fine"}


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (ModelNotMadeError("default"), "model"),
        (DamagedFileError("model.onnx is not what its hash says"), "model"),
        (OSError(13, "Permission denied", "model.onnx"), "model"),
        (DeviceUnavailableError("no GPU is there"), "device"),
    ],
)
def test_a_model_that_does_not_load_is_a_failure(error: Exception, check: str):
    assert looked_at(error) == {check: "failed"}


def test_a_model_whose_vectors_are_none_is_a_failure():
    class Broken(Model):
        def embed(self, texts):
            return np.full((len(texts), self.dimensions), np.nan, np.float32)

    assert looked_at(Broken())["model"] == "failed"


def test_a_model_of_words_that_knows_none_of_the_text_that_is_tried_is_fine():
    class OfWords(HashingEmbedder):
        by_words_alone = True

        def embed(self, texts):
            return np.full((len(texts), self.dimensions), np.nan, np.float32)

    assert looked_at(OfWords())["model"] == "fine"


def test_a_gpu_that_was_asked_for_and_is_not_used_is_told():
    found = looked_at(Model(fell_back=True), device="cuda", allow_cpu_fallback=True)
    assert found == {"model": "fine", "device": "warning"}


def test_a_gpu_that_is_there_and_idle_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "gpu_available", lambda: True)
    assert looked_at(Model())["device"] == "warning"
    assert looked_at(Model(), device="cpu")["device"] == "fine"


def test_int8_on_a_processor_that_overflows_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "int8_is_exact", lambda: False)
    assert looked_at(Model(precision="int8"))["device"] == "warning"
    assert looked_at(Model())["device"] == "fine"
