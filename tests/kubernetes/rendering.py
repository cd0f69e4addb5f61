"""What kustomize makes of deploy/k8s: by kustomize itself, or as it was written down last.

The written form is in `rendered/`, so that every test run has it, and whoever reviews a change sees
what comes of it. `make test-kubernetes` renders anew and compares; ARGS="--write" writes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
WRITTEN = Path(__file__).parent / "rendered"

Resource = dict[str, Any]
# Libyaml's, where it is there: the other one takes a fifth of a second for a rendering, and nearly
# every test reads one.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# By name, a kustomization over deploy/k8s; `@` is its folder.
RENDERED: Mapping[str, Mapping[str, Any]] = {
    "cpu": {
        "resources": ["@/overlays/cpu"],
        "components": ["@/components/topics", "@/components/recommender", "@/components/rules"],
    },
    "gpu": {"resources": ["@/overlays/gpu"]},
    "example": {"resources": ["@/example"]},
    # What kustomize does not rename by itself would show.
    "prefixed": {
        "resources": ["@/example"],
        "components": [
            *("@/components/recommender", "@/components/strimzi/recommender"),
            *("@/components/rules", "@/components/strimzi/rules"),
        ],
        # What a component adds finds the example's resources in one namespace only.
        "namespace": "segmenter",
        "namePrefix": "team-",
    },
}


def digest() -> str:
    """Give the digest of all that is rendered: of another one the written form is out of date."""
    sha = hashlib.sha256()
    folders = (DEPLOY / "k8s", DEPLOY / "grafana")
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    for path in files:
        if (
            path.suffix == ".pyc"
        ):  # there is code beside the dashboards, of which Python keeps copies
            continue
        sha.update(path.relative_to(DEPLOY).as_posix().encode() + b"\0")
        sha.update(path.read_bytes() + b"\0")
    return sha.hexdigest()


def render(kustomize: Path, name: str) -> str:
    """Render one of `RENDERED`, with long texts by their digest.

    Raises
    ------
    subprocess.CalledProcessError
        If kustomize refuses; it says why on standard error.
    """
    with tempfile.TemporaryDirectory() as made:
        # Only a relative path may lead out of a kustomization's folder.
        there = os.path.relpath(DEPLOY / "k8s", Path(made).resolve())
        content = yaml.safe_dump(dict(RENDERED[name])).replace("@", there)
        (Path(made) / "kustomization.yaml").write_text(content, encoding="utf-8")
        done = subprocess.run(
            [str(kustomize), "build", made], check=True, stdout=subprocess.PIPE, text=True
        )
    resources = list(yaml.safe_load_all(done.stdout))
    for resource in resources:
        for key, text in resource.get("data", {}).items():
            if len(text) > 10_000:
                resource["data"][key] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return yaml.safe_dump_all(resources, sort_keys=True, width=100)


def write(name: str, text: str) -> None:
    """Write a rendering down."""
    head = f"# Made by `make test-kubernetes ARGS=--write` of {digest()}\n"
    (WRITTEN / f"{name}.yaml").write_text(head + text, encoding="utf-8")


def written(name: str) -> tuple[str, str]:
    """Give the digest of what was rendered, and what came of it.

    Raises
    ------
    FileNotFoundError
        If it was never written.
    """
    head, _, text = (WRITTEN / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")
    return head.rpartition(" ")[2], text


def resources(name: str) -> list[Resource]:
    """Give the resources of a rendering as it is written."""
    return list(yaml.load_all(written(name)[1], _LOADER))
