#!/usr/bin/env bash
# What:    after a single NaN, River's ADWIN and PageHinkley accept every further value and never signal
#          again; KSWIN recovers once the NaN has left its window. None of them raises or warns.
# Why:     a drift signal that is fed a ratio (0/0 in one empty minute) is then switched off for good, and
#          looks exactly like a stream without drift.
# Version: river 0.26.1
# Seen (500 values around 0, 500 around 5; signals without and with one NaN in front):
#   ADWIN 1 and 0, PageHinkley 1 and 0, KSWIN 1 and 2
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check river==0.26.1 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'PY'
import random
import sys
from importlib.metadata import version

from river import drift


def signals(detector, first):
    rng = random.Random(0)
    values = [*first, *(rng.gauss(mean, 0.1) for mean in (0, 5) for _ in range(500))]
    found = 0
    for value in values:
        detector.update(value)
        found += detector.drift_detected
    return found


print("river", version("river"))
print("expected: the NaN is refused, or forgotten like any value before a change")
seen = {}
for name in ("ADWIN", "PageHinkley", "KSWIN"):
    make = (lambda: drift.KSWIN(seed=1)) if name == "KSWIN" else getattr(drift, name)
    seen[name] = signals(make(), []), signals(make(), [float("nan")])
    print(f"seen: {name} signals {seen[name][0]}, after a NaN {seen[name][1]}")
heard = [(clean > 0, after > 0) for clean, after in seen.values()]
if heard != [(True, False), (True, False), (True, True)]:
    sys.exit("changed: which detectors signal after a NaN is different")
PY
