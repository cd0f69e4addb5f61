"""deploy/Dockerfile agrees with the manifests and with the other locks.

That its steps run, and what comes of them, `make test-image` tells.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.image.dockerfile import Copy, DockerfileError, Run, read
from tests.kubernetes.rendering import DEPLOY, ROOT, resources

STAGES = read(DEPLOY / "Dockerfile")


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", lock.read_text("utf-8"), re.M))


@pytest.mark.parametrize(
    "lock", sorted((DEPLOY / "image").glob("*.lock")), ids=lambda lock: lock.name
)
def test_images_have_the_versions_that_are_tested(lock: Path):
    tested, found = pins(ROOT / "requirements.lock"), pins(lock)
    assert found["pydantic"] == tested["pydantic"]
    assert {name: found[name] for name in found.keys() & tested.keys()} == {
        name: tested[name] for name in found.keys() & tested.keys()
    }
    assert found.keys() - tested.keys() <= {
        name for name in found if name.startswith("nvidia-") or name == "cuda-toolkit"
    }


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_is_its_pods(target: str):
    image = STAGES[target]
    (worker,) = (each for each in resources(target) if each["kind"] == "StatefulSet")
    of_pod = worker["spec"]["template"]["spec"]["securityContext"]
    assert image.user == f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}"
    assert image.entrypoint == ["segmenter"]
    (main,) = worker["spec"]["template"]["spec"]["containers"]
    assert main["image"].endswith(f"-{target}")
    (config,) = (each for each in resources(target) if "segmenter.toml" in each.get("data", {}))
    targets = [step.target for step in image.steps if isinstance(step, Copy)]
    (model,) = (each for each in targets if each.endswith("model"))
    assert f'model = "{model}"' in config["data"]["segmenter.toml"]
    assert not [step for step in image.steps if isinstance(step, Run)]  # nothing but what is copied


def test_an_image_is_of_the_projects_version():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert version
    for target in ("cpu", "gpu"):
        for each in resources(target):
            if each["kind"] in {"StatefulSet", "Deployment"}:
                (main,) = each["spec"]["template"]["spec"]["containers"]
                assert f":{version[1]}-" in main["image"]


def test_what_is_not_understood_is_no_image(tmp_path: Path):
    file = tmp_path / "Dockerfile"
    file.write_text(
        "ARG BASE=debian\n# why\nFROM ${BASE} AS one\nENV A=1 \\\n    B=$PATH\nWORKDIR /w\n"
        "COPY a b ./\nRUN x \\\n    && y\nFROM one AS two\nUSER 1:1\n"
    )
    stages = read(file)
    assert stages["one"].base == "debian"
    assert stages["one"].environment["A"] == "1"
    assert stages["one"].environment["B"].startswith("/usr/local/bin")
    copied, ran = stages["one"].steps
    assert copied == Copy(None, ("a", "b"), "/w/./")
    assert isinstance(ran, Run)
    assert ran.command.split() == ["x", "&&", "y"]
    assert stages["two"].base == "one"
    assert (stages["two"].user, stages["two"].folder) == ("1:1", "/w")
    file.write_text("FROM debian AS one\nVOLUME /x\n")
    with pytest.raises(DockerfileError, match="VOLUME"):
        read(file)
