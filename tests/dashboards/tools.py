"""Prometheus and promtool: those on the path, else those of Debian's package, kept in a cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models.embedding.cache import cache_folder
from tests.debian import PackageError, unpacked

_NAMES = ("prometheus", "promtool")
_INSTEAD = (
    "install Prometheus and have prometheus and promtool on the PATH, or name their folder with "
    "--prometheus"
)


class ToolsError(Exception):
    """Prometheus cannot be had."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The two programs."""

    prometheus: Path
    promtool: Path


def find_tools(folder: Path | None = None, cache: Path | None = None) -> Tools:
    """Find the programs: in a folder, on the path, in the cache, or fetched into it.

    Parameters
    ----------
    folder
        Where they must be, if given.
    cache
        What keeps them once they are fetched; the user's cache if None.

    Raises
    ------
    ToolsError
        If they are not there and cannot be fetched.
    """
    if folder is not None:
        if (tools := _in_folder(folder)) is None:
            raise ToolsError(f"{folder} does not hold the programs prometheus and promtool")
        return tools
    on_path = [shutil.which(name) for name in _NAMES]
    if all(on_path):
        return Tools(*(Path(each or "") for each in on_path))
    kept = (cache or cache_folder()) / "prometheus"
    if (tools := _in_folder(kept)) is None:
        _fetch(kept)
        tools = _in_folder(kept)
    if tools is None:
        raise ToolsError(
            f"Debian's package prometheus lacks one of {', '.join(_NAMES)}: {_INSTEAD}"
        )
    return tools


def _in_folder(folder: Path) -> Tools | None:
    paths = [folder / name for name in _NAMES]
    return Tools(*paths) if all(os.access(path, os.X_OK) for path in paths) else None


def _fetch(kept: Path) -> None:
    """Take the programs out of Debian's package: all that they need is libc."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="prometheus-", dir=kept.parent) as made:
        folder = Path(made)
        try:
            package = unpacked("prometheus", folder)
        except PackageError as error:
            raise ToolsError(f"{error}, or {_INSTEAD}") from error
        (folder / "programs").mkdir()
        for name in _NAMES:
            if (program := package / "usr" / "bin" / name).exists():
                program.rename(folder / "programs" / name)
        shutil.rmtree(kept, ignore_errors=True)
        (folder / "programs").rename(kept)
