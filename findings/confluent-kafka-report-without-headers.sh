#!/usr/bin/env bash
# What:    the message that a delivery callback of confluent-kafka gets has its key, partition and offset, but
#          headers() is None although the record was sent, and is read back, with headers.
# Why:     what identifies a record often is in the headers only (CloudEvents in binary mode: ce_id, ce_type).
#          A callback that logs or resends what failed cannot take them from the message.
# Version: confluent-kafka 2.16.1 (librdkafka 2.16.0, its own mock cluster)
# Seen:
#   in the callback None, read back [('ce_id', b'7')]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check confluent-kafka==2.16.1

venv/bin/python - <<'PY'
import sys

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition

reports = []
producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
broker = next(iter(producer.list_topics("events", timeout=10).brokers.values()))
producer.produce(
    "events", b"value", key=b"key", partition=0, headers=[("ce_id", b"7")],
    on_delivery=lambda error, message: reports.append((error, message)),
)
producer.flush(30)

consumer = Consumer({"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "g", "log_level": 0})
consumer.assign([TopicPartition("events", 0, 0)])
read = None
for _ in range(30):
    read = consumer.poll(1)
    if read is not None and not read.error():
        break
consumer.close()

print("confluent-kafka", confluent_kafka.__version__, "librdkafka", confluent_kafka.libversion()[0])
print("expected: the callback's message has the headers that were sent")
[(error, reported)] = reports
if error is not None or read is None or read.error():
    sys.exit("no answer from the mock cluster")
print("seen: in the callback", reported.headers(), "| key", reported.key(), "| offset", reported.offset())
print("seen: read back", read.headers())
if reported.headers() is not None or reported.key() != b"key" or read.headers() != [("ce_id", b"7")]:
    sys.exit("changed: the delivery report has headers")
PY
