#!/usr/bin/env bash
# What:    pip installs diffprivlib with today's scikit-learn, as its requirement (>=1.4.0) allows, and no part
#          of it can then be imported, not even the noise mechanisms, which do not use scikit-learn: the
#          package's first import reaches for a private name of scikit-learn's trees.
# Why:     a segmentation that clusters with scikit-learn and publishes with diffprivlib cannot have both in
#          one environment without holding scikit-learn back; pip check finds nothing wrong.
# Version: diffprivlib 0.6.6 with scikit-learn 1.9.1
# Seen:
#   ImportError: cannot import name 'DOUBLE' from 'sklearn.tree._tree'; pip check: No broken requirements found.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check diffprivlib==0.6.6 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1

check=$(venv/bin/pip check --disable-pip-version-check) || true
CHECK=$check venv/bin/python - <<'PY'
import os
import sys
from importlib.metadata import requires, version

print("diffprivlib", version("diffprivlib"), "scikit-learn", version("scikit-learn"))
print("expected: what pip resolves can be imported, the mechanisms in any case")
print("seen: pip check:", os.environ["CHECK"])
print("seen: requires", *(line for line in requires("diffprivlib") if line.startswith("scikit-learn")))
try:
    import diffprivlib.mechanisms  # noqa: F401
except ImportError as error:
    print("seen: ImportError:", str(error).split(" (")[0])
    if "sklearn.tree._tree" in str(error) and "No broken requirements" in os.environ["CHECK"]:
        sys.exit(0)
sys.exit("changed: the mechanisms can be imported, or pip check complains")
PY
