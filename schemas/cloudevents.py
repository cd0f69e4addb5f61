"""CloudEvents 1.0, as headers of a Kafka record and as one JSON object for files.

Source: CloudEvents Kafka Protocol Binding 1.0.2, sections 3.2 (binary) and 3.3 (structured).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from schemas.base import Contract

EventHeaders = list[tuple[str, bytes]]


def binary_headers(
    *,
    event_id: str,
    source: str,
    event_type: str,
    data_schema: str,
    subject: str,
    time: datetime,
) -> EventHeaders:
    """Give the Kafka headers of an event in binary mode, whose value is JSON."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_dataschema", data_schema.encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", time.isoformat().replace("+00:00", "Z").encode()),
        ("content-type", b"application/json"),
    ]


def structured(headers: Sequence[tuple[str, bytes]], data: Contract) -> dict[str, object]:
    """Give an event in structured JSON mode: the attributes of the headers around the data."""
    attributes = {
        name.removeprefix("ce_"): value.decode()
        for name, value in headers
        if name.startswith("ce_")
    }
    return {
        **attributes,
        "datacontenttype": "application/json",
        "data": data.model_dump(mode="json"),
    }
