#!/usr/bin/env bash
# What:    in Kafka's binary mode the CloudEvents SDK writes as JSON only what is a dict. Of an event with
#          datacontenttype application/json a list goes out as Python's repr, True as "True", and a string
#          without quotes, so that "5" comes back as the number 5 and "null" as nothing. In structured mode
#          the same events are right. (The payload is annotated as dict, str or bytes; any JSON value is taken.)
# Why:     a batch of changes is a list, a review is a string. What is written is no JSON for any other reader,
#          and the SDK's own reader gives back something else without an error.
# Version: cloudevents 2.2.0
# Seen (sent: bytes in binary mode, read back):
#   [{'stars': 5}]: b"[{'stars': 5}]", "[{'stars': 5}]"
#   '5': b'5', 5
#   'null': b'null', None
#   True: b'True', 'True'
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent


def event(data):
    attributes = {"id": "1", "source": "/reviews", "type": "review", "specversion": "1.0"}
    return CloudEvent({**attributes, "datacontenttype": "application/json"}, data)


print("cloudevents", version("cloudevents"))
print("expected: both modes give back what was sent, and binary mode's value is JSON")
wrong = {"binary": [], "structured": []}
for data in ({"stars": 5}, [{"stars": 5}], "5", "null", True):
    message = kafka.to_binary_event(event(data))
    back = kafka.from_binary_event(message).get_data()
    whole = kafka.from_structured_event(kafka.to_structured_event(event(data))).get_data()
    print(f"seen: {data!r}: binary {message.value!r}, back {back!r}; structured, back {whole!r}")
    for mode, value in (("binary", back), ("structured", whole)):
        if value != data or type(value) is not type(data):
            wrong[mode].append(data)
if wrong != {"binary": [[{"stars": 5}], "5", "null", True], "structured": []}:
    sys.exit(f"changed: not given back as sent: {wrong}")
PY
