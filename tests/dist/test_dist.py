"""The archives hold what they must, and all that names a version names the same one."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.dist.build import CLIENT, ROOT, build, only
from tests.dist.run import pinned

ROOMS = ("consumer", "models", "schemas")
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    return folder


def tracked(*folders: str, root: Path = ROOT) -> set[str]:
    said = subprocess.run(
        ["git", "ls-files", *folders], cwd=root, capture_output=True, text=True, check=True
    )
    return {name for name in said.stdout.split("\n") if name and (root / name).exists()}


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as file:
        (place,) = (each for each in file.namelist() if each.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(file.read(place).decode())[name]


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_else(dist: Path):
    with zipfile.ZipFile(only(dist, "segmenter-*.whl")) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
        licences = [name for name in file.namelist() if "/licenses/" in name]
    assert held == tracked(*ROOMS)
    assert {Path(name).suffix for name in held} >= {".toml", ".json", ".md", ".j2", ".css"}
    assert {Path(name).name for name in licences} == {"LICENSE", "NOTICE"}


def test_the_source_makes_the_wheel_and_has_dashboards_rules_and_manifests(dist: Path, tmp_path):
    with tarfile.open(only(dist, "segmenter-*.tar.gz")) as file:
        file.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    held = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert tracked(*ROOMS, "deploy") | {"README.md", "CHANGELOG.md", "LICENSE"} <= held
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "w")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    again = only(tmp_path / "w", "*.whl")
    assert again.read_bytes() == only(dist, "segmenter-*.whl").read_bytes()


def test_the_clients_wheel_is_its_package_alone(dist: Path):
    with zipfile.ZipFile(only(dist, "segmenter_client-*.whl")) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    assert held == tracked("segmenter_client", root=CLIENT)
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("name", ["segmenter", "segmenter_client"])
def test_both_have_the_version_of_the_project(dist: Path, name: str):
    assert metadata(only(dist, f"{name}-*.whl"), "Version") == VERSION
    assert only(dist, f"{name}-*.tar.gz").name == f"{name}-{VERSION}.tar.gz"


def test_every_image_that_is_named_is_of_the_version():
    texts = [(ROOT / name).read_text() for name in tracked("deploy", "docs") if "png" not in name]
    tags = re.findall(r"(?:segmenter:|newTag: )([\w.]+)-[cg]pu", "".join(texts))
    assert tags
    assert {*tags} == {VERSION}


def test_the_changelog_begins_with_the_version():
    headings = re.findall(r"^## \[([^\]]+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0][0] == VERSION
    assert all(re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", day) for _, day in headings)


def test_versions_are_taken_from_a_lock_without_its_hashes(tmp_path: Path):
    lock = tmp_path / "lock"
    lock.write_text("a==1 ; python_version >= '3' \\\n    --hash=sha256:0 \\\n    --hash=x\nb==2\n")
    assert [line.strip() for line in pinned(lock).splitlines()] == [
        "a==1 ; python_version >= '3'",
        "b==2",
    ]
