"""What is given to a kube-apiserver: `make test-kubernetes-api` starts one."""

from __future__ import annotations

import pytest
import yaml

from tests.kubernetes.api_run import pod_of, problems, wrong
from tests.kubernetes.api_server import Answer, ServerError
from tests.kubernetes.api_tools import go_module
from tests.kubernetes.rendering import written

CPU = list(yaml.safe_load_all(written("cpu")[1]))


class Server:
    """Takes all but what it is told to refuse, and remembers what it was asked."""

    def __init__(self, refused: str = "", warned: str = "", unknown: str = "") -> None:
        self.refused, self.warned, self.unknown = refused, warned, unknown
        self.created: list[str] = []
        self.tried: list[str] = []

    def create(self, resource):
        self.created.append(resource["kind"])
        return Answer(201, {})

    def dry_run(self, resource):
        kind = resource["kind"]
        if kind == self.unknown:
            raise ServerError(f"the server knows no {kind}")
        self.tried.append(kind)
        if kind == self.refused:
            return Answer(422, {"message": "field unknown"})
        return Answer(200, {}, ("299 - would violate",) if kind == self.warned else ())


def test_all_is_tried_with_a_pod_of_each_workload_and_what_they_need_is_there_before():
    server = Server()
    assert list(problems(server, CPU)) == []  # type: ignore[arg-type]
    workloads = [each for each in CPU if each["kind"] in {"StatefulSet", "Deployment", "Job"}]
    assert len(workloads) == 5
    assert len(server.tried) == len(CPU) + len(workloads)
    assert server.tried.count("Pod") == len(workloads)
    assert server.created == ["ServiceAccount"]


@pytest.mark.parametrize("how", ["refused", "warned", "unknown"])
@pytest.mark.parametrize("kind", ["StatefulSet", "Pod", "NetworkPolicy"])
def test_what_the_server_refuses_warns_of_or_does_not_know_is_named(kind: str, how: str):
    told = list(problems(Server(**{how: kind}), CPU))  # type: ignore[arg-type]
    assert told
    assert all(kind in each for each in told)


def test_a_pod_is_that_of_the_template_with_its_claims():
    (worker,) = (each for each in CPU if each["kind"] == "StatefulSet")
    pod = pod_of(worker)
    assert pod is not None
    assert pod["metadata"]["labels"] == worker["spec"]["template"]["metadata"]["labels"]
    claims = {
        each["name"]: each["persistentVolumeClaim"]["claimName"]
        for each in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in each
    }
    assert claims == {"checkpoints": f"checkpoints-{pod['metadata']['name']}"}
    assert pod_of({"kind": "Service", "spec": {}}) is None


def test_what_has_to_be_refused_differs_from_what_is_taken():
    kinds = [each["kind"] for each in wrong(CPU)]
    assert kinds == ["StatefulSet", "Pod"]
    assert all(each not in CPU for each in wrong(CPU))


def test_the_parts_of_kubernetes_have_the_version_that_belongs_to_it():
    told = go_module(
        "module k8s.io/kubernetes\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/api v0.0.0\n"
        "\tk8s.io/klog/v2 v2.140.0\n\tk8s.io/kube-proxy v0.0.0\n"
        "\tk8s.io/utils v0.0.0-20260626114624-be93311217bd\n)\n"
    )
    assert "go 1.26.0" in told
    lines = [line.strip() for line in told.splitlines() if line.startswith("\t")]
    (kubernetes, *parts) = lines
    version = kubernetes.removeprefix("k8s.io/kubernetes v1.")
    assert parts == [f"k8s.io/api v0.{version}", f"k8s.io/kube-proxy v0.{version}"]
