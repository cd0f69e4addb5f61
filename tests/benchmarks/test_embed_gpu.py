"""The benchmark for GPUs, run with sessions of the CPU: what it prints and writes is all there."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import embed_gpu
from benchmarks.embed_gpu import BERT_BASE, architecture, main, operations, peak_of, random_weights
from models.embedding.engine.runners import open_runner
from models.embedding.gpu.session import BoundSession
from models.embedding.runtime import open_session


def test_without_a_gpu_it_says_so_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert main(["--output", str(tmp_path / "figures.json")]) == 2
    assert "no NVIDIA GPU here" in capsys.readouterr().err
    assert not (tmp_path / "figures.json").exists()


def test_it_measures_every_layout_budget_and_number_of_sessions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = architecture(hidden=32, layers=1, heads=2, intermediate=64, limit=80)
    tensors = random_weights(config)

    def on_the_cpu(folder: Path, manifest: Any, **settings: Any) -> Any:
        settings.update(device="cpu", allow_cpu_fallback=True)
        return open_runner(folder, manifest, **settings)

    def any_session(path: Path, device: str, **_: Any) -> Any:
        return open_session(path.parent / path.name.replace("packed", "model"), "cpu")

    monkeypatch.setattr(embed_gpu, "gpu_name", lambda: "NVIDIA H200, 580.95, 143771 MiB")
    monkeypatch.setattr(embed_gpu, "default_model", lambda: (config, tensors, "random"))
    monkeypatch.setattr(embed_gpu, "BERT_BASE", config)
    monkeypatch.setattr(embed_gpu, "open_runner", on_the_cpu)
    monkeypatch.setattr(embed_gpu, "open_session", any_session)
    monkeypatch.setattr(embed_gpu, "BoundSession", lambda session: BoundSession(session, "cpu"))
    monkeypatch.setattr(embed_gpu, "attention_kernels", lambda *_: Counter({"FLASH": 3}))
    monkeypatch.setattr(embed_gpu, "nodes_by_provider", lambda _: Counter())
    output = tmp_path / "figures.json"
    arguments = ["--texts", "12", "--seconds", "0", "--batch-tokens", "256", "512"]
    assert main([*arguments, "--sessions", "2", "--output", str(output)]) == 0
    figures = json.loads(output.read_text(encoding="utf-8"))
    assert (figures["gpu"], figures["peak"]) == ("NVIDIA H200, 580.95, 143771 MiB", 989e12)
    for model in ("MiniLM-L6", "BERT-base"):
        found = figures[model]
        assert found["faithful"]
        assert found["cosine_to_fp32"].keys() == {"packed", "padded"}
        assert found["attention_kernels"] == {"FLASH": 3}
        shapes = [
            (each["layout"], each["batch_tokens"], each["texts"]) for each in found["measurements"]
        ]
        assert len(shapes) == len(set(shapes)) == 2 * 2 * 2
        assert all(each["tokens_per_second"] > 0 for each in found["measurements"])
        assert all(0 <= each["padding_share"] < 1 for each in found["measurements"])
    assert " tokens/s " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gpu", "peak"),
    [
        ("NVIDIA H100 80GB HBM3, 580.1, 81559 MiB", 989e12),
        ("NVIDIA A100-SXM4-40GB, 580.1, 40960 MiB", 312e12),
        ("NVIDIA L4, 580.1, 23034 MiB", 121e12),
        ("Tesla T4, 580.1, 15360 MiB", 65e12),
        ("NVIDIA L40S, 580.1, 46068 MiB", None),
    ],
)
def test_the_peak_is_the_chips_or_unknown(gpu: str, peak: float | None) -> None:
    assert peak_of(gpu) == peak


def test_operations_are_those_of_the_published_counts() -> None:
    """BERT-base takes 172 million a token in texts of 64 tokens."""
    rows = [np.zeros(64, np.int64)] * 3
    assert operations(BERT_BASE, rows) / (3 * 64) == pytest.approx(172e6, rel=0.01)
