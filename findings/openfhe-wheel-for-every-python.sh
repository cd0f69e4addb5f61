#!/usr/bin/env bash
# What:    openfhe's wheel is tagged py3-none-any ("any Python 3, any machine") and asks for Python 3.10 or
#          later, but holds one compiled module, for CPython 3.10 on Linux x86-64. pip installs it on 3.11,
#          reports success, and the import fails.
# Why:     whoever sums encrypted profiles has few libraries to choose from. A resolver or a lock file cannot
#          see the problem: all of them trust the tag.
# Version: openfhe 1.6.1.0.22.4
# Seen (Python 3.11):
#   openfhe/openfhe.cpython-310-x86_64-linux-gnu.so; Tag: py3-none-any
#   ModuleNotFoundError: No module named 'openfhe.openfhe'
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openfhe==1.6.1.0.22.4 numpy==2.4.6

venv/bin/python - <<'PY'
import sys
from importlib.metadata import distribution

wheel = distribution("openfhe")
tags = [line for line in wheel.read_text("WHEEL").splitlines() if line.startswith("Tag:")]
modules = [file.name for file in wheel.files if ".cpython-" in file.name and file.suffix == ".so"]
print("openfhe", wheel.version, "on Python", sys.version.split()[0])
print("expected: what pip picks for this Python can be imported by it")
print("seen:", *tags, "| requires Python", wheel.metadata["Requires-Python"], "| compiled:", *modules)
try:
    import openfhe  # noqa: F401
except ModuleNotFoundError as error:
    print("seen: ModuleNotFoundError:", error)
    if tags == ["Tag: py3-none-any"] and modules and all("cpython-310" in name for name in modules):
        sys.exit(0)
sys.exit("changed: the wheel has another tag or another module")
PY
