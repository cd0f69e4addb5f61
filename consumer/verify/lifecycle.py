"""What must hold of lifecycle events: among each other, and against the latest segment model."""

from __future__ import annotations

from collections.abc import Iterable

from consumer.verify.decode import Told
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.rules import envelope
from schemas.lifecycle import LifecycleEvent, TransitionType
from schemas.segment_model import SegmentModelRecord


def check_lifecycle(
    told: Iterable[Told[LifecycleEvent]],
    model: SegmentModelRecord | None,
    subject: str,
    violations: Violations,
    *,
    beginning_lost: bool = False,
) -> None:
    """Check that each segment is created once, retired once at most, and then never seen again.

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


class _Audit:
    def __init__(self, subject: str, violations: Violations) -> None:
        self._subject = subject
        self._violations = violations
        self._ids: set[str] = set()
        # Segment: version.
        self._created: dict[int, int] = {}
        self._retired: dict[int, int] = {}
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
        needed = [*event.children]
        if event.type in {TransitionType.CREATED, TransitionType.MERGED}:
            needed.append(segment)
        if event.successor is not None:
            needed.append(event.successor)
        for each in needed:
            self._uses[each] = max(version, self._uses.get(each, 0))

    def check_uses(self) -> None:
        """Check that no segment is part of what happened once it was retired."""
        for segment, version in self._retired.items():
            if self._uses.get(segment, 0) >= version:
                self._violated(
                    f"segment {segment} was retired by version {version}, and version "
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
        first = self._first + 1 if beginning_lost else self._first
        for segment, since in present.items():
            if first <= since <= self._last and segment not in self._created:
                self._violated(
                    f"segment {segment} is there since version {since}, and no event says that it "
                    "was created"
                )
