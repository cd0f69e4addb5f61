"""What must always hold, as checks over iterables. Nothing here knows files or Kafka.

Order of an audit: the changes (`follow_chains`), the memberships against the last changes
(`compare_memberships`), the profiles against the memberships (`compare_profiles`), the dead letters
(`count_dead_letters`), then the model and the sums. Everything is read once. What stays in memory
is, for each user, the last change as JSON and a few numbers, and 16 bytes for each change id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from consumer.verify.embeddings import EmbeddingTally
from consumer.verify.facts import (
    NOWHERE,
    LatestChange,
    ProfileFacts,
    SeenChange,
    Standing,
    place_of,
)
from consumer.verify.labels import LabelChain
from consumer.verify.later import LaterKinds
from consumer.verify.report import ViolationKind, Violations
from schemas.changes import ChangeStatus, SegmentChange, SegmentRef
from schemas.segment_model import SegmentModelRecord

_QUOTED_CHARS = 80


@dataclass(slots=True)
class Chains:
    """What is known after all changes were read.

    Attributes
    ----------
    latest
        Each user's last change.
    count
        Changes read.
    cut_off
        Users whose first changes retention has removed.
    labels
        The labels that changes tell.
    later
        Changes of kinds that this version does not know.
    """

    latest: dict[str, LatestChange] = field(default_factory=dict)
    count: int = 0
    cut_off: int = 0
    labels: LabelChain = field(default_factory=LabelChain)
    later: LaterKinds = field(default_factory=LaterKinds)


def follow_chains(
    seen: Iterable[SeenChange], violations: Violations, embeddings: EmbeddingTally
) -> Chains:
    """Follow every user's chain of changes, given in the order in which they were published.

    A repeated change is reported as that and otherwise passed over, a break is reported once: the
    chain is taken up again behind it.
    """
    chains = Chains()
    ids: set[bytes] = set()
    for entry in seen:
        change, user = entry.change, entry.change.user_id
        chains.count += 1
        embeddings.add_change(change)
        chains.later.add(change)
        check_id(entry, violations)
        digest = id_digest(entry.recorded_id)
        if digest in ids:
            report_repeated_id(entry, violations)
            continue
        ids.add(digest)
        before = chains.latest.get(user)
        if before is None and entry.beginning_lost and change.sequence > 1:
            chains.cut_off += 1
        else:
            check_link(before.standing if before else NOWHERE, change, violations)
        if before is not None:
            _check_embedding(before, change, violations)
        check_status(change, violations)
        chains.labels.follow(change, violations, beginning_lost=entry.beginning_lost)
        chains.latest[user] = LatestChange.of(change)
    return chains


def id_digest(recorded_id: str) -> bytes:
    """Give 16 bytes that stand for a change's id: a forged one may be of any form and length."""
    return hashlib.blake2b(recorded_id.encode(errors="surrogatepass"), digest_size=16).digest()


def check_id(entry: SeenChange, violations: Violations) -> None:
    """Check that a change came under the id that follows from its cause, where that is known."""
    change, expected = entry.change, entry.change.id
    if change.is_known and entry.recorded_id != expected:
        violations.add(
            ViolationKind.FORGED_ID,
            change.user_id,
            f"change {change.sequence} came under id {_quote(entry.recorded_id)}, what caused it "
            f"gives {expected}",
        )


def report_repeated_id(entry: SeenChange, violations: Violations) -> None:
    """Report a change whose id came before."""
    violations.add(
        ViolationKind.REPEATED_ID,
        entry.change.user_id,
        f"change {entry.change.sequence} came under id {_quote(entry.recorded_id)}, which was "
        "used before",
    )


class Before(Protocol):
    """Where a user stood before a change."""

    @property
    def sequence(self) -> int:
        """Changes published so far."""

    @property
    def place(self) -> str:
        """The segment, for a sentence."""

    def is_in(self, segment: int | None, label: str | None) -> bool:
        """Whether the user is in this segment, under this label."""


