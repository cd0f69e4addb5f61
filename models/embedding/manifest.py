"""What a model folder is: the file `manifest.json` beside the graph and the tokenizer."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.embedding.errors import DamagedFileError
from models.embedding.languages import known_languages
from models.embedding.stated import MANIFEST_FILE, StatedManifest
from models.embedding.text_settings import Pooling

MODEL_FILE = "model.onnx"
PACKED_FILE = "packed.onnx"
WEIGHTS_FILE = "weights.bin"
TOKENIZER_FILE = "tokenizer.json"
PIECES_FILE = "pieces.model"
PIECES_SETTINGS_FILE = "pieces.json"
TOKENIZER_FILES = (TOKENIZER_FILE, PIECES_FILE, PIECES_SETTINGS_FILE)
"""What texts are cut by: the last two are there, and used, where the vocabulary is large."""

MANIFEST_FORMAT: Final = 2
"""Raise it when fields come, go or change their meaning."""

EXPORTER_VERSION = 2
"""Of the direct exporter. Raise it with every change of the graph's bytes: it makes new models, and
new identities."""

LARGE_VOCABULARY = 100_000
"""Rows of a word table from which the direct exporter keeps weights in `WEIGHTS_FILE`, beside the
graph.

Run from there the table is mapped, and only the rows that texts use are in memory; out of the graph
it would be there twice while the model is loaded, and once ever after.
"""

LARGE_EXPORTER_VERSION = 3
"""The same as `EXPORTER_VERSION`, of models with so large a vocabulary."""

Exporter = Literal["direct", "optimum"]
Precision = Literal["fp32", "fp16", "int8"]

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "embedding"
"""Names of a graph's inputs and of its output."""

_FILE_NAME = re.compile(r"[\w-][\w.-]*")


def _own_files(files: dict[str, str]) -> dict[str, str]:
    """Refuse files outside the folder, and a list that leaves out what is run."""
    for name in files:
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no plain file name")
    if missing := {MODEL_FILE, TOKENIZER_FILE} - files.keys():
        raise ValueError(f"{min(missing)} is not among them")
    return files


class Provenance(BaseModel):
    """How a model was made; for people, and not part of its identity.

    Parameters
    ----------
    source
        Where the weights came from.
    source_files
        SHA-256 of each file of the source that could matter.
    libraries
        Versions of what took part in the export.
    languages
        Codes of the languages that it reads (ISO 639-1), as its model card says; None where that
        is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    source_files: dict[str, str]
    libraries: dict[str, str]
    languages: tuple[str, ...] | None = None


class Manifest(StatedManifest):
    """A model's description.

    Two models with the same `identity` give the same vectors, up to the arithmetic of the CPU or
    GPU. It is what profiles and segment models are stamped with.

    Parameters
    ----------
    format
        Version of these fields.
    name
        What people call the model.
    dimensions
        Length of a vector.
    max_tokens
        Longer texts are cut there, prefix and special tokens included.
    pad_id
        The token that fills short rows of a batch up.
    prefix
        Put before every text, such as "query: "; empty for none.
    pooling, normalise
        How the tokens' vectors become one, and whether the graph scales it to length one.
    precision
        Arithmetic of the graph.
    opset
        Version of ONNX's operators that it is written in.
    exporter, exporter_version
        What wrote the graph.
    operators
        How many of each fused operator the graph has.
    files
        SHA-256 of each file of the folder.
    provenance
        How it was made.
    """

    refused_as = "not a manifest"
    advice = "make the model again with `segmenter model prepare` or `segmenter model export`"

    format: Literal[2] = MANIFEST_FORMAT
    name: str
    dimensions: int = Field(gt=0)
    max_tokens: int = Field(gt=0)
    pad_id: int = Field(ge=0)
    prefix: str
    pooling: Pooling
    normalise: bool
    precision: Precision
    opset: int
    exporter: Exporter
    exporter_version: str
    operators: dict[str, int]
    files: Annotated[dict[str, str], AfterValidator(_own_files)]
    provenance: Provenance

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The languages of the texts that it was trained on; None where that is not known."""
        return self.provenance.languages or known_languages(self.name)

    @property
    def tokenizer_files(self) -> dict[str, str]:
        """SHA-256 of each file that texts are cut by."""
        return {name: self.files[name] for name in TOKENIZER_FILES if name in self.files}

    @property
    def identity(self) -> str:
        """SHA-256 over everything that vectors depend on, and nothing else.

        The exporter, its libraries and the operators are not among it: what they did is in the
        graph, and the graph's digest is.
        """
        told = {"format", "name", "opset", "exporter", "exporter_version", "operators"}
        content = self.model_dump(exclude={*told, "provenance"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _written(self) -> dict[str, Any]:
        # An earlier release refuses a field that it does not know.
        unknown = self.provenance.languages is None
        return self.model_dump(exclude={"provenance": {"languages"}} if unknown else None)

    @classmethod
    def _expect_format(cls, content: dict[str, Any], path: Path) -> None:
        found = content.get("format", 1)  # the first format did not number itself
        if found != MANIFEST_FORMAT:
            raise DamagedFileError(
                f"{path} is of format {found!r}, but this release reads {MANIFEST_FORMAT}; "
                f"{cls.advice}."
            )


def is_exported(source: str) -> bool:
    """Whether a model source names a folder that holds a model ready to run."""
    return (Path(source).expanduser() / MANIFEST_FILE).is_file()
