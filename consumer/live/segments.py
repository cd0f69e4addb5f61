"""The segments there are, as the topic `segments` has them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from consumer.contract.errors import UsageError
from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster
from consumer.report.wording import one_line
from consumer.settings import Settings
from schemas.segments import SegmentState

_LISTED = 20


class Segments(dict[int, SegmentState]):
    """What is known of each segment, by its id; kept up to date with `take`."""

    def take(self, record: Record) -> None:
        """Take a record of the topic; one that cannot be read is of a later version."""
        try:
            segment = int(record.key or b"")
            if record.value is None:
                self.pop(segment, None)
            else:
                self[segment] = SegmentState.model_validate_json(record.value)
        except (ValueError, ValidationError):
            return


def read_segments(cluster: Cluster, settings: Settings) -> Segments:
    """Read the segments that there are now; raises as `Cluster.read_all`."""
    found = Segments()
    for record in cluster.read_all(settings.topics.segments, settings.restore.no_progress_seconds):
        found.take(record)
    return found


def listed(segments: Mapping[int, SegmentState]) -> str:
    """Name segments in a sentence."""
    if not segments:
        return "there are none yet"
    names = [f"{n} ({one_line(segments[n].name, 40)})" for n in sorted(segments)]
    return "there are " + ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def find_segment(text: str, segments: Mapping[int, SegmentState]) -> int:
    """Give the id of the segment that is meant by an id, a name, or a part of one name alone.

    An id is taken as it is: the segment may be retired.

    Raises
    ------
    UsageError
        If no name of today is meant, or several are.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    wanted = text.casefold()
    names = {number: each.name.casefold() for number, each in segments.items()}
    found = [number for number, name in names.items() if name == wanted] or [
        number for number, name in names.items() if wanted in name
    ]
    if len(found) == 1:
        return found[0]
    meant = {number: segments[number] for number in found} or segments
    raise UsageError(
        f"--segment {text!r} is the name of "
        + ("several segments" if found else "no segment of today")
        + f": {listed(meant)}; give an id"
    )
