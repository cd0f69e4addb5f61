"""What terminal and page say of an explanation, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from consumer.explain.facts import Change, Explanation, Found, More, Segment
from consumer.report.wording import one_line, plural
from models.segments.counterfactual import MOST_MORE

_FOUND = {
    Found.READ: "a text",
    Found.GONE: "a text that the input does not have any more",
    Found.OTHER: "another event is at its place",
    Found.REFUSED: "it would be refused now",
    Found.NOT_ASKED: "a text that was not looked for",
}


def name(segment: Segment | None) -> str:
    """Name a segment."""
    if segment is None:
        return "no segment"
    return f"{segment.id} “{one_line(segment.label, 60)}”"


def signed(number: float, digits: int) -> str:
    """Write a number with its sign; what is rounded to 0 is not below it."""
    return f"{round(number, digits) + 0.0:+.{digits}f}"


def time_of(at: datetime) -> str:
    """Write a time of an event."""
    return at.isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")


def found_words(found: Found) -> str:
    """Say what became of an event's text."""
    return _FOUND[found]


def place(found: Explanation) -> str:
    """Say where the user is, and since when."""
    user = one_line(found.user_id, 80)
    when = "" if found.at is None else f"At {found.at.isoformat()} "
    is_in = "was in" if found.at is not None else "is in"
    said = f"{when}{user} {is_in} {name(found.segment)}"
    if found.since is not None:
        change = found.since
        since = change.occurred_at or change.changed_at
        said += f" since {time_of(since)}, event {change.events}, by {_why(change)}"
    return f"{said}."


def nearness(found: Explanation) -> Iterator[str]:
    """Say what that rests on, and how near the next segment is."""
    if found.events is not None and found.weight is not None:
        latest = "" if found.updated_at is None else f", the latest of {time_of(found.updated_at)}"
        rests, weigh = ("rested", "weighed") if found.at is not None else ("rests", "weigh")
        yield (
            f"The profile {rests} on {plural(found.events, 'event')}{latest}; faded they {weigh} "
            f"{found.weight:.2f}. Segments are of version {found.version}."
        )
    if found.margin is not None:
        farther = found.margin.margin
        yield (
            f"The next one, {name(found.margin.farther)}, is farther by {farther:.3f}."
            if farther >= 0
            else f"{name(found.margin.farther)} is nearer by {-farther:.3f}: not by enough, or not "
            "for long enough, to move the user."
        )


def unshared(found: Explanation) -> Iterator[str]:
    """Tell of the events that are known where there is no margin to have a share of."""
    if found.margin is None:
        for event in sorted(found.known, key=lambda each: -each.weight):
            told = one_line(event.text or event.event_id or found_words(event.found), 100)
            yield f"{time_of(event.occurred_at)}, weight {event.weight:.2f}: {told}"


def _why(change: Change) -> str:
    cause = {"user": "the user's doing", "model": "the model's", "operator": "an operator's"}
    told = cause.get(change.cause or "", change.cause or "an unknown cause")
    return f"{change.reason} ({told})"


def change_line(change: Change) -> str:
    """Tell a change on one line."""
    if change.status == "labelled":
        what = f"labelled anew in {name(change.segment)}"
    elif change.previous is None:
        what = f"{change.status} {name(change.segment)}"
    else:
        what = f"{change.status} {name(change.previous)} → {name(change.segment)}"
    figures = [f"event {change.events}", f"version {change.version}"]
    if change.margin is not None:
        figures.append(f"margin {change.margin:.3f}")
    if change.confidence is not None:
        figures.append(f"confidence {change.confidence:.2f}")
    if change.shares is not None:
        pushed = [
            f"event {one_line(e.event_id, 60)} {signed(e.share, 3)}" for e in change.shares.events
        ]
        pushed.append(f"all others {signed(change.shares.others, 3)}")
        pushed.append(f"the centres {signed(change.shares.centres, 3)}")
        figures.append(f"of which {', '.join(pushed)}")
    at = time_of(change.occurred_at or change.changed_at)
    return f"{change.sequence}. {at} {what}: {_why(change)}, {', '.join(figures)}"


def moves(found: Explanation) -> Iterator[str]:
    """Say what would move the user."""
    moving = found.counterfactuals
    if moving is None:
        return
    anew = moving.decided_anew
    if anew is not None and found.segment is not None and anew.id != found.segment.id:
        yield (
            f"By the profile of now the user would not come here, but be in {name(anew)}: only the "
            "margin that a move wants keeps the user here."
        )
    elsewhere: dict[str, list[int]] = {}
    for each in moving.would_not_be_here:
        elsewhere.setdefault(name(each.segment), []).extend(each.offsets)
    for where, offsets in elsewhere.items():
        which = _events(found, offsets)
        any_one = which if len(offsets) == 1 else f"any one of {which}"
        yield f"Without {any_one} the user would not have come here, but be in {where}."
    if moving.fewest is not None:
        count = len(moving.fewest.offsets)
        those = (
            f"the {count} that push most" if count > 1 else _events(found, moving.fewest.offsets)
        )
        yield f"Without {those}, {name(moving.fewest.segment)} would be nearest."
    elif any(event.share is not None for event in found.known):
        yield "No other segment would be nearest without all of the events that are known."
    for more in moving.more:
        yield _more(found, more)


def _more(found: Explanation, more: More) -> str:
    like = (
        f"like the latest that is known, of {_time(found, more.offset)},"
        if more.towards is None
        else f"in the very middle of {name(more.towards)}"
    )
    if more.events is None:
        return f"No number of events {like} up to {MOST_MORE:,} moves the user."
    return (
        f"{plural(more.events, 'more event')} {like} would move the user to {name(more.segment)}."
    )


def _events(found: Explanation, offsets: Sequence[int]) -> str:
    times = ", ".join(_time(found, offset) for offset in offsets)
    return f"the {'event' if len(offsets) == 1 else 'events'} of {times}"


def _time(found: Explanation, offset: int | None) -> str:
    return next(
        (time_of(event.occurred_at) for event in found.known if event.offset == offset), "then"
    )
