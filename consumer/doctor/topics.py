"""Whether topics are as the project needs them: partitions, replicas, and how they are kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import ResourceType
from pydantic import BaseModel, ConfigDict, Field

from consumer.doctor.brokers import unreached
from consumer.doctor.facts import EXIT_FAILED, Finding, Role, failed, fine, skipped, warning
from consumer.doctor.render import render_findings
from consumer.kafka.cluster import Cluster, Layout, Layouts
from consumer.kafka.topic_limits import LEAST_LETTER_BYTES, written_topics
from consumer.kafka.topic_table import TOPICS, Topic
from consumer.kafka.topics import (
    TopicError,
    check_former_count,
    name_of,
    new_topics,
    own_topics,
)
from consumer.report.wording import plural
from consumer.settings import Settings

_HOUR_MS = 3_600_000
_FOR_EVER = -1
_MIN_IN_SYNC = "min.insync.replicas"
_KEPT = "retention.ms"
_POLICY = "cleanup.policy"
_TOMBSTONES = "delete.retention.ms"
_MOST_BYTES = "max.message.bytes"
_LETTERS = {"dead_letters", "label_dead_letters"}


class TopicsReport(BaseModel):
    """What `segmenter topics check --json` writes."""

    model_config = ConfigDict(frozen=True)

    cluster_id: str | None
    findings: list[Finding] = Field(description="`check` is the topic's name.")

    @property
    def exit_code(self) -> int:
        """0 where all can work so; 1 where something does not, or could not be looked at."""
        wrong = {"failed", "later", "skipped"} & {each.state for each in self.findings}
        return EXIT_FAILED if wrong else 0


@dataclass(frozen=True)
class _Seen:
    """A topic as it is, and what it would be made with; nothing of one that is not ours to make."""

    topic: Topic
    name: str
    made: Mapping[str, str]
    layout: Layout
    config: Mapping[str, str]
    brokers: int
    servers: str

    def set_to(self, **properties: object) -> str:
        """Tell the command of Kafka's that sets properties."""
        given = ",".join(f"{name.replace('_', '.')}={value}" for name, value in properties.items())
        return (
            f"kafka-configs.sh --bootstrap-server {self.servers} --alter --entity-type topics "
            f"--entity-name {self.name} --add-config {given}"
        )


def check(
    settings: Settings, cluster: Cluster | None = None, only: Collection[str] | None = None
) -> TopicsReport:
    """Hold every topic against what the product needs.

    Parameters
    ----------
    settings
        Names, and what topics would be made with.
    cluster
        Is asked.
    only
        The topics to look at; all where none are given.
    """
    cluster = cluster or Cluster(settings.kafka)
    try:
        there = cluster.layouts()
        findings = list(_all(settings, cluster, there, only))
    except KafkaException as error:
        return TopicsReport(cluster_id=None, findings=[unreached(settings.kafka, error, "topics")])
    return TopicsReport(cluster_id=there.cluster_id, findings=findings)


def ill_made(settings: Settings, role: Role, cluster: Cluster) -> Iterator[Finding]:
    """Tell what of the topics that a role writes is not as the product needs it.

    Of the others a role need not be told what they are set to.
    """
    for found in check(settings, cluster, written_topics(settings, role)).findings:
        if found.state in {"failed", "later", "warning"}:
            told = f"{found.check}: {found.told}"
            yield found.model_copy(update={"check": "topics", "told": told})


