"""Each workload of a rendered manifest, run as its pod would run it, and probed as it says."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consumer.tryout.broker import EmbeddedKafka
from tests.image.container import started
from tests.image.dockerfile import Stage
from tests.kubernetes.rendering import Resource, resources

_POD = "segmenter-worker-0"


class RolesError(Exception):
    """A role did not do what its manifest says."""


def check_roles(stage: Stage, root: Path, scratch: Path) -> list[str]:
    """Make the topics, start trainer and worker, probe them, and stop them as a node does.

    Returns
    -------
    list of str
        What went well, in words.

    Raises
    ------
    RolesError
        If something did not.
    """
    by_kind = {each["kind"]: each for each in resources("cpu")}
    said = []
    with EmbeddedKafka(scratch / "kafka") as kafka:
        make = _start(by_kind["Job"], stage, root, scratch / "job", kafka.bootstrap_servers, 0)
        output, _ = make.communicate(timeout=120)
        if make.returncode:
            raise RolesError(
                f"the job that makes the topics ended with {make.returncode}: {output}"
            )
        said.append("the job made the topics")
        for port, kind in ((18081, "Deployment"), (18082, "StatefulSet")):
            workload = by_kind[kind]
            name = workload["metadata"]["name"]
            with _running(workload, stage, root, scratch / name, kafka, port) as process:
                main = _main(workload)
                took = _until(process, main["startupProbe"], port)
                for probe in ("readinessProbe", "livenessProbe"):
                    if (status := _asked(main[probe], port)) != 200:
                        raise RolesError(f"{name}: its {probe} answers {status}")
                begun = time.monotonic()
                process.send_signal(signal.SIGTERM)
                grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                output, _ = process.communicate(timeout=grace)
                if process.returncode:
                    raise RolesError(f"{name} ended with {process.returncode}: {output[-800:]}")
                ended = time.monotonic() - begun
                said.append(f"{name}: ready after {took:.1f} s, ended after {ended:.1f} s")
    return said


def _main(workload: Resource) -> dict[str, Any]:
    (main,) = workload["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = main
    return found


def _start(
    workload: Resource, stage: Stage, root: Path, folder: Path, servers: str, port: int
) -> subprocess.Popen[str]:
    """Start a workload's container with its variables and its mounts.

    Only the brokers' address differs, and the port, since all of them share one network here.
    """
    spec, main = workload["spec"]["template"]["spec"], _main(workload)
    config = next(each for each in resources("cpu") if each["kind"] == "ConfigMap")["data"]
    user = spec["securityContext"]["runAsUser"]
    if stage.user.partition(":")[0] != str(user):
        raise RolesError(f"the image's user is {stage.user}, the pod's {user}")
    kinds = {each["name"]: next(iter(each.keys() - {"name"})) for each in spec["volumes"]}
    mounts: dict[str, Path] = {}
    for each in main["volumeMounts"]:
        place = mounts[each["mountPath"]] = folder / each["name"]
        place.mkdir(parents=True, exist_ok=True)
        if kinds.get(each["name"]) == "configMap":
            for name, text in config.items():
                (place / name).write_text(text, encoding="utf-8")
        else:
            os.chown(place, user, spec["securityContext"].get("fsGroup", user))
    return started(
        stage,
        root,
        main["args"],
        environment={
            **_variables(main),
            "SEGMENTER_KAFKA__BOOTSTRAP_SERVERS": servers,
            "SEGMENTER_HTTP__PORT": str(port),
        },
        mounts={place: made for place, made in mounts.items() if place != "/tmp"},
        network=True,
    )


def _variables(main: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for each in main["env"]:
        source = each.get("valueFrom", {})
        if "value" in each:
            found[each["name"]] = each["value"]
        elif source.get("fieldRef", {}).get("fieldPath") == "metadata.name":
            found[each["name"]] = _POD
        elif not source.get("secretKeyRef", {}).get("optional"):
            raise RolesError(f"{each['name']}: where its value comes from is not known here")
    return found


@contextmanager
def _running(
    workload: Resource, stage: Stage, root: Path, folder: Path, kafka: EmbeddedKafka, port: int
) -> Iterator[subprocess.Popen[str]]:
    process = _start(workload, stage, root, folder, kafka.bootstrap_servers, port)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _asked(probe: Mapping[str, Any], port: int) -> int | None:
    """Ask as the kubelet does; None where nobody answers."""
    url = f"http://127.0.0.1:{port}{probe['httpGet']['path']}"
    try:
        with urllib.request.urlopen(url, timeout=probe["timeoutSeconds"]) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _until(process: subprocess.Popen[str], probe: Mapping[str, Any], port: int) -> float:
    begun = time.monotonic()
    while _asked(probe, port) != 200:
        if process.poll() is not None:
            said, _ = process.communicate()
            raise RolesError(f"it ended at its start with {process.returncode}: {said[-800:]}")
        if time.monotonic() - begun > 120:
            raise RolesError("its startup probe has not succeeded in two minutes")
        time.sleep(probe["periodSeconds"] / 10)
    return time.monotonic() - begun
