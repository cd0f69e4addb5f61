"""Reads a BERT checkpoint as sentence-transformers lays it out, without torch.

The folder holds `config.json`, `model.safetensors` and `tokenizer.json`, and for a model of
sentence-transformers also `modules.json`, `1_Pooling/config.json` and `sentence_bert_config.json`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.embedding.errors import DamagedFileError, MissingFileError, UnsupportedModelError

Pooling = Literal["mean", "cls"]

REQUIRED_FILES = ("config.json", "model.safetensors", "tokenizer.json")
OPTIONAL_FILES = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")

_KNOWN_MODULES = {"Transformer", "Pooling", "Normalize"}
_SAFETENSORS_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
_SAFETENSORS_HEADER_LIMIT = 100_000_000  # the format's own bound, in bytes


@dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT encoder and how its output becomes one vector.

    Parameters
    ----------
    hidden, layers, heads, intermediate
        Sizes of the encoder; `intermediate` is the width inside the feed-forward blocks.
    vocabulary, positions, token_types
        Rows of the three embedding tables.
    epsilon
        Added to the variance in every layer normalisation.
    pad_id
        The token that fills short rows of a batch up.
    max_tokens
        Longer texts are cut there, special tokens included.
    pooling
        ``mean`` over the tokens, or the vector of the first (``cls``).
    normalise
        Whether the model's own last step scales the vector to length one.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    pad_id: int
    max_tokens: int
    pooling: Pooling
    normalise: bool


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
                f"remove the folder {folder} and prepare the model again."
            )


def source_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint that the export depends on."""
    optional = [name for name in OPTIONAL_FILES if (folder / name).is_file()]
    return {name: file_digest(folder / name) for name in (*REQUIRED_FILES, *optional)}


def read_config(folder: Path) -> BertConfig:
    """Read the settings of a checkpoint and refuse what the exporter would get wrong.

    Without `modules.json` (a plain transformers checkpoint) the pooling is the mean, not
    normalised, as sentence-transformers itself would load it.

    Raises
    ------
    MissingFileError, DamagedFileError, UnsupportedModelError
    """
    config = _read_json(folder / "config.json")
    _expect(config, "model_type", "bert", default="bert")
    _expect(config, "hidden_act", "gelu", default="gelu")
    _expect(config, "position_embedding_type", "absolute", default="absolute")
    _expect(config, "is_decoder", False, default=False)
    hidden, heads = _integer(config, "hidden_size"), _integer(config, "num_attention_heads")
    if hidden % heads:
        raise UnsupportedModelError(
            f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}; "
            "check config.json."
        )
    positions = _integer(config, "max_position_embeddings")
    limit = _read_optional_json(folder / "sentence_bert_config.json").get("max_seq_length")
    pooling, normalise = _read_modules(folder)
    return BertConfig(
        hidden=hidden,
        layers=_integer(config, "num_hidden_layers"),
        heads=heads,
        intermediate=_integer(config, "intermediate_size"),
        vocabulary=_integer(config, "vocab_size"),
        positions=positions,
        token_types=_integer(config, "type_vocab_size"),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        pad_id=int(config.get("pad_token_id") or 0),
        max_tokens=min(positions, int(limit)) if limit else positions,
        pooling=pooling,
        normalise=normalise,
    )


def read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a safetensors file as float32.

    The format is eight bytes of header length, a JSON header with type, shape and offsets of each
    tensor, and the raw little-endian data (https://github.com/huggingface/safetensors#format).
    Integer tensors, such as BERT's stored position ids, are left out.

    Raises
    ------
    MissingFileError, DamagedFileError
    """
    if not path.is_file():
        raise MissingFileError(f"{path} is missing; only weights in safetensors form can be read.")
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.zeros(0, "u1")
    try:
        header_size = int(data[:8].view("<u8")[0])
        if header_size > min(_SAFETENSORS_HEADER_LIMIT, data.size - 8):
            raise ValueError(f"header of {header_size} bytes")
        header = json.loads(data[8 : 8 + header_size].tobytes())
        body = data[8 + header_size :]
        return {
            name: _tensor(body, entry)
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] in _SAFETENSORS_TYPES
        }
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DamagedFileError(
            f"{path} is not a whole safetensors file ({error}); fetch it again."
        ) from error


def _tensor(body: NDArray[np.uint8], entry: dict[str, Any]) -> NDArray[np.float32]:
    begin, end = entry["data_offsets"]
    raw = np.frombuffer(body[begin:end].tobytes(), _SAFETENSORS_TYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32).reshape(entry["shape"])


def _read_modules(folder: Path) -> tuple[Pooling, bool]:
    """Pooling and normalisation from the list of modules that sentence-transformers would run."""
    path = folder / "modules.json"
    if not path.is_file():
        return "mean", False
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in _read_json(path)]
    unknown = [kind for kind in kinds if kind not in _KNOWN_MODULES]
    if unknown:
        raise UnsupportedModelError(
            f"modules.json lists {unknown[0]}, but only {', '.join(sorted(_KNOWN_MODULES))} "
            "can be exported; choose another model."
        )
    settings = _read_json(folder / "1_Pooling" / "config.json")
    modes = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True]
    known: dict[str, Pooling] = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
    }
    if len(modes) != 1 or modes[0] not in known:
        raise UnsupportedModelError(
            f"1_Pooling/config.json asks for {modes}, but only one of {list(known)} can be "
            "exported; choose another model."
        )
    return known[modes[0]], "Normalize" in kinds


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"{path} is missing; a model folder needs it.") from None
    except ValueError as error:
        raise DamagedFileError(f"{path} is not valid JSON ({error}); fetch it again.") from error


def _read_optional_json(path: Path) -> dict[str, Any]:
    return dict(_read_json(path)) if path.is_file() else {}


def _integer(config: Mapping[str, Any], field: str) -> int:
    value = config.get(field)
    if not isinstance(value, int) or value <= 0:
        raise UnsupportedModelError(
            f"config.json has {field} = {value!r}, a positive whole number is needed."
        )
    return value


def _expect(config: Mapping[str, Any], field: str, wanted: object, *, default: object) -> None:
    value = config.get(field, default)
    if value != wanted:
        raise UnsupportedModelError(
            f"config.json has {field} = {value!r}, but the exporter knows only {wanted!r}; "
            "choose another model."
        )
