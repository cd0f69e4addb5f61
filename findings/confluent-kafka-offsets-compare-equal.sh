#!/usr/bin/env bash
# What:    two TopicPartition of confluent-kafka are equal, and have one hash, whatever their offsets are.
# Why:     the class is what committed(), position() and offsets_for_times() answer with. "Did the committed
#          offset move?" by == is always no, and a set of positions keeps one of them only. repr() shows the
#          offset, so two objects that print differently are equal.
# Version: confluent-kafka 2.16.1
# Seen:
#   TopicPartition('events', 0, 5) == TopicPartition('events', 0, 9) is True, a set of both holds 1
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check confluent-kafka==2.16.1

venv/bin/python - <<'PY'
import sys

import confluent_kafka
from confluent_kafka import TopicPartition

early, late = TopicPartition("events", 0, 5), TopicPartition("events", 0, 9)
print("confluent-kafka", confluent_kafka.__version__)
print("expected: positions 5 and 9 differ, as their attributes and their repr do")
print("seen: equal", early == late, "| in a set", len({early, late}), "| offsets", early.offset, late.offset)
print("seen: another partition is equal", early == TopicPartition("events", 1, 5))
if early != late or len({early, late}) != 1 or repr(early) == repr(late) or early == TopicPartition("events", 1, 5):
    sys.exit("changed: the offset takes part in the comparison")
PY
