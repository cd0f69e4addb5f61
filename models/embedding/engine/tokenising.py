"""From texts to token ids. It needs no ONNX Runtime, and may be done in another process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.embedding.engine.chunks import Frame, cut_texts
from models.embedding.engine.pieces import AnyTokenizer, PieceTokenizer
from models.embedding.engine.text_cache import TextHasher
from models.embedding.errors import DamagedFileError, UnusableTextError
from models.embedding.manifest import PIECES_FILE, TOKENIZER_FILE
from models.embedding.model_files import verify_files
from models.embedding.tokens import Inputs, Tokenise, Tokens
from models.text import count_letters


class Recipe(Protocol):
    """What it takes to make the same tokeniser in another process; it can be pickled."""

    def load(self) -> Tokenise:
        """Make the tokeniser.

        Raises
        ------
        EmbeddingError
            If the model's files are not there, or no longer what they were.
        """


_UNKNOWN_TOKENS = ("[UNK]", "<unk>")
"""Of BERT's vocabularies, and of SentencePiece's and RoBERTa's."""


@dataclass(frozen=True, slots=True)
class TokeniserRecipe:
    """What it takes to make the same tokeniser in another process.

    Attributes
    ----------
    folder, digests
        The model's folder, and the SHA-256 of the tokenizer's files in it: a model that was made
        anew meanwhile has other tokens.
    max_tokens, prefix, max_chunks
        As for `TextTokeniser`.
    secret
        Key of the texts' hashes.
    """

    folder: Path
    digests: Mapping[str, str]
    max_tokens: int
    prefix: str
    max_chunks: int
    secret: bytes

    def load(self) -> TextTokeniser:
        """Make the tokeniser.

        Raises
        ------
        MissingFileError, DamagedFileError
            If the file is not there, or is no longer what it was.
        """
        verify_files(self.folder, self.digests)
        return TextTokeniser.of(self, open_tokenizer(self.folder, self.digests))


class DistinctTokeniser(ABC):
    """Turns texts into inputs of a model, each distinct one once.

    Parameters
    ----------
    hasher
        Hashes of texts.
    """

    def __init__(self, hasher: TextHasher) -> None:
        self._hash = hasher

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenise texts, in their order; one that comes several times is tokenised once.

        Raises
        ------
        UnusableTextError
            If a text is empty or no valid Unicode; says which.
        """
        keys, places, distinct = self.distinct(texts)
        return Tokens(keys, places, self.inputs(distinct))

    def distinct(self, texts: Sequence[str]) -> tuple[list[bytes], NDArray[np.int64], list[str]]:
        """Tell texts apart.

        Returns
        -------
        keys, places, distinct
            Hashes of the distinct texts, which of them each text is, and the distinct texts.

        Raises
        ------
        UnusableTextError
            If a text is empty or no valid Unicode; says which.
        """
        numbers: dict[bytes, int] = {}
        places: list[int] = []
        distinct: list[str] = []
        for index, text in enumerate(texts):
            if not text or text.isspace():
                raise UnusableTextError(
                    f"text {index} of {len(texts)} is empty; leave such texts out."
                )
            try:
                key = self._hash(text)
            except UnicodeEncodeError as error:
                raise UnusableTextError(
                    f"text {index} of {len(texts)} has a lone surrogate; refuse such texts earlier."
                ) from error
            place = numbers.setdefault(key, len(numbers))
            if place == len(distinct):
                distinct.append(text)
            places.append(place)
        return list(numbers), np.array(places, np.int64), distinct

    @abstractmethod
    def inputs(self, texts: Sequence[str]) -> Inputs:
        """Give the inputs of each text; safe to call from several threads."""


class TextTokeniser(DistinctTokeniser):
    """Turns texts into inputs of a model; safe to call from several threads.

    Parameters
    ----------
    tokenizer
        The model's own.
    max_tokens
        The model's longest input.
    prefix
        What the model wants before every text.
    max_chunks
        Inputs of a text at most; what is beyond is truncated.
    hasher
        Hashes of texts.
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        max_tokens: int,
        prefix: str,
        max_chunks: int,
        hasher: TextHasher,
    ) -> None:
        self._frame = Frame.of(tokenizer, max_tokens, prefix)
        self._tokenizer = tokenizer
        self._prefix = prefix
        self._max_chunks = max_chunks
        super().__init__(hasher)

    @classmethod
    def of(cls, recipe: TokeniserRecipe, tokenizer: AnyTokenizer) -> Self:
        """Make one by a recipe, of a tokenizer that is open."""
        return cls(
            tokenizer,
            recipe.max_tokens,
            recipe.prefix,
            recipe.max_chunks,
            TextHasher(recipe.secret),
        )

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """Cut each text into the model's inputs."""
        # Special tokens are put around each input here. In its fast mode the tokenizer leaves out
        # offsets, and in both it runs on all cores without Python's lock (a `PieceTokenizer` on
        # one).
        encodings = self._tokenizer.encode_batch_fast(
            [self._prefix + text for text in texts] if self._prefix else list(texts),
            add_special_tokens=False,
        )
        ids = [encoding.ids for encoding in encodings]
        return cut_texts(ids, self._frame, self._max_chunks, count_letters(texts))


def open_tokenizer(folder: Path, files: Iterable[str]) -> AnyTokenizer:
    """Open the tokenizer of a model's folder, the smaller one if there are two.

    Parameters
    ----------
    folder
        The model's folder.
    files
        Names of what is in it.

    Raises
    ------
    DamagedFileError
        If a file is not what it should be.
    """
    if PIECES_FILE in files:
        return PieceTokenizer.load(folder)
    return load_tokenizer(folder / TOKENIZER_FILE)


def load_tokenizer(path: Path) -> Tokenizer:
    """Open a tokenizer, with neither padding nor truncation.

    Raises
    ------
    DamagedFileError
        If the file is none.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DamagedFileError(
            f"{path} is not a tokenizer ({error}); prepare the model again."
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def unknown_token(tokenizer: AnyTokenizer) -> int | None:
    """Give the token that stands for what a tokenizer does not know; None where it has none."""
    found = (tokenizer.token_to_id(name) for name in _UNKNOWN_TOKENS)
    return next((token for token in found if token is not None), None)
