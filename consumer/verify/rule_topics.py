"""Audits the topics of rules up to one moment."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.contract.errors import UsageError
from consumer.contract.extras import need
from consumer.settings import Settings, TopicSettings
from consumer.verify.cut import Span, TopicReader
from consumer.verify.report import Violations
from consumer.verify.rule_chains import RuleChains
from consumer.verify.rule_states import RuleStateAudit
from consumer.verify.whole import WholeAudit
from models.rules.rule_set import RuleSet, RuleSetError


def outputs_of_rules(topics: TopicSettings) -> tuple[str, ...]:
    """Name what the processes of rules write."""
    return (topics.rule_changes, topics.rule_memberships, topics.rule_states)


def audit_rules(
    reader: TopicReader,
    settings: Settings,
    partitions: Mapping[str, list[int]],
    audit: WholeAudit,
) -> None:
    """Hold the topics of rules against each other, against the input and against the rules.

    It takes some 100 bytes of memory for each event that counts.

    Parameters
    ----------
    reader
        Of the group of the rules.
    settings
        Topics, rules, and how events are read.
    partitions
        Of the topics.
    audit
        Where the findings go; they count whether the group of the workers moves or not.

    Raises
    ------
    VerifyError
        If a topic cannot be read.
    """
    topics = settings.topics
    outputs = outputs_of_rules(topics)

    def stand() -> tuple[Mapping[int, int | None], dict[str, dict[int, Span]]]:
        group = reader.group(topics.events, partitions[topics.events])
        return group.offsets, reader.spans({name: partitions[name] for name in outputs})

    offsets, spans = stand()
    found, between = Violations(), Violations()
    chains = RuleChains(topics, found, between=between)
    lost = any(span.low > 0 for span in spans[topics.rule_changes].values())
    for topic in outputs:
        for record in reader.read(topic, spans[topic]):
            chains.take(record, beginning_lost=lost)
    changes = f"{chains.changes:,} changes by rules come to {chains.members:,} memberships"
    audit.notes.append(changes)
    if lost:
        audit.unchecked.append(
            f"the beginning of chains: retention has removed the oldest records of "
            f"{topics.rule_changes}"
        )
    if untold := chains.untold():
        audit.unchecked.append(untold)
    chains.finish()
    try:
        states = RuleStateAudit(settings, _rules_of(settings), between)
    except UsageError as error:
        audit.unchecked.append(f"what rules know of users: {error}")
    else:
        whole = _read_events(reader, topics.events, partitions[topics.events], offsets, states)
        for record in reader.read(topics.rule_states, spans[topics.rule_states]):
            states.state(record)
        if whole:
            states.all_held()
        states.all_belong()
        audit.unchecked += states.unchecked
    if stand() != (offsets, spans):
        audit.unchecked.append("what rules know of users, and memberships: they are being followed")
    else:
        found.extend(between)
    audit.in_changes.extend(found)


def _read_events(
    reader: TopicReader,
    topic: str,
    partitions: list[int],
    offsets: Mapping[int, int | None],
    states: RuleStateAudit,
) -> bool:
    """Give the audit the events that the group is done with; tell whether these are all."""
    metadata = reader.group(topic, partitions).metadata
    done = {}
    for number, span in reader.spans({topic: partitions})[topic].items():
        known, end = metadata.get(number), offsets[number] or 0
        first = (known.first if known else None) or 0
        if first < end:
            done[number] = Span(first, end)
        if (known and (known.begun_anew or known.lost)) or (first < end and span.low > first):
            states.unchecked.append(
                f"that no event was lost for rules: of {topic} the oldest records were removed, or "
                "it was made anew"
            )
            return False
    for record in reader.read(topic, done):
        states.event(record)
    return True


def _rules_of(settings: Settings) -> RuleSet:
    if settings.rules.segments:
        need("verify of rules", "rules")
    try:
        own = settings.rules
        return RuleSet.of(own.segments, own.longest_window, own.kept_events)
    except RuleSetError as error:
        raise UsageError(str(error)) from None
