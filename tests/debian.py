"""Packages of Debian, fetched and unpacked without being installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class PackageError(Exception):
    """A package cannot be had; the message is a clause that says why."""


def unpacked(package: str, folder: Path) -> Path:
    """Download a package, which apt checks, and give the folder that its files were unpacked to.

    It is not installed, so this needs no rights.

    Parameters
    ----------
    package
        Its name.
    folder
        Where to; nothing of that package may be in it.

    Raises
    ------
    PackageError
        If it cannot be had.
    """
    missing = [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]
    if missing:
        raise PackageError(f"there is no {missing[0]} to fetch {package} with")
    # As root, apt would hand the download to a user who may not write to this folder.
    rights = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    _run(["apt-get", *rights, "download", package], folder)
    packages = list(folder.glob(f"{package}_*.deb"))
    if not packages:
        raise PackageError(f"apt-get downloaded no {package}")
    _run(["dpkg", "-x", str(packages[0]), package], folder)
    return folder / package


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise PackageError(
            f"{command[0]} failed: {said[-1] if said else f'exit code {done.returncode}'}; run "
            "'apt-get update' where the package is not found"
        )
