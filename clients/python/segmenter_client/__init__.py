"""Reads what segmenter publishes, and needs nothing of segmenter itself.

`Changes` is an iterator over the changes of users' segments. `Memberships` is the table of who is
in which segment, `Segments` the table of the segments' names: both are kept up to date from
compacted topics.
"""

from segmenter_client.changes import Changes
from segmenter_client.records import Change, Label, Segment, SegmentName, Shares
from segmenter_client.tables import Memberships, Segments, Table

__all__ = [
    "Change",
    "Changes",
    "Label",
    "Memberships",
    "Segment",
    "SegmentName",
    "Segments",
    "Shares",
    "Table",
]
