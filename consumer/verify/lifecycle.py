"""What must hold of lifecycle events: among each other, and against the latest segment model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from consumer.verify.decode import Told, attempt, read
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.rules import envelope
from schemas.lifecycle import LifecycleEvent, TransitionType
from schemas.segment_model import SegmentModelRecord, is_provisional
from schemas.segments import SegmentState


def check_lifecycle(
    told: Iterable[Told[LifecycleEvent]],
    model: SegmentModelRecord | None,
    subject: str,
    violations: Violations,
    *,
    beginning_lost: bool = False,
) -> None:
    """Check that each segment is created once, and not seen again once retired, if not restored.

    Parameters
    ----------
    told
        All events, in the order in which they were published.
    model
        The latest segment model, at least as late as the events; None where there is none.
    subject
        The topic or file that the events are in.
    violations
        Where the findings go.
    beginning_lost
        Whether retention may have removed the first events.
    """
    audit = _Audit(subject, violations)
    for each in told:
        audit.add(each)
    audit.check_uses()
    if model is not None:
        audit.check_model(model, beginning_lost)


def check_segment_states(
    states: Mapping[str, bytes],
    model: SegmentModelRecord | None,
    subject: str,
    violations: Violations,
) -> str | None:
    """Hold the segments that there are, by their own records, against the latest segment model.

    Parameters
    ----------
    states
        Latest value by key, tombstones left out.
    model
        The latest segment model, at least as late; None where there is none to hold them against.
    subject
        The topic or file that they are in.
    violations
        Where the findings go.

    Returns
    -------
    str or None
        Why nothing was compared, None where it was.
    """
    found: dict[int, SegmentState] = {}
    for key, value in states.items():
        state = attempt(partial(read, SegmentState, value), key, subject, violations)
        if state is None:
            continue
        if key != str(state.id):
            violations.add(
                ViolationKind.LIFECYCLE, subject, f"segment {state.id} is under the key {key!r}"
            )
        found[state.id] = state
    if model is None or not found:
        # Nothing was written by a release that knew the topic, or what it is of cannot be read.
        return None
    latest = max(state.version for state in found.values())
    if latest < model.version:
        return f"the records are of version {latest}, the segment model of version {model.version}"
    if latest > model.version:
        violations.add(
            ViolationKind.LIFECYCLE,
            subject,
            f"there are records of version {latest}, the latest segment model is of version "
            f"{model.version}",
        )
        return None
    right = {
        each.id: SegmentState(
            id=each.id,
            name=each.label,
            words=each.words,
            users=each.size,
            since=each.since,
            version=model.version,
            provisional=is_provisional(model.learner),
        )
        for each in model.segments
    }
    for segment in sorted(found.keys() | right.keys()):
        if segment not in right:
            sentence = f"segment {segment} is there and not in the segment model"
        elif segment not in found:
            sentence = f"segment {segment} is missing that is in the segment model"
        elif (
            found[segment].model_dump(include={*SegmentState.model_fields})
            != right[segment].model_dump()
        ):
            sentence = f"segment {segment} is otherwise than in the segment model"
        else:
            continue
        violations.add(ViolationKind.LIFECYCLE, subject, f"{sentence} of version {model.version}")
    return None


_THERE = {
    TransitionType.CREATED,
    TransitionType.RESTORED,
    TransitionType.MERGED,
    TransitionType.RENAMED,
}
"""Types of events whose segment is there afterwards."""


class _Audit:
    def __init__(self, subject: str, violations: Violations) -> None:
        self._subject = subject
        self._violations = violations
        self._ids: set[str] = set()
        # Segment: version.
        self._created: dict[int, int] = {}
        self._retired: dict[int, int] = {}
        self._names: dict[int, tuple[int, str]] = {}
        """The latest name that a segment was given, by an event that says so; with its version."""
        self._uses: dict[int, int] = {}
        """The latest version that needs a segment to be there."""
        self._first: int | None = None
        self._last = 0

    def _violated(self, detail: str) -> None:
        self._violations.add(ViolationKind.LIFECYCLE, self._subject, detail)

    def add(self, entry: Told[LifecycleEvent]) -> None:
        """Take one event."""
        event = entry.event
        self._violations.add_all(self._subject, envelope(entry.place, "event", entry.faults))
        told = f"the event that version {event.version} {event.type} segment {event.segment}"
        if entry.recorded_id != event.id:
            self._violations.add(
                ViolationKind.FORGED_ID,
                self._subject,
                f"{told} came under another id than version, segment and type give, {event.id}",
            )
        if event.id in self._ids:
            self._violations.add(ViolationKind.REPEATED_ID, self._subject, f"{told} came twice")
            return
        self._ids.add(event.id)
        if event.version < self._last:
            self._violated(f"{told} came after those of version {self._last}")
        self._last = max(self._last, event.version)
        self._first = event.version if self._first is None else min(self._first, event.version)
        self._note(event)

    def _note(self, event: LifecycleEvent) -> None:
        segment, version = event.segment, event.version
        ends = {TransitionType.CREATED: self._created, TransitionType.RETIRED: self._retired}
        if (known := ends.get(event.type)) is not None:
            if segment in known:
                self._violated(
                    f"segment {segment} was {event.type} twice, by version {known[segment]} and "
                    f"by version {version}"
                )
            known.setdefault(segment, version)
        if event.type == TransitionType.RESTORED:
            self._restore(event)
        needed = [*event.children]
        if event.type in _THERE:
            needed.append(segment)
        if event.type == TransitionType.RENAMED:
            self._rename(event)
        if event.successor is not None:
            needed.append(event.successor)
        for each in needed:
            self._uses[each] = max(version, self._uses.get(each, 0))

    def _restore(self, event: LifecycleEvent) -> None:
        """Begin another life of a segment, which is judged like the first one."""
        segment = event.segment
        retired = self._retired.pop(segment, None)
        if retired is not None:
            self._check_use(segment, retired)
        elif segment in self._created:  # else it may have been retired before the first event
            self._violated(
                f"segment {segment} was restored by version {event.version} and was not retired"
            )
        self._uses.pop(segment, None)
        self._names[segment] = event.version, event.label

    def _rename(self, event: LifecycleEvent) -> None:
        known = self._names.get(event.segment)
        # The first one is held against nothing: names changed without events once.
        if known is not None and known[1] != event.previous_label:
            self._violated(
                f"version {event.version} renames segment {event.segment} from another name than "
                f"version {known[0]} gave it"
            )
        self._names[event.segment] = event.version, event.label

    def check_uses(self) -> None:
        """Check that no segment is part of what happened once it was retired."""
        for segment, version in self._retired.items():
            self._check_use(segment, version)

    def _check_use(self, segment: int, retired: int) -> None:
        if self._uses.get(segment, 0) >= retired:
            self._violated(
                f"segment {segment} was retired by version {retired}, and version "
                f"{self._uses[segment]} has something become of it"
            )

    def check_model(self, model: SegmentModelRecord, beginning_lost: bool) -> None:
        """Compare with the latest model."""
        if self._first is None:
            return
        if self._last > model.version:
            self._violated(
                f"there are events of version {self._last}, the latest segment model is of "
                f"version {model.version}"
            )
        present = {segment.id: segment.since for segment in model.segments}
        # A model may be later than the events that were read.
        gone = self._retired.keys() | {each.id for each in model.retired}
        for segment in sorted(self._retired.keys() & present.keys()):
            self._violated(
                f"segment {segment} was retired by version {self._retired[segment]} and is in the "
                f"segment model of version {model.version}"
            )
        for segment in sorted(self._created.keys() - present.keys() - gone):
            self._violated(
                f"segment {segment} was created by version {self._created[segment]}, was not "
                f"retired, and is not in the segment model of version {model.version}"
            )
        names = {segment.id: segment.label for segment in model.segments}
        for segment, (version, name) in self._names.items():
            if self._last == model.version and names.get(segment, name) != name:
                self._violated(
                    f"segment {segment} has another name in the segment model of version "
                    f"{model.version} than version {version} gave it"
                )
        first = self._first + 1 if beginning_lost else self._first
        for segment, since in present.items():
            if first <= since <= self._last and segment not in self._created:
                self._violated(
                    f"segment {segment} is there since version {since}, and no event says that it "
                    "was created"
                )
