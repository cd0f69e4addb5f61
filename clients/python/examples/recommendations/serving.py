"""What a server of recommendations knows, of the compacted topics, and what it answers.

It joins no group: each process reads all of the topics and follows them. The maths of users of whom
little is known is segmenter's own (`models.recommendation.cold_start`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from pydantic_core import from_json

from models.recommendation.cold_start import AttributeCounts, Used, believe, mixed_popularity
from models.recommendation.policy import RecommendationPolicy
from schemas.attribute_table import ATTRIBUTES_KEY, AttributeTable
from schemas.base import MAX_ID_CHARS
from schemas.events import (
    MAX_ATTRIBUTE_CHARS,
    MAX_ATTRIBUTE_NAME_CHARS,
    MAX_ATTRIBUTES,
    MAX_RELATED_USERS,
)
from schemas.recommendations import RECOMMENDATIONS_KEYS

logger = logging.getLogger(__name__)

MEMBERSHIPS, LISTS = "segment-memberships", "segment-recommendations"
USERS = "user-recommendations"
NEEDED = (MEMBERSHIPS, LISTS)
"""Topics without which there is nothing to serve; that of users may be absent."""
MOST_ITEMS = 1000

_ATTRIBUTE = "attr."
_AT_ONCE = 1000


class RefusedError(ValueError):
    """A question that cannot be answered; names the field and the value."""

    def __init__(self, name: str, value: object, why: str) -> None:
        shown = str(value)
        shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
        super().__init__(f"{name} is {shown!r}: {why}")


@dataclass(frozen=True)
class Question:
    """Who is asked about.

    Attributes
    ----------
    limit
        Items wanted at most.
    attributes
        What is known of the user by name.
    related
        Users who have to do with this one.
    """

    user: str
    limit: int = 20
    attributes: Mapping[str, str] = field(default_factory=dict)
    related: Sequence[str] = ()

    @classmethod
    def read(cls, user: str, query: Iterable[tuple[str, str]]) -> Question:
        """Read a question out of a path and the pairs of its query.

        Raises
        ------
        RefusedError
            If something in it is not as it should be.
        """
        _checked_id("user_id", user)
        limit, attributes, related = 20, dict[str, str](), list[str]()
        for name, value in query:
            if name == "limit":
                if not (value.isascii() and value.isdigit() and 1 <= int(value) <= MOST_ITEMS):
                    raise RefusedError(name, value, f"give a whole number, 1 to {MOST_ITEMS}")
                limit = int(value)
            elif name == "related":
                related += [_checked_id(name, each) for each in value.split(",")]
            elif name.startswith(_ATTRIBUTE):
                own = name.removeprefix(_ATTRIBUTE)
                if not 1 <= len(own) <= MAX_ATTRIBUTE_NAME_CHARS:
                    raise RefusedError(
                        name, value, f"the name has 1 to {MAX_ATTRIBUTE_NAME_CHARS} characters"
                    )
                if not 1 <= len(value) <= MAX_ATTRIBUTE_CHARS:
                    raise RefusedError(name, value, f"give 1 to {MAX_ATTRIBUTE_CHARS} characters")
                attributes[own] = value
            else:
                raise RefusedError(name, value, "there are limit, related and attr.NAME")
        if len(attributes) > MAX_ATTRIBUTES:
            raise RefusedError("attr", len(attributes), f"give {MAX_ATTRIBUTES} at most")
        if len(related) > MAX_RELATED_USERS:
            raise RefusedError("related", len(related), f"give {MAX_RELATED_USERS} users at most")
        return cls(user, limit, attributes, tuple(related))


def _checked_id(name: str, value: str) -> str:
    if not 1 <= len(value) <= MAX_ID_CHARS:
        raise RefusedError(name, value, f"an id has 1 to {MAX_ID_CHARS} characters")
    return value


@dataclass(frozen=True, eq=False)
class _Shares:
    """p(i | s) of the items in any list; an item that is not in a list counts 0 there."""

    items: list[str]
    by_segment: dict[int, np.ndarray]
    overall: np.ndarray


class Known:
    """The latest records; one thread takes them in, others ask.

    Parameters
    ----------
    policy
        `recommendations` as the group has it: of it goes how segments are mixed.
    """

    def __init__(self, policy: RecommendationPolicy | None = None) -> None:
        self.policy = policy or RecommendationPolicy()
        self.passed_over = 0
        self._members: dict[str, int] = {}
        self._users: dict[str, bytes] = {}
        self._lists: dict[int | None, dict[str, Any]] = {}
        self._counts: AttributeCounts | None = None
        self._shares: _Shares | None = None

    def sizes(self) -> dict[str, int]:
        """Give how much is known."""
        attributes = 0 if self._counts is None else len(self._counts)
        return {
            "members": len(self._members),
            "users": len(self._users),
            "lists": len(self._lists),
            "attributes": attributes,
            "passed_over": self.passed_over,
        }

    def take(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Take a record in; one that cannot be read is counted, and the former one holds."""
        try:
            {MEMBERSHIPS: self._member, LISTS: self._list, USERS: self._user}[topic](
                key or b"", value
            )
        except (ValueError, KeyError, TypeError):
            self.passed_over += 1
            logger.warning("a record of %s cannot be read and is passed over", topic)

    def _member(self, key: bytes, value: bytes | None) -> None:
        user = key.decode()
        segment = None if value is None else from_json(value)["segment"]
        if segment is None:
            self._members.pop(user, None)
        else:
            self._members[user] = segment["id"]

    def _user(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._users.pop(key.decode(), None)
        else:
            self._users[key.decode()] = value

    def _list(self, key: bytes, value: bytes | None) -> None:
        if key == ATTRIBUTES_KEY:
            table = None if value is None else AttributeTable.model_validate_json(value)
            self._counts = None if table is None else AttributeCounts.of(table)
        elif RECOMMENDATIONS_KEYS.fullmatch(key):
            segment = None if key == b"all" else int(key)
            lists = dict(self._lists)
            if value is None:
                lists.pop(segment, None)
            else:
                told = from_json(value)
                items = [
                    {"item_id": each["item_id"], "score": each["score"]} for each in told["items"]
                ]
                lists[segment] = {"as_of": told["as_of"], "items": items}
            # Who asks meanwhile sees the former ones, or these.
            self._lists, self._shares = lists, None

    # --- answers ----------------------------------------------------------------------------

    def answer(self, question: Question) -> dict[str, Any]:
        """Give items for a user, and what the choice rests on (`used`).

        The user's own record where there is one, else the list of the user's segment; of a user in
        none, what users with these attributes, or else related users, choose; else what all do.
        """
        lists = self._lists
        if (own := self._users.get(question.user)) is not None:
            told = from_json(own)
            return {
                **_about(question, "user_recommendations"),
                "rests_on": told["used"],
                "as_of": told["profile_at"],
                "items": told["items"][: question.limit],
            }
        segment = self._members.get(question.user)
        if segment is not None and segment in lists:
            return self._of_list(question, "segment", segment, lists)
        ids = sorted(each for each in lists if each is not None)
        members = self._members
        near = [members[each] for each in question.related if each in members]
        belief = believe(
            ids,
            self.policy,
            counts=self._counts,
            attributes=question.attributes,
            related=near,
        )
        if belief.used is Used.GLOBAL:
            return self._of_list(question, "global", None, lists)
        shares = self._mixing(lists)
        mixed = mixed_popularity(belief, shares.by_segment, shares.overall)
        first = np.argsort(-mixed, kind="stable")[: question.limit].tolist()
        return {
            **_about(question, belief.used.value),
            "segments": {str(each): round(share, 6) for each, share in belief.segments.items()},
            "as_of": max(each["as_of"] for each in lists.values()),
            "items": [
                {"item_id": shares.items[place], "score": float(mixed[place])} for place in first
            ],
        }

    @staticmethod
    def _of_list(
        question: Question, used: str, segment: int | None, lists: Mapping[int | None, Any]
    ) -> dict[str, Any]:
        found = lists.get(segment, {"as_of": None, "items": []})
        return {
            **_about(question, used),
            "segments": {} if segment is None else {str(segment): 1.0},
            "as_of": found["as_of"],
            "items": found["items"][: question.limit],
        }

    def _mixing(self, lists: Mapping[int | None, Any]) -> _Shares:
        if (kept := self._shares) is not None:
            return kept
        places: dict[str, int] = {}
        for each in lists.values():
            for item in each["items"]:
                places.setdefault(item["item_id"], len(places))
        arrays = {}
        for segment, each in lists.items():
            own = np.zeros(len(places))
            own[[places[item["item_id"]] for item in each["items"]]] = [
                item["score"] for item in each["items"]
            ]
            arrays[segment] = own
        overall = arrays.pop(None, np.zeros(len(places)))
        by_segment = {segment: own for segment, own in arrays.items() if segment is not None}
        self._shares = _Shares([*places], by_segment, overall)
        return self._shares


def _about(question: Question, used: str) -> dict[str, Any]:
    return {"user_id": question.user, "used": used}


class Follower:
    """Reads the topics into what is known, in a thread.

    Parameters
    ----------
    known
        Where records go.
    servers
        Brokers, host:port separated by commas.
    prefix
        Of the topics' names (`topics.prefix`).
    properties
        Of librdkafka.
    """

    def __init__(
        self, known: Known, servers: str, *, prefix: str = "", properties: Mapping[str, Any] = {}
    ) -> None:
        self._known, self._prefix = known, prefix
        self._stop = threading.Event()
        self.error: str | None = None
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "segmenter-serving",  # asked for, and never joined
                **properties,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        self._behind: set[tuple[str, int]] = set()
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether each topic was read to its end once, and reading goes on."""
        return not self._behind and self.error is None and self._thread.is_alive()

    def start(self, seconds: float = 30.0) -> None:
        """Begin to follow.

        Raises
        ------
        KafkaException
            If the cluster does not answer.
        LookupError
            If a topic that is needed is missing.
        """
        there = self._consumer.list_topics(timeout=seconds).topics
        names = {self._prefix + name: name for name in (*NEEDED, USERS)}
        if missing := [self._prefix + name for name in NEEDED if self._prefix + name not in there]:
            raise LookupError(f"there is no topic {', '.join(missing)}: check the prefix")
        own = [
            TopicPartition(name, number, OFFSET_BEGINNING)
            for name in names
            if name in there
            for number in there[name].partitions
        ]
        self._behind = {(each.topic, each.partition) for each in own}
        self._consumer.assign(own)
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join(10)
        self._consumer.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for message in self._consumer.consume(_AT_ONCE, 0.2):
                    self._note(message)
        except KafkaException as error:
            self.error = str(error)
            logger.exception("following the topics has ended")

    def _note(self, message: Any) -> None:
        error, topic = message.error(), message.topic()
        if error is None:
            name = topic.removeprefix(self._prefix)
            self._known.take(name, message.key(), message.value())
        elif error.code() == KafkaError._PARTITION_EOF:
            self._behind.discard((topic, message.partition()))
        elif not error.retriable():
            raise KafkaException(error)
