"""What deploy/k8s promises, on what kustomize makes of it.

That the API server takes it, and that `rendered/` is kustomize's, `make test-kubernetes` tells.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from consumer.cli.command import END_SECONDS
from consumer.kafka.strimzi import strimzi_topics, strimzi_users
from consumer.reference import manifests
from consumer.settings import PREFIX, Settings
from consumer.settings.commands import USES
from tests.dashboards.scaling import evaluated
from tests.kubernetes import rendering
from tests.kubernetes.rendering import DEPLOY, RENDERED, Resource, digest, render, written
from tests.kubernetes.run import core_problems
from tests.kubernetes.tools import kept_tools, schema_of

CORE = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1"}
WORKLOADS = {"StatefulSet", "Deployment", "Job"}
_TOLD_SECONDS = 2
"""On top of END_SECONDS, for telling the stacks."""


def resources(name: str, *kinds: str) -> list[Resource]:
    return [each for each in rendering.resources(name) if not kinds or each["kind"] in kinds]


def one(name: str, kind: str, ends: str = "") -> Resource:
    (found,) = (x for x in resources(name, kind) if x["metadata"]["name"].endswith(ends))
    return found


def pod(workload: Resource) -> Resource:
    template: Resource = workload["spec"]["template"]
    return template


def container(workload: Resource) -> Resource:
    (only,) = pod(workload)["spec"]["containers"]
    found: Resource = only
    return found


ALL_WORKLOADS = [
    pytest.param(name, each, id=f"{name}-{each['metadata']['name']}")
    for name in RENDERED
    for each in resources(name, *sorted(WORKLOADS))
]


def settings_of(name: str, workload: Resource, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read the settings as the pod does: its file, then its variables."""
    spec = pod(workload)["spec"]
    (volume,) = (each for each in spec["volumes"] if "configMap" in each)
    config = one(name, "ConfigMap", volume["configMap"]["name"])
    file = tomllib.loads(config["data"]["segmenter.toml"])
    for each in container(workload)["env"]:
        if each["name"].startswith(PREFIX) and "__" in each["name"] and "value" in each:
            monkeypatch.setenv(each["name"], each["value"])
    return Settings(**file)


@pytest.mark.parametrize("name", RENDERED)
def test_what_is_written_is_of_these_manifests(name: str):
    assert written(name)[0] == digest(), "run `make test-kubernetes ARGS=--write`"


@pytest.mark.parametrize("name", RENDERED)
def test_what_is_written_is_what_kustomize_makes(name: str):
    if (tools := kept_tools()) is None:
        pytest.skip("kustomize is not there: `make test-kubernetes` builds it")
    assert render(tools.kustomize, name) == written(name)[1]


@pytest.mark.parametrize("name", RENDERED)
def test_resources_of_kubernetes_itself_are_as_their_schemas_say(name: str):
    own = [each for each in resources(name) if each["apiVersion"] in CORE]
    assert {each["kind"] for each in own} >= {"StatefulSet", "Deployment", "NetworkPolicy"}
    assert [core_problems(each) for each in own] == [[]] * len(own)
    own[0]["unknown"] = 1
    assert core_problems(own[0])


@pytest.mark.parametrize("file", manifests())
def test_what_is_made_from_the_code_is_the_codes(file: str):
    assert (DEPLOY / "k8s" / file).read_text("utf-8") == manifests()[file], "run `make docs`"


@pytest.mark.parametrize(("name", "workload"), ALL_WORKLOADS)
def test_a_pod_is_started_with_a_command_and_settings_that_there_are(
    name: str, workload: Resource, monkeypatch: pytest.MonkeyPatch
):
    main = container(workload)
    assert " ".join(main["args"]) in USES
    settings = settings_of(name, workload, monkeypatch)
    mounts = [Path(each["mountPath"]) for each in main["volumeMounts"]]
    variables = {each["name"]: each.get("value") for each in main["env"]}
    assert Path(variables["SEGMENTER_CONFIG"]).parent in mounts
    if workload["kind"] == "StatefulSet":
        assert settings.restore.checkpoint_dir in mounts
        names = {each["metadata"]["name"] for each in workload["spec"]["volumeClaimTemplates"]}
        kept = {each["name"]: Path(each["mountPath"]) for each in main["volumeMounts"]}
        assert {kept[each] for each in names} >= {settings.restore.checkpoint_dir}
        if "SEGMENTER_CACHE" in variables:
            assert Path(variables["SEGMENTER_CACHE"]) in {kept[each] for each in names}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if workload["kind"] != "Job":
            assert main[probe]["httpGet"]["port"] == "http"
            (port,) = main["ports"]
            assert (port["name"], port["containerPort"]) == ("http", settings.http.port)


