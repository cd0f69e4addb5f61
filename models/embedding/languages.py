"""Which languages an embedding model reads, by its model card or by its name; and that name."""

import re
from pathlib import Path

from models.embedding.model_files import CARD

# The encoders of sentence-transformers, BAAI, intfloat and thenlper that were trained on English.
_ENGLISH = re.compile(
    r"(all|multi-qa|msmarco|paraphrase|nli)-(?!.*multilingual)[\w.-]+|bge-\w+-en(-v[\d.]+)?"
    r"|e5-(small|base|large)(-v2|-unsupervised)?|gte-(small|base|large)(-en-v[\d.]+)?"
)
_CODE = re.compile(r"[a-z]{2,3}")
_MULTILINGUAL = "multilingual"


def known_languages(name: str) -> tuple[str, ...] | None:
    """Give the languages of models that are known by name, None for others."""
    plain = name.rpartition("/")[2].partition("@")[0].lower()
    return ("en",) if _ENGLISH.fullmatch(plain) else None


def card_languages(folder: Path) -> tuple[str, ...] | None:
    """Read the languages out of a checkpoint's model card.

    The card begins with YAML between two lines of dashes, in which `language` is a code or a list
    of codes (https://huggingface.co/docs/hub/model-cards).

    Returns
    -------
    tuple of str or None
        None where there is no card, or it does not say.
    """
    found = re.search(r"^languages?:(.*(?:\n\s*-.*)*)", _front(folder), re.MULTILINE)
    if found is None:
        return None
    words = re.findall(r"[\w-]+", found[1].lower())
    if _MULTILINGUAL in words:
        return None
    return tuple(word for word in words if _CODE.fullmatch(word)) or None


def card_names(folder: Path) -> tuple[str, ...]:
    """Read what a checkpoint's model card calls the model, and the model that it was made from.

    These are the `name` of its `model-index` and its `base_model`, without their owners; none where
    there is no card, or it does not say.
    """
    found = re.findall(
        r"^(?:base_model:|- name:)[ \t]*[\"']?(?:[\w.-]+/)?([\w.-]+)[\"']?[ \t]*$",
        _front(folder),
        re.MULTILINE,
    )
    return tuple(found)


def _front(folder: Path) -> str:
    """Give the YAML that a model card begins with, empty where there is none."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    return "" if front is None else front[1]
