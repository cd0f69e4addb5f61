#!/usr/bin/env bash
# What:    River's TimeRolling adds an event that is older than the whole window to the statistic, and keeps
#          it there until an event with a new highest time comes. Events at the highest time do not evict it.
# Why:     late events are normal in Kafka. A three-day total counts an eleven-day-old event, and how long it
#          does so depends on other events' times only.
# Version: river 0.26.1
# Seen (a sum over 3 days, one event of value 1 a day):
#   day 10 -> 1, day 11 -> 2, day 12 -> 3, day 1 -> 4, day 12 -> 5, day 13 -> 4
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check river==0.26.1 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'PY'
import datetime as dt
import sys
from importlib.metadata import version

from river import stats, utils

window = utils.TimeRolling(stats.Sum, period=dt.timedelta(days=3))
days = (10, 11, 12, 1, 12, 13)
seen = []
for day in days:
    window.update(1, t=dt.datetime(2024, 1, 1) + dt.timedelta(days=day))
    seen.append(window.get())
inside = [
    sum(max(days[: n + 1]) - 3 < day for day in days[: n + 1])
    for n in range(len(days))
]
print("river", version("river"))
print("expected: only events of the last three days,", inside)
print("seen:", seen)
if inside != [1, 2, 3, 3, 4, 4] or seen != [1, 2, 3, 4, 5, 4]:
    sys.exit("changed: an event older than the window is treated differently")
PY
