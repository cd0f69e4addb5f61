#!/usr/bin/env bash
# What:    a metric with a colon in its name (a legal name) is written by prometheus-client's OpenMetrics
#          exposition as name:x in # TYPE and # HELP and as name_x in the sample. Its own parser then finds one
#          empty metric and one of unknown type. The text format keeps the colon in both.
# Why:     colons are the convention for recorded, aggregated series, which an exporter passes on. The name that
#          a server stores depends on the format it asked for, so a dashboard breaks when that changes.
# Version: prometheus-client 0.26.0
# Seen:
#   # TYPE segment:users gauge
#   segment_users 1.0
#   parsed: [('segment:users', 'gauge', 0), ('segment_users', 'unknown', 1)]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prometheus-client==0.26.0

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

registry = CollectorRegistry()
Gauge("segment:users", "Users of the segment", registry=registry).set(1)


def scrape(accept):
    return choose_encoder(accept)[0](registry).decode()


text = scrape("text/plain; version=0.0.4")
openmetrics = scrape("application/openmetrics-text; version=1.0.0")
print("prometheus-client", version("prometheus-client"))
print("expected: one name in the metadata and in the sample, in both formats")
for name, page in (("text", text), ("openmetrics", openmetrics)):
    print("seen:", name, [line for line in page.splitlines() if "users" in line and "HELP" not in line])
parsed = [(family.name, family.type, len(family.samples)) for family in text_string_to_metric_families(openmetrics)]
print("seen: parsed", parsed)
if "\nsegment:users 1.0" not in text or parsed != [("segment:users", "gauge", 0), ("segment_users", "unknown", 1)]:
    sys.exit("changed: both formats use one name")
PY
