"""What must always hold: each rule once, with its name and its sentence.

A rule is given what is known and yields what is wrong. Nothing here knows how it came to be known:
of a whole or of topics without an end, from files or from Kafka.
"""

# ruff: noqa: D401 - the docstring of a rule says what holds

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from consumer.verify.ledger import NOWHERE, UNREADABLE, Standing, place_of
from consumer.verify.report import Finding, ViolationKind
from schemas.changes import ChangeStatus, SegmentChange
from schemas.rule_changes import RuleChange, RuleStatus

_QUOTED_CHARS = 80

# --- a change by itself -------------------------------------------------------------------------


def envelope(place: str, what: str, faults: Iterable[str]) -> Iterator[Finding]:
    """The CloudEvents attributes are those of the change or event that they come with."""
    if names := ", ".join(faults):
        yield (
            ViolationKind.ENVELOPE,
            f"the attributes of {place} do not fit its {what} in {names}",
        )


def change_id(
    change: SegmentChange, recorded_id: str, due_id: str | None = None
) -> Iterator[Finding]:
    """A change comes under the id that follows from its cause, where that is known."""
    if change.is_known and recorded_id != (expected := due_id or change.id):
        yield (
            ViolationKind.FORGED_ID,
            f"change {change.sequence} came under id {_quote(recorded_id)}, what caused it gives "
            f"{expected}",
        )


def published_once(change: SegmentChange, recorded_id: str) -> Iterator[Finding]:
    """A change is published once."""
    yield (
        ViolationKind.REPEATED_ID,
        f"change {change.sequence} came under id {_quote(recorded_id)}, which was used before",
    )


def status(change: SegmentChange) -> Iterator[Finding]:
    """A change leads from one place to another.

    The contract itself refuses a status that does not fit two segments, one of them null. Of one
    that tells a label only it makes sure that the segment stays.
    """
    here, before = change.segment, change.previous_segment
    if here and before and here.id == before.id and change.status is not ChangeStatus.LABELLED:
        yield (
            ViolationKind.STATUS,
            f"change {change.sequence} is {change.status!s} from segment {here.id} to itself",
        )


# --- a change after another ---------------------------------------------------------------------


def link(before: Standing, change: SegmentChange) -> Iterator[Finding]:
    """A change goes on from where the user stood."""
    if change.sequence != before.sequence + 1:
        place = f"after change {before.sequence}" if before.sequence else "as the first change"
        yield (
            ViolationKind.SEQUENCE,
            f"change {change.sequence} came {place}, where {before.sequence + 1} belongs",
        )
        return
    segment = change.previous_segment
    previous = (segment.id, segment.label) if segment else (None, None)
    if before.place != hash(previous):
        yield (
            ViolationKind.CHAIN,
            f"change {change.sequence} gives {place_of(*previous)} as the previous segment, the "
            f"user was in {place_of(before.segment, before.label)}",
        )


def label_link(
    change: SegmentChange, previous: str | None, before: str | None
) -> Iterator[Finding]:
    """A predicted label goes on from the last one that was told."""
    yield (
        ViolationKind.LABEL,
        f"change {change.sequence} gives {previous!r} as the previous label, it was {before!r}",
    )


def embedding_link(before: tuple[int, str] | None, change: SegmentChange) -> Iterator[Finding]:
    """Another embedding model comes with a later segment model: that of its migration."""
    model = change.model
    if before and model.embedding != before[1] and model.version <= before[0]:
        yield (
            ViolationKind.MIXED_EMBEDDING,
            f"change {change.sequence} was decided by segment model {model.version} of embedding "
            f"model {model.embedding[:12]}, the one before by {before[0]} of {before[1][:12]}",
        )


def version_link(before: tuple[int, str] | None, change: SegmentChange) -> Iterator[Finding]:
    """A user is decided on under no earlier version than before."""
    if before and change.model.version < before[0]:
        yield (
            ViolationKind.VERSION,
            f"change {change.sequence} was decided under version {change.model.version} of the "
            f"segment model, the one before under version {before[0]}",
        )


# --- between the topics -------------------------------------------------------------------------


def membership(
    change: Standing | None, found: Standing | None, differing: Iterable[str], *, lost: bool
) -> Iterator[Finding]:
    """The membership is the user's last change.

    Parameters
    ----------
    change, found
        What the last change and the membership show; None where there is none.
    differing
        Names of fields in which they differ, where that is known.
    lost
        Whether the change may have been removed, or was not read.
    """
    if change is None:
        if found and found is not UNREADABLE and not lost:
            yield (
                ViolationKind.MEMBERSHIP_UNFOUNDED,
                f"has a membership, {found}, and no change",
            )
    elif found is None:
        yield (
            ViolationKind.MEMBERSHIP_MISSING,
            f"has no membership, though the last change shows {change}",
        )
    elif found is not UNREADABLE and not found.equals(change):
        names = ", ".join(differing)
        more = f"; fields that differ: {names}" if names else ""
        if not more and found.agrees(change):
            more = ", with other fields"
        yield (
            ViolationKind.MEMBERSHIP_DIFFERS,
            f"the membership shows {found}, the last change {change}{more}",
        )