@pytest.mark.parametrize(("name", "workload"), ALL_WORKLOADS)
def test_the_timing_chain_holds(name: str, workload: Resource, monkeypatch: pytest.MonkeyPatch):
    """transaction < session; the end < grace; the end and a start < session."""
    if workload["kind"] == "Job":
        pytest.skip("it ends by itself")
    settings = settings_of(name, workload, monkeypatch)
    kafka, main = settings.kafka, container(workload)
    grace = pod(workload)["spec"]["terminationGracePeriodSeconds"]
    assert kafka.transaction_timeout_seconds < kafka.session_timeout_seconds
    assert kafka.revoke_seconds + END_SECONDS + _TOLD_SECONDS <= grace
    assert grace + 10 <= kafka.session_timeout_seconds
    # Who hangs is killed after live_seconds and the probe's patience, before the group gives it up
    # for not polling.
    probe = main["livenessProbe"]
    patience = probe["periodSeconds"] * probe["failureThreshold"]
    assert settings.http.live_seconds + patience < kafka.max_poll_interval_seconds
    startup = main["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 3600
    assert startup["httpGet"]["path"] == main["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert probe["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize(("name", "workload"), ALL_WORKLOADS)
def test_pods_meet_the_restricted_standard_and_have_no_token(name: str, workload: Resource):
    spec, main = pod(workload)["spec"], container(workload)
    assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
    of_pod = spec["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert of_pod["runAsUser"] > 0
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    kinds = {kind for each in spec["volumes"] for kind in each.keys() - {"name"}}
    assert kinds <= {"configMap", "emptyDir", "secret"}
    assert main["resources"]["limits"]["memory"] == main["resources"]["requests"]["memory"]
    assert re.search(r":[\w.-]+$", main["image"])


@pytest.mark.parametrize("name", RENDERED)
def test_selectors_find_their_pods(name: str):
    pods = {
        each["metadata"]["name"]: pod(each)["metadata"]["labels"]
        for each in resources(name, *sorted(WORKLOADS))
    }

    def found(selector: dict[str, str]) -> set[str]:
        return {each for each, labels in pods.items() if selector.items() <= labels.items()}

    for each in resources(name, "StatefulSet", "Deployment", "PodDisruptionBudget"):
        assert found(each["spec"]["selector"]["matchLabels"]) == {each["metadata"]["name"]}
    service = one(name, "Service")
    workers = one(name, "StatefulSet")
    assert found(service["spec"]["selector"]) == {workers["metadata"]["name"]}
    assert workers["spec"]["serviceName"] == service["metadata"]["name"]
    policy = one(name, "NetworkPolicy")["spec"]
    assert found(policy["podSelector"]["matchLabels"]) == pods.keys()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    for monitor in resources(name, "PodMonitor"):
        assert found(monitor["spec"]["selector"]["matchLabels"]) == pods.keys()
    for each in resources(name, *sorted(WORKLOADS)):
        for spread in pod(each)["spec"].get("topologySpreadConstraints", ()):
            assert found(spread["labelSelector"]["matchLabels"]) == {each["metadata"]["name"]}


@pytest.mark.parametrize("name", RENDERED)
def test_dns_is_let_through_under_its_own_labels(name: str):
    """`includeSelectors` of kustomize would put ours among them, and no pod has both."""
    egress = one(name, "NetworkPolicy")["spec"]["egress"]
    (peer,) = (
        peer
        for rule in egress
        for peer in rule.get("to", ())
        if "kube-dns" in peer["podSelector"]["matchLabels"].values()
    )
    assert peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


@pytest.mark.parametrize("name", ["example", "prefixed"])
def test_the_number_of_workers_is_kedas_and_a_divisor(name: str):
    workers, scaled = one(name, "StatefulSet"), one(name, "ScaledObject")["spec"]
    assert "replicas" not in workers["spec"]
    assert scaled["scaleTargetRef"]["name"] == workers["metadata"]["name"]
    partitions = Settings().topics.partitions
    assert scaled["maxReplicaCount"] == partitions
    assert scaled["minReplicaCount"] >= 1
    formula = scaled["advanced"]["scalingModifiers"]["formula"]
    names = {trigger["name"] for trigger in scaled["triggers"]}
    assert set(re.findall(r"[a-z]{2,}", formula)) == {*names, "max"}
    divisors = [n for n in range(1, partitions + 1) if partitions % n == 0]
    for needed in (0, 0.3, *(n + e for n in range(1, partitions + 3) for e in (-0.5, 0, 0.01))):
        for rate, late in ((needed, 0.0), (0.2, needed)):
            most = max(rate, late)
            wanted = next((n for n in divisors if n >= most), partitions)
            assert evaluated(formula, {"rate": rate, "late": late}) == wanted
    # Halved at most, each ten minutes, and never below what is wanted: each step is a divisor too.
    (policy,) = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"][
        "policies"
    ]
    assert policy["type"] == "Percent"
    assert policy["periodSeconds"] >= 600
    for now, wanted in itertools.combinations(reversed(divisors), 2):
        least = math.ceil(now * (1 - policy["value"] / 100))
        assert max(wanted, least) in divisors


def test_alerts_lead_to_the_deployers_copy_of_the_pages():
    groups = one("example", "PrometheusRule")["spec"]["groups"]
    links = [
        rule["annotations"]["runbook_url"]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    copy = "https://git.example.com/segmenter/blob/main/docs/operations.md#"
    assert links
    assert all(link.startswith(copy) for link in links)


def test_topics_and_rights_of_roles_that_are_added_are_the_codes():
    settings = Settings(recommendations={"enabled": True}, rules={"enabled": True})
    wanted = [*yaml.safe_load_all(strimzi_topics(settings) + strimzi_users(settings))]
    got = resources("prefixed", "KafkaTopic", "KafkaUser")
    assert len({each["metadata"]["name"] for each in got}) == len(got)

    def told(resource: Resource) -> tuple[object, ...]:
        name = resource["metadata"]["name"].removeprefix("team-")
        spec, access = resource["spec"], resource["spec"].get("authorization", {"acls": []})
        acls = [json.dumps(each, sort_keys=True) for each in access["acls"]]
        assert len({*acls}) == len(acls)
        return resource["kind"], name, spec.get("topicName"), spec.get("config"), sorted(acls)

    assert sorted(map(told, got), key=str) == sorted(map(told, wanted), key=str)


@pytest.mark.parametrize("name", ["example", "prefixed"])
def test_each_role_shows_the_certificate_of_its_own_user(name: str):
    users = {each["metadata"]["name"] for each in resources(name, "KafkaUser")}
    for workload in resources(name, "StatefulSet", "Deployment"):
        spec = pod(workload)["spec"]
        secrets = {
            each["name"]: each["secret"]["secretName"]
            for each in spec["volumes"]
            if "secret" in each
        }
        assert secrets["kafka-user"] in users
        assert secrets["kafka-user"].endswith("-".join(container(workload)["args"]))
        variables = {each["name"]: each.get("value", "") for each in container(workload)["env"]}
        properties = json.loads(variables["SEGMENTER_KAFKA__PROPERTIES"])
        mounts = {each["mountPath"] for each in container(workload)["volumeMounts"]}
        paths = [value for key, value in properties.items() if key.endswith("location")]
        assert len(paths) == 3
        assert {str(Path(path).parent) for path in paths} <= mounts


def test_a_field_that_a_schema_does_not_name_is_refused(tmp_path: Path):
    definition = {
        "spec": {
            "group": "g.io",
            "names": {"kind": "K"},
            "versions": [
                {
                    "name": "v1",
                    "schema": {
                        "openAPIV3Schema": {
                            "properties": {
                                "metadata": {"type": "object"},
                                "spec": {
                                    "properties": {
                                        "list": {
                                            "items": {"properties": {"a": {"type": "string"}}}
                                        },
                                        "free": {"x-kubernetes-preserve-unknown-fields": True},
                                        "map": {"additionalProperties": {"type": "string"}},
                                    }
                                },
                            }
                        }
                    },
                }
            ],
        }
    }
    (tmp_path / "k.yaml").write_text(yaml.safe_dump(definition))
    schema = schema_of(tmp_path, {"apiVersion": "g.io/v1", "kind": "K"})
    assert schema is not None
    assert schema_of(tmp_path, {"apiVersion": "g.io/v2", "kind": "K"}) is None
    valid = Draft7Validator(schema).is_valid
    assert valid({"spec": {"list": [{"a": "b"}], "free": {"any": 1}, "map": {"any": "b"}}})
    assert not valid({"spec": {"list": [{"b": "b"}]}})
    assert not valid({"spec": {"other": 1}})
    assert not valid({"other": 1})
    assert not valid({"spec": {"map": {"any": 1}}})
