"""The topics: creating them, and checking at start that they are as the project needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.contract.errors import ExpectedError, UsageError
from consumer.kafka.asking import REQUEST_SECONDS, announce, unreachable
from consumer.kafka.clients import MAX_MESSAGE_BYTES, admin_config, made
from consumer.kafka.cluster import Cluster
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topic_table import TOPICS, Topic, is_needed
from consumer.report.wording import plural
from consumer.settings import Settings

_TIMEOUT_SECONDS = 30
_HOUR_MS = 3_600_000

# Short segments and a low dirty ratio keep compacted topics near their live size, which is what a
# restore has to read.
_COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.2",
    "segment.bytes": str(64 * 1024 * 1024),
    "max.compaction.lag.ms": str(24 * _HOUR_MS),
    # How long a tombstone is there to be read; restore.checkpoint_max_age_hours must be below it.
    "delete.retention.ms": str(24 * _HOUR_MS),
}
_LARGE = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}


class TopicError(ExpectedError):
    """A topic is missing, or not as the project needs it."""


class TopicsMissingError(TopicError):
    """Topics are not there, or this client may not see them.

    Attributes
    ----------
    names
        Of the topics.
    """

    def __init__(self, names: Iterable[str], message: str) -> None:
        super().__init__(message)
        self.names = tuple(names)


class TopicsDifferError(TopicError):
    """Topics are there with other numbers of partitions than those to be made; nothing was made."""

    exit_code = UsageError.exit_code


def new_topics(settings: Settings, partitions: int | None = None) -> list[NewTopic]:
    """Give the topics that `segmenter topics create` makes where there is none of them.

    Parameters
    ----------
    settings
        Names, and what topics are made with.
    partitions
        Number in place of topics.partitions.
    """
    return [_new(each, settings, partitions) for each in own_topics(settings)]


def own_topics(settings: Settings) -> list[Topic]:
    """Give the topics that the project makes, of those that these settings need."""
    return [each for each in TOPICS if each.default_name and is_needed(each, settings)]


def name_of(topic: Topic, settings: Settings) -> str:
    """Give a topic's name."""
    name: str = getattr(settings.topics, topic.setting)
    return name


def _new(topic: Topic, settings: Settings, partitions: int | None) -> NewTopic:
    topics, hours = settings.topics, settings.topics.retention_hours
    kept = {"retention.ms": str(-1 if hours < 0 else round(hours * _HOUR_MS))}
    config = _LARGE if topic.large else {}
    config = config | {"compacted": _COMPACTED, "hours": kept, "free": {}}[topic.kept]
    many = 1 if topic.single else partitions or topics.partitions
    return NewTopic(name_of(topic, settings), many, topics.replication_factor, config=config)


def plan_topics(settings: Settings, there: Mapping[str, int]) -> list[NewTopic]:
    """Give the topics as they should be, to fit those that are there.

    An input that is there decides the number of partitions, unless topics.partitions is given.

    Parameters
    ----------
    settings
        Names, and what topics are made with.
    there
        Partitions of every topic that there is, by name.

    Raises
    ------
    TopicsDifferError
        If one that is there has another number, naming it and what to set or to delete.
    """
    topics = settings.topics
    given = "partitions" in topics.model_fields_set
    found = there.get(topics.events)
    if given and found not in (None, topics.partitions):
        raise TopicsDifferError(
            f"topic {topics.events} is there with {plural(found or 0, 'partition')}, and "
            f"topics.partitions is {topics.partitions}: set topics.partitions to {found}, or leave "
            "it out and the other topics are made to fit; nothing was made"
        )
    wanted = new_topics(settings, None if given else found)
    differing = [
        each for each in wanted if there.get(each.topic) not in (None, each.num_partitions)
    ]
    if not given:
        free = {name_of(each, settings) for each in TOPICS if not (each.single or each.aligned)}
        differing = [each for each in differing if each.topic not in free]
    if differing:
        raise TopicsDifferError(_differing(settings, differing, there))
    return wanted


def _differing(settings: Settings, differing: list[NewTopic], there: Mapping[str, int]) -> str:
    """Say which topics are in the way, and what there is to do."""
    topics = settings.topics
    setting = {name: f"topics.{field}" for field, name in topics.names()}
    listed = ", ".join(
        f"{each.topic} with {plural(there[each.topic], 'partition')} in place of "
        f"{each.num_partitions}"
        for each in differing
    )
    ways = [f"delete {', '.join(each.topic for each in differing)}, if what is in there can go"]
    numbers = {there[each.topic] for each in differing if each.topic not in _single(settings)}
    if len(numbers) == 1 and topics.events not in there:
        ways.append(f"set topics.partitions to {numbers.pop()}")
    ways.append(f"give other names with {', '.join(setting[each.topic] for each in differing)}")
    return f"topics are there already, {listed}: {'; or '.join(ways)}; nothing was made"


def _single(settings: Settings) -> list[str]:
    """Name the topics that must have one partition."""
    return [name_of(each, settings) for each in own_topics(settings) if each.single]


