"""Where what is made once is kept."""

from __future__ import annotations

import os
from pathlib import Path

MODELS_FOLDER = "models"
"""Of the cache, where `prepare_model` keeps what it makes."""


def cache_folder() -> Path:
    """Return the folder for what is made once and kept: ``SEGMENTER_CACHE`` or the user's cache."""
    if own := os.environ.get("SEGMENTER_CACHE"):
        return Path(own).expanduser().absolute()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG base directory specification has relative paths ignored.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "segmenter"
