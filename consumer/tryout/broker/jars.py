"""Apache Kafka's jars: fetched once into the user's cache, each one checked against a pin.

`kafka.lock` names every jar by Maven coordinate and SHA-256. jgo carries out the download; its
own check compares with a SHA-1 from the same server and only warns, so it is the pins that decide
here. No dependency is resolved at run time: what runs is what was tested.

A new version of Kafka: `python -m consumer.tryout.broker.jars 4.4.1` writes `kafka.lock` again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from consumer.tryout.broker.errors import JarsError
from models.embedding.cache import cache_folder

if TYPE_CHECKING:
    from jgo.maven import MavenContext

logger = logging.getLogger(__name__)

LOCK_FILE = Path(__file__).with_name("kafka.lock")
ATTEMPTS = 3
# jgo downloads one file at a time; the registry's latency, not its bandwidth, is what costs.
PARALLEL_DOWNLOADS = 8
# Kafka's artifacts bring log4j 2, but no bridge to it from the SLF4J 1.7 that Kafka logs through.
LOG_BRIDGE = ("org.apache.logging.log4j", "log4j-slf4j-impl")


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name, as Maven has it."""
        return f"{self.artifact}-{self.version}.jar"


PINNED = tuple(Jar(*re.split("[: ]", line)) for line in LOCK_FILE.read_text("ascii").splitlines())
KAFKA_VERSION = next(jar.version for jar in PINNED if jar.artifact == "kafka_2.13")
# Part of the cache folder's name, so that another set of pins never meets these files.
LOCK_DIGEST = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()[:8]


def kafka_folder(cache: Path | None = None) -> Path:
    """Return the folder that holds this version of Kafka, whether or not it is there yet."""
    return (cache or cache_folder()) / f"kafka-{KAFKA_VERSION}-{LOCK_DIGEST}"


def kafka_jars(cache: Path | None = None) -> tuple[Path, ...]:
    """Return the paths of Kafka's jars, all intact, fetching them if they are not in the cache.

    Every call hashes every jar (44 MB, some 40 ms): a damaged cache heals itself instead of
    failing in Java's words. Processes that come at the same time fetch once: one holds a file
    lock, and the folder appears under its name only when it is complete.

    Parameters
    ----------
    cache
        The folder to cache in; the user's own if None.

    Raises
    ------
    JarsError
        If a jar cannot be fetched, or what is served is not what is pinned.
    """
    folder = kafka_folder(cache) / "jars"
    try:
        once(folder.parent, lambda: _is_sound(folder), lambda: _fetch(folder))
    except OSError as error:
        raise JarsError(
            f"Kafka's jars cannot be kept in {folder} ({error}): "
            "free the space, or name another folder in SEGMENTER_CACHE"
        ) from error
    return tuple(folder / jar.name for jar in PINNED)


def once(folder: Path, is_made: Callable[[], bool], make: Callable[[], None]) -> None:
    """Make something in a folder, unless it is there; of several processes one makes it.

    The others wait for it as long as it takes. The kernel lets go of the lock when a process dies,
    so a crash leaves no stale one.
    """
    if is_made():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that is setting up Apache Kafka")
            fcntl.flock(file, fcntl.LOCK_EX)
        if not is_made():
            make()


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder to work in for the holder of the lock; remove what a killed one left."""
    for left in parent.glob("scratch-*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=parent, prefix="scratch-") as path:
        yield Path(path)


def _is_sound(folder: Path) -> bool:
    """Say whether all jars are there and are the pinned ones."""
    return all(_sha256(folder / jar.name) == jar.sha256 for jar in PINNED)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _fetch(folder: Path) -> None:
    """Fetch all jars to a folder beside the named one, then put it in its place."""
    logger.info("fetching Apache Kafka %s, once, about 43 MB", KAFKA_VERSION)
    with scratch_folder(folder.parent) as scratch:
        complete = scratch / "jars"
        complete.mkdir()
        context = _maven(scratch / "repository")
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            try:
                for job in [pool.submit(_fetch_jar, context, jar, complete) for jar in PINNED]:
                    job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)  # one jar short is all in vain
                raise
        for archive in folder.parent.glob("*.aot"):
            archive.unlink()  # it knows its jars by their time of change
        shutil.rmtree(folder, ignore_errors=True)
        complete.rename(folder)


def _maven(repository: Path) -> MavenContext:
    """Return jgo's view of Maven: mirrors from its own settings file first, then the default."""
    from jgo.config import GlobalSettings  # noqa: PLC0415 - slow to import, needed once
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    return MavenContext(repo_cache=repository, remote_repos=remotes)


def _fetch_jar(context: MavenContext, jar: Jar, folder: Path) -> None:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            path = artifact.resolve()
        except (OSError, RuntimeError) as error:  # what requests and jgo raise
            problem = f"it cannot be fetched ({error}): connect to the network for the first start"
        else:
            if (found := _sha256(path)) == jar.sha256:
                path.rename(folder / jar.name)
                return
            problem = f"what is served has SHA-256 {found}, not {jar.sha256}: look at the mirror"
        # A broken download leaves its half behind, which jgo would take for the whole.
        (context.repo_cache / artifact.component.path_prefix / jar.name).unlink(missing_ok=True)
    raise JarsError(f"jar {jar.name} of Apache Kafka {KAFKA_VERSION}: {problem}")


def pin(version: str) -> Sequence[str]:
    """Resolve a version of Kafka with jgo and return the lines of its lock file."""
    import jgo  # noqa: PLC0415

    artifacts = jgo.resolve(f"org.apache.kafka:kafka_2.13:{version}")
    log4j = next(a.version for a in artifacts if a.artifactId == "log4j-core")
    group, bridge = LOG_BRIDGE
    coordinates = [(a.groupId, a.artifactId, a.version) for a in artifacts]
    with tempfile.TemporaryDirectory() as repository:
        context = _maven(Path(repository))
        lines = []
        for g, a, v in [*coordinates, (group, bridge, log4j)]:
            path = context.project(g, a).at_version(v).artifact().resolve()
            lines.append(f"{g}:{a}:{v} {_sha256(path)}")
    return sorted(lines)


if __name__ == "__main__":
    LOCK_FILE.write_text("\n".join(pin(sys.argv[1])) + "\n", "ascii")
