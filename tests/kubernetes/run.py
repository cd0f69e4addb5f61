"""`make test-kubernetes`: deploy/k8s rendered by kustomize and held against the real schemas.

Builds kustomize and kube-score the first time, which takes some minutes and a network. Exit code 0:
all is as it should be. 1: something is wrong, and named. 2: it could not be tried out.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import kubernetes_validate
import yaml
from jsonschema import Draft7Validator

from tests.kubernetes.rendering import RENDERED, Resource, digest, render, write, written
from tests.kubernetes.tools import Tools, ToolsError, make_tools, schema_of

KUBERNETES_VERSION = "1.37"
# What kube-score would have otherwise, by its names, and why it is so here.
EXCUSED = {
    "container-image-tag": "the base has none: overlays set it",
    "container-resources": "no limit of processor time: it would stop the loop amid a batch",
    "statefulset-has-host-podantiaffinity": "topology spread does it, for any number of nodes",
    "pod-networkpolicy": "one for all pods, which kube-score does not see beside a namespace",
    "container-image-pull-policy": "tags are versions and never moved",
}


def problems(tools: Tools, name: str, text: str) -> list[str]:
    """Say what is wrong with a rendering."""
    found = []
    if written_text(name) != text:
        found.append("it is not what rendered/ has: look, and write it with ARGS=--write")
    for resource in yaml.safe_load_all(text):
        what = f"{resource['kind']} {resource['metadata']['name']}"
        schema = schema_of(tools.schemas, resource)
        if schema is not None:
            errors = Draft7Validator(schema).iter_errors(resource)
            found += [f"{what}: {error.json_path}: {error.message}" for error in errors]
            continue
        found += [f"{what}: {problem}" for problem in core_problems(resource)]
    return [*found, *_scores(tools, text)]


def core_problems(resource: Resource) -> list[str]:
    """Say what is wrong with a resource of Kubernetes itself."""
    try:
        kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    except kubernetes_validate.SchemaNotFoundError:
        return ["there is no schema for it"]
    return []


def written_text(name: str) -> str | None:
    """Give a rendering as it was written down; None where it never was, or of another state."""
    try:
        of, text = written(name)
    except FileNotFoundError:
        return None
    return text if of == digest() else None


def _scores(tools: Tools, text: str) -> list[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        ignored = [flag for name in EXCUSED for flag in ("--ignore-test", name)]
        done = subprocess.run(
            [str(tools.kube_score), "score", *ignored, "--output-format", "ci", file.name],
            capture_output=True,
            text=True,
            check=False,
        )
    lines = done.stdout.splitlines()
    if not lines:
        return [f"kube-score said nothing but {done.stderr.strip()}"]
    return [f"kube-score: {line}" for line in lines if line.startswith(("[CRITICAL]", "[WARNING]"))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, validate, and say what is wrong."""
    parser = argparse.ArgumentParser(
        prog="make test-kubernetes",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="write what is rendered down")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        tools = make_tools()
    except ToolsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    wrong = 0
    for name in RENDERED:
        try:
            text = render(tools.kustomize, name)
        except subprocess.CalledProcessError:
            sys.stdout.write(f"{name}: kustomize refuses it\n")  # it has said why
            wrong += 1
            continue
        if options.write:
            write(name, text)
        found = problems(tools, name, text)
        sys.stdout.writelines(f"{name}: {problem}\n" for problem in found)
        wrong += len(found)
        if not found:
            sys.stdout.write(
                f"{name}: {text.count(chr(10) + 'kind: ')} resources are as they should be\n"
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
