"""The model `words`: what it is fitted to, what its vectors rest on, and what it refuses."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.embedding.errors import (
    DamagedFileError,
    ExportFailedError,
    MissingFileError,
    OutputExistsError,
    UnsupportedModelError,
    UnusableTextError,
    WordsNotFittedError,
)
from models.embedding.inventory import list_models
from models.embedding.making.fit_words import FitOptions, TextSample, fit_words
from models.embedding.making.verification import verify_model
from models.embedding.model_files import file_digest
from models.embedding.prepared import fitted_words
from models.embedding.tokens import Tokens
from models.embedding.words import embedder as embedders
from models.embedding.words.cutting import Rows, column, cut, cutting_digest
from models.embedding.words.embedder import WordsEmbedder
from models.embedding.words.manifest import COLUMNS_FILE, PROJECTION_FILE, WordsManifest, is_words
from models.embedding.words.projection import UNKNOWN, project
from models.text import tokenize

SUBJECTS = {
    "coffee": "espresso grinder beans crema roast portafilter kettle barista filter brew",
    "running": "marathon pace shoes trail sprint interval ankle stride treadmill cushioning",
    "咖啡": "咖啡 咖啡豆 磨豆机 手冲 拿铁 萃取 奶泡 烘焙 滤纸 滤杯",
    "跑步": "跑鞋 马拉松 配速 越野 膝盖 脚踝 步频 热身 拉伸 跑步机",
}
OPTIONS = FitOptions(dimensions=8)


def written(subject: str, number: int) -> str:
    """A text of some words of a subject, another for each number."""
    words = SUBJECTS[subject].split()
    dice = np.random.default_rng([number, len(subject), ord(subject[0])])
    chosen = dice.choice(words, 5, replace=False)
    return ("" if subject > "z" else " ").join([*chosen, "。" if subject > "z" else f"no {number}"])


TEXTS = [written(subject, number) for subject in SUBJECTS for number in range(60)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fitted") / "words"
    fit_words(TEXTS, made, OPTIONS)
    return made


@pytest.fixture(scope="module")
def embedder(folder: Path) -> WordsEmbedder:
    return WordsEmbedder.load(folder)


# --- vectors --------------------------------------------------------------------------------------


def naive(
    words: list[str], known: list[int], projection: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A text's vector word by word, as a person would add it up."""
    total = np.zeros(projection.shape[1], np.float32)
    found = Counter(column(word) for word in words)
    for place, row in enumerate(known, start=1):
        if found[row]:
            total = total + projection[place] * np.sqrt(found[row]).astype(np.float32)
    length = np.sqrt(sum(float(number) ** 2 for number in total))
    if length == 0:
        return np.full_like(total, np.nan)
    return (total / length).astype(np.float32)


KNOWN = [word for words in SUBJECTS.values() for word in words.split()]
some_texts = st.lists(
    st.lists(st.sampled_from([*KNOWN, "quark", "the", "夸克", "的"]), min_size=1, max_size=12),
    max_size=9,
)


@settings(max_examples=150, deadline=None)
@given(some_texts)
def test_vectors_are_the_naive_sum_to_the_bit_whatever_texts_are_beside(
    folder: Path, embedder: WordsEmbedder, words: list[list[str]]
) -> None:
    known = np.load(folder / COLUMNS_FILE).tolist()
    projection = np.load(folder / PROJECTION_FILE)
    texts = [" ".join(each) for each in words]
    expected = [naive(each, known, projection) for each in cut(texts)]
    found = embedder.embed(texts)
    assert found.shape == (len(texts), OPTIONS.dimensions)
    np.testing.assert_array_equal(found, np.array(expected, np.float32).reshape(found.shape))


@given(st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=9), st.randoms())
def test_the_order_of_words_and_of_texts_changes_no_bit(
    texts: list[list[int]], dice: st.DataObject
) -> None:
    projection = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)
    projection[UNKNOWN] = 0

    def vectors(texts: list[list[int]]) -> NDArray[np.float32]:
        ids = np.array([word for text in texts for word in text], np.int64)
        return project(ids, np.array([len(text) for text in texts], np.int64), projection)

    order = list(range(len(texts)))
    dice.shuffle(order)  # type: ignore[attr-defined]
    moved = vectors([dice.sample(texts[at], len(texts[at])) for at in order])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(moved, vectors(texts)[order])


