"""What a folder of `words` is: `manifest.json` beside two arrays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.embedding.stated import MANIFEST_FILE, StatedManifest

COLUMNS_FILE = "columns.npy"
PROJECTION_FILE = "projection.npy"

WORDS_FORMAT: Final = 1
"""Raise it when fields or files come, go or change their meaning."""


def _both_files(files: dict[str, str]) -> dict[str, str]:
    if files.keys() != {COLUMNS_FILE, PROJECTION_FILE}:
        raise ValueError(f"{COLUMNS_FILE} and {PROJECTION_FILE} must be all of them")
    return files


class Fitted(BaseModel):
    """On what a model was fitted; for people, and not part of its identity.

    Parameters
    ----------
    texts
        How many different ones.
    words
        Columns that are known.
    explained
        Share of the texts' variance that is kept in the dimensions.
    libraries
        Versions of what took part.
    languages
        Codes of the languages of one text in twenty or more (ISO 639-1), the commonest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int
    words: int
    explained: float
    libraries: dict[str, str]
    languages: tuple[str, ...]


class WordsManifest(StatedManifest):
    """A fitted model's description.

    Two models with the same `identity` give the same vectors, bit by bit.

    Parameters
    ----------
    kind, format
        That it is one of these, and the version of the fields.
    name
        What people call the model.
    dimensions
        Length of a vector.
    columns
        That words are hashed to.
    cutting
        SHA-256 of how texts are cut, see `models.embedding.words.cutting.cutting_digest`.
    files
        SHA-256 of each file of the folder.
    fitted
        How it was made.
    """

    refused_as = "no manifest of `words`"
    advice = "fit the model again with `segmenter model fit words`"

    kind: Literal["words"] = "words"
    format: Literal[1] = WORDS_FORMAT
    name: str = "words"
    dimensions: int = Field(gt=0)
    columns: int = Field(gt=0)
    cutting: str
    files: Annotated[dict[str, str], AfterValidator(_both_files)]
    fitted: Fitted

    @property
    def reads(self) -> tuple[str, ...]:
        """The languages of the texts that it was fitted on."""
        return self.fitted.languages

    @property
    def precision(self) -> str:
        """Its arithmetic."""
        return "fp32"

    @property
    def identity(self) -> str:
        """SHA-256 over everything that vectors depend on, and nothing else."""
        content = self.model_dump(exclude={"name", "fitted"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_words(folder: Path) -> bool:
    """Whether a folder's manifest says that it is one of `words`, whether or not it is whole."""
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == "words"
