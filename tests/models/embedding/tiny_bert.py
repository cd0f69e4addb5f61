"""A random BERT of the true architecture, small enough to be made anew in every test."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

HIDDEN, LAYERS, HEADS, INNER, POSITIONS, MAX_TOKENS = 32, 2, 4, 64, 24, 16
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
PLAIN = ["the", "a", "was", "great", "poor", "coffee", "phone", "broke", "late", "again", ".", "!"]
WORDS = [*SPECIAL, *PLAIN]

CONFIG = {
    "architectures": ["BertModel"],
    "hidden_act": "gelu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": POSITIONS,
    "model_type": "bert",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": len(WORDS),
}


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    """Write tensors, given as type, shape and raw data, in the safetensors format."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (kind, shape, data) in tensors.items():
        end = offset + len(data)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    body = b"".join(data for _, _, data in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


@dataclass
class TinyBert:
    folder: Path
    tensors: dict[str, NDArray[np.float32]]

    @classmethod
    def write(cls, folder: Path, seed: int = 0) -> "TinyBert":
        folder.mkdir()
        model = cls(folder, random_weights(seed))
        model.write_weights()
        model.write_json("config.json", CONFIG)
        model.write_json("sentence_bert_config.json", {"max_seq_length": MAX_TOKENS})
        model.write_pooling("mean", normalise=True)
        tiny_tokenizer().save(str(folder / "tokenizer.json"))
        return model

    def write_weights(self) -> None:
        path = self.folder / "model.safetensors"
        position_ids = ("I64", [1, POSITIONS], np.arange(POSITIONS).tobytes())
        floats = {k: ("F32", list(v.shape), v.tobytes()) for k, v in self.tensors.items()}
        write_safetensors(path, {"embeddings.position_ids": position_ids, **floats})

    def write_json(self, name: str, content: object) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")

    def write_config(self, **changes: object) -> None:
        self.write_json("config.json", {**CONFIG, **changes})

    def write_pooling(self, mode: str, *, normalise: bool) -> None:
        kinds = ["Transformer", "Pooling", *(["Normalize"] if normalise else [])]
        modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
        self.write_json("modules.json", modules)
        modes = {"cls_token": mode == "cls", "mean_tokens": mode == "mean", "max_tokens": False}
        settings = {f"pooling_mode_{name}": on for name, on in modes.items()}
        self.write_json("1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, **settings})


def tiny_tokenizer() -> Tokenizer:
    """Whole words, lower-cased, with [CLS] before and [SEP] after."""
    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def random_weights(
    seed: int, config: Mapping[str, Any] = CONFIG, spread: float = 0.2
) -> dict[str, NDArray[np.float32]]:
    """Random weights, under the names and in the shapes that transformers gives them."""
    random = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tensors: dict[str, NDArray[np.float32]] = {}

    def draw(name: str, *shape: int, centre: float = 0.0, spread: float = spread) -> None:
        tensors[name] = random.normal(centre, spread, shape).astype(np.float32)

    def dense(name: str, inputs: int, outputs: int) -> None:
        draw(f"{name}.weight", outputs, inputs)
        draw(f"{name}.bias", outputs)

    def norm(name: str) -> None:
        draw(f"{name}.LayerNorm.weight", hidden, centre=1.0, spread=spread / 2)
        draw(f"{name}.LayerNorm.bias", hidden, spread=spread / 2)

    draw("embeddings.word_embeddings.weight", config["vocab_size"], hidden, spread=5 * spread)
    draw("embeddings.position_embeddings.weight", config["max_position_embeddings"], hidden)
    draw("embeddings.token_type_embeddings.weight", config["type_vocab_size"], hidden)
    norm("embeddings")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{name}.attention.self.{part}", hidden, hidden)
        dense(f"{name}.attention.output.dense", hidden, hidden)
        norm(f"{name}.attention.output")
        dense(f"{name}.intermediate.dense", hidden, inner)
        dense(f"{name}.output.dense", inner, hidden)
        norm(f"{name}.output")
    return tensors