def create_topics(settings: Settings) -> dict[str, bool]:
    """Create the topics that are missing, after a look at those that are there.

    Returns
    -------
    dict
        By name, whether the topic was created (false: it was there).

    Raises
    ------
    TopicsDifferError
        If one that is there does not fit; nothing was made then.
    TopicError
        If one cannot be created, or the cluster does not answer.
    """
    there = partition_counts(settings)
    wanted = plan_topics(settings, there)
    created = {each.topic: False for each in wanted}
    missing = [each for each in wanted if each.topic not in there]
    if not missing:
        return created
    admin = made(AdminClient, admin_config(settings.kafka))
    futures: dict[str, Future[None]] = admin.create_topics(
        missing, operation_timeout=_TIMEOUT_SECONDS, request_timeout=_TIMEOUT_SECONDS
    )
    for name, future in futures.items():
        try:
            future.result()
            created[name] = True
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicError(f"cannot create topic {name}: {error.args[0].str()}") from error
            created[name] = False
    return created


def check_topics(settings: Settings, cluster: Cluster | None = None) -> dict[str, int]:
    """Check that the topics are there and fit each other; give each topic's partitions.

    Raises
    ------
    TopicError
        Naming what is missing or does not fit, and what to do.
    """
    topics = settings.topics
    names = [name_of(topic, settings) for topic in own_topics(settings)]
    cluster = cluster or Cluster(settings.kafka)
    partitions = partition_counts(settings, names, cluster)
    _refuse_missing(settings, names, partitions)
    for name in _single(settings):
        if partitions[name] != 1:
            raise TopicError(f"topic {name} has {partitions[name]} partitions: it must have one")
    check_former_count(settings, partitions[topics.events], cluster)
    for name, why in (
        (topics.profiles, "the changelog of partition n is partition n"),
        (topics.next_profiles, "what is built of partition n is partition n"),
        (topics.labels, "a user's label is read by the worker that has the user's events"),
        (topics.item_events, "a group's topics of items have as many partitions as its input"),
        (topics.item_profiles, "the changelog of partition n of the items is partition n"),
        (topics.recommendation_parts, "a segment's parts are merged by who has their partition"),
        (topics.user_recommendations, "partition n is written by who has that of the events"),
        (topics.rule_states, "the changelog of partition n is partition n"),
    ):
        if name in names and partitions[name] != partitions[topics.events]:
            raise TopicError(
                f"topic {name} has {partitions[name]} partitions, {topics.events} has "
                f"{partitions[topics.events]}: {why}, so they must be equal"
            )
    return partitions


def _refuse_missing(settings: Settings, names: Iterable[str], there: Mapping[str, int]) -> None:
    if missing := [name for name in names if name not in there]:
        are = f"topic {missing[0]} is" if len(missing) == 1 else f"topics {', '.join(missing)} are"
        raise TopicsMissingError(
            missing,
            f"{are} missing at {settings.kafka.bootstrap_servers}: run 'segmenter topics create'",
        )


def check_intake_topics(settings: Settings) -> tuple[str, int]:
    """Check the topics of `segmenter intake`; give its input and the partitions of its output.

    Raises
    ------
    TopicError
        Naming what is missing or does not fit, and what to do.
    """
    topics, source = settings.topics, settings.topics.raw_events
    if source is None:
        raise TopicError(
            "topics.raw_events is not set: give the topic whose records are to be re-keyed into "
            f"{topics.events}"
        )
    own = (topics.events, topics.dead_letters)
    cluster = Cluster(settings.kafka)
    partitions = partition_counts(settings, (source, *own), cluster)
    _refuse_missing(settings, own, partitions)
    if source not in partitions:
        # Its partitions and retention are its producers' business: it is not ours to make.
        raise TopicsMissingError(
            [source],
            f"topic {source} (topics.raw_events) is missing at {settings.kafka.bootstrap_servers}: "
            "its producers have to make it; 'segmenter topics create' does not",
        )
    check_former_count(settings, partitions[topics.events], cluster)
    return source, partitions[topics.events]


def check_former_count(settings: Settings, count: int, cluster: Cluster) -> None:
    """Refuse a count that differs from the one under which the group has committed offsets.

    Raises
    ------
    TopicError
        Naming both.
    """
    topic, group = settings.topics.events, settings.kafka.group_id
    # A predecessor that crashed may have left a transaction open, which this start will end.
    for place in cluster.committed(group, topic, range(count), stable=False):
        former = OffsetMetadata.read(place.metadata).partitions
        if former not in (None, count):
            raise TopicError(raised_partitions(topic, former or 0, count))


def raised_partitions(topic: str, former: int, count: int) -> str:
    """Say that an operator has given a topic more partitions, and what to do."""
    return (
        f"topic {topic} has {count} partitions, this group's state was made with {former}: keys go "
        "to other partitions now, and a user's new events would not meet the user's profile; "
        "begin anew with a new kafka.group_id and new names for all topics but the input (or "
        "with a new input topic that was made with the right number)"
    )


def partition_counts(
    settings: Settings,
    expected: Iterable[str] = (),
    cluster: Cluster | None = None,
    *,
    seconds: float = REQUEST_SECONDS,
) -> dict[str, int]:
    """Give the number of partitions of every topic of the cluster; see `Cluster.topics`.

    Raises
    ------
    TopicError
        If the cluster does not answer.
    """
    servers = settings.kafka.bootstrap_servers
    announce(servers)
    try:
        return (cluster or Cluster(settings.kafka)).topics(expected, seconds)
    except KafkaException as error:
        raise TopicError(unreachable(servers, error)) from error