def check_link(before: Before, change: SegmentChange, violations: Violations) -> bool:
    """Check that a change goes on from where the user stood; give whether it does."""
    if change.sequence != before.sequence + 1:
        place = f"after change {before.sequence}" if before.sequence else "as the first change"
        violations.add(
            ViolationKind.SEQUENCE,
            change.user_id,
            f"change {change.sequence} came {place}, where {before.sequence + 1} belongs",
        )
        return False
    previous = _ref(change.previous_segment)
    if before.is_in(*previous):
        return True
    violations.add(
        ViolationKind.CHAIN,
        change.user_id,
        f"change {change.sequence} gives {place_of(*previous)} as the previous segment, the "
        f"user was in {before.place}",
    )
    return False


def _check_embedding(before: LatestChange, change: SegmentChange, violations: Violations) -> None:
    """Another embedding model comes with a later segment model: that of its migration."""
    if change.model.embedding != before.embedding and change.model.version <= before.model_version:
        violations.add(
            ViolationKind.MIXED_EMBEDDING,
            change.user_id,
            f"change {change.sequence} was decided by segment model {change.model.version} of "
            f"embedding model {change.model.embedding[:12]}, the one before by "
            f"{before.model_version} of {before.embedding[:12]}",
        )


def check_status(change: SegmentChange, violations: Violations) -> None:
    """Check that a change leads from one place to another."""
    # The contract itself refuses a status that does not fit two segments, one of them null.
    # Of one that tells a label only it makes sure that the segment stays.
    if (
        change.status is not ChangeStatus.LABELLED
        and change.segment
        and change.previous_segment
        and change.segment.id == change.previous_segment.id
    ):
        violations.add(
            ViolationKind.STATUS,
            change.user_id,
            f"change {change.sequence} is {change.status!s} from segment {change.segment.id} to "
            "itself",
        )


def compare_memberships(
    memberships: Iterable[tuple[str, LatestChange | None]],
    chains: Chains,
    violations: Violations,
    *,
    beginning_lost: bool = False,
) -> dict[str, Standing]:
    """Compare each user's membership with the last change, in every field.

    Parameters
    ----------
    memberships
        Each user once, with None for a membership that is there and cannot be read.
    chains
        What `follow_chains` gave.
    violations
        Where the findings go.
    beginning_lost
        Whether retention may have removed all changes of a user; a membership without changes is
        fine then.

    Returns
    -------
    The standing that each user's profile must show: that of the last change, or of the membership
    where retention has removed the change. So a stale membership is not held against the profile.
    """
    standings = {user: latest.standing for user, latest in chains.latest.items()}
    missing = dict.fromkeys(chains.latest)
    for user, membership in memberships:
        missing.pop(user, None)
        latest = chains.latest.get(user)
        if membership is None:
            continue
        if latest is None:
            standings[user] = membership.standing
            if not beginning_lost:
                violations.add(
                    ViolationKind.MEMBERSHIP_UNFOUNDED,
                    user,
                    f"has a membership, {membership.standing}, and no change",
                )
        elif membership.document != latest.document:
            violations.add(
                ViolationKind.MEMBERSHIP_DIFFERS,
                user,
                f"the membership shows {membership.standing}, the last change "
                f"{latest.standing}; fields that differ: "
                f"{', '.join(_differing_fields(membership.document, latest.document))}",
            )
    for user in missing:
        violations.add(
            ViolationKind.MEMBERSHIP_MISSING,
            user,
            f"has no membership, though the last change shows {standings[user]}",
        )
    return standings


@dataclass(frozen=True, slots=True)
class ProfileSums:
    """What all profiles together say."""

    users: int
    members: int
    accepted: int
    repeated: int


