"""What a user keeps over a reset: where the user stands, and a label that was given.

Of a chain of changes each goes on from the last one, and has an id that follows from its number. So
a user who was told of keeps segment and number: what the events that are read again say of the user
comes as further changes, under ids of their own, and no subscriber has to know of a reset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from consumer.contract.records import Output
from models.profiles.codec import encode
from models.profiles.rows import ProfileRows
from schemas.arrays import decode_array, encode_array
from schemas.binary import is_binary
from schemas.profiles import ProfileItems, ProfileRecord
from schemas.states import read_profile, read_state

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def emptied(
    topic: str,
    partition: int,
    latest: Mapping[bytes, bytes],
    *,
    keep_times: bool,
    for_users: str | None = None,
) -> list[Output]:
    """Give the records of users of whom nothing is known but where they stand.

    Parameters
    ----------
    topic, partition
        Of the changelog.
    latest
        Each user's latest record, by key.
    keep_times
        Whether the time of the latest event stays, by which users count as silent. Without it a
        profile grows as that of a new user does, bit for bit.
    for_users
        Topic of the items for users, where there is one: who was never told of leaves it too.

    Returns
    -------
    list of Output
        One for each user: the standing, or null for a user who was never told of.

    Raises
    ------
    RecordError
        If a record cannot be read.
    """
    outputs, kept = [], defaultdict(list)
    for key, value in latest.items():
        record = read_profile(key, value)
        if not record.sequence and (record.labels is None or record.labels.given is None):
            outputs.append(Output(topic, key, None, partition=partition))
            if for_users is not None and record.items is not None and record.items.shown:
                outputs.append(Output(for_users, key, None, partition=partition))
            continue
        extra = read_state(key, value).rest.extra if is_binary(value) else b""
        dimensions = len(decode_array(record.vector, "<f4"))
        kept[record.embedding, dimensions].append((_standing(record, keep_times), extra))
    for (embedding, dimensions), several in kept.items():
        users = [record.user_id for record, _ in several]
        rows = ProfileRows.empty(users, dimensions, 1, items=0)
        for row, (record, extra) in enumerate(several):
            rows.load_record(row, record)
            rows.extra[row] = extra
        keys = [user.encode() for user in users]
        outputs += [
            Output(topic, key, value, (), partition)
            for key, value in zip(keys, encode(rows, embedding, keys), strict=True)
        ]
    return outputs


def _standing(record: ProfileRecord, keep_times: bool) -> ProfileRecord:
    zero = np.zeros_like(decode_array(record.vector, "<f4"))
    forgotten: dict[str, object] = {
        "vector": encode_array(zero, "<f4"),
        "weight": 0.0,
        "events": 0,
        "repeats": 0,
        "recent_events": "",
        "references": [],
        "terms": {},
        "segment_since_event": 0,
    }
    if not keep_times:
        forgotten["reference_time"] = _NEVER
    if record.items is not None:
        # What was published for the user is there still.
        shown = record.items.shown
        forgotten["items"] = ProfileItems(shown=shown) if shown else None
    if record.labels is not None:
        forgotten["labels"] = record.labels.model_copy(update={"since_event": 0})
    return record.model_copy(update=forgotten)
