"""`segmenter dead-letters`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from consumer.cli.command import Command
from consumer.cli.values import Count, time
from consumer.contract.errors import UsageError
from consumer.report.wording import plural
from consumer.settings import Settings
from schemas.dead_letters import RefusalReason

_REASON = click.option(
    "--reason",
    "reasons",
    type=click.Choice([each.value for each in RefusalReason]),
    multiple=True,
    help="Only of this reason. May be given again.",
)
_SOURCE = click.option(
    "--source", "sources", multiple=True, metavar="TOPIC", help="Only of records of this topic."
)
_SINCE = click.option(
    "--since", type=time, metavar="TIME", help="Only refused from then on, as RFC 3339 has it."
)
_UNTIL = click.option(
    "--until", type=time, metavar="TIME", help="Only refused before then, as RFC 3339 has it."
)
_LABELS = click.option(
    "--of-labels",
    is_flag=True,
    help="Of labels: topics.label_dead_letters in place of dead_letters.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which dead letters are meant."""
    for option in (_UNTIL, _SINCE, _SOURCE, _REASON):
        command = option(command)
    return command


def _choice(
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
) -> Any:
    from consumer.letters.choice import Choice

    if since is not None and until is not None and until <= since:
        raise UsageError(f"--until {until.isoformat()} is not after --since {since.isoformat()}")
    return Choice(frozenset(reasons), frozenset(sources), since, until)


def _topic(settings: Settings, of_labels: bool) -> str:
    return settings.topics.label_dead_letters if of_labels else settings.topics.dead_letters


@contextmanager
def _reading() -> Iterator[Callable[[int], None]]:
    """Show how many dead letters were read; give what is to be told how many more they are."""
    from rich.console import Console

    from consumer.report.progress import counting

    done = 0
    with counting(Console(stderr=True), "reading", "dead letters") as show:

        def step(count: int) -> None:
            nonlocal done
            done += count
            show(done)

        yield step


@click.group()
def dead_letters() -> None:
    """Look at refused records, and bring them back."""


@dead_letters.command("list", cls=Command)
@_choosing
@click.option(
    "--latest", type=Count(0, 10_000), default=10, show_default=True, help="Told one by one."
)
@_LABELS
@_JSON
def list_(
    settings: Settings,
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    latest: int,
    of_labels: bool,
    as_json: bool,
) -> None:
    """Count dead letters by reason, and tell the latest ones.

    Nothing of what is in the records is shown. Counted are also those that `segmenter dead-letters
    redrive` is done with already, those that were refused again after that, and those of which
    something was cut off, so that they never go back.
    """
    from consumer.letters.listing import list_letters, render_listing

    choice = _choice(reasons, sources, since, until)
    with _reading() as step:
        found = list_letters(settings, _topic(settings, of_labels), choice, latest, step)
    click.echo(found.model_dump_json(indent=1) if as_json else render_listing(found).rstrip("\n"))


@dead_letters.command(cls=Command)
@click.argument("partition", type=Count(0), help="Of the topic of dead letters.")
@click.argument("offset", type=Count(0), help="Of the dead letter, in that partition.")
@click.option(
    "--value", is_flag=True, help="The record's value too: what a user wrote, on this terminal."
)
@_LABELS
def show(settings: Settings, partition: int, offset: int, value: bool, of_labels: bool) -> None:
    """Show one dead letter as JSON: why it was refused, its key and headers.

    The record's value is shown only with --value. It is what a user wrote: it goes to the standard
    output and into no log, so mind where that goes to. Where the dead letter does not hold it
    (dead_letters.values) it is fetched from the input, and the headers with it.
    """
    from consumer.letters.listing import describe, find_letter

    letter = find_letter(settings, _topic(settings, of_labels), partition, offset, with_value=value)
    # Escaped: what others have written moves no cursor.
    click.echo(json.dumps(describe(letter, value=value), indent=1))


@dead_letters.command(cls=Command)
@_choosing
@click.option("--dry-run", is_flag=True, help="Say what would be brought back, write nothing.")
@click.option("--limit", type=Count(1), metavar="N", help="Bring back so many at most.")
@click.option(
    "--tries",
    type=Count(1, 100),
    default=3,
    show_default=True,
    help="Leave a record that was brought back so often, over all runs.",
)
@_JSON
def redrive(
    settings: Settings,
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    limit: int | None,
    tries: int,
    as_json: bool,
) -> None:
    """Bring refused records back to the input that they came from.

    Each goes to the topic and partition that its dead letter names (topics.events, or
    topics.raw_events for intake), with its key, value, headers, and its time where the topic keeps
    that long. Mend first what they were refused for: one that fails again is a dead letter again,
    which counts one more try. Begin with --dry-run, then with --limit.

    Each dead letter is brought back once, whatever runs there are and whenever one is killed: the
    records, and how far the redrive is, are one transaction. How far that is, is kept in a consumer
    group of its own, kafka.group_id with '-redrive', for each reason apart. So what --reason,
    --source, --since, --until or --limit leave out is not passed over: a later run that means it
    brings it back. To bring all back once more, delete that group. Each run renews what is kept;
    brokers forget it offsets.retention.minutes after the last one, and the next run says so.

    Without dead_letters.values a dead letter does not hold its record, which is then fetched from
    the input. Never brought back, but counted, are records that are gone from there, those that are
    not whole in a dead letter that holds them, and those that the input does not take. Records that
    were brought back --tries times, and those of other topics, stay and are counted too. Labels are
    not brought back: a newer one may have come.
    """
    from consumer.letters.redrive import Redrive

    choice = _choice(reasons, sources, since, until)
    with _reading() as step:
        run = Redrive(settings, choice, limit=limit, tries=tries, step=step)
        found = run.run(dry=dry_run)
    if as_json:
        told: dict[str, object] = {"dry_run": dry_run, "first": found.first, "back": found.back}
        told |= {"limited": found.limited, "left": found.counts}
        click.echo(json.dumps(told))
        return
    back = "would be brought back" if dry_run else "brought back"
    click.echo(f"{plural(found.back.total(), 'record')} {back}{_by_reason(found.back)}")
    for fate, counts in found.counts.items():
        if counts:
            click.echo(f"{plural(counts.total(), 'record')} {_FATES[fate]}{_by_reason(counts)}")
    if found.first and found.back:
        click.echo(_FIRST)
    if found.limited:
        click.echo(f"stopped at --limit {limit}: there are more")


_FIRST = (
    "nothing is known of an earlier redrive: this is the first one, or the last one is longer ago "
    "than brokers keep the offsets of a group without members (offsets.retention.minutes); if it "
    "is, choose by --since what is later than that"
)

_FATES = {
    "cut": "not whole in their dead letters, never brought back",
    "too_large": "too large for their topic with the headers of a redrive, never brought back",
    "no_partition": "of a partition that their topic has no more, never brought back",
    "gone": "gone from their topic, and their dead letters do not hold them, never brought back",
    "too_often": "left: brought back --tries times before",
    "elsewhere": "left: of topics that are neither topics.events nor topics.raw_events",
    "others": "left: not chosen",
    "unreadable": "left: without the headers of a dead letter",
}


def _by_reason(counts: Counter[str]) -> str:
    listed = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common() if reason)
    return f": {listed}" if listed else ""
