"""Files of a checkpoint and of a model folder: which they are, their digests, their JSON."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.embedding.errors import DamagedFileError, MissingFileError

REQUIRED_FILES = ("config.json", "model.safetensors", "tokenizer.json")
OPTIONAL_FILES = (
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
)
OPTIMUM_PATTERNS = (
    "*.json",
    "1_Pooling/config.json",
    "*.txt",  # vocabularies, merges
    "*.model",  # SentencePiece
    "model*.safetensors",
    "pytorch_model*.bin",
)
"""What Optimum may want of a checkpoint, whatever its kind."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise MissingFileError(f"{path} is missing; a model folder needs it.") from None


def verify_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Check that every file of `digests` (path within `folder` to SHA-256) is there and unchanged.

    Raises
    ------
    MissingFileError, DamagedFileError
        Naming the first file that is not as it should be.
    """
    for name, expected in digests.items():
        actual = file_digest(folder / name)
        if actual != expected:
            raise DamagedFileError(
                f"{folder / name} has SHA-256 {actual}, not {expected}; "
                f"remove the folder {folder} and make the model again."
            )


def source_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint that the direct export depends on."""
    if not (folder / "model.safetensors").is_file():
        found = next(folder.glob("pytorch_model*.bin"), None) or next(
            folder.glob("*.safetensors.index.json"), None
        )
        if found is not None:
            raise MissingFileError(
                f"{folder / 'model.safetensors'} is missing, and {found.name} cannot be read "
                "without torch; save the weights as one safetensors file, or export with "
                "`--exporter optimum`."
            )
    optional = [name for name in OPTIONAL_FILES if (folder / name).is_file()]
    return {name: file_digest(folder / name) for name in (*REQUIRED_FILES, *optional)}


def optimum_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint that Optimum may read."""
    paths = {path for pattern in OPTIMUM_PATTERNS for path in folder.glob(pattern)}
    digests = {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(paths)
        if path.is_file()
    }
    if "config.json" not in digests:
        raise MissingFileError(f"{folder / 'config.json'} is missing; a model folder needs it.")
    return digests


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    MissingFileError, DamagedFileError
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"{path} is missing; a model folder needs it.") from None
    except ValueError as error:
        raise DamagedFileError(f"{path} is not valid JSON ({error}); fetch it again.") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; an empty one if there is no such file.

    Raises
    ------
    DamagedFileError
    """
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path} holds no JSON object; fetch it again.")
    return content
