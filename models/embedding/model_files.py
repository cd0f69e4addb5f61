"""Files of a checkpoint and of a model folder: which they are, their digests, their JSON."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.embedding.errors import DamagedFileError, MissingFileError

_FOLDER_NAME = re.compile(r"[\w-][\w.-]*")

REQUIRED_FILES = ("config.json", "model.safetensors", "tokenizer.json")
CARD = "README.md"
"""A checkpoint's model card: it may tell the languages, and what model it is."""

OPTIONAL_FILES = (
    CARD,
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
)
ENCODER_FOLDER = "0_Transformer"
"""Where sentence-transformers of before 2.0 put the encoder, with all files that are its own."""

ENCODER_FILES = (*REQUIRED_FILES, "sentence_bert_config.json", "tokenizer_config.json")
OPTIMUM_PATTERNS = (
    CARD,
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
    encoder = encoder_folder(folder)
    if not (encoder / "model.safetensors").is_file():
        found = next(encoder.glob("pytorch_model*.bin"), None) or next(
            encoder.glob("*.safetensors.index.json"), None
        )
        if found is not None:
            raise MissingFileError(
                f"{encoder / 'model.safetensors'} is missing, and {found.name} cannot be read "
                "without torch; save the weights as one safetensors file, or export with "
                "`--exporter optimum`."
            )
    required = [(encoder / name).relative_to(folder).as_posix() for name in REQUIRED_FILES]
    nested = [] if encoder == folder else [f"{encoder.name}/{name}" for name in ENCODER_FILES]
    optional = [name for name in (*OPTIONAL_FILES, *nested) if (folder / name).is_file()]
    return {name: file_digest(folder / name) for name in dict.fromkeys((*required, *optional))}


def optimum_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint that Optimum may read."""
    encoder = encoder_folder(folder)
    paths = {
        path
        for place in {folder, encoder}
        for pattern in OPTIMUM_PATTERNS
        for path in place.glob(pattern)
    }
    digests = {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(paths)
        if path.is_file()
    }
    if not (encoder / "config.json").is_file():
        raise MissingFileError(f"{encoder / 'config.json'} is missing; a model folder needs it.")
    return digests


def encoder_folder(folder: Path) -> Path:
    """Give the folder that holds a checkpoint's encoder: itself, or one in it, `0_Transformer`.

    Raises
    ------
    DamagedFileError
        If `modules.json` is no list of modules.
    """
    return module_folder(folder, "Transformer", "")


def module_folder(folder: Path, kind: str, default: str) -> Path:
    """Give the folder of the first module of a kind, as `modules.json` has it.

    Parameters
    ----------
    folder
        The checkpoint.
    kind
        The module's class, without its package.
    default
        The folder's name where the file is not there, or does not say.

    Raises
    ------
    DamagedFileError
        If the file is no list of modules, or names a folder outside of the checkpoint.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return folder / default
    try:
        for module in read_json(path):
            if str(module["type"]).rsplit(".", 1)[-1] == kind:
                name = str(module.get("path", default))
                if name and not _FOLDER_NAME.fullmatch(name):
                    raise DamagedFileError(
                        f"{path} names the folder {name!r}, which is no plain name; fetch it again."
                    )
                return folder / name
    except (TypeError, KeyError, AttributeError) as error:
        raise DamagedFileError(f"{path} is no list of modules; fetch it again.") from error
    return folder / default


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