def compare_profiles(
    profiles: Iterable[tuple[str, ProfileFacts | None]],
    standings: Mapping[str, Standing],
    violations: Violations,
    embeddings: EmbeddingTally,
    labels: LabelChain | None = None,
) -> ProfileSums:
    """Compare each user's profile with the membership, and add up the events.

    Parameters
    ----------
    profiles
        Each user once, with None for a profile that is there and cannot be read.
    standings
        What `compare_memberships` gave. A user who is not in it was never in a segment.
    violations, embeddings
        Where the findings go.
    labels
        What the changes tell of labels.
    """
    users: set[str] = set()
    members = accepted = repeated = 0
    for user, profile in profiles:
        users.add(user)
        if profile is None:
            continue
        accepted += profile.events
        repeated += profile.repeats
        members += profile.standing.segment is not None
        embeddings.add_profile(profile.embedding, user)
        if labels is not None:
            labels.compare(user, profile.label, violations)
        expected = standings.get(user, NOWHERE)
        if profile.standing != expected:
            violations.add(
                ViolationKind.PROFILE_DIFFERS,
                user,
                f"the profile shows {profile.standing}, "
                + (f"the last change {expected}" if expected.sequence else "there is no change"),
            )
    for user, standing in standings.items():
        if user not in users:
            violations.add(
                ViolationKind.PROFILE_MISSING,
                user,
                f"has no profile, though the last change shows {standing}",
            )
    return ProfileSums(len(users), members, accepted, repeated)


def count_dead_letters(
    sources: Iterable[tuple[str, int, int] | None],
    subject: str,
    violations: Violations,
    begun_anew: Container[int] = (),
) -> int:
    """Count dead letters and look for records that were refused twice.

    Parameters
    ----------
    sources
        Topic, partition and offset of each refused record; None where they cannot be read, which
        is reported by the reader.
    subject
        The topic or file that the dead letters are in.
    violations
        Where the findings go.
    begun_anew
        Partitions of which an offset may name two records: their topic was made anew.
    """
    seen: set[tuple[str, int, int]] = set()
    count = 0
    for source in sources:
        count += 1
        if source is None:
            continue
        if source in seen and source[1] not in begun_anew:
            violations.add(
                ViolationKind.REPEATED_DEAD_LETTER,
                subject,
                f"the record {source[0]}[{source[1]}]@{source[2]} was refused twice",
            )
        seen.add(source)
    return count


def check_segments(chains: Chains, model: SegmentModelRecord, violations: Violations) -> str | None:
    """Check that users moved by this version of the model are in segments that it has.

    Returns
    -------
    Why some users were not checked, or None: decisions of a later model cannot be judged.
    """
    # None: a user may leave for no segment under any model.
    known = {None, *(segment.id for segment in model.segments)}
    later = 0
    for user, latest in chains.latest.items():
        segment = latest.standing.segment
        if latest.model_version > model.version:
            later += 1
        elif latest.model_version == model.version and segment not in known:
            violations.add(
                ViolationKind.UNKNOWN_SEGMENT,
                user,
                f"change {latest.standing.sequence} put the user into segment {segment}, which "
                f"segment model {model.version} does not have",
            )
    if later:
        return (
            f"the segments of {later:,} users: they were decided by a later segment model than "
            f"the latest to be found, version {model.version}"
        )
    return None


def check_balance(
    subject: str,
    violations: Violations,
    *,
    records: int,
    accepted: int,
    repeated: int,
    refused: int,
) -> None:
    """Check that every input record was accepted, repeated or refused."""
    total = accepted + repeated + refused
    if records == total:
        return
    verdict = (
        f"{records - total:,} are not accounted for"
        if records > total
        else f"{total - records:,} were counted twice or are no input"
    )
    violations.add(
        ViolationKind.BALANCE,
        subject,
        f"{records:,} input records, but {accepted:,} accepted + {repeated:,} repeated + "
        f"{refused:,} refused = {total:,}: {verdict}",
    )


def _ref(segment: SegmentRef | None) -> tuple[int | None, str | None]:
    return (segment.id, segment.label) if segment else (None, None)


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED_CHARS else text[: _QUOTED_CHARS - 1] + "…")


def _differing_fields(one: bytes, other: bytes) -> Iterator[str]:
    left, right = json.loads(one), json.loads(other)
    return (name for name in left | right if left.get(name) != right.get(name))
