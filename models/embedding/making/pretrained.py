"""Reads an encoder of the BERT family as sentence-transformers lays it out, without torch.

The folder holds `config.json`, `model.safetensors` and `tokenizer.json`, or has them in a folder
`0_Transformer`, and for a model of sentence-transformers the files that
`models.embedding.text_settings` reads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedding.errors import DamagedFileError, MissingFileError, UnsupportedModelError
from models.embedding.model_files import encoder_folder, read_json
from models.embedding.text_settings import TextSettings, read_text_settings

_ROBERTAS = {"roberta", "xlm-roberta", "camembert"}
"""BERTs in all but their names and their positions, which begin after the padding token's id."""

_SAFETENSORS_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
_SAFETENSORS_HEADER_LIMIT = 100_000_000  # the format's own bound, in bytes


@dataclass(frozen=True, kw_only=True)
class BertConfig(TextSettings):
    """The shape of a BERT encoder and how its output becomes one vector.

    Parameters
    ----------
    hidden, layers, heads, intermediate
        Sizes of the encoder; `intermediate` is the width inside the feed-forward blocks.
    vocabulary, positions, token_types
        Rows of the three embedding tables that texts may use.
    epsilon
        Added to the variance in every layer normalisation.
    first_position
        Row of the position table that the first token takes: 0, or in RoBERTa a later one.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    first_position: int = 0


def read_config(folder: Path, *, name: str | None = None, prefix: str | None = None) -> BertConfig:
    """Read the settings of a checkpoint and refuse what the exporter would get wrong.

    Parameters
    ----------
    folder
        The checkpoint.
    name
        What people call the model, by default the folder's name.
    prefix
        What to put before every text, by default what the checkpoint says.

    Raises
    ------
    MissingFileError, DamagedFileError, UnsupportedModelError
    """
    config = read_json(encoder_folder(folder) / "config.json")
    kind = config.get("model_type", "bert")
    if kind != "bert" and kind not in _ROBERTAS:
        raise UnsupportedModelError(
            f"config.json has model_type = {kind!r}, but the direct exporter knows only "
            f"{', '.join(sorted({'bert', *_ROBERTAS}))}; export it with `--exporter optimum`."
        )
    _expect(config, "hidden_act", "gelu", default="gelu")
    _expect(config, "position_embedding_type", "absolute", default="absolute")
    _expect(config, "is_decoder", False, default=False)
    hidden, heads = _integer(config, "hidden_size"), _integer(config, "num_attention_heads")
    if hidden % heads:
        raise UnsupportedModelError(
            f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}; "
            "check config.json."
        )
    pad_id = config.get("pad_token_id")
    pad_id = int(kind in _ROBERTAS) if pad_id is None else int(pad_id)
    first = pad_id + 1 if kind in _ROBERTAS else 0
    positions = _integer(config, "max_position_embeddings") - first
    text = read_text_settings(
        folder,
        name=name or folder.resolve().name,
        positions=positions,
        pad_id=pad_id,
        prefix=prefix,
    )
    return BertConfig(
        **vars(text),
        hidden=hidden,
        layers=_integer(config, "num_hidden_layers"),
        heads=heads,
        intermediate=_integer(config, "intermediate_size"),
        vocabulary=_integer(config, "vocab_size"),
        positions=positions,
        token_types=_integer(config, "type_vocab_size"),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        first_position=first,
    )


def read_weights(folder: Path, config: BertConfig) -> dict[str, NDArray[np.float32]]:
    """Read the weights of a checkpoint as a BERT's, also if it calls itself RoBERTa.

    Raises
    ------
    MissingFileError, DamagedFileError
    """
    tensors = read_tensors(encoder_folder(folder) / "model.safetensors")
    tensors = {name.removeprefix("roberta."): tensor for name, tensor in tensors.items()}
    for name in tensors:
        if name.endswith("embeddings.position_embeddings.weight"):
            tensors[name] = tensors[name][config.first_position :]
    return tensors


def read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a safetensors file as float32.

    Those that are float32 in the file are mapped and read when they are used.

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
    if entry["dtype"] == "F32":
        return np.asarray(body[begin:end].view("<f4")).reshape(entry["shape"])
    raw = np.frombuffer(body[begin:end].tobytes(), _SAFETENSORS_TYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32).reshape(entry["shape"])


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
            f"config.json has {field} = {value!r}, but the direct exporter knows only {wanted!r}; "
            "export it with `--exporter optimum`."
        )
