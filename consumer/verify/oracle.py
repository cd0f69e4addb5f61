"""Compares what came out of Kafka with a replay of the same input: the oracle of a fault-free run.

With the segment model fixed, a user's changes depend on that user's events and their order alone:
not on partitions, workers, batches, rebalances or crashes. So a run over Kafka must give exactly
what `segmenter replay` gives, but for the time of processing and the places of the records.

Changes are compared user by user: each one, and their order. Between users there is no order to
hold to: of a new model a replay looks at all users before the next event, a worker at one after the
other beside batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from consumer.contract.folder import CHANGES, MEMBERSHIPS
from consumer.kafka.cluster import read_topic
from consumer.settings import Settings
from schemas.changes import SegmentChange

_SHOWN = 20


def comparable(change: SegmentChange) -> dict[str, Any]:
    """Give a change without what may differ between two runs over the same input."""
    values = change.model_dump(mode="json", exclude={"changed_at", "shares"})
    if values["source"] is not None:
        values["source"] = {"event_id": values["source"]["event_id"]}
    return values


def differences(expected: Iterable[SegmentChange], found: Iterable[SegmentChange]) -> Iterator[str]:
    """Tell how changes differ, by their ids, and whether each user's are in the same order.

    Parameters
    ----------
    expected, found
        Changes; those of one user in their order.

    Yields
    ------
    str
        A sentence for each change that is missing, doubled, too many, different, or behind one that
        it should be ahead of.
    """
    wanted: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}  # of the expected ones, in their order
    for change in expected:
        wanted[change.id] = comparable(change)
        numbers[change.id] = len(numbers)
    seen: set[str] = set()
    last: dict[str, tuple[int, str]] = {}
    for change in found:
        if change.id in seen:
            yield f"change {change.id} of user {change.user_id!r} came twice"
        elif change.id not in wanted:
            yield f"change {change.id} of user {change.user_id!r} is not in the replay"
        elif wanted[change.id] != comparable(change):
            names = [n for n, v in comparable(change).items() if wanted[change.id][n] != v]
            yield f"change {change.id} of user {change.user_id!r} differs in {', '.join(names)}"
        elif (number := numbers[change.id]) < (before := last.get(change.user_id, (-1, "")))[0]:
            yield (
                f"change {change.id} of user {change.user_id!r}, of model version "
                f"{change.model.version}, came after change {before[1]}, which it is ahead of"
            )
        else:
            last[change.user_id] = number, change.id
        seen.add(change.id)
    for change_id in wanted.keys() - seen:
        yield f"change {change_id} of user {wanted[change_id]['user_id']!r} is missing"


def compare_with_replay(settings: Settings, folder: Path) -> tuple[int, list[str]]:
    """Compare the topics with a replay's folder.

    Returns
    -------
    tuple
        Number of differences, and sentences on the first of them.
    """
    changes = (
        SegmentChange.model_validate(json.loads(line)["data"]) for line in _lines(folder / CHANGES)
    )
    published = (
        SegmentChange.model_validate_json(record.value or b"")
        for record in read_topic(settings, settings.topics.changes)
    )
    found = [f"changes: {text}" for text in differences(changes, published)]
    members = (SegmentChange.model_validate_json(line) for line in _lines(folder / MEMBERSHIPS))
    latest: dict[bytes | None, SegmentChange] = {}
    for record in read_topic(settings, settings.topics.memberships):
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = SegmentChange.model_validate_json(record.value)
    found += [f"memberships: {text}" for text in differences(members, latest.values())]
    return len(found), found[:_SHOWN]


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file
