"""All checks of a role, one after the other, each on what the ones before have found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version

from confluent_kafka import KafkaException

from consumer.doctor import access, brokers, contents, machine
from consumer.doctor import embedding as embeddings
from consumer.doctor.facts import Finding, Report, Role, failed, skipped
from consumer.doctor.topics import ill_made
from consumer.kafka.cluster import Cluster
from consumer.settings import Settings
from consumer.wiring.embedder import load_embedder
from models.embedding.engine.text_embedder import ModelEmbedder

Loader = Callable[[Settings], ModelEmbedder]


def examine(
    settings: Settings, role: Role, seconds: float, loader: Loader = load_embedder
) -> Report:
    """Look at everything that a process of a role needs to start and to work here.

    Parameters
    ----------
    settings
        Those that it would start with.
    role
        What it would be.
    seconds
        For which a broker is waited for at most.
    loader
        Gives the embedding model.
    """
    return Report(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        role=role,
        version=version("segmenter"),
        findings=list(_Examination(settings, role, seconds).findings(loader)),
    )


class _Examination:
    """What is known so far."""

    def __init__(self, settings: Settings, role: Role, seconds: float) -> None:
        self._settings = settings
        self._role = role
        self._seconds = seconds
        self._cluster = Cluster(settings.kafka)
        self._partitions: int | None = None
        self._brokers = 1
        self._expected: machine.Expected | None = None
        self._embedder: ModelEmbedder | None = None
        self._former: ModelEmbedder | None = None

    def findings(self, loader: Loader) -> Iterator[Finding]:
        worker = self._role == "worker"
        if worker:
            loaded = embeddings.load(self._settings, loader)
            yield from loaded.findings
            self._embedder = loaded.embedder
            yield from self._of_former(loader)
        reached = brokers.reachable(self._cluster, self._settings.kafka, self._seconds)
        yield reached
        if reached.state == "fine":
            try:
                yield from self._of_brokers()
            except KafkaException as error:  # a broker that went while it was looked at
                yield brokers.unreached(self._settings.kafka, error)
        else:
            names = ["versions", "rights", "topics", "clock"]
            names += ["embedding", "languages"] if worker else []
            yield from (skipped(name, "no broker answers") for name in names)
        if worker:
            yield machine.disk(self._settings, self._expected)
        yield machine.memory(self._settings, self._expected)
        yield machine.files(self._brokers, self._partitions or self._settings.topics.partitions)

    def _of_former(self, loader: Loader) -> Iterator[Finding]:
        """Look at the model that a running group is leaving, where it is leaving one."""
        embedding = self._settings.embedding
        if embedding.former.model is None:
            return
        settings = self._settings.model_copy(update={"embedding": embedding.of_former()})
        loaded = embeddings.load(settings, loader)
        self._former = loaded.embedder
        yield from (
            each.model_copy(update={"told": f"the former one: {each.told}"})
            for each in loaded.findings
        )
        ours, theirs = self._embedder, self._former
        if ours is not None and theirs is not None and ours.identity == theirs.identity:
            yield failed(
                "model",
                f"embedding.model and embedding.former.model are one model ({ours.identity[:12]})",
                "give in embedding.former what the workers had before, or leave it out",
            )

    def _of_brokers(self) -> Iterator[Finding]:
        settings, role, cluster = self._settings, self._role, self._cluster
        yield from brokers.versions(settings.kafka)
        self._brokers = len(cluster.admin.list_topics(timeout=self._seconds).brokers)
        rights = list(access.allowed(settings, role, cluster, self._seconds))
        yield from rights
        denied = [finding for finding in rights if finding.state == "failed"]
        found = contents.topics(settings, role, cluster, denied=bool(denied))
        yield from found.findings
        self._partitions = found.partitions
        if found.partitions is None or denied:
            why = "the topics are not to be read" if denied else "the topics are not all there"
            names = ["clock", "embedding", "languages"] if role == "worker" else ["clock"]
            yield from (skipped(name, why) for name in names)
            return
        yield from ill_made(settings, role, cluster)
        yield contents.clock(settings, role, cluster, self._seconds)
        if role == "worker":
            yield from self._of_worker(found.partitions)

    def _of_worker(self, partitions: int) -> Iterator[Finding]:
        settings, cluster, embedder = self._settings, self._cluster, self._embedder
        yield from contents.standing(settings, cluster, partitions)
        if embedder is None:
            yield skipped("embedding", "the model does not load")
            yield skipped("languages", "the model does not load")
            return
        yield contents.model_fits(settings, cluster, embedder, self._former)
        yield contents.languages(settings, cluster, embedder)
        members = len(cluster.group(settings.kafka.group_id).members)
        self._expected = machine.Expected(
            contents.users_at_most(settings, cluster, partitions), embedder.dimensions, members or 1
        )
