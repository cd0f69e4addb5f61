"""Files of events and of labels, whatever their form: each record as the bytes of a JSON object.

`read_records` is what most callers want. To read on: `event_file` (one reading of a file),
`packing` (gzip and the like), `forms` (what the unpacked bytes are), then the forms themselves:
`lines`, `json_values`, `tables` and `columns`.
"""

from consumer.offline.files.errors import EventFileError
from consumer.offline.files.event_file import EventFile, read_lines
from consumer.offline.files.records import event_file, read_records, with_labels
from consumer.offline.files.spool import spooled

__all__ = [
    "EventFile",
    "EventFileError",
    "event_file",
    "read_lines",
    "read_records",
    "spooled",
    "with_labels",
]
