"""Writes a large vocabulary in SentencePiece's form, where that cuts texts as it should."""

import importlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from models.embedding.engine.pieces import MARK, PieceTokenizer
from models.embedding.making.sample_texts import CALIBRATION, PROBES
from models.embedding.manifest import (
    LARGE_VOCABULARY,
    PIECES_FILE,
    PIECES_SETTINGS_FILE,
    TOKENIZER_FILE,
)

logger = logging.getLogger(__name__)

_ODD = (
    "  two  spaces,\tand a tab ",
    "\u200bnothing to see\u200b",
    "\uff46\uff55\uff4c\uff4c\u3000\uff57\uff49\uff44\uff54\uff48\uff5e ½ ㌔ e\u0301",
    "龘龘靐齉 🫠🫠 ok",
)
"""Texts that tokenizers differ on more than on others."""


def write_pieces(folder: Path) -> tuple[str, ...]:
    """Write the pieces of a model's tokenizer beside it, for them to take less memory.

    Parameters
    ----------
    folder
        The model's folder, with `tokenizer.json`.

    Returns
    -------
    tuple of str
        The files' names; none where the vocabulary is not large, or not of a form that is known, or
        a sample text would be cut otherwise.
    """
    path = folder / TOKENIZER_FILE
    description = json.loads(path.read_text(encoding="utf-8"))
    if not _is_known(description):
        return ()
    tokenizer = Tokenizer.from_file(str(path))
    probe = tokenizer.encode("a")
    own = [i for i, special in enumerate(probe.special_tokens_mask) if not special]
    settings = {
        "normalizer": description["normalizer"],
        "split": description["pre_tokenizer"]["type"] == "Sequence",
        "head": probe.ids[: own[0]],
        "tail": probe.ids[own[-1] + 1 :],
    }
    model = _model(description)
    pieces = PieceTokenizer(model, settings)
    texts = [*PROBES, *CALIBRATION, *_ODD]
    for one, other in zip(
        tokenizer.encode_batch(texts), pieces.encode_batch_fast(texts), strict=True
    ):
        if one.ids != other.ids:
            logger.warning("SentencePiece cuts a text otherwise: it is not used")
            return ()
    (folder / PIECES_FILE).write_bytes(model)
    text = json.dumps(settings, ensure_ascii=False)
    (folder / PIECES_SETTINGS_FILE).write_text(text, encoding="utf-8")
    return (PIECES_FILE, PIECES_SETTINGS_FILE)


def _is_known(description: Mapping[str, Any]) -> bool:
    """Whether it is a Unigram vocabulary over SentencePiece's marks, as XLM-R's is."""
    model = description["model"]
    before = description.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", [before])
    kinds = [step.get("type") for step in steps]
    return (
        model.get("type") == "Unigram"
        and len(model["vocab"]) >= LARGE_VOCABULARY
        and not model.get("byte_fallback")
        and model.get("unk_id") is not None
        and kinds in (["Metaspace"], ["WhitespaceSplit", "Metaspace"])
        and steps[-1].get("replacement") == MARK
        and steps[-1].get("prepend_scheme", "always") == "always"
        and steps[-1].get("add_prefix_space", True)
        and all(token["special"] for token in description.get("added_tokens", []))
        and any(piece == MARK for piece, _ in model["vocab"])
        and not any(MARK in piece[1:] for piece, _ in model["vocab"])
    )


def _model(description: Mapping[str, Any]) -> bytes:
    """Give the vocabulary in SentencePiece's form, with nothing for it to do before."""
    form: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")  # wants protobuf
    kinds = form.ModelProto.SentencePiece
    vocabulary = description["model"]
    special = {token["id"] for token in description.get("added_tokens", [])}
    model = form.ModelProto()
    for number, (text, score) in enumerate(vocabulary["vocab"]):
        kind = kinds.CONTROL if number in special else kinds.NORMAL
        if number == vocabulary["unk_id"]:
            kind = kinds.UNKNOWN
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type = form.TrainerSpec.UNIGRAM
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    return bytes(model.SerializeToString(deterministic=True))
