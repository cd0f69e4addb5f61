"""OpenVINO as an engine: the same texts give the same bits, near the vectors of ONNX Runtime."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import MissingPackageError, UnsupportedModelError
from models.embedding.making.prepare import prepare_model
from models.embedding.openvino.runner import RUN_TOKENS, WIDTH_STEP, OpenVinoRunner, padded_runs
from models.embedding.policy import EmbeddingPolicy
from tests.models.embedding.test_int8 import TEXTS
from tests.models.embedding.tiny_bert import TinyBert

VARIED = [*TEXTS.values(), *(" ".join(["word", "again"] * n) for n in (1, 7, 20, 31, 60, 90))]


@pytest.fixture
def openvino() -> Any:
    return pytest.importorskip("openvino")


def test_vectors_are_near_fp32s_and_of_an_identity_of_their_own(
    openvino: Any, model_folder: Path, exact_model_folder: Path
) -> None:
    with (
        OnnxEmbedder.load(model_folder, engine="openvino", threads=2) as embedder,
        OnnxEmbedder.load(model_folder) as usual,
        OnnxEmbedder.load(exact_model_folder, device="cpu") as exact,
    ):
        vectors, expected = embedder.embed(VARIED), exact.embed(VARIED)
        assert embedder.identity != usual.identity == usual.manifest.identity
        assert embedder.device == "cpu"
        assert embedder.runner_totals.computed_tokens >= embedder.totals.tokens
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    cosine = np.sum(vectors * expected, axis=1)
    assert cosine.min() > 0.99
    assert cosine.mean() > 0.997


def test_a_texts_vector_depends_on_no_neighbour_no_padding_and_no_thread(
    openvino: Any, model_folder: Path
) -> None:
    with (
        OnnxEmbedder.load(model_folder, engine="openvino", threads=1) as alone,
        OnnxEmbedder.load(model_folder, engine="openvino", threads=2) as together,
    ):
        one_by_one = np.concatenate([alone.embed([text]) for text in VARIED])
        np.testing.assert_array_equal(together.embed(VARIED), one_by_one)
        np.testing.assert_array_equal(together.embed(VARIED[::-1])[::-1], one_by_one)
        for longer in (TEXTS["long"], " ".join(["again"] * 150)):  # pads the others further
            for text, vector in zip(VARIED, one_by_one, strict=True):
                np.testing.assert_array_equal(alone.embed([longer, text, text])[1], vector)


@pytest.mark.parametrize(("pooling", "normalise"), [("cls", True), ("mean", False)])
def test_pooling_and_length_are_the_checkpoints_own(
    openvino: Any, pooling: str, normalise: bool, tiny_bert: TinyBert, tmp_path: Path
) -> None:
    tiny_bert.write_pooling(pooling, normalise=normalise)
    folder = prepare_model(str(tiny_bert.folder), cache=tmp_path)
    texts = ["great coffee .", "the phone broke again !", "late"]
    with (
        OnnxEmbedder.load(folder, engine="openvino") as embedder,
        OnnxEmbedder.load(folder) as usual,
    ):
        cosine = np.sum(embedder.embed(texts) * usual.embed(texts), axis=1)
    assert cosine.min() > 0.995


def test_positions_may_end_before_the_width_that_a_run_is_padded_to(
    openvino: Any, tiny_bert: TinyBert, tmp_path: Path
) -> None:
    tiny_bert.write_json("sentence_bert_config.json", {"max_seq_length": 24})
    folder = prepare_model(str(tiny_bert.folder), cache=tmp_path)
    text = " ".join(["coffee"] * 30)
    with (
        OnnxEmbedder.load(folder, engine="openvino") as embedder,
        OnnxEmbedder.load(folder) as usual,
    ):
        assert float(embedder.embed([text])[0] @ usual.embed([text])[0]) > 0.995


@given(st.lists(st.integers(1, 600), max_size=80))
def test_every_text_is_in_one_run_and_a_width_has_two_shapes(lengths: list[int]) -> None:
    runs = padded_runs(np.array(lengths, dtype=np.int64))
    found = np.concatenate([np.arange(0), *(chosen for chosen, _, _ in runs)])
    assert sorted(found.tolist()) == list(range(len(lengths)))
    for chosen, width, texts in runs:
        assert width % WIDTH_STEP == 0
        assert width >= max(lengths[index] for index in chosen)
        assert chosen.size <= texts
        assert texts in {1, max(1, RUN_TOKENS // width)}


def test_a_package_that_is_missing_is_named_with_its_extra(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "models.embedding.openvino.graph", raising=False)
    with pytest.raises(MissingPackageError, match=r"openvino is not installed: .*\[openvino\]"):
        OnnxEmbedder.load(model_folder, engine="openvino")


def test_a_model_that_is_not_in_int8_is_refused(exact_model_folder: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="this one is in fp32"):
        OnnxEmbedder.load(exact_model_folder, engine="openvino")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"device": "cuda"}, "runs on CPUs, and device is cuda"),
        ({"device": "tensorrt"}, "runs on CPUs, and device is tensorrt"),
        ({"precision": "fp32"}, "runs int8 models, and precision is fp32"),
        ({"precision": "fp16"}, "runs int8 models, and precision is fp16"),
    ],
)
def test_settings_that_do_not_go_with_it_are_refused(given: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EmbeddingPolicy(engine="openvino", **given)


def test_what_it_fails_on_is_one_text_and_not_its_neighbours(
    openvino: Any, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OnnxEmbedder.load(model_folder, engine="openvino", threads=1) as embedder:
        usual = embedder.embed(VARIED[:4])
        feeds = OpenVinoRunner._feeds

        def failing(self: Any, rows: Any, width: int, texts: int) -> dict[str, Any]:
            if any(row.size == 200 for row in rows):
                raise RuntimeError("no memory")
            return feeds(self, rows, width, texts)

        monkeypatch.setattr(OpenVinoRunner, "_feeds", failing)
        found = embedder.embed([VARIED[0], " ".join(["word"] * 198), *VARIED[1:4]])
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(np.delete(found, 1, axis=0), usual)


def test_it_is_loaded_without_what_reports_its_use(
    openvino: Any, model_folder: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from models.embedding.engine.embedder import OnnxEmbedder\n"
        "OnnxEmbedder.load(Path(sys.argv[1]), engine='openvino').embed(['great coffee'])\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(model_folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.stdout.split() == ["[]"]
    assert not list(tmp_path.iterdir())
