"""Finds a model that is ready to run: in the user's cache, or where it was exported to."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path

from models.embedding.cache import MODELS_FOLDER, cache_folder
from models.embedding.errors import (
    ModelNotMadeError,
    PrecisionMismatchError,
    WordsNotFittedError,
)
from models.embedding.making.weights import DEFAULT_SOURCE, Source, resolve_source
from models.embedding.manifest import (
    EXPORTER_VERSION,
    LARGE_EXPORTER_VERSION,
    MANIFEST_FORMAT,
    Manifest,
    Precision,
    is_exported,
)
from models.embedding.words.manifest import is_words

logger = logging.getLogger(__name__)

DEFAULT_PRECISION: Precision = "int8"

BOTH = "both"
"""The source that names an encoder and `words` together."""

WORDS = "words"
"""The source that names the model fitted on one's own texts."""


def words_folder(folder: Path | None = None, cache: Path | None = None) -> Path:
    """Give the folder of `words`: the one that the settings name, else one in the user's cache."""
    return (folder or (cache or cache_folder()) / MODELS_FOLDER / WORDS).expanduser()


def fitted_folder(folder: Path | None = None) -> Path:
    """Return the folder of ``words`` where there is one.

    Raises
    ------
    WordsNotFittedError
        If there is none.
    """
    folder = words_folder(folder)
    if not is_exported(str(folder)):
        raise WordsNotFittedError(folder)
    return folder


def fitted_words(source: str, folder: Path | None = None) -> Path | None:
    """Return the folder of a fitted model `words`; None where a source is another model.

    Parameters
    ----------
    source
        ``words``, or the folder itself.
    folder
        Where ``words`` is, by default in the user's cache.

    Raises
    ------
    WordsNotFittedError
        If there is none.
    """
    if source == WORDS:
        return fitted_folder(folder)
    given = Path(source).expanduser()
    return given if is_words(given) else None


def prepared_model(
    source: str = DEFAULT_SOURCE, precision: Precision | None = None, cache: Path | None = None
) -> Path:
    """Return the folder of a ready model, without a look at its files; uses no network.

    Parameters
    ----------
    source
        ``default`` (all-MiniLM-L6-v2), ``multilingual`` (multilingual-e5-small), a folder as
        sentence-transformers lays it out, a hub id, or a folder that `export_model` made.
    precision
        ``int8`` for CPUs, ``fp16`` for GPUs, ``fp32`` for both and for reference. By default an
        exported model's own, else int8.
    cache
        Where models are kept, by default the user's cache folder.

    Raises
    ------
    ModelNotMadeError
        If `prepare_model` has not made it yet.
    PrecisionMismatchError
        If an exported model is of another precision than `precision`.
    EmbeddingError
        One of its other subclasses: the source cannot be had.
    """
    if is_exported(source):
        return use_exported(Path(source).expanduser(), precision)
    precision = precision or DEFAULT_PRECISION
    cache = cache or cache_folder()
    folder = folder_in(cache, resolve_source(source, cache, local=True), precision)
    if not folder.is_dir():
        raise ModelNotMadeError(source)
    return folder


def use_exported(folder: Path, precision: Precision | None) -> Path:
    """Check a folder that `export_model` made, and give it back.

    Raises
    ------
    PrecisionMismatchError, MissingFileError, DamagedFileError
    """
    manifest = Manifest.read(folder)
    if precision is not None and precision != manifest.precision:
        raise PrecisionMismatchError(
            f"precision {precision!r} was asked for, but the model exported to {folder} is in "
            f"{manifest.precision!r}; leave the precision out, or export the model again with "
            f"`--precision {precision}`."
        )
    logger.info("Model %s was exported to %s", manifest.name, folder)
    return folder


def folder_in(cache: Path, source: Source, precision: Precision) -> Path:
    """Name a model's folder in a cache by everything that its bytes depend on."""
    # E5's prefix depends on the name, and that is in the folder's name too.
    content = json.dumps([MANIFEST_FORMAT, dict(source.digests)], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    name = re.sub(r"[^\w.-]+", "-", source.name)
    version = LARGE_EXPORTER_VERSION if source.large else EXPORTER_VERSION
    return cache / MODELS_FOLDER / f"{name}-{precision}-v{version}-{digest[:12]}"
