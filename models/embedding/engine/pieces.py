"""A large SentencePiece vocabulary in the memory that SentencePiece itself needs.

The library `tokenizers` keeps a hash table for every node of its tree of pieces: 280 MB for the
250,002 of XLM-R. SentencePiece's own, a double array, takes 55 MB, and finds the same pieces
faster. So a model with such a vocabulary has it in two more files, which its maker has tried
(`models.embedding.making.pieces`): the pieces, and what is done to a text before. Normalising is
left to `tokenizers`, which does it as the checkpoint says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from models.embedding.errors import DamagedFileError
from models.embedding.manifest import PIECES_FILE, PIECES_SETTINGS_FILE

_SPACES = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
"""Unicode's white space, which is what `tokenizers` splits at; Python's own has four more."""

MARK = "▁"
"""What SentencePiece writes for a space, and before a text's first word."""


class Encoded(Protocol):
    """A text's tokens."""

    @property
    def ids(self) -> list[int]:
        """Their numbers."""

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for each that was put around the text, 0 for its own."""


class AnyTokenizer(Protocol):
    """What of a tokenizer is used: that of `tokenizers`, or `PieceTokenizer`."""

    def token_to_id(self, token: str, /) -> int | None:
        """Give a token's number, None if it is none."""

    def encode(self, sequence: str, /, *, add_special_tokens: bool = True) -> Encoded:
        """Tokenise a text."""

    def encode_batch_fast(
        self,
        texts: list[str],
        /,
        *,
        add_special_tokens: bool = True,
    ) -> Sequence[Encoded]:
        """Tokenise texts."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """The tokens of a text, and how many were put around it."""

    ids: list[int]
    head: int = 0
    tail: int = 0

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for each that was put around the text, 0 for its own."""
        return [1] * self.head + [0] * (len(self.ids) - self.head - self.tail) + [1] * self.tail


class PieceTokenizer:
    """Cuts texts into SentencePiece's pieces; safe to call from several threads.

    Parameters
    ----------
    model
        The pieces, in SentencePiece's own form.
    settings
        ``normalizer`` (as in `tokenizer.json`), ``split`` (whether white space at the ends of a
        text counts for nothing), ``head`` and ``tail`` (tokens around a text).
    """

    def __init__(self, model: bytes, settings: Mapping[str, Any]) -> None:
        from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - few models need it

        self._pieces = SentencePieceProcessor(model_proto=model)
        self._normalizer = normalizer_of(settings["normalizer"])
        self._split = bool(settings["split"])
        self._head, self._tail = list(settings["head"]), list(settings["tail"])

    @classmethod
    def load(cls, folder: Path) -> PieceTokenizer:
        """Open the one of a model's folder.

        Raises
        ------
        DamagedFileError
            If its files are none.
        """
        try:
            settings = json.loads((folder / PIECES_SETTINGS_FILE).read_text(encoding="utf-8"))
            return cls((folder / PIECES_FILE).read_bytes(), settings)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DamagedFileError(
                f"{folder / PIECES_FILE} or {PIECES_SETTINGS_FILE} beside it is damaged ({error}); "
                "prepare the model again."
            ) from error

    def token_to_id(self, token: str, /) -> int | None:
        """Give a token's number, None if it is none."""
        number = int(self._pieces.piece_to_id(token))  # of the unknown one, if it is none
        return number if self._pieces.id_to_piece(number) == token else None

    def encode(self, text: str, /, *, add_special_tokens: bool = True) -> Pieces:
        """Tokenise a text."""
        return self.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0]

    def encode_batch_fast(
        self, texts: list[str], /, *, add_special_tokens: bool = True
    ) -> list[Pieces]:
        """Tokenise texts one by one: that is a small part of what embedding them takes."""
        rows = self._pieces.encode([self._marked(text) for text in texts], num_threads=1)
        if not add_special_tokens:
            return [Pieces(row) for row in rows]
        head, tail = self._head, self._tail
        return [Pieces([*head, *row, *tail], len(head), len(tail)) for row in rows]

    def _marked(self, text: str) -> str:
        if self._normalizer is not None:
            text = self._normalizer.normalize_str(text)
        words = filter(None, _SPACES.split(text)) if self._split else [text.replace(" ", MARK)]
        return "".join(word if word.startswith(MARK) else MARK + word for word in words if word)


def normalizer_of(description: Mapping[str, Any] | None) -> Any:
    """Make a normalizer of what `tokenizer.json` says of it; None where it says nothing."""
    empty = {"type": "Unigram", "unk_id": 0, "vocab": [["", 0.0]], "byte_fallback": False}
    return Tokenizer.from_str(
        json.dumps({"version": "1.0", "normalizer": description, "model": empty})
    ).normalizer
