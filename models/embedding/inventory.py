"""The models in the cache: `segmenter model list`."""

from dataclasses import dataclass
from pathlib import Path

from models.embedding.cache import MODELS_FOLDER, cache_folder
from models.embedding.errors import EmbeddingError
from models.embedding.manifest import Manifest
from models.embedding.words.manifest import WordsManifest, is_words


@dataclass(frozen=True)
class CachedModel:
    """A model folder in the cache.

    Parameters
    ----------
    folder
        Where it is.
    size
        Bytes of all its files.
    manifest
        What it is; None if that cannot be read.
    problem
        Why not.
    """

    folder: Path
    size: int
    manifest: Manifest | WordsManifest | None
    problem: str | None = None


def list_models(cache: Path | None = None) -> list[CachedModel]:
    """List the models in the cache by their folders' names; digests are not checked.

    Folders that another process is filling right now are left out.
    """
    models = (cache or cache_folder()) / MODELS_FOLDER
    if not models.is_dir():
        return []
    folders = [path for path in sorted(models.iterdir()) if path.is_dir()]
    return [_look(folder) for folder in folders if not folder.name.startswith(".")]


def _look(folder: Path) -> CachedModel:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    kind = WordsManifest if is_words(folder) else Manifest
    try:
        return CachedModel(folder, size, kind.describe(folder))
    except EmbeddingError as error:
        return CachedModel(folder, size, None, str(error))
