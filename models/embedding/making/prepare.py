"""Makes a model ready to run: in the user's cache, or where it was exported to."""

import hashlib
import json
import logging
import re
import shutil
import time
from pathlib import Path

from models.embedding.cache import MODELS_FOLDER, cache_folder
from models.embedding.errors import (
    DamagedFileError,
    MissingFileError,
    PrecisionMismatchError,
)
from models.embedding.making.export import DEFAULT_PRECISIONS, ExportOptions, write_model
from models.embedding.making.graph_writer import EXPORTER_VERSION
from models.embedding.making.weights import DEFAULT_SOURCE, Source, resolve_source, staged_folder
from models.embedding.manifest import MANIFEST_FORMAT, Manifest, Precision, is_exported

logger = logging.getLogger(__name__)


def prepare_model(
    source: str = DEFAULT_SOURCE, precision: Precision | None = None, cache: Path | None = None
) -> Path:
    """Return the folder of a ready model, making it when it is not there yet.

    Once made, the default model and local ones need no network. Several processes may prepare the
    same model at once. A model that was exported is used as it is.

    Parameters
    ----------
    source
        ``default`` (all-MiniLM-L6-v2), a folder as sentence-transformers lays it out, a hub id, or
        a folder that `export_model` made.
    precision
        ``int8`` for CPUs, ``fp16`` for GPUs, ``fp32`` for both and for reference. By default an
        exported model's own, else int8.
    cache
        Where models are kept, by default the user's cache folder.

    Raises
    ------
    PrecisionMismatchError
        If an exported model is of another precision than `precision`.
    EmbeddingError
        One of its other subclasses: the weights cannot be had, are damaged, are of an architecture
        that is not supported, or lose too much in int8.
    """
    if is_exported(source):
        return _use_exported(Path(source).expanduser(), precision)
    options = ExportOptions(precision or DEFAULT_PRECISIONS["direct"])
    cache = cache or cache_folder()
    found = resolve_source(source, cache)
    final = cache / MODELS_FOLDER / _folder_name(found, options.precision)
    if final.is_dir():
        try:
            manifest = Manifest.read(final)
        except (DamagedFileError, MissingFileError) as error:
            logger.warning("Making the model again: %s", error)
            shutil.rmtree(final)
        else:
            logger.info("Model %s is ready in %s", manifest.name, final)
            return final
    started = time.monotonic()
    weights = found.fetch()
    logger.info("Making the %s model of %s", options.precision, found.name)
    with staged_folder(final) as staging:
        write_model(found, weights, options, staging)
    logger.info("Model %s is ready in %s (%.1f s)", found.name, final, time.monotonic() - started)
    return final


def _use_exported(folder: Path, precision: Precision | None) -> Path:
    manifest = Manifest.read(folder)
    if precision is not None and precision != manifest.precision:
        raise PrecisionMismatchError(
            f"precision {precision!r} was asked for, but the model exported to {folder} is in "
            f"{manifest.precision!r}; leave the precision out, or export the model again with "
            f"`--precision {precision}`."
        )
    logger.info("Model %s was exported to %s", manifest.name, folder)
    return folder


def _folder_name(source: Source, precision: Precision) -> str:
    """Name the folder by everything that the model's bytes depend on."""
    # E5's prefix depends on the name, and that is in the folder's name too.
    content = json.dumps([MANIFEST_FORMAT, dict(source.digests)], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    name = re.sub(r"[^\w.-]+", "-", source.name)
    return f"{name}-{precision}-v{EXPORTER_VERSION}-{digest[:12]}"
