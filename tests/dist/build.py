"""Builds the archives as `make dist` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"


def build(folder: Path) -> None:
    """Build sdist and wheel of the product and of the client into a folder."""
    for project in (ROOT, CLIENT):
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
        subprocess.run(command, cwd=project, check=True, capture_output=True)


def only(folder: Path, pattern: str) -> Path:
    """Give the one file of a folder that fits."""
    (found,) = folder.glob(pattern)
    return found
