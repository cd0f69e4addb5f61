"""Makes a model ready to run, in the user's cache."""

import logging
import shutil
import time
from pathlib import Path

from models.embedding.cache import cache_folder
from models.embedding.errors import DamagedFileError, MissingFileError
from models.embedding.making.export import DEFAULT_PRECISIONS, ExportOptions, write_model
from models.embedding.making.steps import Tell, untold
from models.embedding.making.weights import DEFAULT_SOURCE, resolve_source, staged_folder
from models.embedding.manifest import Manifest, Precision, is_exported
from models.embedding.prepared import folder_in, use_exported

logger = logging.getLogger(__name__)


def prepare_model(
    source: str = DEFAULT_SOURCE,
    precision: Precision | None = None,
    cache: Path | None = None,
    tell: Tell = untold,
) -> Path:
    """Return the folder of a ready model, making it when it is not there yet.

    Several processes may prepare the same model at once. A model that was exported is used as it
    is. Parameters and errors are those of `prepared_model`; what is not there is made here, and
    `tell` told of each step.

    Raises
    ------
    EmbeddingError
        One of its subclasses: the weights cannot be had, are damaged, are of an architecture that
        is not supported, or lose too much in int8.
    """
    if is_exported(source):
        return use_exported(Path(source).expanduser(), precision)
    options = ExportOptions(precision or DEFAULT_PRECISIONS["direct"])
    cache = cache or cache_folder()
    found = resolve_source(source, cache)
    final = folder_in(cache, found, options.precision)
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
    with found.checkpoint(cache, tell) as weights, staged_folder(final) as staging:
        logger.info("Making the %s model of %s", options.precision, found.name)
        write_model(found, weights, options, staging, tell)
    logger.info("Model %s is ready in %s (%.1f s)", found.name, final, time.monotonic() - started)
    return final
