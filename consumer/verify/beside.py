"""What a running audit reads beside the workers' outputs: of rules, and of items."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from confluent_kafka import KafkaException

from consumer.contract.records import Record
from consumer.kafka.groups import recommender_group
from consumer.settings import Settings
from consumer.verify.items_followed import ItemsFollowed
from consumer.verify.ledger import RECENT
from consumer.verify.lookups import Lookups
from consumer.verify.report import Violations
from consumer.verify.rule_chains import RuleChains
from consumer.verify.rule_topics import outputs_of_rules
from consumer.verify.watch import Place


class Beside:
    """The audits of the roles that are in use.

    Parameters
    ----------
    settings
        Topics, and which roles there are.
    violations
        Where findings go.
    settle_seconds
        How long the records of one transaction may be apart.
    whole
        Whether topics are read from their beginnings.
    """

    def __init__(
        self, settings: Settings, violations: Violations, *, settle_seconds: float, whole: bool
    ) -> None:
        self._settings, topics = settings, settings.topics
        self._rules: RuleChains | None = None
        self._items: ItemsFollowed | None = None
        self._lookups: Lookups | None = None
        self._beginning_lost = not whole
        # Before what time it was asked how far the recommenders are, and the answer.
        self._answer: tuple[float, Mapping[int, int | None]] | None = None
        self._rule_topics: tuple[str, ...] = ()
        self._item_topics: tuple[str, ...] = ()
        if settings.rules.enabled:
            self._rules = RuleChains(
                topics, violations, settle_seconds=settle_seconds, recent=RECENT
            )
            self._rule_topics = outputs_of_rules(topics)
        if settings.recommendations.enabled:
            self._items = ItemsFollowed(
                topics, violations, settle_seconds=settle_seconds, recent=RECENT, whole=whole
            )
            self._item_topics = (topics.item_events, topics.item_profiles)
        self.topics = (*self._rule_topics, *self._item_topics)

    def open(self) -> None:
        """Begin to ask the cluster, where that is needed."""
        if self._items is not None:
            self._lookups = Lookups(self._settings, recommender_group(self._settings.kafka))

    def close(self) -> None:
        """Cease to ask."""
        if self._lookups is not None:
            self._lookups.close()
            self._lookups = None

    def begin(self, lows: Mapping[Place, int] | None) -> None:
        """Take where topics begin; None where they are read from their ends."""
        of = self._settings.topics
        if lows is None or any(low for (name, _), low in lows.items() if name == of.rule_changes):
            self._beginning_lost = True
        firsts = () if lows is None else lows.items()
        if self._items is not None and any(n for (name, _), n in firsts if name == of.item_events):
            self._items.restart()

    def take(self, record: Record, now: float) -> None:
        """Take a record of one of the topics."""
        if self._rules is not None and record.topic in self._rule_topics:
            self._rules.take(record, now, beginning_lost=self._beginning_lost)
        elif self._items is not None:
            self._items.take(record, now)

    def ask(self, partitions: Mapping[str, list[int]], seconds: float) -> None:
        """Ask how far the recommenders are; without an answer it is asked again later."""
        if self._lookups is None:
            return
        topic, asked_at = self._settings.topics.item_events, time.monotonic()
        with suppress(KafkaException):
            found = self._lookups.committed(topic, partitions[topic], seconds)
            self._answer = asked_at, found.offsets

    def sampled(self) -> None:
        """Take what was answered last."""
        if self._items is not None and self._answer is not None:
            asked_at, offsets = self._answer
            self._items.committed(offsets, asked_at)
            self._answer = None

    def settle(self, caught_up: float, now: float, begun_anew: Collection[int]) -> None:
        """Report what does not agree though it should by now: as of the engine."""
        if self._rules is not None:
            self._rules.settle(caught_up, now)
        if self._items is not None:
            self._items.settle(caught_up, begun_anew)

    def restart(self) -> None:
        """Begin anew in the middle, after records were missed; the counts go on."""
        self._beginning_lost = True
        if self._rules is not None:
            self._rules.forget()
        if self._items is not None:
            self._items.restart()

    @property
    def settled(self) -> bool:
        """Whether there is nothing that later records, or a time without any, would still judge."""
        return not self.unsettled and (self._items is None or self._items.settled)

    @property
    def unsettled(self) -> int:
        """Users whose records by rules do not agree yet."""
        return 0 if self._rules is None else self._rules.unsettled

    @property
    def rule_changes(self) -> int | None:
        """Changes by rules that were read; None without rules."""
        return None if self._rules is None else self._rules.changes

    @property
    def item_events(self) -> int | None:
        """Events of items that were read; None without recommendations."""
        return None if self._items is None else self._items.events
