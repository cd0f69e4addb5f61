import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.embedding import runtime
from models.embedding.batching import token_batches
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.text_embedder import EmbeddingTotals
from models.embedding.errors import DamagedFileError, DeviceUnavailableError, UnusableTextError
from models.embedding.making.prepare import prepare_model
from models.embedding.runner_types import Embedder
from models.embedding.runtime import available_cores, int8_is_exact, open_session
from tests.models.embedding.padded_runs import run_batch
from tests.models.embedding.tiny_bert import MAX_TOKENS, PLAIN, TinyBert
from tests.stubs import HashingEmbedder

TEXTS = [
    "Great coffee, would buy again!",
    "bad",
    "The grinder broke after a week and nobody answered. " * 40,
    "物流很快,包装完好,味道也不错。",
    "I ❤️ this phone 📱🔥 but the battery 🪫…",
    "Does anyone know whether this works with the older version of the firmware?",
]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return prepare_model(str(TinyBert.write(folder / "bert").folder), cache=folder)


@pytest.fixture(scope="module")
def exact_tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return prepare_model(str(TinyBert.write(folder / "bert").folder), "fp32", cache=folder)


@pytest.fixture(scope="module", params=["onnx", "hashing"])
def embedder(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Embedder]:
    if request.param == "hashing":
        yield HashingEmbedder()
    else:
        with OnnxEmbedder.load(tiny_folder) as loaded:
            yield loaded


def test_embedders_give_one_unit_vector_a_text(embedder: Embedder) -> None:
    vectors = embedder.embed(["great coffee", "the phone broke", "great coffee"])
    assert vectors.shape == (3, embedder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert vectors[0] @ vectors[1] < 0.99


def test_embedders_give_no_vector_for_no_text(embedder: Embedder) -> None:
    vectors = embedder.embed([])
    assert vectors.shape == (0, embedder.dimensions)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("empty", ["", " \n\t"])
def test_embedders_refuse_an_empty_text_by_its_place(empty: str, embedder: Embedder) -> None:
    with pytest.raises(UnusableTextError, match="text 1 of 2 is empty"):
        embedder.embed(["great coffee", empty])


def test_similar_texts_are_near_and_others_far(model_folder: Path) -> None:
    with OnnxEmbedder.load(model_folder) as embedder:
        coffee, espresso, phone = embedder.embed(
            [
                "How do I brew better coffee at home?",
                "Tips for making good espresso in your own kitchen",
                "My phone's battery dies after two hours",
            ]
        )
    assert coffee @ espresso > coffee @ phone + 0.2


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_text_has_exactly_the_same_vector_alone_and_among_others(
    threads: int, model_folder: Path
) -> None:
    with OnnxEmbedder.load(model_folder, threads=1) as alone:
        expected = np.vstack([alone.embed([text]) for text in TEXTS])
    with OnnxEmbedder.load(model_folder, threads=threads) as together:
        assert together.threads == threads
        np.testing.assert_array_equal(together.embed(TEXTS), expected)
        np.testing.assert_array_equal(together.embed(TEXTS[::-1] * 2)[-6:], expected[::-1])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=20), max_size=12))
def test_neighbours_and_threads_never_change_a_vector(
    tiny_folder: Path, words: list[list[str]]
) -> None:
    texts = [" ".join(text) for text in words]
    with OnnxEmbedder.load(tiny_folder, threads=3) as embedder:
        together = embedder.embed(texts)
        for text, vector in zip(texts, together, strict=True):
            np.testing.assert_array_equal(embedder.embed([text])[0], vector)


def test_several_callers_may_share_an_embedder(tiny_folder: Path) -> None:
    texts = [" ".join(PLAIN[i % 7 :]) for i in range(40)]
    with OnnxEmbedder.load(tiny_folder) as embedder, ThreadPoolExecutor(4) as callers:
        expected = embedder.embed(texts)
        for vectors in callers.map(embedder.embed, [texts] * 8):
            np.testing.assert_array_equal(vectors, expected)
        assert embedder.totals.texts == 9 * 40


def test_a_text_beyond_the_limit_counts_as_truncated_and_only_its_beginning_matters(
    tiny_folder: Path,
) -> None:
    fits = ["coffee"] * (MAX_TOKENS - 2)
    with OnnxEmbedder.load(tiny_folder) as embedder:
        longest, cut = embedder.embed([" ".join(fits), " ".join([*fits, "broke", "late"])])
        np.testing.assert_array_equal(longest, cut)
        assert embedder.totals == EmbeddingTotals(texts=2, tokens=2 * MAX_TOKENS, truncated=1)
        embedder.embed(["great"])
        assert embedder.totals == EmbeddingTotals(3, 2 * MAX_TOKENS + 3, 1)


