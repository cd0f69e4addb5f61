"""How a checkpoint wants its texts: prefix, length, pooling and normalisation, from its own files.

Everything is read as sentence-transformers would: `modules.json` and `1_Pooling/config.json` give
pooling and normalisation, `config_sentence_transformers.json` the prefix ("prompt"),
`sentence_bert_config.json` or `tokenizer_config.json` the length.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.embedding.errors import DamagedFileError, UnsupportedModelError
from models.embedding.languages import card_names
from models.embedding.model_files import encoder_folder, module_folder, read_json, read_json_object

logger = logging.getLogger(__name__)

Pooling = Literal["mean", "cls"]

_KNOWN_MODULES = {"Transformer", "Pooling", "Normalize"}
_KNOWN_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls"}
_UNLIMITED = 1_000_000
"""transformers writes 1e30 for a tokenizer that knows no limit."""

_E5 = re.compile(r"(multilingual-)?e5-(small|base|large)(-v\d+)?(-unsupervised)?", re.IGNORECASE)
_E5_PREFIX = "query: "
"""What the model cards of E5 want before texts that are compared with each other, as here."""

_LIKE_E5 = ("bert", "XLMRobertaTokenizer", 12)
"""Architecture, tokenizer and layers of multilingual-e5-small, which other models have as well."""


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """From a text to tokens, and from the tokens' vectors to one.

    Parameters
    ----------
    pooling
        ``mean`` over the tokens, or the vector of the first (``cls``).
    normalise
        Whether the model's own last step scales the vector to length one.
    max_tokens
        Longer texts are cut there, special tokens included.
    pad_id
        The token that fills short rows of a batch up.
    prefix
        Put before every text.
    lower_case
        Whether texts are lower-cased even if the tokenizer would not do it.
    """

    pooling: Pooling
    normalise: bool
    max_tokens: int
    pad_id: int
    prefix: str = ""
    lower_case: bool = False


def read_text_settings(
    folder: Path, *, name: str, positions: int | None, pad_id: int, prefix: str | None = None
) -> TextSettings:
    """Read what the files of a checkpoint say about texts.

    Without `modules.json` (a plain transformers checkpoint) the pooling is the mean, not
    normalised, as sentence-transformers itself would load it.

    Parameters
    ----------
    folder
        The checkpoint.
    name
        What people call the model: E5 is known by it, or by what `config.json` and the model card
        call it, since none of its files tells its prefix.
    positions
        Longest input of the encoder, in tokens; None where it has no limit.
    pad_id
        The token to pad with.
    prefix
        Overrides the checkpoint's own.

    Raises
    ------
    MissingFileError, DamagedFileError, UnsupportedModelError
    """
    pooling, normalise, whole = _read_modules(folder)
    if prefix is None:
        prefix = _read_prefix(folder, name)
    if prefix and not whole:
        raise UnsupportedModelError(
            "1_Pooling/config.json has include_prompt = false, but the prefix cannot be left out "
            "of the mean; choose another model."
        )
    encoder = encoder_folder(folder)
    transformer = read_json_object(encoder / "sentence_bert_config.json")
    return TextSettings(
        pooling=pooling,
        normalise=normalise,
        max_tokens=_read_limit(encoder, transformer, positions),
        pad_id=pad_id,
        prefix=prefix,
        lower_case=transformer.get("do_lower_case") is True,
    )


def _read_modules(folder: Path) -> tuple[Pooling, bool, bool]:
    """Pooling, whether to normalise, and whether a prefix takes part in the pooling."""
    path = folder / "modules.json"
    if not path.is_file():
        return "mean", False, True
    try:
        kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in read_json(path)]
    except (TypeError, KeyError) as error:
        raise DamagedFileError(f"{path} is no list of modules; fetch it again.") from error
    unknown = [kind for kind in kinds if kind not in _KNOWN_MODULES]
    if unknown:
        raise UnsupportedModelError(
            f"modules.json lists {unknown[0]}, but only {', '.join(sorted(_KNOWN_MODULES))} "
            "can be exported; choose another model."
        )
    settings = read_json(module_folder(folder, "Pooling", "1_Pooling") / "config.json")
    modes = _pooling_modes(settings)
    if len(modes) != 1 or modes[0] not in _KNOWN_POOLINGS:
        raise UnsupportedModelError(
            f"1_Pooling/config.json asks for {modes}, but only one of {list(_KNOWN_POOLINGS)} can "
            "be exported; choose another model."
        )
    whole = settings.get("include_prompt", True) is not False
    return _KNOWN_POOLINGS[modes[0]], "Normalize" in kinds, whole


def _pooling_modes(settings: Mapping[str, Any]) -> list[str]:
    """Names of the poolings that are on, in the present format or in that of before 5.0."""
    if "pooling_mode" in settings:
        mode = settings["pooling_mode"]
        return [str(name) for name in mode] if isinstance(mode, list) else [str(mode)]
    old = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True]
    return [re.sub(r"^pooling_mode_|_tokens?$", "", key) for key in old]


def _read_prefix(folder: Path, name: str) -> str:
    """Find the prompt that sentence-transformers would use when it is told no other."""
    settings = read_json_object(folder / "config_sentence_transformers.json")
    chosen = settings.get("default_prompt_name")
    if chosen is not None:
        try:
            return str(settings["prompts"][chosen])
        except (KeyError, TypeError):
            raise UnsupportedModelError(
                f"config_sentence_transformers.json has default_prompt_name = {chosen!r}, which is "
                "not among its prompts; say which with `--prefix`."
            ) from None
    config = read_json_object(encoder_folder(folder) / "config.json")
    names = [name, _last_part(config.get("_name_or_path")), *card_names(folder)]
    known = next(filter(_E5.fullmatch, names), None)
    if known is not None:
        logger.info(
            "No file of %s tells a prefix; the model card of %s asks for %r before every text, so "
            "that is used (--prefix sets another)",
            name,
            known,
            _E5_PREFIX,
        )
        return _E5_PREFIX
    prompts = settings.get("prompts")
    offered = [text for text in prompts.values() if text] if isinstance(prompts, dict) else []
    if offered:
        logger.warning(
            "%s has the prompts %s, and says of none that it stands before texts where no other is "
            "asked for: none is used; `segmenter model export --prefix` sets one",
            name,
            ", ".join(map(repr, offered)),
        )
    elif _might_be_e5(encoder_folder(folder), config):
        logger.warning(
            "%s is built like multilingual-e5-small, and no file says whether it is one. If it is, "
            "its vectors are wrong without %r before every text: `segmenter model export "
            "--prefix %r`, or give the folder that name",
            name,
            _E5_PREFIX,
            _E5_PREFIX,
        )
    return ""


def _might_be_e5(encoder: Path, config: Mapping[str, Any]) -> bool:
    tokenizer = read_json_object(encoder / "tokenizer_config.json")
    kind = config.get("tokenizer_class") or tokenizer.get("tokenizer_class")
    built = (config.get("model_type"), kind, config.get("num_hidden_layers"))
    return built == _LIKE_E5


def _last_part(name: object) -> str:
    """Give a name without its owner: the last part of a hub id or a path."""
    return str(name or "").rstrip("/").rpartition("/")[2]


def _read_limit(encoder: Path, transformer: Mapping[str, Any], positions: int | None) -> int:
    """Longest input in tokens: what the model was made for, never more than its positions."""
    limit = transformer.get("max_seq_length")
    if limit is None:
        limit = read_json_object(encoder / "tokenizer_config.json").get("model_max_length")
    if limit is not None and not (isinstance(limit, int | float) and limit >= 1):
        raise UnsupportedModelError(
            f"the longest input of the model is given as {limit!r}, a positive number is needed; "
            "correct max_seq_length in sentence_bert_config.json."
        )
    limits = [int(value) for value in (limit, positions) if value and value < _UNLIMITED]
    if not limits:
        raise UnsupportedModelError(
            "no file says how many tokens the model takes; write max_seq_length into "
            "sentence_bert_config.json."
        )
    return min(limits)
