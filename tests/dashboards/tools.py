"""Prometheus and promtool: those on the path, else those of Debian's package, kept in a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models.embedding.cache import cache_folder

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
    """Download Debian's package, which apt checks, and take the programs out of it.

    It is not installed, so this needs no rights. All that the programs need is libc.
    """
    missing = [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]
    if missing:
        raise ToolsError(f"there is no {missing[0]} to fetch Prometheus with: {_INSTEAD}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="prometheus-", dir=kept.parent) as made:
        folder = Path(made)
        # As root, apt would hand the download to a user who may not write to this folder.
        rights = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
        _run(["apt-get", *rights, "download", "prometheus"], folder)
        packages = list(folder.glob("prometheus_*.deb"))
        if not packages:
            raise ToolsError(f"apt-get downloaded no package: {_INSTEAD}")
        _run(["dpkg", "-x", str(packages[0]), "package"], folder)
        (folder / "programs").mkdir()
        for name in _NAMES:
            if (program := folder / "package" / "usr" / "bin" / name).exists():
                program.rename(folder / "programs" / name)
        shutil.rmtree(kept, ignore_errors=True)
        (folder / "programs").rename(kept)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ToolsError(
            f"{command[0]} failed: {said[-1] if said else f'exit code {done.returncode}'}; run "
            f"'apt-get update' where the package is not found, or {_INSTEAD}"
        )
