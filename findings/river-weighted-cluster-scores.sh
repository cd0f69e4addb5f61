#!/usr/bin/env bash
# What:    River's clustering scores leave their range once observations carry a weight. The confusion
#          matrix sums the weights, but the pair counts are taken against the unweighted number of samples.
# Why:     a streaming segmentation weighs users (by events, by recency) and compares runs by the adjusted
#          Rand index or the V-measure. An index of 1.39 or -10 is easy to see, 0.60 for 0.41 is not.
#          Accuracy, with the same weights, does not move.
# Version: river 0.26.1
# Seen:
#   weight 1    AdjustedRand 0.439  Rand 0.796  VBeta 0.410  Accuracy 0.725
#   weight 2    AdjustedRand -10.052  Rand 0.186  VBeta -0.131  Accuracy 0.725
#   weight 0.5  AdjustedRand 0.516  Rand 0.949  VBeta 0.601  Accuracy 0.725
#   weight 0.1  AdjustedRand 1.390  Rand 0.998  VBeta 0.772  Accuracy 0.725
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

rng = random.Random(3)
truth = [rng.randrange(4) for _ in range(200)]
found = [t if rng.random() < 0.7 else rng.randrange(5) for t in truth]
names = ("AdjustedRand", "Rand", "VBeta", "Accuracy")


def scores(weight):
    result = {}
    for name in names:
        metric = getattr(metrics, name)()
        for t, f in zip(truth, found):
            metric.update(t, f, w=weight)
        result[name] = metric.get()
    return result


print("river", version("river"))
print("expected: one weight for all observations changes no score")
seen = {weight: scores(weight) for weight in (1, 2, 0.5, 0.1)}
for weight, row in seen.items():
    print(f"seen: weight {weight:<4}", " ".join(f"{name} {value:.3f}" for name, value in row.items()))
as_described = (
    seen[2]["AdjustedRand"] < -1
    and seen[0.1]["AdjustedRand"] > 1
    and seen[2]["VBeta"] < 0
    and seen[0.5]["VBeta"] > seen[1]["VBeta"] + 0.1
    and all(abs(row["Accuracy"] - seen[1]["Accuracy"]) < 1e-9 for row in seen.values())
)
if not as_described:
    sys.exit("changed: the scores no longer leave their range with a weight")
PY
