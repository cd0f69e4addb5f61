"""Models that people name, with their own configurations and tokenizers' kinds, made small.

Their weights are random: the real ones are hundreds of megabytes. Layers, widths and vocabularies
are cut down; every other field is as the models are published.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from tests.models.embedding import bert_reference
from tests.models.embedding.tiny_bert import random_weights, write_safetensors

Tensors = dict[str, NDArray[np.float32]]

TEXTS = [
    "Great coffee, would buy again!",
    "物流很快,包装完好,味道也不错。",
    "The phone broke after a week. 手机坏了。",
    "a",
]

_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
_BERT = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    **_SIZES,
}
_HAN = "物流很快包装完好味道也不错手机坏了"
_ENGLISH = [
    *("great", "coffee", "would", "buy", "again", "the", "phone", "broke", "after", "a", "week"),
    *("query", "##s", "##ed", ".", ",", "!", "?", ":"),
]


@dataclass(frozen=True)
class SmallEncoder:
    """A checkpoint, and what a plain computation makes of it."""

    name: str
    config: Mapping[str, Any]
    tokenizer: Callable[[], Tokenizer]
    pooling: str
    normalise: bool
    prefix: str = ""
    files: Mapping[str, object] = field(default_factory=dict)
    rename: Callable[[str], str] = str

    @property
    def tensors(self) -> Tensors:
        """The weights under a bare BertModel's names."""
        return random_weights(7, self.config)

    def write(self, parent: Path) -> Path:
        """Write the checkpoint into a folder named after the model."""
        folder = parent / self.name
        folder.mkdir()
        for name, content in {"config.json": self.config, **self.files}.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        self.tokenizer().save(str(folder / "tokenizer.json"))
        stored = {self.rename(name): tensor for name, tensor in self.tensors.items()}
        write_safetensors(
            folder / "model.safetensors",
            {name: ("F32", list(t.shape), t.tobytes()) for name, t in stored.items()},
        )
        return folder

    def reference(self, texts: list[str]) -> NDArray[np.float64]:
        """Unit vectors by the float64 BERT, one text at a time: (texts, hidden)."""
        tensors = self.tensors
        if self.config["model_type"] == "xlm-roberta":  # positions begin after the padding's id
            name = "embeddings.position_embeddings.weight"
            tensors[name] = tensors[name][self.config["pad_token_id"] + 1 :]
        tokenizer = self.tokenizer()
        rows = [np.array(tokenizer.encode(self.prefix + text).ids) for text in texts]
        vectors = [
            bert_reference.embed(
                row,
                tensors,
                layers=self.config["num_hidden_layers"],
                heads=self.config["num_attention_heads"],
                pooling=self.pooling,
                normalise=True,  # the embedder gives unit vectors, also where the model does not
                epsilon=self.config["layer_norm_eps"],
            )
            for row in rows
        ]
        return np.array(vectors)


def word_pieces(*, lower: bool = True) -> Tokenizer:
    """A tokenizer as a Chinese BERT has it: each Han character is a token."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *dict.fromkeys(_HAN), *_ENGLISH, ",", "。"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(handle_chinese_chars=True, lowercase=lower)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def sentence_pieces() -> Tokenizer:
    """A tokenizer as XLM-R has it: Unigram over SentencePiece's marks, and no token types."""
    pieces = [(word, -float(rank)) for rank, word in enumerate(_ENGLISH[:12], start=3)]
    marked = [(f"▁{word}", score) for word, score in pieces]
    letters = dict.fromkeys("▁abcdefghijklmnopqrstuvwxyzGTH.,!?:" + _HAN)
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *marked, *pieces]
    vocabulary += [(letter, -20.0) for letter in letters if letter != "a"]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _sentence_transformers(mode: str, transformer: Mapping[str, object]) -> dict[str, object]:
    kinds = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    return {
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": 32,
            "pooling_mode_cls_token": mode == "cls",
            "pooling_mode_mean_tokens": mode == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        "sentence_bert_config.json": transformer,
    }


def _as_tensorflow(name: str) -> str:
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
    return "bert." + name.replace("LayerNorm.bias", "LayerNorm.beta")


_PIECES = sentence_pieces().get_vocab_size()
_WORDS = word_pieces().get_vocab_size()

E5 = SmallEncoder(
    name="multilingual-e5-small",
    config={
        **_BERT,
        "architectures": ["BertModel"],
        "classifier_dropout": None,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "tokenizer_class": "XLMRobertaTokenizer",
        "use_cache": True,
        "vocab_size": _PIECES + 35,  # the word table is longer than the vocabulary: 250037, 250002
    },
    tokenizer=sentence_pieces,
    pooling="mean",
    normalise=True,
    prefix="query: ",
    files={
        **_sentence_transformers("mean", {"max_seq_length": 512, "do_lower_case": False}),
        "tokenizer_config.json": {
            "model_max_length": 512,
            "tokenizer_class": "XLMRobertaTokenizer",
        },
    },
)

BGE = SmallEncoder(
    name="bge-small-zh-v1.5",
    config={
        **_BERT,
        "architectures": ["BertModel"],
        "classifier_dropout": None,
        "directionality": "bidi",
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "use_cache": True,
        "vocab_size": _WORDS,
    },
    tokenizer=word_pieces,
    pooling="cls",
    normalise=True,
    files={
        **_sentence_transformers("cls", {"max_seq_length": 512, "do_lower_case": True}),
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.2.2"}},
        "tokenizer_config.json": {"do_lower_case": True, "model_max_length": 1e30},
    },
)

BERT_CHINESE = SmallEncoder(
    name="bert-base-chinese",
    config={
        **_BERT,
        "architectures": ["BertForMaskedLM"],
        "directionality": "bidi",
        "pad_token_id": 0,
        "pooler_fc_size": 768,
        "pooler_type": "first_token_transform",
        "vocab_size": _WORDS,
    },
    tokenizer=word_pieces,
    pooling="mean",
    normalise=False,
    files={"tokenizer_config.json": {"do_lower_case": False, "model_max_length": 512}},
    rename=_as_tensorflow,
)

XLM_ROBERTA = SmallEncoder(
    name="paraphrase-xlm-r-multilingual-v1",
    config={
        **_BERT,
        "architectures": ["XLMRobertaModel"],
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 514,
        "model_type": "xlm-roberta",
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "vocab_size": _PIECES,
    },
    tokenizer=sentence_pieces,
    pooling="mean",
    normalise=False,
    files={"sentence_bert_config.json": {"max_seq_length": 128}},
    rename=lambda name: f"roberta.{name}",
)

ENCODERS = [E5, BGE, BERT_CHINESE, XLM_ROBERTA]
