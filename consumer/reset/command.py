"""The command, from the look to the last line."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from consumer.report.progress import counting
from consumer.report.wording import plural
from consumer.reset.run import Plan, Reset
from consumer.settings import Settings


def reset(run: Reset, settings: Settings, *, execute: bool, say: Callable[[str], object]) -> None:
    """Reset a group, or say what that would do.

    Parameters
    ----------
    run
        What is to be done.
    settings
        Of the workers.
    execute
        Whether to do it; else nothing is written, and no group is joined.
    say
        Gets lines for the user.

    Raises
    ------
    ExpectedError
        If the reset is refused or cannot go on.
    """
    if execute:
        run.members.wait_until_stopped(run.groups, say)
    plan = run.look()
    say(render(plan, settings))
    if not execute:
        say("nothing was done: --execute does it\n")
        return
    done = 0
    with counting(Console(stderr=True), "emptying", "users", lambda: plan.users) as show:

        def step(size: int) -> None:
            nonlocal done
            done += size
            show(done)

        run.run(plan, step)
    say("done: start the workers and trainers again\n")


def render(plan: Plan, settings: Settings) -> str:
    """Say what a plan does, a line a fact."""
    topics, group = settings.topics, settings.kafka.group_id
    lines = [
        f"{topics.events}[{number}]: group {group} goes from "
        f"{'no offset' if plan.committed[number] is None else plan.committed[number]} to {target}"
        for number, target in sorted(plan.targets.items())
    ]
    lines += [
        f"{plan.again:,} offsets are read again, {plan.skipped:,} are passed over",
        f"{topics.profiles}: the profiles of {plural(plan.users, 'user')} are emptied; their "
        "segment, label and number of changes stay",
        f"{topics.samples}: {plural(plan.samples, 'sampled profile')} are removed",
        f"not touched: {topics.changes}, {topics.memberships} and all that was learned "
        f"({topics.models}, {topics.segments}, {topics.drift_reference}, {topics.label_models}), "
        f"{topics.dead_letters}, {topics.labels}, groups of intake and of a redrive",
    ]
    if settings.recommendations.enabled and plan.again:
        lines.append(
            f"items count twice: what is read again is told of on {topics.item_events} once more, "
            "and the recommender counts it once more (docs/operations.md, Reset)"
        )
    lines += [
        f"in the way: group {name} has {plural(n, 'member')}"
        for name, n in plan.members.items()
        if n
    ]
    if plan.unfinished:
        lines.append("an earlier reset has not come to its end: no worker starts until one has")
    return "".join(f"{line}\n" for line in lines)
