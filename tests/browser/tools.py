"""A headless Chromium: the one on the path, else Debian's, with its libraries, kept in a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models.embedding.cache import cache_folder
from tests.debian import PackageError, unpacked

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_PACKAGES = ("chromium-headless-shell", "fonts-wqy-microhei")
_PROGRAM = "usr/lib/chromium/chromium-headless-shell"
_INSTEAD = "install Chromium and have it on the PATH, or name it with --chromium"


class BrowserError(Exception):
    """No browser can be had."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A program and what it wants in its environment."""

    program: Path
    environment: dict[str, str]


def find_browser(program: Path | None = None, cache: Path | None = None) -> Browser:
    """Find the browser: as named, on the path, in the cache, or fetched into it.

    Raises
    ------
    BrowserError
        If it is not there and cannot be fetched.
    """
    if program is not None:
        return Browser(program, {})
    for name in _NAMES:
        if (found := shutil.which(name)) is not None:
            return Browser(Path(found), {})
    kept = (cache or cache_folder()) / "chromium"
    if not (kept / _PROGRAM).exists():
        _fetch(kept)
    libraries = sorted({str(path.parent) for path in (kept / "usr/lib").rglob("*.so*")})
    return Browser(
        kept / _PROGRAM,
        {
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            # Where fontconfig looks for a user's own fonts.
            "XDG_DATA_HOME": str(kept / "usr/share"),
        },
    )


def _fetch(kept: Path) -> None:
    """Unpack the packages, and those that they need and that are not installed."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chromium-", dir=kept.parent) as made:
        folder = Path(made)
        whole = folder / "whole"
        whole.mkdir()
        try:
            for package in _missing():
                shutil.copytree(unpacked(package, folder), whole, symlinks=True, dirs_exist_ok=True)
        except PackageError as error:
            raise BrowserError(f"{error}, or {_INSTEAD}") from error
        if not (whole / _PROGRAM).exists():
            raise BrowserError(f"Debian's package holds no {_PROGRAM}: {_INSTEAD}")
        shutil.rmtree(kept, ignore_errors=True)
        whole.rename(kept)


def _missing() -> list[str]:
    """Ask apt what it would install; nothing is."""
    if shutil.which("apt-get") is None:
        raise PackageError("there is no apt-get to fetch Chromium with")
    done = subprocess.run(
        ["apt-get", "--simulate", "--no-install-recommends", "install", *_PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")]
    if done.returncode:
        raise PackageError("apt-get knows no Chromium; run 'apt-get update' first")
    return found