def _all(
    settings: Settings, cluster: Cluster, layouts: Layouts, only: Collection[str] | None
) -> Iterator[Finding]:
    there = layouts.topics
    made = {each.topic: each.config or {} for each in new_topics(settings)}
    wanted = [(each, name_of(each, settings)) for each in own_topics(settings)]
    if (raw := settings.topics.raw_events) is not None:
        wanted += [(each, raw) for each in TOPICS if each.setting == "raw_events"]
    partitions = len(there.get(settings.topics.events, ()))
    for topic, name in wanted:
        if only is not None and name not in only:
            continue
        if name not in there:
            advice = "run 'segmenter topics create', or see why this client may not see it"
            if topic.default_name is None:
                advice = "its producers have to make it; is topics.raw_events right?"
            yield failed(name, f"it is not there (topics.{topic.setting})", advice)
            continue
        config = cluster.properties(ResourceType.TOPIC, name)
        seen = _Seen(
            *(topic, name, made.get(name, {}), there[name], config, layouts.brokers),
            servers=settings.kafka.bootstrap_servers,
        )
        found = [*_partitions(seen, partitions, settings), *_replicas(seen)]
        if topic.setting == "events":
            found += _former(settings, len(seen.layout), cluster)
        if config:
            found += [*_kept(seen), *_compacted(seen, settings), *_sizes(seen)]
        else:
            found.append(
                skipped(name, "what it is set to is not told: give this client DescribeConfigs")
            )
        yield from found or [fine(name, _told(seen))]


def _told(seen: _Seen) -> str:
    parts = [plural(len(seen.layout), "partition")]
    parts.append(plural(min(replicas for replicas, _ in seen.layout), "replica"))
    kept = int(seen.config.get(_KEPT, _FOR_EVER))
    if "compact" in seen.config.get(_POLICY, ""):
        parts.append("compacted")
    else:
        parts.append("kept for ever" if kept < 0 else f"kept for {_hours(kept)}")
    return ", ".join(parts)


def _hours(milliseconds: int) -> str:
    return f"{milliseconds / _HOUR_MS:g} h"


def _partitions(seen: _Seen, inputs: int, settings: Settings) -> Iterator[Finding]:
    count, topic = len(seen.layout), seen.topic
    if topic.single and count != 1:
        yield failed(
            seen.name,
            f"it has {count} partitions and must have one",
            "delete it and run 'segmenter topics create', if what is in it can go; else give "
            f"another name by topics.{topic.setting}",
        )
    if topic.aligned and topic.setting != "events" and inputs and count != inputs:
        yield failed(
            seen.name,
            f"it has {plural(count, 'partition')}, {settings.topics.events} has {inputs}: "
            "partition n of the one belongs to partition n of the other",
            f"give another name by topics.{topic.setting} and run 'segmenter topics create'",
        )


def _former(settings: Settings, count: int, cluster: Cluster) -> Iterator[Finding]:
    try:
        check_former_count(settings, count, cluster)
    except TopicError as error:
        yield failed(settings.topics.events, str(error), "see docs/operations.md, Topics")


def _replicas(seen: _Seen) -> Iterator[Finding]:
    fewest = min((replicas for replicas, _ in seen.layout), default=0)
    behind = sum(in_sync < replicas for replicas, in_sync in seen.layout)
    if fewest == 1 and seen.brokers > 1:
        yield warning(
            seen.name,
            "it has one replica: it is away while its broker is, and gone with that",
            "give it 3 with kafka-reassign-partitions.sh",
        )
    if behind:
        yield warning(
            seen.name,
            f"{behind} of {plural(len(seen.layout), 'partition')} have replicas that lag behind",
            "look at the brokers",
        )
    least = int(seen.config.get(_MIN_IN_SYNC, 0))
    if least and fewest > 1 and least >= fewest:
        yield warning(
            seen.name,
            f"{_MIN_IN_SYNC} is {least} of {fewest} replicas: nothing is written while one broker "
            "is away",
            seen.set_to(min_insync_replicas=fewest - 1),
        )
    elif least == 1 and fewest > 2:
        yield warning(
            seen.name,
            f"{_MIN_IN_SYNC} is 1 of {fewest} replicas: what is committed can be lost with one "
            "broker",
            seen.set_to(min_insync_replicas=2),
        )


