"""What the embedder does beside running the model: long texts, repeated texts, failed texts."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.embedding.engine.busy_time import BusyTime
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.text_embedder import EmbeddingTotals
from models.embedding.errors import UnusableTextError
from models.embedding.making.prepare import prepare_model
from models.embedding.manifest import Manifest
from models.embedding.runner_types import RunnerTotals, TokenIds, Vectors
from tests.models.embedding.tiny_bert import HIDDEN, MAX_TOKENS, PLAIN, TinyBert, tiny_tokenizer

ROOM = MAX_TOKENS - 2
BROKE = PLAIN.index("broke") + 4  # behind the special tokens


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return prepare_model(str(TinyBert.write(folder / "bert").folder), cache=folder)


@pytest.fixture(scope="module")
def truncating(tiny_folder: Path) -> Iterator[OnnxEmbedder]:
    with OnnxEmbedder.load(tiny_folder) as embedder:
        yield embedder


@pytest.fixture(scope="module")
def chunking(tiny_folder: Path) -> Iterator[OnnxEmbedder]:
    with OnnxEmbedder.load(tiny_folder, long_texts="chunk", max_chunks=3) as embedder:
        yield embedder


class FakeRunner:
    """Gives each input a vector made of its tokens, and fails on those with a certain one."""

    device, fell_back, threads, totals = "cpu", False, 1, RunnerTotals()

    def __init__(self, fails_on: int = -1) -> None:
        self.fails_on = fails_on
        self.seen: list[list[int]] = []

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        vectors = np.zeros((len(rows), HIDDEN), dtype=np.float32)
        for vector, row in zip(vectors, rows, strict=True):
            self.seen.append(row.tolist())
            np.add.at(vector, row % HIDDEN, 1)
            vector[:] = np.nan if self.fails_on in row else vector / np.linalg.norm(vector)
        return vectors

    def close(self) -> None:
        pass


def fake(tiny_folder: Path, runner: FakeRunner, **options: int) -> OnnxEmbedder:
    return OnnxEmbedder(Manifest.read(tiny_folder), tiny_tokenizer(), runner, **options)  # type: ignore[arg-type]


# --- long texts -----------------------------------------------------------------------------------


def test_a_text_that_fits_has_the_same_vector_whatever_becomes_of_long_ones(
    truncating: OnnxEmbedder, chunking: OnnxEmbedder
) -> None:
    texts = ["great coffee", " ".join(["late"] * ROOM), "!"]
    np.testing.assert_array_equal(truncating.embed(texts), chunking.embed(texts))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PLAIN), min_size=ROOM + 1, max_size=3 * ROOM))
def test_a_long_text_is_the_mean_of_its_chunks_by_tokens(
    truncating: OnnxEmbedder, chunking: OnnxEmbedder, words: list[str]
) -> None:
    chunks = [words[start : start + ROOM] for start in range(0, len(words), ROOM)]
    parts = truncating.embed([" ".join(chunk) for chunk in chunks]).astype(np.float64)
    mean = np.average(parts, axis=0, weights=[len(chunk) for chunk in chunks])
    vector = chunking.embed([" ".join(words)])[0]
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert abs(np.linalg.norm(vector) - 1) < 1e-6


def test_in_chunks_the_end_of_a_text_counts_up_to_the_last_chunk(
    tiny_folder: Path,
) -> None:
    with OnnxEmbedder.load(tiny_folder, long_texts="chunk", max_chunks=2) as embedder:
        begin = ["great"] * (2 * ROOM - 1)
        ends = [" ".join([*begin, *end]) for end in (["coffee"], ["broke"], ["broke", "late"])]
        coffee, broke, beyond = embedder.embed(ends)
        assert not np.array_equal(coffee, broke)
        np.testing.assert_array_equal(broke, beyond)
        assert embedder.totals == EmbeddingTotals(texts=3, tokens=6 * MAX_TOKENS, truncated=1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=60), max_size=6))
def test_neighbours_never_change_a_chunked_vector(
    chunking: OnnxEmbedder, words: list[list[str]]
) -> None:
    texts = [" ".join(text) for text in words]
    for text, vector in zip(texts, chunking.embed(texts), strict=True):
        np.testing.assert_array_equal(chunking.embed([text])[0], vector)


def test_the_identity_changes_with_the_vectors_and_with_nothing_else(tiny_folder: Path) -> None:
    manifest = Manifest.read(tiny_folder)
    runner = FakeRunner()

    def identity(**options: object) -> str:
        return OnnxEmbedder(manifest, tiny_tokenizer(), runner, **options).identity  # type: ignore[arg-type]

    same = [{}, {"cache_texts": 5}, {"max_chunks": 4}, {"long_texts": "chunk", "max_chunks": 1}]
    assert {identity(**options) for options in same} == {manifest.identity}
    chunked = [identity(long_texts="chunk", max_chunks=n) for n in (2, 3)]
    assert len({manifest.identity, *chunked}) == 3
    assert all(len(bytes.fromhex(name)) == 32 for name in chunked)


# --- repeated texts -------------------------------------------------------------------------------


def test_a_text_that_comes_several_times_in_one_call_is_run_once(tiny_folder: Path) -> None:
    runner = FakeRunner()
    embedder = fake(tiny_folder, runner)
    vectors = embedder.embed(["great", "late", "great", "great"])
    assert len(runner.seen) == 2
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert embedder.totals == EmbeddingTotals(texts=4, tokens=6, cache_hits=2)
    embedder.embed(["great"])
    assert len(runner.seen) == 3


def test_a_text_that_came_lately_is_not_run_again(tiny_folder: Path) -> None:
    runner = FakeRunner()
    embedder = fake(tiny_folder, runner, cache_texts=2)
    first = embedder.embed(["great", "late"])
    again = embedder.embed(["late", "coffee", "great", "late"])
    np.testing.assert_array_equal(again[[2, 0, 3]], first[[0, 1, 1]])
    assert len(runner.seen) == 3
    assert embedder.totals == EmbeddingTotals(texts=6, tokens=9, cache_hits=3)
    embedder.embed(["great"])  # "coffee" took the place of what was unused for longest: "late"
    assert len(runner.seen) == 3
    embedder.embed(["late"])
    assert len(runner.seen) == 4


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "late phone", "coffee " * 40]), max_size=5)),
    st.integers(0, 2),
)
def test_the_cache_changes_no_vector(
    tiny_folder: Path, calls: list[list[str]], capacity: int
) -> None:
    with (
        OnnxEmbedder.load(tiny_folder, long_texts="chunk", cache_texts=capacity) as cached,
        OnnxEmbedder.load(tiny_folder, long_texts="chunk") as plain,
    ):
        for texts in calls:
            expected = [plain.embed([text])[0] for text in texts]
            vectors = cached.embed(texts)
            assert vectors.shape == (len(texts), HIDDEN)
            for vector, wanted in zip(vectors, expected, strict=True):
                np.testing.assert_array_equal(vector, wanted)


def test_callers_may_write_into_the_vectors_they_get(tiny_folder: Path) -> None:
    embedder = fake(tiny_folder, FakeRunner(), cache_texts=2)
    first = embedder.embed(["great", "great"])
    kept = first.copy()
    first[:] = 0
    second = embedder.embed(["great", "great"])
    second[0] = 0
    np.testing.assert_array_equal(second[1], kept[0])
    np.testing.assert_array_equal(embedder.embed(["great"]), kept[:1])


def test_callers_in_several_threads_share_the_cache(tiny_folder: Path) -> None:
    texts = [" ".join(PLAIN[i % 7 : i % 7 + 3]) for i in range(20)]
    with (
        OnnxEmbedder.load(tiny_folder, cache_texts=4) as embedder,
        ThreadPoolExecutor(4) as callers,
    ):
        expected = embedder.embed(texts)
        for vectors in callers.map(embedder.embed, [texts] * 12):
            np.testing.assert_array_equal(vectors, expected)
        totals = embedder.totals
        assert totals.texts == 13 * 20
        assert 0 < totals.cache_hits < totals.texts


# --- failed texts ---------------------------------------------------------------------------------


def test_a_text_that_fails_has_a_row_of_nan_and_is_tried_again(tiny_folder: Path) -> None:
    runner = FakeRunner(fails_on=BROKE)
    embedder = fake(tiny_folder, runner, cache_texts=8)
    texts = ["great", "the phone broke", "late", "the phone broke"]
    vectors = embedder.embed(texts)
    assert np.isnan(vectors[[1, 3]]).all()
    assert np.isfinite(vectors[[0, 2]]).all()
    assert (embedder.totals.failed, embedder.totals.texts) == (2, 4)
    runner.fails_on = -1
    assert np.isfinite(embedder.embed(texts)).all()
    assert embedder.totals.failed == 2


def test_one_failed_chunk_fails_its_text_only(tiny_folder: Path) -> None:
    manifest = Manifest.read(tiny_folder)
    runner = FakeRunner(fails_on=BROKE)
    embedder = OnnxEmbedder(manifest, tiny_tokenizer(), runner, long_texts="chunk")
    long = ["great"] * 30
    vectors = embedder.embed([" ".join(long), " ".join([*long, "broke"]), "late"])
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("normalise", [True, False])
def test_a_vector_without_a_direction_counts_as_failed(tiny_folder: Path, normalise: bool) -> None:
    class Zeros(FakeRunner):
        def run(self, rows: Sequence[TokenIds]) -> Vectors:
            vectors = super().run(rows)
            vectors[0] = 0
            vectors[1, 0] = np.inf
            return vectors

    manifest = Manifest.read(tiny_folder).model_copy(update={"normalise": normalise})
    embedder = OnnxEmbedder(manifest, tiny_tokenizer(), Zeros())
    vectors = embedder.embed(["great", "late", "coffee"])
    assert np.isnan(vectors).all(axis=1).tolist() == [True, True, False]


def test_a_lone_surrogate_or_an_empty_text_is_refused_before_anything_runs(
    tiny_folder: Path,
) -> None:
    runner = FakeRunner()
    embedder = fake(tiny_folder, runner, cache_texts=2)
    for text, reason in (("\ud800", "has a lone surrogate"), ("  ", "is empty")):
        with pytest.raises(UnusableTextError, match=f"text 1 of 2 {reason}"):
            embedder.embed(["great", text])
    assert not runner.seen
    assert embedder.totals == EmbeddingTotals()


# --- time -----------------------------------------------------------------------------------------


def test_the_time_of_two_who_are_inside_together_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("models.embedding.engine.busy_time.time.monotonic", lambda: now)
    busy = BusyTime()
    with busy:
        now += 1
        with busy:
            now += 2
            assert busy.seconds == 3
        now += 4
    now += 50
    with busy:
        now += 8
    assert busy.seconds == 15


def test_time_is_told_by_part(truncating: OnnxEmbedder) -> None:
    before = truncating.totals
    truncating.embed(["great coffee"])
    after = truncating.totals
    assert after.tokenise_seconds > before.tokenise_seconds
    assert after.run_seconds > before.run_seconds
