"""What the command says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consumer.migrate.survey import Plan
from consumer.report.wording import plural
from models.segments.model import SegmentModel

_NAMED_USERS = 3


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What was done.

    Attributes
    ----------
    users, transactions
        Users migrated, and transactions committed.
    without_history
        Users of whom nothing but the standing is left.
    without_vector
        Events that the new embedding model fails on; they count, but move no profile.
    model
        The segment model published, None where there was none to carry over.
    dropped
        Ids of segments that have no member any more.
    own, members
        Sampled users nearest to the centre of the segment they are in, of those who are in one.
    """

    users: int
    transactions: int
    without_history: int
    without_vector: int
    model: SegmentModel | None
    dropped: tuple[int, ...]
    own: int
    members: int


def render_plan(plan: Plan, members: Mapping[str, int]) -> str:
    """Say what a migration has to do, a line each; ends with a line break."""
    lines = [f"new embedding model: {_short(plan.embedding)}"]
    lines += [
        f"users to migrate: {count:,} of embedding model {_short(former)}"
        for former, count in sorted(plan.formers.items())
    ]
    if plan.migrated:
        lines.append(f"users of the new model already: {plan.migrated:,}")
    lines.append(f"events to embed again: {plan.records:,}{_duration(plan)}")
    if plan.feed.former:
        lines.append(f"samples to replace: {len(plan.feed.former):,}")
    if (model := plan.feed.model) is not None and model.embedding != plan.embedding:
        lines.append(
            f"segment model {model.version}, {plural(len(model.ids), 'segment')}: to be carried "
            f"over from embedding model {_short(model.embedding)} as version {model.version + 1}"
        )
    elif model is None:
        lines.append("segment model: none yet")
    else:
        lines.append(f"segment model {model.version}: of the new model already")
    if plan.differences:
        lines.append(
            f"history: not complete for {plural(len(plan.differences), 'user')}; "
            "see --accept-missing-history"
        )
    elif plan.users:
        lines.append("history: complete")
    lines += [
        f"group {group} has {plural(count, 'member')}, to be stopped before a migration; "
        "the figures are of a moment"
        for group, count in members.items()
        if count
    ]
    return "".join(f"{line}\n" for line in lines)


def render_result(result: MigrationResult) -> str:
    """Say what was done, a line each; ends with a line break."""
    lines = [
        f"{plural(result.users, 'user')} migrated in {plural(result.transactions, 'transaction')}"
    ]
    if result.without_history:
        lines.append(
            f"{plural(result.without_history, 'user')} without an event left: only the segment "
            "is known, until the next event"
        )
    if result.without_vector:
        lines.append(
            f"{plural(result.without_vector, 'event')} left out of the profiles: the new embedding "
            "model has no vector for the text"
        )
    if (model := result.model) is not None:
        dropped = ", ".join(map(str, result.dropped))
        lines.append(
            f"segment model {model.version}: {plural(len(model.ids), 'segment')}"
            + (f"; dropped, having no member: {dropped}" if dropped else "")
        )
        if result.members:
            lines.append(
                f"{result.own:,} of {result.members:,} sampled users are nearest to the segment "
                "that they are in"
            )
    lines.append("start the workers and the trainer with the new embedding model")
    return "".join(f"{line}\n" for line in lines)


def missing_history(plan: Plan, topic: str) -> str:
    """Say which profiles rest on events that the input does not give any more, and what to do."""
    named = "; ".join(
        f"user {gap.user!r} of {topic}[{gap.partition}]: {gap.recorded[0]:,} events and "
        f"{gap.recorded[1]:,} repeats counted, {gap.found[0]:,} and {gap.found[1]:,} found"
        for gap in plan.differences[:_NAMED_USERS]
    )
    more = len(plan.differences) - _NAMED_USERS
    concerned = {gap.partition for gap in plan.differences}
    gone = [
        f"{topic}[{part.number}] begins at offset {part.low:,}"
        if part.low
        else f"{topic}[{part.number}] ends at {part.end:,}, before the group's {part.committed:,}"
        for part in plan.partitions
        if part.number in concerned and (part.low or (part.committed or 0) > part.end)
    ]
    reason = (
        f"the input is not all there any more ({', '.join(gone)})"
        if gone
        else "the settings of events, profile.event_memory or the dead letters are not those of "
        "the time when they were counted, or an earlier version took what this one refuses"
    )
    return (
        f"the events of {plural(len(plan.differences), 'user')} of {plan.users:,} do not count up "
        f"({named}{f'; and {more:,} more' if more > 0 else ''}): {reason}; run the former "
        "embedding model, or give --accept-missing-history, so that profiles rest on what is there"
    )


def _duration(plan: Plan) -> str:
    if not plan.rate:
        return ""
    seconds = plan.records / plan.rate
    told = f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
    return f", about {told} at {plan.rate:,.0f} a second"


def _short(identity: str) -> str:
    return identity[:12]