def _kept(seen: _Seen) -> Iterator[Finding]:
    policy = {each.strip() for each in seen.config.get(_POLICY, "delete").split(",")}
    if seen.topic.kept == "compacted":
        if policy != {"compact"}:
            told = f"{_POLICY} is {','.join(sorted(policy))}, and must be compact: "
            why = "old records of keys would never go" if "compact" not in policy else ""
            why = why or "records would go by their age, the latest of a user too"
            yield failed(seen.name, told + why, seen.set_to(cleanup_policy="compact"))
        return
    if "compact" in policy:
        yield failed(
            seen.name,
            f"{_POLICY} is {','.join(sorted(policy))}: of the records of a key all but the last "
            "are removed",
            seen.set_to(cleanup_policy="delete"),
        )
    if seen.topic.kept == "hours":
        kept, wanted = int(seen.config.get(_KEPT, _FOR_EVER)), int(seen.made[_KEPT])
        if kept != wanted:
            is_kept = "for ever" if kept < 0 else f"for {_hours(kept)}"
            asked = "for ever" if wanted < 0 else f"for {_hours(wanted)}"
            yield warning(
                seen.name,
                f"it keeps records {is_kept}, topics.retention_hours says {asked}",
                seen.set_to(retention_ms=wanted),
            )


def _compacted(seen: _Seen, settings: Settings) -> Iterator[Finding]:
    if seen.topic.kept != "compacted":
        return
    tombstones = int(seen.config.get(_TOMBSTONES, 0))
    age = settings.restore.checkpoint_max_age_hours
    if seen.topic.setting == "profiles" and tombstones <= age * _HOUR_MS:
        yield failed(
            seen.name,
            f"{_TOMBSTONES} is {_hours(tombstones)}, restore.checkpoint_max_age_hours {age:g}: a "
            "checkpoint from before a tombstone that is gone would bring its user back",
            seen.set_to(delete_retention_ms=seen.made[_TOMBSTONES]),
        )
    # More than it would be made with: a changelog that is cleaned less is read back for longer.
    more = {
        name: value
        for name, value in seen.made.items()
        if name not in {_POLICY, _TOMBSTONES, _MOST_BYTES}
        and name in seen.config
        and float(seen.config[name]) > float(value)
    }
    if more:
        listed = ", ".join(f"{name} is {seen.config[name]}, not {more[name]}" for name in more)
        yield warning(
            seen.name,
            f"it is compacted later than it would be made with: {listed}; what is removed stays "
            "longer, and state takes longer to read back",
            seen.set_to(**{name.replace(".", "_"): value for name, value in more.items()}),
        )


def _sizes(seen: _Seen) -> Iterator[Finding]:
    if not seen.topic.large:
        return
    most, wanted = int(seen.config.get(_MOST_BYTES, 0)), int(seen.made[_MOST_BYTES])
    if seen.topic.setting in _LETTERS and most < LEAST_LETTER_BYTES:
        yield failed(
            seen.name,
            f"it takes records of {most:,} bytes, too little for a dead letter, which needs "
            f"{LEAST_LETTER_BYTES:,}: no process that writes it starts",
            seen.set_to(max_message_bytes=wanted),
        )
    elif most < wanted:
        yield warning(
            seen.name,
            f"it takes records of {most:,} bytes, and would be made for {wanted:,}: longer ones "
            "are cut or refused",
            seen.set_to(max_message_bytes=wanted),
        )


def render_topics(report: TopicsReport, width: int | None = None) -> str:
    """Write a report as text, in so many columns, or those of the terminal."""
    states = [each.state for each in report.findings]
    bad = len(states) - states.count("fine") - states.count("warning")
    warned = plural(states.count("warning"), "warning")
    verdict = f"mend {plural(bad, 'thing')}; {warned}" if bad else f"the topics will do; {warned}"
    head = f"topics of cluster {report.cluster_id or 'unknown'}"
    return render_findings(head, report.findings, verdict, width)
