#!/usr/bin/env bash
# What:    with a fixed seed, River's STREAMKMeans over named features still learns other clusters in another
#          process, and its count-min sketch of strings cannot be read there. The centres' random coordinates
#          are drawn in the order of a set, the sketch hashes with hash(): both follow PYTHONHASHSEED.
# Why:     segments learned twice from the same stream differ, and a sketch restored from a snapshot counts
#          zero for what it has seen. Integers instead of names and strings avoid both.
# Version: river 0.26.1
# Seen (three values of PYTHONHASHSEED):
#   STREAMKMeans cluster sizes [53, 68, 125, 154], [80, 84, 91, 145], [82, 84, 109, 125]
#   Counter, pickled by the first process: [5, 5, 5, 5], [0, 0, 0, 0], [0, 0, 0, 0]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check river==0.26.1 numpy==2.4.6 scipy==1.17.1

cat > learn.py <<'PY'
import collections
import json
import pathlib
import pickle
import random

from river import cluster, sketch

rng = random.Random(0)
names = ("clicks", "visits", "stars")
users = [{name: rng.gauss(0, 1) for name in names} for _ in range(400)]
model = cluster.STREAMKMeans(n_clusters=4, chunk_size=20, seed=1)
for user in users:
    model.learn_one(user)
sizes = sorted(collections.Counter(model.predict_one(user) for user in users).values())

snapshot = pathlib.Path("counter.pickle")
if not snapshot.exists():
    counter = sketch.Counter(epsilon=0.001, seed=7)
    for word in ("coffee", "shoes", "guitar", "tea"):
        counter.update(word, 5)
    snapshot.write_bytes(pickle.dumps(counter))
counter = pickle.loads(snapshot.read_bytes())

numbers = cluster.STREAMKMeans(n_clusters=4, chunk_size=20, seed=1)
for user in users:
    numbers.learn_one(dict(enumerate(user.values())))
print(json.dumps({
    "STREAMKMeans": sizes,
    "Counter, pickled by the first process": [counter[word] for word in ("coffee", "shoes", "guitar", "tea")],
    "features named by integers": sorted(
        collections.Counter(numbers.predict_one(dict(enumerate(user.values()))) for user in users).values()
    ),
}))
PY
for seed in 1 2 3; do PYTHONHASHSEED=$seed venv/bin/python learn.py; done > runs.jsonl

venv/bin/python - <<'PY'
import json
import sys
from importlib.metadata import version

print("river", version("river"))
print("expected: the same seed and the same stream give the same model in every process")
runs = [json.loads(line) for line in open("runs.jsonl")]
kinds = {}
for name in runs[0]:
    values = [run[name] for run in runs]
    kinds[name] = len({str(value) for value in values})
    print(f"seen: {name}", *values)
counter = [run["Counter, pickled by the first process"] for run in runs]
if kinds["STREAMKMeans"] == 1 or kinds["features named by integers"] != 1 or counter != [[5] * 4, [0] * 4, [0] * 4]:
    sys.exit("changed: the results follow PYTHONHASHSEED differently")
PY
