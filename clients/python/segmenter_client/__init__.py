"""Reads what segmenter publishes, and needs nothing of segmenter itself.

`Changes` is an iterator over the changes of users' segments. `Memberships` is the table of who is
in which segment, `Segments` the table of the segments' names: both are kept up to date from
compacted topics, as is `UserRecommendations`, the table of items for single users.
"""

from segmenter_client.changes import Changes
from segmenter_client.records import (
    Change,
    ItemForUser,
    Label,
    ListUsed,
    Segment,
    SegmentName,
    Shares,
    UserItems,
)
from segmenter_client.tables import Memberships, Segments, Table, UserRecommendations

__all__ = [
    "Change",
    "Changes",
    "ItemForUser",
    "Label",
    "ListUsed",
    "Memberships",
    "Segment",
    "SegmentName",
    "Segments",
    "Shares",
    "Table",
    "UserItems",
    "UserRecommendations",
]