def test_a_model_that_does_not_normalise_still_gives_unit_vectors(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    tiny_bert.write_pooling("mean", normalise=False)
    folder = prepare_model(str(tiny_bert.folder), cache=tmp_path / "cache")
    with OnnxEmbedder.load(folder) as embedder:
        vectors = embedder.embed(["great coffee", "the phone broke"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_lone_surrogate_is_refused_by_its_place(tiny_folder: Path) -> None:
    with (
        OnnxEmbedder.load(tiny_folder) as embedder,
        pytest.raises(UnusableTextError, match="text 1 of 2 has a lone surrogate"),
    ):
        embedder.embed(["great", "coffee \ud800"])


def test_a_padded_batch_gives_the_vectors_of_its_texts_alone(exact_tiny_folder: Path) -> None:
    session = open_session(exact_tiny_folder / "model.onnx", "cpu")
    random = np.random.default_rng(0)
    rows = [random.integers(1, 16, length) for length in (2, 16, 7, 7)]
    alone = np.vstack([run_batch(session, [row], pad_id=0) for row in rows])
    np.testing.assert_allclose(run_batch(session, rows, pad_id=0), alone, atol=1e-6)


@given(
    st.lists(st.integers(1, 300), max_size=60).map(lambda n: np.array(n, dtype=np.int64)),
    st.integers(0, 2000),
)
def test_batches_hold_every_text_once_within_the_budget(
    lengths: NDArray[np.int64], budget: int
) -> None:
    batches = token_batches(lengths, budget)
    order = np.concatenate(batches) if batches else np.zeros(0, np.int64)
    assert sorted(order) == list(range(lengths.size))
    assert np.all(np.diff(lengths[order]) <= 0)
    for batch in batches:
        assert batch.size == 1 or batch.size * lengths[batch].max() <= budget
    for batch, _ in pairwise(batches):
        assert (batch.size + 1) * lengths[batch].max() > budget


def test_a_gpu_that_is_not_there_is_refused_without_noise(
    exact_tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceUnavailableError, match=r"'cuda' was asked for.*set device 'cpu'"):
        OnnxEmbedder.load(exact_tiny_folder, device="cuda")
    assert capfd.readouterr() == ("", "")


def test_without_a_gpu_auto_takes_the_cpu_and_says_so(
    exact_tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    caplog.set_level("INFO")
    with OnnxEmbedder.load(exact_tiny_folder, device="auto") as embedder:
        assert embedder.device == "cpu"
    assert "Embedding on the CPU" in caplog.text


def test_a_session_that_fell_back_to_the_cpu_is_refused(
    exact_tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runtime.ort.InferenceSession

    def fall_back(path: str, options: object, **_: object) -> object:
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(runtime.ort, "InferenceSession", fall_back)
    with pytest.raises(DeviceUnavailableError, match="it would run on CPUExecutionProvider"):
        OnnxEmbedder.load(exact_tiny_folder, device="cuda")


def test_int8_is_for_the_cpu(tiny_folder: Path) -> None:
    with pytest.raises(DeviceUnavailableError, match="precision is 'int8'"):
        OnnxEmbedder.load(tiny_folder, device="cuda")
    with OnnxEmbedder.load(tiny_folder, device="auto") as embedder:
        assert embedder.device == "cpu"


def test_int8_on_a_cpu_without_vnni_is_warned_of(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("models.embedding.engine.runners.int8_is_exact", lambda: False)
    OnnxEmbedder.load(tiny_folder).close()
    assert "no VNNI" in caplog.text


@pytest.mark.parametrize(
    ("machine", "flags", "exact"),
    [
        ("x86_64", "flags : avx2 avx512f", False),
        ("x86_64", "flags : avx2 avx_vnni", True),
        ("AMD64", "flags : avx2 avx512_vnni", True),
        ("aarch64", "Features : asimddp", True),
    ],
)
def test_vnni_is_found_in_the_cpus_flags(
    machine: str, flags: str, exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(flags, encoding="utf-8")
    assert int8_is_exact(tmp_path / "cpuinfo") is exact
    assert int8_is_exact(tmp_path / "missing") is True


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("?", 8)],
)
def test_a_containers_cpu_limit_counts_as_its_cores(
    limit: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(f"{limit}\n", encoding="ascii")
    assert available_cores(tmp_path / "cpu.max") == cores
    assert available_cores(tmp_path / "missing") == 8


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(DamagedFileError, match="cannot be opened by ONNX Runtime"):
        open_session(tmp_path / "model.onnx", "cpu")


def test_nothing_about_the_runs_is_collected(tiny_folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime's usage reporting would leave its database in the home folder."""
    script = (
        "import sys; from pathlib import Path\n"
        "from models.embedding.engine.embedder import OnnxEmbedder\n"
        "OnnxEmbedder.load(Path(sys.argv[1])).embed(['great coffee'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, str(tiny_folder)],
        env={**environment, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_the_hashing_stub_is_the_same_under_any_hash_seed() -> None:
    script = (
        "from tests.stubs import HashingEmbedder\n"
        "print(HashingEmbedder().identity, HashingEmbedder().embed(['a b c']).tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
