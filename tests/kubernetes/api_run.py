"""`make test-kubernetes-api`: a real kube-apiserver takes a dry run of all that is rendered.

It knows the custom resources by their real definitions, refuses fields that it does not know, and
holds pods to the restricted standard, in a namespace that enforces it: workloads as they are, and a
pod of each workload's template. First it is shown to refuse what is wrong. Exit code 0: all is
taken. 1: something is not, and named. 2: it could not be tried out.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes.api_server import ApiServer, ServerError, api_server
from tests.kubernetes.api_tools import make_api_tools
from tests.kubernetes.rendering import RENDERED, Resource, render
from tests.kubernetes.tools import ToolsError, make_tools

logger = logging.getLogger(__name__)

_RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
}


def problems(server: ApiServer, resources: Sequence[Resource]) -> Iterator[str]:
    """Say what the server has against resources.

    Namespaces and accounts are made for good first, since all else needs them.
    """
    prepare(server, resources)
    for resource in resources:
        yield from _told(server, resource)
        if (pod := pod_of(resource)) is not None:
            yield from _told(server, pod)


def prepare(server: ApiServer, resources: Sequence[Resource]) -> None:
    """Make the namespaces, held to the restricted standard, and the accounts."""
    names = {each["metadata"].get("namespace", "default") for each in resources}
    for name in sorted(names - {"default"}):
        made = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": _RESTRICTED},
        }
        _must(server, made)
    for resource in resources:
        if resource["kind"] == "ServiceAccount":
            _must(server, resource)


def _must(server: ApiServer, resource: Mapping[str, Any]) -> None:
    answer = server.create(resource)
    if answer.problem is not None and answer.status != 409:  # it is there
        raise ServerError(f"{_named(resource)}: {answer.problem}")


def _told(server: ApiServer, resource: Mapping[str, Any]) -> Iterator[str]:
    try:
        answer = server.dry_run(resource)
    except ServerError as error:
        yield f"{_named(resource)}: {error}"
        return
    if answer.problem is not None:
        yield f"{_named(resource)}: {answer.problem}"
    for warning in answer.warnings:
        yield f"{_named(resource)}: warning {warning}"


def _named(resource: Mapping[str, Any]) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def pod_of(resource: Mapping[str, Any]) -> Resource | None:
    """Give a pod of a workload's template; None of what is no workload.

    Volumes that a StatefulSet claims are given as claims that have the pod's name, as its
    controller does.
    """
    template = resource.get("spec", {}).get("template")
    if resource["kind"] not in {"Deployment", "StatefulSet", "Job"} or template is None:
        return None
    pod = copy.deepcopy(template)
    namespace = resource["metadata"].get("namespace", "default")
    name = f"{resource['metadata']['name']}-0"
    pod |= {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {**pod.get("metadata", {}), "name": name, "namespace": namespace}
    claims = resource["spec"].get("volumeClaimTemplates", [])
    pod["spec"].setdefault("volumes", []).extend(
        {
            "name": each["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": f"{each['metadata']['name']}-{name}"},
        }
        for each in claims
    )
    return pod


def wrong(resources: Sequence[Resource]) -> Iterator[Resource]:
    """Make what the server has to refuse, of what it should take: a field too many, a right pod."""
    (workload,) = (each for each in resources if each["kind"] == "StatefulSet")
    misspelt = copy.deepcopy(workload)
    misspelt["spec"]["replica"] = 1
    yield misspelt
    pod = pod_of(workload)
    if pod is not None:
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        yield pod


def main(given: Sequence[str] | None = None) -> int:
    """Try all that is rendered."""
    parser = argparse.ArgumentParser(prog="make test-kubernetes-api", description=__doc__)
    parser.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        tools, api = make_tools(), make_api_tools()
        with tempfile.TemporaryDirectory() as folder, api_server(api, Path(folder)) as server:
            for schema in sorted(tools.schemas.glob("*.yaml")):
                server.define(schema)
            return _tried(server, tools.kustomize)
    except (ToolsError, ServerError) as error:
        logger.error("%s", error)
        return 2


def _tried(server: ApiServer, kustomize: Path) -> int:
    found = 0
    for name in RENDERED:
        # In a namespace of its own, so that pods are held to the standard.
        resources = [
            _placed(each, f"try-{name}")
            for each in yaml.safe_load_all(render(kustomize, name))
            if each["kind"] != "Namespace"
        ]
        told = list(problems(server, resources))
        told += [
            f"the server takes a {_named(bad)} that is wrong"
            for bad in wrong(resources)
            if not list(_told(server, bad))
        ]
        for problem in told:
            logger.error("%s: %s", name, problem)
        found += len(told)
        if not told:
            logger.info("%s: %d resources taken", name, len(resources))
    return 1 if found else 0


def _placed(resource: Resource, namespace: str) -> Resource:
    return {**resource, "metadata": {**resource["metadata"], "namespace": namespace}}


if __name__ == "__main__":
    sys.exit(main())