def test_texts_of_one_subject_are_nearer_than_of_two(embedder: WordsEmbedder) -> None:
    vectors = embedder.embed(TEXTS).reshape(len(SUBJECTS), -1, OPTIONS.dimensions)
    means = vectors.mean(axis=1)
    nearest = np.argmin(np.linalg.norm(vectors[:, :, np.newaxis] - means, axis=-1), axis=-1)
    assert (nearest == np.arange(len(SUBJECTS))[:, np.newaxis]).mean() > 0.95


def test_both_scripts_of_chinese_have_one_vector(embedder: WordsEmbedder) -> None:
    simplified, traditional = embedder.embed(["磨豆机的咖啡豆,手冲", "磨豆機的咖啡豆,手沖"])
    np.testing.assert_array_equal(simplified, traditional)
    assert np.isfinite(simplified).all()


def test_a_negation_counts_and_a_stop_word_does_not() -> None:
    assert cut(["It is not the grinder", "这不是磨豆机"]) == [
        ["not", "grinder"],
        tokenize("这不是磨豆机", "zh"),
    ]
    assert "不是" in cut(["这不是磨豆机"])[0]


def test_a_text_of_which_no_word_is_known_has_no_vector_and_the_others_have_theirs(
    embedder: WordsEmbedder,
) -> None:
    texts = ["a zyzzyva quaffs", "espresso from my grinder", "it is the", "夸克"]
    vectors = embedder.embed(texts)
    assert np.isnan(vectors).all(axis=1).tolist() == [True, False, True, True]
    np.testing.assert_array_equal(vectors[1], embedder.embed(texts[1:2])[0])


def test_an_empty_text_is_refused_as_by_other_models(embedder: WordsEmbedder) -> None:
    with pytest.raises(UnusableTextError, match="text 1 of 2 is empty"):
        embedder.embed(["espresso", " "])


def test_only_the_beginning_of_a_long_text_counts_and_that_is_counted(folder: Path) -> None:
    with WordsEmbedder.load(folder) as embedder:
        short, long = embedder.embed(["espresso " * 200, "espresso " * 300 + "marathon " * 300])
        np.testing.assert_allclose(short, long, atol=1e-6)
        assert (embedder.totals.texts, embedder.totals.truncated) == (2, 1)


def test_vectors_and_counts_do_not_depend_on_where_texts_are_cut(folder: Path) -> None:
    with WordsEmbedder.load(folder) as here, WordsEmbedder.load(folder, cache_texts=9) as there:
        recipe = pickle.loads(pickle.dumps(there.recipe))
        batch = [*TEXTS[:5], "夸克", TEXTS[0]]
        tokens = recipe.load()(batch)
        assert isinstance(tokens, Tokens)
        np.testing.assert_array_equal(there.embed_tokens(tokens), here.embed(batch))
        assert there.totals == here.totals


def test_words_that_were_asked_for_are_forgotten_before_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Rows, "_MOST", 3)
    rows = Rows(np.array(sorted({column("one"), column("two")}), np.int32), 1 << 20)
    found = [rows[word] for word in ("one", "two", "three", "four", "one")]
    assert sorted(found[:2]) == [1, 2]
    assert found[2:] == [UNKNOWN, UNKNOWN, found[0]]
    assert len(rows) <= 3


# --- fitting --------------------------------------------------------------------------------------


def test_order_repeats_and_threads_change_no_bit(folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from models.embedding.making import fit_words as f;"
        "from tests.models.embedding.words.test_words import OPTIONS, TEXTS;"
        "print(f.fit_words(TEXTS[::-1] + TEXTS, Path(sys.argv[1]), OPTIONS).identity)"
    )
    expected = WordsManifest.read(folder).identity
    for threads in ("1", "4"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / threads)],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


def test_a_sample_is_the_same_in_every_order_and_holds_each_text_once() -> None:
    forth, back = TextSample(50), TextSample(50)
    for text in TEXTS:
        forth.add(text)
    for text in [*TEXTS[::-1], *TEXTS]:
        back.add(text)
    assert forth.texts() == back.texts()
    assert len(set(forth.texts())) == 50
    assert (forth.seen, back.seen) == (len(TEXTS), 2 * len(TEXTS))


