#!/usr/bin/env bash
# What:    River's Silhouette divides by the second largest of a point's distances to the centres. With two
#          clusters that is the distance to its own centre: the score is 1.0 whatever the clusters are.
#          And smaller is better, unlike the coefficient of that name.
# Why:     the usual search over the number of clusters by silhouette scores k = 2 the same for clusters a
#          hundred spreads apart and for two that lie on top of each other.
# Version: river 0.26.1
# Seen:
#   two far apart 1.000, two on top of each other 1.000, four far apart 0.013; bigger_is_better False
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

from river import metrics

rng = random.Random(0)


def score(centres, pick):
    metric = metrics.Silhouette()
    for number in range(400):
        home = number % len(centres)
        point = {name: value + rng.gauss(0, 1) for name, value in centres[home].items()}
        metric.update(point, pick(point, centres), centres)
    return metric.get()


def nearest(point, centres):
    return min(centres, key=lambda c: sum((centres[c][name] - point[name]) ** 2 for name in point))


apart = {0: {"x": 0.0, "y": 0.0}, 1: {"x": 100.0, "y": 0.0}}
touching = {0: {"x": 0.0, "y": 0.0}, 1: {"x": 0.1, "y": 0.0}}
four = {0: {"x": 0.0, "y": 0.0}, 1: {"x": 100.0, "y": 0.0}, 2: {"x": 0.0, "y": 100.0}, 3: {"x": 100.0, "y": 100.0}}
seen = [score(apart, nearest), score(touching, nearest), score(four, nearest)]
print("river", version("river"))
print("expected: clusters far apart score better than clusters on top of each other")
print("seen: two far apart {:.3f}, two on top of each other {:.3f}, four far apart {:.3f}".format(*seen))
print("seen: bigger_is_better", metrics.Silhouette().bigger_is_better)
if seen[:2] != [1.0, 1.0] or not 0 < seen[2] < 0.1 or metrics.Silhouette().bigger_is_better:
    sys.exit("changed: the silhouette of two clusters is no longer always 1")
PY
