"""One user's way between segments, told in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumer.report.wording import day, one_line, ordinal
from consumer.tryout.demo.contents import Story, UserText
from schemas.changes import ChangeReason, ChangeStatus, SegmentChange, SegmentRef

ENOUGH_EVENTS = 6
"""A move after fewer events may be chance: no story to show to a person."""

_TEXT_CHARS = 160
_BEFORE, _AFTER = 2, 2


@dataclass(frozen=True, slots=True)
class Scene:
    """A heading and what the user wrote under it, each with its date."""

    heading: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """A story in words, for a terminal and for a page alike."""

    headline: str
    reason: str
    scenes: tuple[Scene, ...]
    history: tuple[str, ...]


def choose_story(
    changes_by_user: Mapping[str, Sequence[SegmentChange]], *, min_events: int = ENOUGH_EVENTS
) -> str | None:
    """Choose the user to tell about: the one whose move is the clearest.

    That is a user who moved exactly once, by behaviour, after `min_events` events or more, by the
    largest margin. Where there is none, one who moved several times will do, then one who only
    entered a segment. Of equals the first by name is taken. None where nothing ever changed.
    """

    def rank(user_id: str) -> tuple[bool, bool, float, str]:
        changes = changes_by_user[user_id]
        switch = turning_point(changes)
        late = switch is not None and switch.profile.events >= min_events
        switches = sum(change.status is ChangeStatus.SWITCHED for change in changes)
        margin = switch.margin if switch is not None and switch.margin is not None else 0.0
        return not late, switches != 1, -margin, user_id

    return min(
        (user for user, changes in changes_by_user.items() if changes), key=rank, default=None
    )


def turning_point(changes: Sequence[SegmentChange]) -> SegmentChange | None:
    """Give the user's own switch by the largest margin; None where there is none."""
    switches = [
        change
        for change in changes
        if change.status is ChangeStatus.SWITCHED and change.reason is ChangeReason.BEHAVIOUR
    ]
    return max(switches, key=lambda change: (change.margin or 0.0, change.sequence), default=None)


def tell(story: Story) -> Telling | None:
    """Tell a story; None where its user never changed."""
    if not story.changes:
        return None
    change = turning_point(story.changes) or story.changes[-1]
    return Telling(
        headline=f"{one_line(story.user_id, 60)} {_sentence(change)}",
        reason=_reason(change),
        scenes=_scenes(change, story.texts),
        history=tuple(_history_line(each) for each in story.changes),
    )


def _sentence(change: SegmentChange) -> str:
    after = f"after the {ordinal(change.profile.events)} event"
    # A new model has no event time, and the time on the clock means little beside event times.
    when = f" on {day(change.occurred_at)}" if change.occurred_at else ""
    return f"{_verb(change)}{when}, {after}."


def _verb(change: SegmentChange) -> str:
    if change.status is ChangeStatus.SWITCHED:
        return f"moved from {_name(change.previous_segment)} to {_name(change.segment)}"
    if change.status is ChangeStatus.ENTERED:
        return f"entered {_name(change.segment)}"
    if change.status is ChangeStatus.LABELLED:
        label = change.label.name if change.label else None
        return f"was labelled “{one_line(label, 60)}”" if label else "lost the label"
    if change.status is not ChangeStatus.EXITED:
        return f"{one_line(change.status, 60)} in {_name(change.segment)}"
    return f"left {_name(change.previous_segment)}"


def _name(segment: SegmentRef | None) -> str:
    return f"“{one_line(segment.label, 60)}”" if segment else "no segment"


def _reason(change: SegmentChange) -> str:
    """Say in figures why, as far as the change has them."""
    version = f"Version {change.model.version} of the segments"
    if change.reason is not ChangeReason.BEHAVIOUR:
        sentences = {
            ChangeReason.FIRST_ASSIGNMENT: f"{version} is the first that has one for the user.",
            ChangeReason.SEGMENT_MERGED: f"{version} merged the two.",
            ChangeReason.SEGMENT_SPLIT: f"{version} split the former one.",
            ChangeReason.MODEL_UPDATE: f"{version} drew the lines anew.",
            ChangeReason.ROLLBACK: f"{version} is an earlier one, put in force again.",
            ChangeReason.LABEL_CHANGED: "The segment stays; another label is predicted.",
            ChangeReason.INACTIVE: "Nothing came for long.",
        }
        return sentences.get(change.reason, f"The reason is “{one_line(change.reason, 60)}”.")
    if change.segment is None or change.distance is None:
        return "The profile lies too far from every segment."
    here = f"The profile lies {change.distance:.2f} from the centre of the new segment"
    if change.previous_distance is None or change.margin is None:
        return f"{here}."
    return (
        f"{here} and {change.previous_distance:.2f} from the old one: "
        f"nearer by a margin of {change.margin:.2f}."
    )


def _scenes(change: SegmentChange, texts: Sequence[UserText]) -> tuple[Scene, ...]:
    """Show what the user wrote at first, what tipped the balance, and what came then.

    The texts just before the change are mostly about the new interest already, since a profile
    takes some events to turn. The first ones show where the user came from.
    """
    ordered = sorted(texts, key=lambda text: (text.occurred_at, text.event_id))
    cause = change.source.event_id if change.source else None
    turn = change.occurred_at or change.changed_at
    tipped = [text for text in ordered if text.event_id == cause]
    before = [text for text in ordered if text.occurred_at < turn and text.event_id != cause]
    after = [text for text in ordered if text.occurred_at > turn and text.event_id != cause]
    scenes = (("Before", before[:_BEFORE]), ("The event", tipped[:1]), ("Since", after[:_AFTER]))
    return tuple(
        Scene(heading, tuple((day(text.occurred_at), _quote(text)) for text in chosen))
        for heading, chosen in scenes
        if chosen
    )


def _quote(text: UserText) -> str:
    return f"“{one_line(text.text, _TEXT_CHARS)}”"


def _history_line(change: SegmentChange) -> str:
    if change.occurred_at is None:
        why = f"by version {change.model.version} of the segments"
    else:
        why = f"on {day(change.occurred_at)}, with event {change.profile.events}"
    return f"{_verb(change)} {why}"
