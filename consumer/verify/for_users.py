"""Audits items for single users against the profiles that they were chosen for.

A profile says which items were published for its user last, and which ones the user has. It is
written in the transaction that publishes them. So the latest record of either topic has to fit the
other, whatever crashed in between.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from consumer.contract.records import Record
from consumer.settings import Settings
from consumer.verify.cut import TopicReader
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.whole import WholeAudit
from models.profiles.items import item_digests, list_digest
from schemas.arrays import decode_array
from schemas.binary import RecordError, is_binary
from schemas.profiles import ProfileItems
from schemas.recommendations import UserRecommendations
from schemas.states import items_of, read_profile, read_state

_Place = tuple[int, bytes]
"""Partition and key."""


class UserItemAudit:
    """Takes records of the two topics, the profiles first, then judges.

    Parameters
    ----------
    settings
        Names of the topics.
    violations
        Where findings go.
    """

    def __init__(self, settings: Settings, violations: Violations) -> None:
        self._topic = settings.topics.user_recommendations
        self._violations = violations
        self._profiles: dict[_Place, ProfileItems | None] = {}
        self._published: dict[_Place, bytes | None] = {}
        self.unchecked: list[str] = []

    @property
    def users(self) -> int:
        """Users for whom items are published."""
        return len(self._published)

    def profile(self, record: Record) -> None:
        """Take a record of the workers' changelog; one that cannot be read is another audit's."""
        place = record.partition, record.key or b""
        if record.value is None:
            self._profiles.pop(place, None)
            return
        try:
            if is_binary(record.value):
                read = items_of(read_state(place[1], record.value).rest.items)
            else:
                read = read_profile(place[1], record.value).items
        except RecordError:
            read = None
        self._profiles[place] = read

    def recommendation(self, record: Record) -> None:
        """Take a record of `user-recommendations`."""
        place = record.partition, record.key or b""
        if record.value is None:
            self._published.pop(place, None)
            return
        try:
            read = UserRecommendations.model_validate_json(record.value)
        except ValueError:
            detail = f"{record.place} is not as its contract says"
            self._violations.add(ViolationKind.MALFORMED, record.topic, detail)
            self._published[place] = None
            return
        if read.user_id.encode() != place[1]:
            detail = f"{record.place} has another key than its user"
            self._violations.add(ViolationKind.WRONG_KEY, record.topic, detail)
        digests = item_digests(item.item_id for item in read.items)
        self._published[place] = digests.tobytes()

    def judge(self) -> None:
        """Find users whose latest records do not fit each other."""
        before = 0
        for place, published in self._published.items():
            if place not in self._profiles:
                self._add(place, "has items for a user of whom there is no profile there")
                continue
            profile = self._profiles[place]
            if published is None:
                continue
            if profile is None or not profile.shown:
                before += 1
                continue
            digests = np.frombuffer(published, np.uint32)
            if list_digest(digests) != profile.shown:
                self._add(place, "has other items than the profile says were published last")
            had = {*decode_array(profile.had, "<u4").tolist()}
            if owned := sum(each in had for each in digests.tolist()):
                self._add(place, f"has {owned} items that the user has by the profile")
        for place, profile in self._profiles.items():
            if profile is not None and profile.shown and place not in self._published:
                self._add(place, "has no items of a user for whom the profile says there are some")
        if before:
            self.unchecked.append(
                f"{self._topic}: items for {before:,} users are of a time before "
                "recommendations.users was taken back, or their profiles cannot be read"
            )

    def _add(self, place: _Place, what: str) -> None:
        partition, key = place
        self._violations.add(
            ViolationKind.RECOMMENDATION_DIFFERS,
            key.decode(errors="replace"),
            f"{self._topic}[{partition}] {what}",
        )


def audit_for_users(
    reader: TopicReader,
    settings: Settings,
    partitions: Mapping[str, list[int]],
    audit: WholeAudit,
) -> None:
    """Hold the items for users against the profiles.

    It takes some hundred bytes for each user.

    Parameters
    ----------
    reader
        Of the group of the workers.
    settings
        Names of the topics.
    partitions
        Of the topics.
    audit
        Where the findings go.

    Raises
    ------
    VerifyError
        If a topic cannot be read.
    """
    profiles, topic = settings.topics.profiles, settings.topics.user_recommendations
    both = {name: partitions[name] for name in (profiles, topic)}
    spans, found = reader.spans(both), Violations()
    own = UserItemAudit(settings, found)
    for record in reader.read(profiles, spans[profiles]):
        own.profile(record)
    for record in reader.read(topic, spans[topic]):
        own.recommendation(record)
    if reader.spans(both) != spans:
        own.unchecked.append(f"{topic}: items for users are being written")
    else:
        own.judge()
        audit.notes.append(f"{topic} has items for {own.users:,} users")
    audit.in_changes.extend(found)
    audit.unchecked += own.unchecked
