#!/usr/bin/env bash
# What:    predict_one of River's recommenders and of its KMeans changes the model. A recommender keeps
#          every user that it was asked about, a clusterer draws a random coordinate into every centre for
#          every feature that it was asked about and never learned.
# Why:     a service answers for users it does not know, all day: its memory grows with the questions, and
#          two replicas of one model differ as soon as they were asked different things.
# Version: river 0.26.1
# Seen:
#   Baseline  users kept 1 -> 1001
#   FunkMF    users kept 1 -> 1001
#   BiasedMF  users kept 1 -> 1001
#   KMeans    features of a centre ['a'] -> ['a', 'new']
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

from river import cluster, reco

print("river", version("river"))
print("expected: a question leaves the model as it was")
as_described = True
for kind, table in ((reco.Baseline, "u_biases"), (reco.FunkMF, "u_latents"), (reco.BiasedMF, "u_biases")):
    model = kind()
    model.learn_one("user", "item", 5.0)
    before = len(getattr(model, table))
    for number in range(1000):
        model.predict_one(f"stranger {number}", "item")
    after = len(getattr(model, table))
    print(f"seen: {kind.__name__} users kept {before} -> {after}")
    as_described &= (before, after) == (1, 1001)

rng = random.Random(1)
model = cluster.KMeans(n_clusters=2, seed=1)
for number in range(50):
    model.learn_one({"a": number % 2 + rng.gauss(0, 0.1)})
before = sorted(model.centers[0])
model.predict_one({"a": 0.0, "new": 5.0})
after = sorted(model.centers[0])
print(f"seen: KMeans features of a centre {before} -> {after}, drawn: {model.centers[0].get('new')}")
as_described &= before == ["a"] and after == ["a", "new"] and model.centers[0]["new"] != 0
if not as_described:
    sys.exit("changed: some of these models no longer keep what they were asked about")
PY
