"""What each command may do, where the brokers have access control lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

from consumer.kafka.topic_table import TOPICS, Role, Topic, is_needed
from consumer.report.markdown import code, table
from consumer.settings import Settings, TopicSettings

Command = Literal[Role, "topics create", "topics check"]
"""Words after `segmenter`; the roles of the table of topics are commands."""

Kind = Literal["topic", "group", "transactional id"]


@dataclass(frozen=True)
class Right:
    """What may be done with a resource.

    Attributes
    ----------
    kind, name
        The resource.
    operations
        By the names that Kafka has for them.
    prefixed
        Whether it is every resource whose name begins so.
    """

    kind: Kind
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False


def rights(command: Command, topics: TopicSettings, group_id: str) -> list[Right]:
    """Give the rights that a command needs, those for labels among them.

    Parameters
    ----------
    command
        Words after `segmenter`.
    topics
        Their names; without `raw_events` nothing is said of it.
    group_id
        kafka.group_id.
    """
    names = {each.setting: getattr(topics, each.setting) for each in TOPICS}
    of_topics = [
        Right("topic", names[each.setting], operations)
        for each in TOPICS
        if names[each.setting] and (operations := tuple(_of_topic(command, each)))
    ]
    return of_topics + [
        Right(right.kind, right.name.format(group=group_id), right.operations, right.prefixed)
        for right in _OTHERS[command]
    ]


def rights_of(command: Command, settings: Settings) -> list[Right]:
    """Give the rights that a command needs under settings: for what they are to have there."""
    found = rights(command, settings.topics, settings.kafka.group_id)
    unused = {
        ("topic", getattr(settings.topics, each.setting))
        for each in TOPICS
        if not is_needed(each, settings)
    }
    if not settings.recommendations.enabled:
        unused.add(("group", f"{settings.kafka.group_id}-recommender"))
    if not settings.rules.enabled:
        unused.add(("group", f"{settings.kafka.group_id}-rules"))
    if settings.embedding.former.model is None:
        name = _NEXT_PROFILES.format(group=settings.kafka.group_id)
        unused |= {("group", name), ("transactional id", name)}
    return [each for each in found if (each.kind, each.name) not in unused]


# To see that a topic is there, and with how many partitions.
_LOOK_AT_ALL = {
    "worker",
    "trainer",
    "recommender",
    "rules run",
    "migrate",
    "reset",
    "topics create",
}


_ASKS_LIMITS = {"worker", "trainer", "recommender", "intake", "dead-letters redrive"}


def _of_topic(command: Command, topic: Topic) -> Iterator[str]:
    own = topic.default_name is not None
    if command == "topics check":
        yield from ("Describe", "DescribeConfigs")
    if command == "topics create" and own:
        yield from ("Create", "DescribeConfigs")
    if command in topic.readers:
        yield "Read"
    if command in topic.writers:
        yield "Write"
    looks = command in _LOOK_AT_ALL or (command == "verify" and topic.setting == "labels")
    if own and looks and command not in {*topic.readers, *topic.writers}:
        yield "Describe"
    # How long records may be, so that dead letters are cut to what their topic takes, and that none
    # is brought back that its topic does not take.
    if command in _ASKS_LIMITS & {*topic.writers}:
        yield "DescribeConfigs"
    # With --running, for profiles that are written beside, and for the order.
    if command == "migrate" and topic.setting in {"next_profiles", "model_control"}:
        yield "DescribeConfigs"


# Each process reads with a client of its own beside its group, and has transactions of its own.
_READER = Right("group", "{group}-reader-", ("Describe",), prefixed=True)
# The number of partitions under which the group has committed is with its offsets.
_COMMITTED = Right("group", "{group}", ("Describe",))
# How far the profiles of the next model are, while a running group changes its own.
_NEXT_PROFILES = "{group}-next-profiles"

_OTHERS: dict[Command, tuple[Right, ...]] = {
    "worker": (
        Right("group", "{group}", ("Read",)),
        Right("group", _NEXT_PROFILES, ("Describe",)),
        _READER,
        Right("transactional id", "{group}-worker-", ("Write",), prefixed=True),
    ),
    "trainer": (
        Right("group", "{group}-trainer", ("Read",)),
        _COMMITTED,
        _READER,
        Right("transactional id", "{group}-trainer-", ("Write",), prefixed=True),
    ),
    "intake": (
        Right("group", "{group}-intake", ("Read",)),
        _COMMITTED,
        _READER,
        Right("transactional id", "{group}-intake-", ("Write",), prefixed=True),
    ),
    "recommender": (
        Right("group", "{group}-recommender", ("Read",)),
        _COMMITTED,
        _READER,
        Right("transactional id", "{group}-recommender-", ("Write",), prefixed=True),
    ),
    "rules run": (
        Right("group", "{group}-rules", ("Read",)),
        _COMMITTED,
        _READER,
        Right("transactional id", "{group}-rules-", ("Write",), prefixed=True),
    ),
    "verify": (
        _COMMITTED,
        Right("group", "{group}-recommender", ("Describe",)),
        Right("group", "{group}-rules", ("Describe",)),
        Right("group", "{group}-intake", ("Describe",)),
        Right("group", "{group}-follower", ("Describe",)),
    ),
    "produce": (),
    "profile": (_READER,),
    "explain": (_READER,),
    "status": (
        _COMMITTED,
        Right("group", "{group}-recommender", ("Describe",)),
        Right("group", "{group}-trainer", ("Describe",)),
        Right("group", "{group}-intake", ("Describe",)),
        Right("group", "{group}-rules", ("Describe",)),
        _READER,
    ),
    "report": (_READER,),
    "models list": (_READER,),
    "model fit words": (_READER,),  # with --topic
    # Whether a trainer is there that will answer.
    "models rollback": (Right("group", "{group}-trainer", ("Describe",)), _READER),
    "migrate": (
        # Of its configuration the session is asked for, under KIP-848; without that it is taken
        # for 60 s.
        Right("group", "{group}", ("Read", "DescribeConfigs")),
        Right("group", "{group}-trainer", ("Read", "DescribeConfigs")),
        Right("group", _NEXT_PROFILES, ("Read",)),
        _READER,
        Right("transactional id", "{group}-migrate", ("Write",)),
        Right("transactional id", _NEXT_PROFILES, ("Write",)),
    ),
    "dead-letters list": (Right("group", "{group}-redrive", ("Describe",)), _READER),
    "dead-letters redrive": (
        Right("group", "{group}-redrive", ("Read",)),
        _READER,
        Right("transactional id", "{group}-redrive", ("Write",)),
    ),
    "reset": (
        # Likewise.
        Right("group", "{group}", ("Read", "DescribeConfigs")),
        Right("group", "{group}-trainer", ("Describe",)),
        _READER,
        Right("transactional id", "{group}-reset", ("Write",)),
    ),
    "changes": (_READER,),
    "topics create": (_COMMITTED,),
    "topics check": (_COMMITTED,),
}


# What tells how the group stands is what tells it again and again.
_OTHERS["watch"] = _OTHERS["status"]


def rights_reference() -> str:
    """Write the list of the rights for docs/operations.md."""
    topics = TopicSettings(raw_events="topics.raw_events")
    rows = []
    for command in get_args(Command):
        found = sorted(rights(command, topics, "GROUP"), key=_alike)
        for (kind, operations), alike in groupby(found, key=_alike):
            names = [right.name + "*" * right.prefixed for right in alike]
            rows.append((code(f"segmenter {command}"), kind, code(*names), ", ".join(operations)))
    return table(("command", "resource", "names", "operations"), rows)


def _alike(right: Right) -> tuple[Kind, tuple[str, ...]]:
    return right.kind, right.operations
