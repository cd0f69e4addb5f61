"""Environments of their own for what is measured beside this version, made once and kept.

They lie in a cache folder (`default_cache`), 1 GB in all, and are made from lock files by pip,
which needs a package index the first time.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from consumer.tryout.broker.jars import once

ROOT = Path(__file__).parents[2]
FORMER = "48f6e1e"
"""The commit of the build that this one is measured against, and upgraded from."""
QUIX_LOCK = Path(__file__).parent / "requirements-quix.lock"
PROGRAM = Path(__file__).parent / "program.py"
"""What runs the command line of any build with a cheap embedder."""
_DONE = ".made"


class BuildError(Exception):
    """An environment cannot be made; the message says what to do."""


def default_cache() -> Path:
    """Give the folder that keeps what takes long to make."""
    return Path.home() / ".cache" / "segmenter-bench"


def former_missing(root: Path) -> str | None:
    """Say why there is no former build to be made from the repository; None if there is."""
    try:
        found = subprocess.run(
            ["git", "cat-file", "-e", f"{FORMER}^{{commit}}"],
            cwd=root,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        return f"git cannot be run: {error.strerror}"
    if found.returncode:
        return f"the repository does not hold commit {FORMER}: fetch its whole history"
    return None


def former_build(cache: Path | None = None) -> Path:
    """Give a checkout of the former build, with its `.venv`, making it where it is not there.

    Raises
    ------
    BuildError
        If the commit is not to be had or its packages cannot be installed.
    """
    cache = cache or default_cache()
    folder = cache / f"build-{FORMER}"
    once(cache, (folder / _DONE).exists, lambda: _make_former(folder))
    return folder


def _make_former(folder: Path) -> None:
    if reason := former_missing(ROOT):
        raise BuildError(reason)
    _say(f"making the build of {FORMER} in {folder}, once")
    _empty(folder)
    packed = subprocess.run(
        ["git", "archive", FORMER], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    python = _environment(folder / ".venv", folder / "requirements.lock")
    _pip(python, "--no-deps", "--no-build-isolation", "-e", str(folder))
    (folder / _DONE).touch()


def quix_python(cache: Path | None = None) -> Path:
    """Give the Python of an environment with Quix Streams and River.

    Raises
    ------
    BuildError
        If the packages cannot be installed.
    """
    cache = cache or default_cache()
    folder = cache / f"quix-{zlib.crc32(QUIX_LOCK.read_bytes()):08x}"
    once(cache, (folder / _DONE).exists, lambda: _make_quix(folder))
    return folder / "bin" / "python"


def _make_quix(folder: Path) -> None:
    _say(f"making the environment of Quix Streams in {folder}, once")
    _empty(folder)
    _environment(folder, QUIX_LOCK)
    (folder / _DONE).touch()


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def _empty(folder: Path) -> None:
    """Remove what a run left that did not come to its end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _environment(folder: Path, lock: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    _pip(python, "--require-hashes", "-r", str(lock))
    return python


def _pip(python: Path, *arguments: str) -> None:
    command: Sequence[str] = [
        *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            f"{' '.join(command)} failed, so there is nothing to measure against: "
            f"{done.stderr.strip()[-500:]}"
        )