def profile(expected: Standing, found: Standing | None) -> Iterator[Finding]:
    """The profile shows where the user stands."""
    if found is None:
        if expected is not NOWHERE:
            yield (
                ViolationKind.PROFILE_MISSING,
                f"has no profile, though the last change shows {expected}",
            )
    elif found is not UNREADABLE and not found.agrees(expected):
        yield (
            ViolationKind.PROFILE_DIFFERS,
            f"the profile shows {found}, "
            + (f"the last change {expected}" if expected.sequence else "there is no change"),
        )


def profile_label(told: str | None, found: str | None) -> Iterator[Finding]:
    """The profile's label is the one that was told last."""
    yield (
        ViolationKind.LABEL,
        f"the profile shows the label {found!r}, the last change {told!r}",
    )


# --- the input ----------------------------------------------------------------------------------


def refused_twice(topic: str, partition: int, offset: int) -> Iterator[Finding]:
    """A record is refused once."""
    yield (
        ViolationKind.REPEATED_DEAD_LETTER,
        f"the record {topic}[{partition}]@{offset} was refused twice",
    )


def balance(records: int, accepted: int, repeated: int, refused: int) -> Iterator[Finding]:
    """Every input record was accepted, repeated or refused."""
    total = accepted + repeated + refused
    if records == total:
        return
    verdict = (
        f"{records - total:,} are not accounted for"
        if records > total
        else f"{total - records:,} were counted twice or are no input"
    )
    yield (
        ViolationKind.BALANCE,
        f"{records:,} input records, but {accepted:,} accepted + {repeated:,} repeated + "
        f"{refused:,} refused = {total:,}: {verdict}",
    )


def unknown_segment(change: Standing, version: int) -> Iterator[Finding]:
    """A user is in a segment that the model which decided has."""
    yield (
        ViolationKind.UNKNOWN_SEGMENT,
        f"change {change.sequence} put the user into segment {change.segment}, which segment model "
        f"{version} does not have",
    )


# --- rules, in the settings, and who fulfils them -----------------------------------------------


def rule_change_id(change: RuleChange, recorded_id: str) -> Iterator[Finding]:
    """A change by a rule comes under the id that follows from what it says."""
    yield (
        ViolationKind.FORGED_ID,
        f"change {change.sequence} by a rule came under id {_quote(recorded_id)}, what it says "
        f"gives {change.id}",
    )


def rule_published_once(change: RuleChange) -> Iterator[Finding]:
    """A change by a rule is published once."""
    yield (
        ViolationKind.REPEATED_ID,
        f"change {change.sequence} by rule {change.rule} came under an id that was used before",
    )


def rule_sequence(change: RuleChange, before: int, members: Collection[str]) -> Iterator[Finding]:
    """A user's changes by rules are numbered one by one, anew after the user was let go."""
    still = f", and the user belongs to {_names(members)}" if members else ""
    yield (
        ViolationKind.SEQUENCE,
        f"change {change.sequence} by rule {change.rule} came after change {before}{still}",
    )


def rule_status(change: RuleChange, members: Collection[str], *, known: bool) -> Iterator[Finding]:
    """A user enters what the user does not belong to, and leaves what the user belongs to."""
    belongs = change.rule in members
    if change.status is RuleStatus.ENTERED and belongs:
        yield (
            ViolationKind.STATUS,
            f"change {change.sequence} enters rule {change.rule}, to which the user belongs",
        )
    elif change.status is RuleStatus.EXITED and not belongs and known:
        yield (
            ViolationKind.STATUS,
            f"change {change.sequence} leaves rule {change.rule}, to which the user does not "
            "belong",
        )


def rule_memberships(
    members: Mapping[str, int], found: Mapping[str, int], left: Collection[str], *, whole: bool
) -> Iterator[Finding]:
    """A user's memberships are the changes by which the user fulfils rules, and no others.

    Where not all changes are known nothing is said of rules that no change has told of.
    """
    for rule in sorted(members.keys() - found.keys()):
        yield (ViolationKind.MEMBERSHIP_MISSING, f"there is no membership of rule {rule}")
    for rule in sorted(found.keys() - members.keys()):
        if whole or rule in left:
            yield (
                ViolationKind.MEMBERSHIP_UNFOUNDED,
                f"there is a membership of rule {rule}, to which no change has led",
            )
    for rule in sorted(found.keys() & members.keys()):
        if found[rule] != members[rule]:
            yield (
                ViolationKind.MEMBERSHIP_DIFFERS,
                f"the membership of rule {rule} is not the change that led to it",
            )


def rule_state(
    sequence: int,
    members: Collection[str],
    left: Collection[str],
    state: tuple[int, Collection[str]] | None,
    *,
    whole: bool,
) -> Iterator[Finding]:
    """A user's state has counted the changes, and belongs where they lead."""
    if state is None:
        if members:
            yield (
                ViolationKind.RULE_STATE_DIFFERS,
                f"there is no state of a user who belongs to {_names(members)}",
            )
        return
    number, own = state
    if number != sequence and (number or members):  # 0 is of a user who was let go, and is back
        yield (
            ViolationKind.RULE_STATE_DIFFERS,
            f"the state has counted {number} changes by rules, the last one is {sequence}",
        )
        return
    more = {rule for rule in {*own} - {*members} if whole or rule in left}
    if missing := {*members} - {*own} | more:
        yield (
            ViolationKind.RULE_STATE_DIFFERS,
            f"state and changes differ in whether the user belongs to {_names(missing)}",
        )


def _names(rules: Collection[str]) -> str:
    return ", ".join(sorted(rules))


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED_CHARS else text[: _QUOTED_CHARS - 1] + "…")
