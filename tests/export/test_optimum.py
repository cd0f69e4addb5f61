"""The exporter through Optimum, for real: `make test-export` runs this where torch is installed."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.making.export import export_model
from models.embedding.making.verification import PROBES, verify_model
from models.embedding.manifest import Manifest, Precision
from models.embedding.runner_types import Vectors
from tests.export.save_graph import traced_anew
from tests.models.embedding.small_encoders import BGE, E5, ENCODERS, TEXTS, SmallEncoder
from tests.models.embedding.traced_bert import traced_graph

REVIEWS = [
    *PROBES,
    "Ordered two of these for my parents. Setup took ten minutes, the picture is sharp, but the "
    "remote feels cheap and the manual is only in German.",
    "I have been struggling with this exception for days: the pool hands out a connection that the "
    "server closed long ago. Setting a test query helped, at the cost of a round trip.",
    "meh",
    "5/5 ⭐ — would recommend!!!",
    "The grinder broke after a week and nobody answered. " * 60,
    "Does the left-hand rule for torque follow from the cross product's definition, or is it only "
    "a convention? My textbook uses both without saying so.",
]


def embed(folder: Path, texts: list[str]) -> Vectors:
    with OnnxEmbedder.load(folder, device="cpu", allow_cpu_fallback=True) as embedder:
        return embedder.embed(texts)


@pytest.fixture(scope="module")
def through_optimum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model in fp32 from Optimum."""
    folder = tmp_path_factory.mktemp("default") / "optimum"
    export_model("default", folder, exporter="optimum")
    return folder


def test_both_exporters_agree_on_the_default_model(through_optimum: Path, tmp_path: Path) -> None:
    export_model("default", tmp_path / "direct", precision="fp32")
    difference = np.abs(embed(through_optimum, REVIEWS) - embed(tmp_path / "direct", REVIEWS)).max()
    assert difference < 1e-4
    assert difference < 1e-6  # measured: 2e-7


def test_the_default_model_is_fused_through_and_through(through_optimum: Path) -> None:
    assert Manifest.read(through_optimum).operators == {
        "Attention": 6,
        "BiasGelu": 6,
        "EmbedLayerNormalization": 1,
        "SkipLayerNormalization": 12,
    }
    assert verify_model(through_optimum).passed


def test_exporting_twice_gives_the_same_bytes(through_optimum: Path, tmp_path: Path) -> None:
    export_model("default", tmp_path / "again", exporter="optimum")
    for name in ("model.onnx", "tokenizer.json", "manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (through_optimum / name).read_bytes()


def test_fp16_stays_near_fp32(through_optimum: Path, tmp_path: Path) -> None:
    """On the CPU, where its weights are halves and the arithmetic is not."""
    export_model("default", tmp_path / "half", exporter="optimum", precision="fp16")
    cosine = np.sum(embed(tmp_path / "half", REVIEWS) * embed(through_optimum, REVIEWS), axis=1)
    assert cosine.min() > 0.9995


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_both_exporters_agree_on_every_model_that_is_supported_by_name(
    encoder: SmallEncoder, tmp_path: Path
) -> None:
    source = str(encoder.write(tmp_path))
    through = export_model(source, tmp_path / "optimum", exporter="optimum")
    direct = export_model(source, tmp_path / "direct", precision="fp32")
    told = {"pooling", "normalise", "max_tokens", "pad_id", "prefix", "dimensions"}
    assert through.model_dump(include=told) == direct.model_dump(include=told)
    assert through.operators["Attention"] == 2
    vectors = embed(tmp_path / "optimum", TEXTS)
    np.testing.assert_allclose(vectors, embed(tmp_path / "direct", TEXTS), atol=1e-4)
    np.testing.assert_allclose(vectors, encoder.reference(TEXTS), atol=1e-4)


_DISTILBERT = """
import sys, numpy, torch
from transformers import DistilBertConfig, DistilBertModel
torch.manual_seed(0)
config = DistilBertConfig(
    vocab_size=64, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
)
model = DistilBertModel(config).eval()
model.save_pretrained(sys.argv[1])
ids = torch.tensor([[2, 9, 7, 8, 3]])
with torch.no_grad():
    mean = model(input_ids=ids).last_hidden_state.mean(1)
numpy.save(sys.argv[2], torch.nn.functional.normalize(mean).numpy())
"""


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 1e-2)])
def test_an_encoder_that_is_no_bert_is_exported_too(
    precision: Precision, tolerance: float, tmp_path: Path
) -> None:
    checkpoint = BGE.write(tmp_path)
    for name in ("config.json", "model.safetensors", "modules.json"):
        (checkpoint / name).unlink()
    script = [sys.executable, "-c", _DISTILBERT, str(checkpoint), str(tmp_path / "expected.npy")]
    subprocess.run(script, check=True, capture_output=True)
    manifest = export_model(
        str(checkpoint), tmp_path / "out", exporter="optimum", precision=precision
    )
    assert (manifest.dimensions, manifest.max_tokens) == (32, 64)
    tokenizer = BGE.tokenizer()
    text = " ".join(tokenizer.id_to_token(token) for token in (9, 7, 8))
    assert tokenizer.encode(text).ids == [2, 9, 7, 8, 3]
    vectors = embed(tmp_path / "out", [text])
    np.testing.assert_allclose(vectors, np.load(tmp_path / "expected.npy"), atol=tolerance)


def test_a_local_folder_is_exported_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    source = str(E5.write(tmp_path))
    export_model(source, tmp_path / "out", exporter="optimum")


def test_the_graph_that_is_kept_is_what_optimum_exports_today() -> None:
    kept, today = traced_graph().graph, traced_anew().graph
    assert Counter(node.op_type for node in kept.node) == Counter(
        node.op_type for node in today.node
    )
    assert [entry.name for entry in kept.input] == [entry.name for entry in today.input]
