"""Reads deploy/Dockerfile: the part of the format that it uses, and nothing else."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

_PATH = "/usr/local/bin:/usr/bin:/bin"


class DockerfileError(Exception):
    """An instruction that is not read here."""


@dataclass(frozen=True)
class Copy:
    """Files from the build's folder, or from another stage, to a place.

    Attributes
    ----------
    stage
        Where they come from; None for the build's folder.
    sources, target
        Paths; the target is a folder where it ends in a slash or there are several sources.
    """

    stage: str | None
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class Run:
    """A command for the shell, in a folder."""

    command: str
    folder: str


@dataclass
class Stage:
    """A stage: what it begins with, its steps, and what a container would be started with.

    Attributes
    ----------
    base
        Name of a stage or of an image.
    """

    name: str
    base: str
    steps: list[Copy | Run] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)


def read(path: Path) -> dict[str, Stage]:
    """Read the stages, by name, in their order.

    Raises
    ------
    DockerfileError
        If there is something in it that is not understood here.
    """
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default
        elif word == "FROM":
            base, _, name = rest.partition(" AS ")
            base = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base)
            stages[name] = _begun(name, base, stages)
        elif word:
            _take(list(stages.values())[-1], word, rest.strip())
    return stages


def _begun(name: str, base: str, stages: dict[str, Stage]) -> Stage:
    if (former := stages.get(base)) is None:
        return Stage(name, base)
    return Stage(name, base, [], dict(former.environment), former.user, former.folder)


def _take(stage: Stage, word: str, rest: str) -> None:
    if word == "COPY":
        words = shlex.split(rest)
        flags = [each for each in words if each.startswith("--")]
        *sources, target = words[len(flags) :]
        stage.steps.append(
            Copy(
                flags[0].removeprefix("--from=") if flags else None,
                tuple(sources),
                target if target.startswith("/") else f"{stage.folder}/{target}",
            )
        )
    elif word == "RUN":
        stage.steps.append(Run(rest, stage.folder))
    elif word == "ENV":
        for each in shlex.split(rest):
            name, _, value = each.partition("=")
            stage.environment[name] = value.replace("$PATH", stage.environment.get("PATH", _PATH))
    elif word == "USER":
        stage.user = rest
    elif word == "WORKDIR":
        stage.folder = rest
    elif word == "ENTRYPOINT":
        stage.entrypoint = json.loads(rest)
    elif word not in {"LABEL", "CMD"}:
        raise DockerfileError(f"{word} is not read here")