def test_the_manifest_tells_what_it_was_fitted_on(folder: Path) -> None:
    manifest = WordsManifest.read(folder)
    assert manifest.fitted.texts == len(set(TEXTS))
    assert manifest.fitted.words == np.load(folder / COLUMNS_FILE).size
    assert 0 < manifest.fitted.explained <= 1
    assert "zh" in manifest.reads
    assert is_words(folder)
    # No word of anybody's is in the folder: columns are hashes.
    assert b"espresso" not in b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (TEXTS[:50], "of 50 texts with words 50 are different ones"),
        ([f"only{n}" for n in range(200)], "have 0 words in common"),
    ],
)
def test_texts_that_are_too_few_or_have_nothing_in_common_are_refused(
    tmp_path: Path, texts: list[str], told: str
) -> None:
    with pytest.raises(ExportFailedError, match=told):
        fit_words(texts, tmp_path / "out", OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_more_dimensions_than_texts_are_refused(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    texts = [" ".join(f"word{n}" for n in dice.choice(300, 20, replace=False)) for _ in range(120)]
    with pytest.raises(ExportFailedError, match="120 different texts span no 200 dimensions"):
        fit_words(texts, tmp_path / "out", FitOptions(dimensions=200))
    fit_words(texts, tmp_path / "out", FitOptions(dimensions=120))


def test_a_disk_that_is_full_is_told_with_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    # The largest file that the process may write; a disk's end is told in the same way.
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "from models.embedding.making.fit_words import fit_words;"
        "from tests.models.embedding.words.test_words import OPTIONS, TEXTS;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "limits = (600, resource.getrlimit(resource.RLIMIT_FSIZE)[1]);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
        "try: fit_words(TEXTS, Path(sys.argv[1]), OPTIONS)\n"
        "except OSError as error: print(error.errno, error.filename)"
    )
    folder = tmp_path / "out"
    command = [sys.executable, "-B", "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EFBIG} {folder}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(folder: Path) -> None:
    with pytest.raises(OutputExistsError):
        fit_words(TEXTS, folder, OPTIONS)


# --- folders --------------------------------------------------------------------------------------


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_file_that_is_changed_is_told(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path / "copy")
    assert verify_model(copy).passed
    with (copy / PROJECTION_FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DamagedFileError, match=r"projection\.npy has SHA-256"):
        WordsEmbedder.load(copy)
    assert not verify_model(copy).passed
    (copy / PROJECTION_FILE).unlink()
    with pytest.raises(MissingFileError):
        WordsEmbedder.load(copy)


def test_verify_finds_a_part_that_is_not_finite(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path / "copy")
    projection = np.load(copy / PROJECTION_FILE)
    projection[1, 0] = np.nan
    np.save(copy / PROJECTION_FILE, projection)
    manifest = WordsManifest.describe(copy)
    digest = file_digest(copy / PROJECTION_FILE)
    files = {**manifest.files, PROJECTION_FILE: digest}
    manifest.model_copy(update={"files": files}).write(copy)
    [violation] = verify_model(copy).violations
    assert "not finite" in violation


def test_a_model_of_other_words_than_are_cut_here_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedders, "cutting_digest", lambda: "0" * 64)
    with pytest.raises(UnsupportedModelError, match="cut into other words than here"):
        WordsEmbedder.load(folder)


def test_how_texts_are_cut_is_known_by_this_digest() -> None:
    # It changes with jieba's dictionary, the stop words and the rules of `tokenize`: then fitted
    # models are refused, which the changelog has to tell.
    assert cutting_digest() == "a3a9a3504c588065b8036113bc8a90d79afff47f08d5b7cf917222a7b5168814"


def test_the_folder_is_found_by_name_by_setting_and_by_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTER_CACHE", str(tmp_path))
    assert fitted_words("words", folder) == folder
    assert fitted_words(str(folder)) == folder
    assert fitted_words("default") is None
    with pytest.raises(WordsNotFittedError, match="segmenter model fit words"):
        fitted_words("words")
    (tmp_path / "models").mkdir()
    copy_of(folder, tmp_path / "models" / "words")
    assert fitted_words("words") == tmp_path / "models" / "words"
    [listed] = list_models()
    assert (listed.manifest, listed.problem) == (WordsManifest.read(folder), None)
