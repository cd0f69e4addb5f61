"""`make test-image`: the steps of deploy/Dockerfile, in roots of Debian, and what comes of them.

There may be no engine, so debootstrap makes a root that stands in for the base image, and each
stage's steps are run in a copy of its own (chroot). What would be in the image is then started:
read-only, as its user, without a network. Needs root, Debian's archive, and 6 GB; takes about ten
minutes. Exit code 0: all is as it should be. 1: something is wrong, and named. 2: it could not be
tried out.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.debian import PackageError, unpacked
from tests.image.container import CHROOT, started
from tests.image.dockerfile import Copy, Run, Stage, read
from tests.image.roles import RolesError, check_roles

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"  # of the base image
_PACKAGES = "python3,python3-venv,ca-certificates"
# How this machine reaches its registries; nothing of it stays in a root.
_LENT = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl", "/usr/local/share/ca-certificates")
_LENT_VARIABLES = ("PIP_", "SSL_", "CURL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy")


class ImageError(Exception):
    """A step failed."""


def build(target: str, base: Path, folder: Path) -> tuple[Stage, Path]:
    """Run the steps of a stage and of all that it needs; give it and its root.

    Raises
    ------
    ImageError
        If a step fails.
    """
    stages = read(ROOT / "deploy" / "Dockerfile")
    roots: dict[str, Path] = {}

    def made(name: str) -> Path:
        if name not in stages:
            return base
        if name not in roots:
            stage = stages[name]
            roots[name] = folder / name
            if not roots[name].exists():
                begun = folder / f"{name}.begun"
                shutil.rmtree(begun, ignore_errors=True)
                _call(["cp", "-a", f"{made(stage.base)}/.", str(begun)])
                for step in stage.steps:
                    logger.info("%s: %s", name, step.command if isinstance(step, Run) else step)
                    _do(step, begun, stage, made)
                begun.rename(roots[name])
        return roots[name]

    return stages[target], made(target)


def _do(step: Copy | Run, root: Path, stage: Stage, made: Callable[[str], Path]) -> None:
    if isinstance(step, Run):
        with _lent(root):
            _call(
                [CHROOT, str(root), "/bin/sh", "-c", f"cd {step.folder} && {step.command}"],
                {**_kept_variables(), **stage.environment},
            )
        return
    target = Path(f"{root}{step.target}")
    into = step.target.endswith("/") or len(step.sources) > 1
    (target if into else target.parent).mkdir(parents=True, exist_ok=True)
    for source in step.sources:
        place = Path(f"{made(step.stage)}{source}") if step.stage else ROOT / source
        if place.is_dir():
            shutil.copytree(place, target, symlinks=True, dirs_exist_ok=True, ignore=_IGNORED)
        else:
            shutil.copy2(place, target)


_IGNORED = shutil.ignore_patterns("__pycache__")


@contextmanager
def _lent(root: Path) -> Iterator[None]:
    """Lend a root what a build's engine would: /dev, /proc, and the way to the registries."""
    lent = [path for path in ("/dev", "/proc", *_LENT) if Path(path).exists()]
    mounted = []
    try:
        for path in lent:
            place = Path(f"{root}{path}")
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.mkdir() if Path(path).is_dir() else place.touch()
            _call(["mount", "--bind", path, str(place)])
            mounted.append(place)
        yield
    finally:
        for place in reversed(mounted):
            _call(["umount", "--lazy", str(place)])


def _kept_variables() -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **{key: value for key, value in os.environ.items() if key.startswith(_LENT_VARIABLES)},
    }


def debian(folder: Path) -> Path:
    """Make the root that stands in for the base image, once.

    Raises
    ------
    ImageError
        If debootstrap is not to be had, or fails.
    """
    root = folder / f"{SUITE}-{_PACKAGES.replace(',', '-')}"
    if root.exists():
        return root
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = shutil.which("debootstrap")
        extra = {}
        if command is None:
            try:
                package = unpacked("debootstrap", Path(scratch))
            except PackageError as error:
                raise ImageError(str(error)) from error
            command = str(package / "usr" / "sbin" / "debootstrap")
            extra = {"DEBOOTSTRAP_DIR": str(package / "usr" / "share" / "debootstrap")}
        begun = folder / "debian.begun"
        shutil.rmtree(begun, ignore_errors=True)
        flags = ["--variant=minbase", f"--include={_PACKAGES}"]
        _call([command, *flags, SUITE, str(begun), *_mirror()], {**os.environ, **extra})
        begun.rename(root)
    return root


def _mirror() -> list[str]:
    """Give the archive that this machine's apt is set to, if it can be told."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return told[:1]


def _call(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise ImageError(f"{' '.join(command)[:300]}: exit code {done.returncode}\n{said}")


def problems(stage: Stage, root: Path) -> list[str]:
    """Say what is wrong with what would be in the image."""
    found = []
    for arguments in (("--version",), ("worker", "--help")):
        process = started(stage, root, arguments)
        said, _ = process.communicate(timeout=120)
        if process.returncode or not said:
            found.append(f"{arguments}: exit code {process.returncode}: {said[-500:]}")
    found += [
        f"{path} is left over from the build"
        for path in ("/opt/pip", "/opt/build", "/source", "/wheel", "/locks")
        if Path(f"{root}{path}").exists()
    ]
    writable = subprocess.run(
        ["find", f"{root}/opt", "-perm", "-o=w", "-not", "-type", "l"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    found += [f"{path} can be written to by everyone" for path in writable[:5]]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, start, and say what is wrong."""
    parser = argparse.ArgumentParser(
        prog="make test-image", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--target", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--folder", type=Path, help="where roots are kept for another run")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if os.geteuid() != 0:
        sys.stderr.write("roots are made by root alone\n")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            base = debian(folder)
        except ImageError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        try:
            stage, root = build(options.target, base, folder)
        except ImageError as error:
            sys.stdout.write(f"{error}\n")
            return 1
        found = problems(stage, root)
        if options.target == "cpu" and not found:
            try:
                said = check_roles(stage, root, Path(scratch))
            except RolesError as error:
                found.append(str(error))
            else:
                sys.stdout.writelines(f"{each}\n" for each in said)
    for problem in found:
        sys.stdout.write(f"{problem}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
