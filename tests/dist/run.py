"""`make test-dist`: the wheels, each in a fresh environment of its own, away from the checkout.

The product is installed with the extra `demo` and what that declares, in the versions of
requirements.lock, and runs its demo; the client is installed by itself and imported. The index is
asked for packages, a minute or several the first time. Exit code 0: all is as it should be. 1:
something is wrong, and named. 2: it could not be tried out.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.dist.build import ROOT, build, only

logger = logging.getLogger(__name__)

# Of the demo, in its folder: what needs templates, styles, fonts and pictures.
_RESULTS = ("report.html", "explanation.html", "map.png")


class DistError(Exception):
    """A wheel does not do what it should."""


def pinned(lock: Path) -> str:
    """Give the versions of a lock, without the hashes, which an archive of ours has none of."""
    lines = re.sub(r"\s*\\\n", " ", lock.read_text(encoding="utf-8")).splitlines()
    return "\n".join(re.sub(r"\s*--hash=\S+", "", line) for line in lines) + "\n"


def environment(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment with these; give its folder of commands."""
    constraints = folder.with_suffix(".txt")
    constraints.write_text(pinned(ROOT / "requirements.lock"), encoding="utf-8")
    _run(folder.parent, sys.executable, "-m", "venv", str(folder))
    pip = (str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check")
    _run(folder.parent, *pip, "-c", str(constraints), *requirements)
    return folder / "bin"


def try_product(folder: Path, wheel: Path, users: int) -> None:
    """Install the product's wheel and run its demo."""
    commands = environment(folder / "product", f"{wheel}[demo]")
    away = folder / "away"
    away.mkdir()
    where = _run(away, str(commands / "python"), "-c", "import consumer; print(consumer.__file__)")
    if str(ROOT) in where:
        raise DistError(f"the code is that of the checkout: {where.strip()}")
    version = _run(away, str(commands / "segmenter"), "--version").split()[-1]
    if f"-{version}-" not in wheel.name:
        raise DistError(f"{wheel.name} says that it is of version {version}")
    said = _run(away, str(commands / "segmenter"), "demo", "--users", str(users))
    for name in _RESULTS:
        if not (away / "demo-output" / name).stat().st_size:
            raise DistError(f"the demo wrote no {name}; it said:\n{said}")
    logger.info("the installed demo did all: %s", said.strip().splitlines()[-1])


def try_client(folder: Path, wheel: Path) -> None:
    """Install the client's wheel by itself and import what it offers."""
    commands = environment(folder / "client", str(wheel))
    code = "from segmenter_client import Changes, Memberships, Segments"
    _run(folder, str(commands / "python"), "-c", code)
    logger.info("the client is imported without the product")


def _run(folder: Path, *command: str) -> str:
    """Run a command away from the checkout; give what it says on standard output."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        command, cwd=folder, env=kept, capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise DistError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def main(given: Sequence[str] | None = None) -> int:
    """Try the wheels."""
    parser = argparse.ArgumentParser(prog="make test-dist", description=__doc__)
    parser.add_argument("--users", type=int, default=120, help="of the demo's stream")
    arguments = parser.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory(prefix="segmenter-dist-") as name:
        folder = Path(name)
        try:
            build(folder / "dist")
        except subprocess.CalledProcessError as error:
            logger.error("the archives cannot be built:\n%s", error.stderr.decode())
            return 1
        try:
            try_client(folder, only(folder / "dist", "segmenter_client-*.whl"))
            try_product(folder, only(folder / "dist", "segmenter-*.whl"), arguments.users)
        except subprocess.TimeoutExpired as error:
            logger.error("not in time: %s", " ".join(map(str, error.cmd)))
            return 2
        except DistError as error:
            logger.error("%s", error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
