"""What of a group's state asks for somebody."""

from __future__ import annotations

from collections.abc import Iterator

from consumer.report.wording import plural
from consumer.status.facts import Endpoint, Group, Status

STILL_SECONDS = 60
"""For that long a record waits in a partition where nothing is committed, before it is told."""

BEHIND_SECONDS = 10
"""For that long a record waits in a topic that is written faster than it is read, likewise."""


def attention(status: Status) -> list[str]:
    """Say what asks for somebody, in words; empty where nothing does."""
    found = [line for group in status.groups for line in _of_group(group)]
    if status.model is None and any(
        group.role == "worker" and any(each.committed for each in group.partitions)
        for group in status.groups
    ):
        found.append("there is no segment model yet: is a trainer running, and are there users?")
    if status.frozen is not None and status.frozen.frozen:
        found.append(
            "the segment model is frozen: no new version is learned until 'segmenter models "
            "unfreeze'"
        )
    return found + [line for endpoint in status.endpoints for line in _of_endpoint(endpoint)]


def _of_group(group: Group) -> Iterator[str]:
    if group.resetting:
        yield (
            f"a reset of group {group.group_id} was begun and is not done: no worker starts until "
            "'segmenter reset --execute' has come to its end"
        )
    if not group.members:
        # Nobody has to run intake's or the trainer's predecessor: an empty group was once joined.
        yield f"no {group.role} is running: group {group.group_id} has no members"
        return
    if group.state != "stable":
        yield f"group {group.group_id} is {group.state.replace('_', ' ')}"
    nobody = [each.number for each in group.partitions if each.member is None]
    if nobody and group.state == "stable":
        yield f"nobody has {plural(len(nobody), 'partition')} of {group.topic}: {_listed(nobody)}"
    still = [
        each.number
        for each in group.partitions
        if each.member is not None and (each.waits_seconds or 0) > STILL_SECONDS
    ]
    if still and not group.records_per_second:
        yield (
            f"{plural(len(still), 'partition')} of {group.topic} {_stand(len(still))} still: "
            f"{_listed(still)}"
        )
    elif (
        # What waits for a moment is no sign: rates are those of a moment, too.
        group.lag_records
        and (group.waits_seconds is None or group.waits_seconds > BEHIND_SECONDS)
        and group.seconds_to_go is None
        and group.records_per_second
    ):
        yield f"{group.topic} is written faster than it is read"


def _of_endpoint(endpoint: Endpoint) -> Iterator[str]:
    if endpoint.problem is not None:
        yield f"{endpoint.address} does not answer: {endpoint.problem}"
    elif not endpoint.ready:
        yield f"{endpoint.address} is not ready"
    for test in endpoint.drift_alarms:
        yield f"drift: {test} is in alarm at {endpoint.address}"


def _listed(numbers: list[int], most: int = 8) -> str:
    shown = ", ".join(str(each) for each in numbers[:most])
    return shown + (", ..." if len(numbers) > most else "")


def _stand(count: int) -> str:
    return "stands" if count == 1 else "stand"
